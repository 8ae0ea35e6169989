"""What a database holds: tables, views, routines, triggers, events, and the digest of their definitions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ...errors import SourceError
from .server import Session, quoted

TRANSACTIONAL = ("innodb", "rocksdb", "tokudb", "sequence")
# Their rows are elsewhere, or nowhere: the dump tools leave them out as well.
WITHOUT_ROWS = ("mrg_myisam", "federated", "blackhole", "federatedx", "connect", "spider", "s3")
# MySQL shows the character set of a column beside its collation, which implies it, or not: as it was once written.
_IMPLIED = re.compile(r"^(  `(?:[^`]|``)+` [^']*?) CHARACTER SET \w+( COLLATE \w+)", re.MULTILINE)
_COUNTER = re.compile(r"^(\) ENGINE=\w+)(.*?) AUTO_INCREMENT=\d+", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """A table of rows."""

    name: str
    engine: str
    size_bytes: int
    versioned: bool = False

    @property
    def transactional(self) -> bool:
        """Whether a snapshot covers it."""
        return self.engine.lower() in TRANSACTIONAL

    @property
    def has_rows(self) -> bool:
        """Whether its rows are its own."""
        return self.engine.lower() not in WITHOUT_ROWS


@dataclass(frozen=True)
class Objects:
    """The names of what one database holds, each kind in its order."""

    tables: tuple[Table, ...]
    views: tuple[str, ...]
    sequences: tuple[str, ...]
    charset: str
    collation: str

    @property
    def size_bytes(self) -> int:
        """Of the tables' data, about."""
        return sum(table.size_bytes for table in self.tables)


def read_objects(session: Session, database: str) -> Objects:
    """What is in ``database``."""
    charset, collation = read_charset(session, database)
    tables: list[Table] = []
    views: list[str] = []
    sequences: list[str] = []
    for name, kind, engine, size in session.rows(
        "SELECT table_name, table_type, coalesce(engine, ''), coalesce(data_length, 0)"
        " FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name",
        database,
    ):
        if kind == "VIEW":
            views.append(name)
        elif kind == "SEQUENCE":
            sequences.append(name)
        elif kind in ("BASE TABLE", "SYSTEM VERSIONED"):
            tables.append(Table(name, engine, int(size), kind == "SYSTEM VERSIONED"))
    return Objects(tuple(tables), tuple(views), tuple(sequences), charset, collation)


def read_charset(session: Session, database: str) -> tuple[str, str]:
    """The default character set and collation of ``database``. Raises ``SourceError`` when it is not there."""
    row = session.row(
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
        " WHERE schema_name = %s",
        database,
    )
    if not row:
        raise SourceError(f"database {database!r} at {session.address.place()} cannot be seen", "check its privileges")
    return str(row[0]), str(row[1])


# --- definitions ------------------------------------------------------------------------------

Definitions = Mapping[tuple[str, str], str]


def next_value(database: str, sequence: str) -> str:
    """How MariaDB writes a default that takes the next value of a sequence: always with the database's name."""
    return f"nextval({quoted(database)}.{quoted(sequence)})"


def unbound(text: str, database: str, sequences: Sequence[str]) -> str:
    """``text`` with defaults that take the sequence of whatever database they are in."""
    for sequence in sequences:
        text = text.replace(next_value(database, sequence), f"nextval({quoted(sequence)})")
    return text


def read_definitions(session: Session, database: str, objects: Objects, *, others: bool = True) -> dict[Any, str]:
    """What makes each object but the events, by kind and name; ``others``: also views and routines.

    Events are left out because nothing that is built for an examination may hold any: they would run.
    The session must use ``database``, or views would name it. Counters of AUTO_INCREMENT are left out.
    """
    made: dict[tuple[str, str], str] = {}
    for table in objects.tables:
        text = _COUNTER.sub(r"\1\2", _create(session, "TABLE", table.name, 1))
        if session.flavour == "mysql":
            text = _IMPLIED.sub(r"\1\2", text)
        made["table", table.name] = unbound(text, database, objects.sequences)
    for sequence in objects.sequences:
        made["sequence", sequence] = _create(session, "TABLE", sequence, 1)
    names = {table.name for table in objects.tables}
    for name, table in session.rows(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_schema = %s ORDER BY 1",
        database,
    ):
        if table in names:
            made["trigger", name] = _create(session, "TRIGGER", name, 2)
    if not others:
        return made
    for view in objects.views:
        made["view", view] = _create(session, "VIEW", view, 1)
    for kind, name in session.rows(
        "SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s ORDER BY 1, 2",
        database,
    ):
        made[kind.lower(), name] = _create(session, kind, name, 2)
    return made


def _create(session: Session, kind: str, name: str, column: int) -> str:
    row = session.raw_row(f"SHOW CREATE {kind} {quoted(name)}")
    text = row[column] if row else None
    if text is None:
        raise SourceError(
            f"{session.what}: the definition of {kind.lower()} {name!r} cannot be read",
            "grant the account SELECT on mysql.proc (MariaDB) or SHOW_ROUTINE (MySQL)",
        )
    return str(text)


def digest_of(databases: Mapping[str, Definitions], charsets: Iterable[tuple[str, str, str]]) -> str:
    """One SHA-256 of the definitions and charsets of databases (an empty name where there is only one)."""
    lines = [
        json.dumps([database, kind, name, text], ensure_ascii=True)
        for database, definitions in sorted(databases.items())
        for (kind, name), text in sorted(definitions.items())
    ]
    lines += [json.dumps(list(charset)) for charset in sorted(charsets)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def changed(before: Definitions, after: Definitions) -> Optional[str]:
    """The first object that was altered, dropped or (tables apart) made between two readings."""
    for key, text in before.items():
        if after.get(key) != text:
            return f"{key[0]} {key[1]!r} was {'altered' if key in after else 'dropped'}"
    made = [key for key in after if key not in before and key[0] not in ("table", "sequence")]
    return f"{made[0][0]} {made[0][1]!r} was made" if made else None


def read_events(session: Session, database: str) -> list[str]:
    """The names of the events of ``database``."""
    return [
        str(name)
        for (name,) in session.rows(
            "SELECT event_name FROM information_schema.events WHERE event_schema = %s ORDER BY 1", database
        )
    ]


def missing_definers(session: Session, databases: Sequence[str]) -> list[str]:
    """Definers of views, routines, triggers and events for whom the server has no account."""
    marks = ", ".join(["%s"] * len(databases))
    found = session.rows(
        f"SELECT definer FROM information_schema.views WHERE table_schema IN ({marks})"
        f" UNION SELECT definer FROM information_schema.routines WHERE routine_schema IN ({marks})"
        f" UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema IN ({marks})"
        f" UNION SELECT definer FROM information_schema.events WHERE event_schema IN ({marks})",
        *(list(databases) * 4),
    )
    known = {str(row[0]) for row in session.rows("SELECT concat(user, '@', host) FROM mysql.user")}
    return sorted({str(definer) for (definer,) in found} - known)
