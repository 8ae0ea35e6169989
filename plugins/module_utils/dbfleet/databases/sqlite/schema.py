"""What a database contains, read from its own catalog: tables, their columns, everything else."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from .connection import quoted

STATISTICS = ("sqlite_stat1", "sqlite_stat2", "sqlite_stat3", "sqlite_stat4")
SEQUENCES = "sqlite_sequence"


@dataclass(frozen=True)
class Item:
    """One row of ``sqlite_schema``; ``sql`` is ``None`` for indexes that a constraint made."""

    kind: str  # table | index | view | trigger
    name: str
    table: str
    sql: Optional[str]
    virtual: bool = False


@dataclass(frozen=True)
class Column:
    """A stored column: its name and the affinity of its declared type."""

    name: str
    affinity: str  # TEXT | NUMERIC | INTEGER | REAL | BLOB


@dataclass(frozen=True)
class Table:
    """A table with rows of its own: shadow tables are, virtual tables are not.

    ``rowid`` is the name that reaches a rowid which is no column; ``None`` where the rowid is a
    column, there is none (WITHOUT ROWID), or columns hide all of its names. ``key`` orders and
    identifies the rows.
    """

    name: str
    columns: tuple[Column, ...]
    rowid: Optional[str]
    key: tuple[str, ...]
    strict: bool = False

    @property
    def selected(self) -> tuple[str, ...]:
        """Quoted expressions of what a row is made of: the hidden rowid first, then the stored columns."""
        names = tuple(quoted(column.name) for column in self.columns)
        return (self.rowid, *names) if self.rowid else names


def read_items(connection: sqlite3.Connection, schema: str = "main") -> list[Item]:
    """Everything that ``sqlite_schema`` of ``schema`` lists, in its order."""
    query = f"SELECT type, name, tbl_name, sql, rootpage FROM {schema}.sqlite_master ORDER BY rowid"
    rows = connection.execute(query).fetchall()
    return [
        Item(kind, name, table, sql, virtual=kind == "table" and not rootpage)
        for kind, name, table, sql, rootpage in rows
    ]


def read_tables(connection: sqlite3.Connection, items: Iterable[Item]) -> list[Table]:
    """The tables among ``items`` that have rows of their own."""
    return [read_table(connection, item.name) for item in items if item.kind == "table" and not item.virtual]


def read_table(connection: sqlite3.Connection, name: str, schema: str = "main") -> Table:
    """The shape of the table ``name``."""
    info = connection.execute(f"PRAGMA {schema}.table_xinfo({quoted(name)})").fetchall()
    strict = _is_strict(connection, name, schema)
    columns = tuple(Column(row[1], affinity_of(row[2], strict)) for row in info if row[6] == 0)
    primary = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
    own_index = any(row[3] == "pk" for row in connection.execute(f"PRAGMA {schema}.index_list({quoted(name)})"))
    taken = {row[1].lower() for row in info}
    rowid = next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), None)
    if primary and not own_index and len(primary) == 1:  # INTEGER PRIMARY KEY: the rowid is this column
        return Table(name, columns, None, (quoted(primary[0]),), strict)
    if rowid and _has_rowid(connection, name, rowid, schema):
        return Table(name, columns, rowid, (rowid,), strict)
    return Table(name, columns, None, tuple(quoted(column) for column in primary), strict)


def affinity_of(declared: str, strict: bool = False) -> str:
    """The affinity of a declared type (SQLite manual, "Datatypes In SQLite", 3.1; ANY of a STRICT table has none)."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name or (strict and name == "ANY"):
        return "BLOB"
    if any(part in name for part in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def schema_digest(items: Iterable[Item]) -> str:
    """SHA-256 of every object's kind, name, table and SQL, whatever their order."""
    lines = sorted(repr((item.kind, item.name, item.table, item.sql)) for item in items if item.sql is not None)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def header_pragmas(connection: sqlite3.Connection) -> dict[str, int]:
    """``user_version`` and ``application_id``."""
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")}


def differences(expected: Sequence[Item], found: Sequence[Item]) -> list[str]:
    """Names of the objects that ``found`` lacks or has otherwise."""
    theirs = {(item.kind, item.name): item for item in found}
    return [
        f"{item.kind} {item.name}"
        for item in expected
        if item.sql is not None
        and (theirs.get((item.kind, item.name)) or item).sql != item.sql
        or (item.kind, item.name) not in theirs
    ]


def _has_rowid(connection: sqlite3.Connection, name: str, rowid: str, schema: str) -> bool:
    try:
        connection.execute(f"SELECT {rowid} FROM {schema}.{quoted(name)} LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def _is_strict(connection: sqlite3.Connection, name: str, schema: str) -> bool:
    try:
        row = connection.execute("SELECT strict FROM pragma_table_list(?) WHERE schema = ?", (name, schema)).fetchone()
    except sqlite3.OperationalError:  # SQLite before 3.37 has neither STRICT tables nor this pragma
        return False
    return bool(row and row[0])
