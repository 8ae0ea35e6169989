"""A canonical description of what a database is made of, and its digest: the same after a dump and a restore.

Read from the catalogs (manual, chapter 53): names instead of numbers, privileges written out instead
of defaults left out, expressions reduced to what parsing them again does not change. Left out is what
belongs to an extension, and what no dump carries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from .connection import Connection
from .expressions import reduced
from .schema_parts import USER, Part, ordered, own, privileges, role
from .schema_rest import REST

RELATION = "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
PARTS = (
    Part(
        "relation",
        "SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text, "
        f"{role('c.relowner')}, "
        + privileges("c.relacl", "(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END)::\"char\"", "c.relowner")
        + f", {ordered('c.reloptions')}, c.relrowsecurity, c.relforcerowsecurity, c.relreplident::text, "
        "pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), a.amname, "
        "CASE WHEN c.reloftype <> 0 THEN c.reloftype::regtype::text END, "
        "(SELECT array_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) FROM pg_catalog.pg_inherits i "
        "WHERE i.inhrelid = c.oid), CASE WHEN c.relkind = 'm' THEN c.relispopulated END "
        f"FROM pg_catalog.pg_class c {RELATION} LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam "
        f"WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't' AND {USER} "
        f"AND {own('pg_class', 'c')}",
        (10, 11),
        "c.oid",
    ),
    Part(
        "column",
        "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
        "a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), "
        "CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END, "
        "a.attstorage::text, coalesce(to_jsonb(a) ->> 'attcompression', ''), coalesce(a.attstattarget, -1), "
        # Newest minor versions note a version of their own among the options, which no dump carries.
        + ordered("ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE NOT starts_with(o, 'pg_attver='))")
        + f", {ordered('a.attfdwoptions')}, "
        + "CASE WHEN a.attacl IS NOT NULL THEN "
        + privileges("a.attacl", "'c'::\"char\"", "c.relowner")
        + f" END FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid {RELATION} "
        "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        "LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') "
        f"AND c.relpersistence <> 't' AND {USER} AND {own('pg_class', 'c')}",
        (7,),
        "c.oid",
    ),
    Part(
        "constraint",
        "SELECT n.nspname, coalesce(c.relname, t.typname), k.conname, k.contype::text, "
        "pg_get_constraintdef(k.oid), k.convalidated FROM pg_catalog.pg_constraint k "
        "LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace) "
        "WHERE k.contype NOT IN ('n', 't') AND NOT (k.contype = 'f' AND k.conparentid <> 0) "
        f"AND coalesce(c.relpersistence, 'p') <> 't' AND {USER} AND {own('pg_constraint', 'k')} "
        f"AND (c.oid IS NULL OR {own('pg_class', 'c')}) AND (t.oid IS NULL OR {own('pg_type', 't')})",
        (4,),
        "k.conrelid",
    ),
    Part(
        "index",
        "SELECT n.nspname, c.relname, pg_get_indexdef(i.indexrelid), i.indisclustered, i.indisreplident, "
        "(SELECT h.inhparent::regclass::text FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid), "
        "(SELECT array_agg(a.attnum || '=' || a.attstattarget ORDER BY a.attnum) FROM pg_catalog.pg_attribute a "
        "WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0) "
        f"FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid {RELATION} "
        f"WHERE (i.indisvalid OR c.relkind = 'I') AND c.relpersistence <> 't' AND {USER} "
        "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::regclass "
        "AND e.objid = i.indrelid AND e.deptype = 'e')",
        (2,),
        "i.indrelid",
    ),
    Part(
        "view",
        f"SELECT n.nspname, c.relname, pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c {RELATION} "
        f"WHERE c.relkind IN ('v', 'm') AND {USER} AND {own('pg_class', 'c')}",
        (2,),
        "c.oid",
    ),
    Part(
        "rule",
        "SELECT n.nspname, c.relname, r.rulename, pg_get_ruledef(r.oid), r.ev_enabled::text "
        f"FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class {RELATION} "
        f"WHERE r.rulename <> '_RETURN' AND {USER} AND {own('pg_class', 'c')} AND {own('pg_rewrite', 'r')}",
        (3,),
        "c.oid",
    ),
    Part(
        "trigger",
        "SELECT n.nspname, c.relname, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text "
        f"FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid {RELATION} "
        f"WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND {USER} AND {own('pg_class', 'c')} "
        f"AND {own('pg_trigger', 't')}",
        (3,),
        "c.oid",
    ),
    Part(
        "policy",
        "SELECT n.nspname, c.relname, p.polname, p.polcmd::text, p.polpermissive, "
        "ARRAY(SELECT CASE WHEN r = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r)::text END "
        "FROM unnest(p.polroles) r ORDER BY 1), pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid) "
        f"FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid {RELATION} "
        f"WHERE {USER} AND {own('pg_class', 'c')}",
        (6, 7),
        "c.oid",
    ),
    Part(
        "sequence",
        "SELECT n.nspname, c.relname, s.seqtypid::regtype::text, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, "
        "s.seqcache, s.seqcycle, (SELECT d.refobjid::regclass::text || '.' || a.attname FROM pg_catalog.pg_depend d "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
        "WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') "
        "AND d.refobjsubid > 0) FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid "
        f"{RELATION} WHERE c.relpersistence <> 't' AND {USER} AND {own('pg_class', 'c')}",
        (),
        "c.oid",
    ),
    Part(
        "schema",
        f"SELECT n.nspname, {role('n.nspowner')}, "
        + privileges("n.nspacl", "'n'::\"char\"", "n.nspowner")
        + f" FROM pg_catalog.pg_namespace n WHERE {USER} AND {own('pg_namespace', 'n')}",
    ),
    Part(
        "function",
        "SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prokind::text, p.prosrc, "
        f"pg_get_functiondef(p.oid), {role('p.proowner')}, "
        + privileges("p.proacl", "'f'::\"char\"", "p.proowner")
        + " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace "
        f"WHERE p.prokind <> 'a' AND {USER} AND {own('pg_proc', 'p')} AND NOT EXISTS (SELECT FROM "
        "pg_catalog.pg_depend i WHERE i.classid = 'pg_catalog.pg_proc'::regclass AND i.objid = p.oid "
        "AND i.deptype = 'i')",
        (5,),
    ),
    Part(
        "aggregate",
        "SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), g.aggkind::text, "
        "g.aggtransfn::text, g.aggfinalfn::text, g.aggcombinefn::text, g.aggtranstype::regtype::text, g.agginitval, "
        f"g.aggsortop::regoperator::text, {role('p.proowner')}, "
        + privileges("p.proacl", "'f'::\"char\"", "p.proowner")
        + " FROM pg_catalog.pg_aggregate g JOIN pg_catalog.pg_proc p ON p.oid = g.aggfnoid "
        f"JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE {USER} AND {own('pg_proc', 'p')}",
    ),
    Part(
        "type",
        "SELECT n.nspname, t.typname, t.typtype::text, t.typnotnull, t.typdefault, "
        "CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, "
        "CASE WHEN t.typcollation <> 0 THEN t.typcollation::regcollation::text END, "
        "(SELECT array_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid), "
        "(SELECT r.rngsubtype::regtype::text FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid), "
        f"{role('t.typowner')}, "
        + privileges("t.typacl", "'T'::\"char\"", "t.typowner")
        + " FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace "
        "LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid "
        "WHERE coalesce(c.relkind, 'c') = 'c' AND t.typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_catalog.pg_type l "
        f"WHERE l.typarray = t.oid) AND {USER} AND {own('pg_type', 't')}",
        (4,),
    ),
    Part(
        "extension",
        "SELECT x.extname, n.nspname FROM pg_catalog.pg_extension x "
        "JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace",
    ),
)


def describe(connection: Connection, only: Optional[Sequence[int]] = None) -> Iterator[str]:
    """The description, one line an object, in no order; ``only`` leaves that of some tables."""
    for part in PARTS if only is not None else (*PARTS, *REST):
        if connection.major < part.since or (only is not None and part.relation is None):
            continue
        sql, values = part.sql, None
        if only is not None:
            sql, values = sql.replace("%", "%%") + f" AND {part.relation} = ANY (%s)", (list(only),)
        for row in connection.rows(sql, values):
            yield _line(part, row)


def _line(part: Part, row: Sequence[Any]) -> str:
    shown = [
        reduced(value) if place in part.expressions and isinstance(value, str) else value
        for place, value in enumerate(row)
    ]
    return json.dumps([part.kind, *shown], ensure_ascii=True, default=str)


def schema_digest(connection: Connection, only: Optional[Sequence[int]] = None) -> str:
    """The SHA-256 of the sorted description."""
    digest = hashlib.sha256()
    for line in sorted(describe(connection, only)):
        digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()
