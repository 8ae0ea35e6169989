"""The ``.create.sql`` of a backup: the roles and the database that the dump needs to be there.

``pg_dump`` writes neither roles nor a database of another name. Run by ``psql``, this file makes both,
under the name in the variable ``database``. Its first line also tells a restore what it must know
before it begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ...errors import DamagedError
from .connection import Connection
from .inventory import Table
from .quoting import literal, literals, quoted, split_list

MARK = "-- dbfleet: "
LIMIT = 256 * 2**20
# Their values are lists of names, not one text (src/bin/pg_dump/dumputils.c, variable_is_guc_list_quote).
LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
ATTRIBUTES = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolcanlogin": "LOGIN",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}

DATABASE = """
SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, pg_catalog.to_jsonb(d),
       pg_catalog.pg_get_userbyid(d.datdba), t.spcname, pg_catalog.shobj_description(d.oid, 'pg_database'), d.oid,
       ARRAY(SELECT coalesce(g.rolname, '') || '=' || x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END
             FROM pg_catalog.aclexplode(d.datacl) x LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee ORDER BY 1)
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = current_database()
"""
# The server itself notes which roles a database's objects depend on; its first superuser is not noted.
ROLES = """
SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls
FROM pg_catalog.pg_roles r
WHERE (r.oid = 10 OR r.oid IN (
    SELECT s.refobjid FROM pg_catalog.pg_shdepend s WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass
    AND (s.dbid = %(oid)s OR s.classid = 'pg_catalog.pg_database'::regclass AND s.objid = %(oid)s))
    OR r.oid IN (SELECT setrole FROM pg_catalog.pg_db_role_setting WHERE setdatabase = %(oid)s))
  AND r.rolname !~ '^pg_'
