"""The rarer kinds of objects of a schema's description, which belong to no table."""

from __future__ import annotations

from .schema_parts import USER, Part, ordered, own, privileges, role

FIRST_USER_OBJECT = 16384

REST = (
    Part(
        "cast",
        "SELECT k.castsource::regtype::text, k.casttarget::regtype::text, k.castfunc::regprocedure::text, "
        "k.castcontext::text, k.castmethod::text FROM pg_catalog.pg_cast k "
        f"WHERE k.oid >= {FIRST_USER_OBJECT} AND {own('pg_cast', 'k')}",
    ),
    Part(
        "operator",
        "SELECT n.nspname, o.oprname, o.oprleft::regtype::text, o.oprright::regtype::text, o.oprcode::text, "
        "o.oprcom::regoperator::text, o.oprnegate::regoperator::text, o.oprrest::text, o.oprjoin::text, "
        f"o.oprcanmerge, o.oprcanhash, {role('o.oprowner')} FROM pg_catalog.pg_operator o "
        "JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace "
        f"WHERE o.oprcode <> 0 AND {USER} AND {own('pg_operator', 'o')}",
    ),
    Part(
        "operator class",
        "SELECT n.nspname, o.opcname, a.amname, o.opcintype::regtype::text, o.opckeytype::regtype::text, "
        f"o.opcdefault, {role('o.opcowner')} FROM pg_catalog.pg_opclass o "
        "JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace "
        f"WHERE {USER} AND {own('pg_opclass', 'o')}",
    ),
    Part(
        "operator family",
        f"SELECT n.nspname, o.opfname, a.amname, {role('o.opfowner')} FROM pg_catalog.pg_opfamily o "
        "JOIN pg_catalog.pg_am a ON a.oid = o.opfmethod JOIN pg_catalog.pg_namespace n ON n.oid = o.opfnamespace "
        f"WHERE {USER} AND {own('pg_opfamily', 'o')}",
    ),
    Part(
        "collation",
        "SELECT n.nspname, k.collname, k.collprovider::text, k.collisdeterministic, k.collcollate, k.collctype, "
        "coalesce(to_jsonb(k) ->> 'colllocale', to_jsonb(k) ->> 'colliculocale'), "
        f"{role('k.collowner')} FROM pg_catalog.pg_collation k "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = k.collnamespace WHERE {USER} AND {own('pg_collation', 'k')}",
    ),
    Part(
        "conversion",
        "SELECT n.nspname, k.conname, k.conforencoding, k.contoencoding, k.conproc::text, k.condefault, "
        f"{role('k.conowner')} FROM pg_catalog.pg_conversion k "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace WHERE {USER} AND {own('pg_conversion', 'k')}",
    ),
    Part(
        "language",
        f"SELECT l.lanname, l.lanpltrusted, {role('l.lanowner')}, "
        + privileges("l.lanacl", "'l'::\"char\"", "l.lanowner")
        + f" FROM pg_catalog.pg_language l WHERE l.lanispl AND {own('pg_language', 'l')}",
    ),
    Part(
        "text search configuration",
        f"SELECT n.nspname, k.cfgname, p.prsname, {role('k.cfgowner')}, "
        "(SELECT array_agg(m.maptokentype || ':' || m.mapseqno || ':' || m.mapdict::regdictionary::text "
        "ORDER BY m.maptokentype, m.mapseqno) FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = k.oid) "
        "FROM pg_catalog.pg_ts_config k JOIN pg_catalog.pg_ts_parser p ON p.oid = k.cfgparser "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = k.cfgnamespace WHERE {USER} AND {own('pg_ts_config', 'k')}",
    ),
    Part(
        "text search dictionary",
        f"SELECT n.nspname, k.dictname, t.tmplname, k.dictinitoption, {role('k.dictowner')} "
        "FROM pg_catalog.pg_ts_dict k JOIN pg_catalog.pg_ts_template t ON t.oid = k.dicttemplate "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = k.dictnamespace WHERE {USER} AND {own('pg_ts_dict', 'k')}",
    ),
    Part(
        "foreign-data wrapper",
        "SELECT w.fdwname, w.fdwhandler::regproc::text, w.fdwvalidator::regproc::text, "
        f"{ordered('w.fdwoptions')}, {role('w.fdwowner')}, "
        + privileges("w.fdwacl", "'F'::\"char\"", "w.fdwowner")
        + f" FROM pg_catalog.pg_foreign_data_wrapper w WHERE {own('pg_foreign_data_wrapper', 'w')}",
    ),
    Part(
        "server",
        f"SELECT s.srvname, w.fdwname, s.srvtype, s.srvversion, {ordered('s.srvoptions')}, {role('s.srvowner')}, "
        + privileges("s.srvacl", "'S'::\"char\"", "s.srvowner")
        + " FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw "
        f"WHERE {own('pg_foreign_server', 's')}",
    ),
    Part("user mapping", "SELECT m.srvname, m.usename FROM pg_catalog.pg_user_mappings m"),
    Part(
        "publication",
        "SELECT p.pubname, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, "
        f"nullif(to_jsonb(p) ->> 'pubgencols', 'n'), {role('p.pubowner')} FROM pg_catalog.pg_publication p",
    ),
    Part(
        "published table",
        "SELECT p.pubname, r.prrelid::regclass::text, to_jsonb(r) ->> 'prattrs', (to_jsonb(r) ->> 'prqual') IS NULL "
        "FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid",
    ),
    Part(
        "published schema",
        "SELECT p.pubname, s.nspname FROM pg_catalog.pg_publication_namespace r "
        "JOIN pg_catalog.pg_publication p ON p.oid = r.pnpubid "
        "JOIN pg_catalog.pg_namespace s ON s.oid = r.pnnspid",
        since=15,
    ),
    Part(
        "subscription",
        f"SELECT s.subname, s.subpublications, s.subslotname, {role('s.subowner')} "
        "FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid "
        "WHERE d.datname = current_database()",
    ),
    Part(
        "event trigger",
        "SELECT t.evtname, t.evtevent, t.evtfoid::regprocedure::text, t.evtenabled::text, t.evttags, "
        f"{role('t.evtowner')} FROM pg_catalog.pg_event_trigger t WHERE {own('pg_event_trigger', 't')}",
    ),
    Part(
        "statistics",
        "SELECT n.nspname, s.stxname, pg_get_statisticsobjdef(s.oid), coalesce(s.stxstattarget, -1), "
        f"{role('s.stxowner')} FROM pg_catalog.pg_statistic_ext s "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace WHERE {USER} AND {own('pg_statistic_ext', 's')}",
        (2,),
    ),
    Part(
        "transform",
        "SELECT t.trftype::regtype::text, l.lanname, t.trffromsql::text, t.trftosql::text "
        "FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang "
        f"WHERE {own('pg_transform', 't')}",
    ),
    Part(
        "access method",
        "SELECT a.amname, a.amhandler::text, a.amtype::text FROM pg_catalog.pg_am a "
        f"WHERE a.oid >= {FIRST_USER_OBJECT} AND {own('pg_am', 'a')}",
    ),
    Part(
        "default privileges",
        f"SELECT {role('d.defaclrole')}, n.nspname, d.defaclobjtype::text, "
        + privileges("d.defaclacl", "'r'::\"char\"", "d.defaclrole")
        + " FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace",
    ),
    Part(
        "comment",
        "SELECT i.type, i.identity, d.description FROM pg_catalog.pg_description d, "
        "LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i "
        f"WHERE (d.objoid >= {FIRST_USER_OBJECT} OR d.classoid = 'pg_catalog.pg_namespace'::regclass "
        "AND d.objoid = (SELECT p.oid FROM pg_catalog.pg_namespace p WHERE p.nspname = 'public')) "
        "AND i.identity IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e "
        "WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')",
    ),
    Part(
        "security label",
        "SELECT i.type, i.identity, d.provider, d.label FROM pg_catalog.pg_seclabel d, "
        "LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i",
    ),
    Part(
        "large objects",
        f"SELECT {role('m.lomowner')}, "
        + privileges("m.lomacl", "'L'::\"char\"", "m.lomowner")
        + ", count(*) FROM pg_catalog.pg_largeobject_metadata m GROUP BY 1, 2",
    ),
)