ORDER BY 1
"""
TABLESPACES = """
SELECT DISTINCT t.spcname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname <> 'pg_global' ORDER BY 1
"""
FOREIGN_KEYS = """
SELECT k.oid, k.conrelid FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 1
"""


@dataclass(frozen=True)
class Preamble:
    """What a restore must know of a database before its dump."""

    database: str
    server: int  # its major version
    tool: int  # of pg_dump
    encoding: str
    collate: str
    ctype: str
    provider: str = "c"
    locale: Optional[str] = None
    rules: Optional[str] = None
    owner: str = ""
    comment: Optional[str] = None
    connection_limit: int = -1
    grants: tuple[str, ...] = ()  # role=PRIVILEGE, the empty role is PUBLIC; empty where nothing was granted
    settings: tuple[tuple[str, str], ...] = ()  # role (empty: all), name=value
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # and their attributes
    extensions: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] = ()
    tables: tuple[tuple[int, str, str, str, Optional[int]], ...] = ()  # number, schema, name, kind, parent
    foreign_keys: tuple[tuple[int, int], ...] = ()  # number of the constraint, number of its table
    search_path: str = ""
    narrow: bool = False
    main: bool = True  # the one in which the job's queries are asked
    superuser: str = ""  # the server's first, who owns what initdb made
    is_template: bool = False

    @property
    def owner_of_public(self) -> str:
        """Whose the schema ``public`` is where the dump does not say it; empty where it does.

        Before 15 initdb gives it to the first superuser (release notes of 15), and pg_dump says nothing of a schema
        that is as initdb made it.
        """
        if self.tool >= 15 or self.narrow:
            return ""
        return self.superuser or ("postgres" if "postgres" in self.roles else "")  # older backups do not tell

    def encode(self) -> bytes:
        """The file: a first line for us, then SQL for ``psql``."""
        return ("\n".join((MARK + json.dumps(self.__dict__, sort_keys=True), *self._sql())) + "\n").encode("utf-8")

    def _sql(self) -> Iterable[str]:
        yield "-- Run by psql in another database, -v database=NAME; then restore the dump into NAME."
        yield "\\set ON_ERROR_STOP on"
        yield "\\if :{?database}"
        yield "\\else"
        yield f"\\set database {_psql_value(self.database)}"
        yield "\\endif"
        for role, attributes in self.roles.items():
            made = f"CREATE ROLE {quoted(role)} {' '.join(attributes)}"
            missing = f"NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(role)})"
            yield f"SELECT {literal(made)} WHERE {missing} \\gexec"
        yield f'CREATE DATABASE :"database" {self.creation()};'
        for statement in (*self.properties(':"database"'), *self.mark(':"database"')):
            yield statement + ";"

    def creation(self, *, collate: Optional[str] = None, ctype: Optional[str] = None) -> str:
        """What follows ``CREATE DATABASE name``; another collation where the server does not know this one."""
        parts = [
            "TEMPLATE = template0",
            f"ENCODING = {literal(self.encoding)}",
            f"LC_COLLATE = {literal(collate or self.collate)}",
            f"LC_CTYPE = {literal(ctype or self.ctype)}",
        ]
        if collate is None and self.provider != "c":
            provider = {"i": "icu", "b": "builtin"}[self.provider]
            parts.append(f"LOCALE_PROVIDER = {provider}")
            name = "ICU_LOCALE" if self.provider == "i" else "BUILTIN_LOCALE"
            parts.append(f"{name} = {literal(self.locale or '')}")
            if self.rules:
                parts.append(f"ICU_RULES = {literal(self.rules)}")
        return " ".join(parts)

    def properties(self, name: str) -> list[str]:
        """Statements that give the database ``name`` (as SQL) its owner, grants, settings and comment."""
        made = []
        if self.owner:
            made.append(f"ALTER DATABASE {name} OWNER TO {quoted(self.owner)}")
        if self.grants:
            made.append(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, {quoted(self.owner)}")
        for grant in self.grants:
            role, _equals, privilege = grant.rpartition("=")
            option = " WITH GRANT OPTION" if privilege.endswith("*") else ""
            whom = quoted(role) if role else "PUBLIC"
            made.append(f"GRANT {privilege.rstrip('*')} ON DATABASE {name} TO {whom}{option}")
        if self.comment is not None:
            made.append(f"COMMENT ON DATABASE {name} IS {literal(self.comment)}")
        if self.connection_limit >= 0:
            made.append(f"ALTER DATABASE {name} CONNECTION LIMIT {self.connection_limit}")
        for role, setting in self.settings:
            parameter, _equals, value = setting.partition("=")
            whose = f"ROLE {quoted(role)} IN DATABASE {name}" if role else f"DATABASE {name}"
            shown = (literals(split_list(value)) or "''") if parameter.lower() in LISTS else literal(value)
            made.append(f"ALTER {whose} SET {'.'.join(map(quoted, parameter.split('.')))} TO {shown}")
        return made

    def mark(self, name: str) -> list[str]:
        """The statement that makes the database ``name`` (as SQL) a template, which cannot be dropped from then on."""
        return [f"ALTER DATABASE {name} IS_TEMPLATE true"] if self.is_template else []


def read_preamble(
    connection: Connection, tables: Sequence[Table], *, tool: int, search_path: str, narrow: bool, main: bool = True
) -> Preamble:
    """What ``connection`` says of its database."""
    ((encoding, collate, ctype, row, owner, _space, comment, oid, grants),) = connection.rows(DATABASE)
    settings = connection.rows(
        "SELECT coalesce(r.rolname, ''), unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s "
        "LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = %s ORDER BY 1, 2",
        (oid,),
    )
    roles = {
        role: tuple(word for word, has in zip(ATTRIBUTES.values(), flags) if has)
        for role, *flags in connection.rows(ROLES, {"oid": oid})
    }
    ((superuser,),) = connection.rows("SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10")
    extensions = connection.rows("SELECT extname FROM pg_catalog.pg_extension ORDER BY 1") if not narrow else []
    return Preamble(
        database=connection.database,
        server=connection.major,
        tool=tool,
        encoding=encoding,
        collate=collate,
        ctype=ctype,
        provider=row.get("datlocprovider", "c"),
        locale=row.get("datlocale") or row.get("daticulocale"),
        rules=row.get("daticurules"),
        owner=owner,
        comment=comment,
        connection_limit=row["datconnlimit"],
        grants=tuple(grants),
        settings=tuple((role, setting) for role, setting in settings),
        roles=roles,
        extensions=tuple(name for (name,) in extensions),
        tablespaces=tuple(name for (name,) in connection.rows(TABLESPACES)),
        tables=tuple((table.oid, table.schema, table.table, table.kind, table.parent) for table in tables),
        foreign_keys=tuple(connection.rows(FOREIGN_KEYS)),
        search_path=search_path,
        narrow=narrow,
        main=main,
        superuser=superuser,
        is_template=row["datistemplate"],
    )


def decode(chunks: Iterable[bytes], file: str) -> Preamble:
    """The preamble in the artifact ``file``. Raises ``DamagedError`` when it is none."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > LIMIT:
            raise DamagedError(f"{file!r} is too large for what it should be", "restore another backup")
    line = bytes(data).partition(b"\n")[0].decode("utf-8", "replace")
    if not line.startswith(MARK):
        raise DamagedError(f"{file!r} does not begin with what a restore must know", "restore another backup")
    try:
        fields: dict[str, Any] = json.loads(line[len(MARK) :])
        for name in ("grants", "extensions", "tablespaces"):
            fields[name] = tuple(fields[name])
        for name in ("settings", "tables", "foreign_keys"):
            fields[name] = tuple(tuple(entry) for entry in fields[name])
        fields["roles"] = {name: tuple(words) for name, words in fields["roles"].items()}
        return Preamble(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{file!r} cannot be read: {error}", "restore another backup") from error


def _psql_value(text: str) -> str:
    """``text`` as an argument of a psql command (manual, psql, "Meta-Commands")."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
