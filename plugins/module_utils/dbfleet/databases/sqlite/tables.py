"""Single tables out of a restored database into a living one, all of them or none."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from urllib.parse import quote

from ...errors import NotFoundError, ProofError, RefusedError
from ..base import TakenOver
from .connection import check_file, connect, quoted, sqlite_errors
from .image import copier
from .schema import SEQUENCES, Item, read_items, read_table
from .target import dated, keep, sweep

LOCK_WAIT = 30.0
# What a module adds to the name of a virtual table for the tables of its content (their manuals).
SHADOWS = {
    "fts3": ("content", "segments", "segdir"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("content", "data", "idx", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}


def copy_tables(built: str, target: str, tables: Sequence[str], *, replace: bool) -> TakenOver:
    """Copy ``tables`` with their rows, indexes and triggers from the file ``built`` into ``target``.

    Rows that are there are overwritten only with ``replace``, and then a copy of the whole
    database is kept beside it. Foreign keys are checked before the commit.
    """
    check_file(target)
    sweep(target)
    kept = None
    committing = False
    with ExitStack() as stack:
        copy = stack.enter_context(copier(target))
        connection = connect(target, wait=LOCK_WAIT, mode="rw")
        stack.callback(connection.close)
        with sqlite_errors(target):
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("ATTACH ? AS backup", (f"file:{quote(os.fsencode(built))}?mode=ro&immutable=1",))
            connection.execute("BEGIN IMMEDIATE")
            try:
                work = _Copy(connection, target, replace)
                work.check(tables)
                broken_before = work.broken_references()
                kept = dated(target) if work.overwrites else None
                if kept:
                    keep(copy, target, kept)
                rows = {table: work.copy(table) for table in tables}
                work.require_references(broken_before)
                committing = True
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if kept and os.path.exists(kept) and (isinstance(error, sqlite3.Error) or not committing):
                    os.remove(kept)  # but not where a signal came with the COMMIT: then it may count
                raise
    return TakenOver(kept, rows)


class _Copy:
    """One transaction that brings tables of ``backup`` into ``main``."""

    def __init__(self, connection: sqlite3.Connection, target: str, replace: bool) -> None:
        self._connection = connection
        self._target = target
        self._replace = replace
        self._backup = _items(connection, "backup")
        self._main = _items(connection, "main")
        self.overwrites = False

    def check(self, tables: Sequence[str]) -> None:
        """Refuse, before anything is changed, what cannot or must not be copied."""
        for name in tables:
            item = self._backup.get(("table", name))
            if item is None or name.startswith("sqlite_"):
                raise NotFoundError(
                    f"the backup has no table {name!r}",
                    f"it has {', '.join(sorted(self._table_names())) or 'none'}",
                )
            if item.virtual and _module(item) not in SHADOWS:
                raise RefusedError(
                    f"{name!r} is a virtual table of {_module(item)!r}, whose content is not known to this version",
                    "restore the backup to a new file with --to and copy what you need",
                )
            if ("view", name) in self._main:
                raise RefusedError(f"{name!r} is a view in {self._target!r}", "drop or rename the view first")
            if ("table", name) in self._main:
                self._check_existing(name, item)

    def _check_existing(self, name: str, item: Item) -> None:
        if item.virtual:
            if self._main[("table", name)].sql != item.sql:
                raise RefusedError(
                    f"virtual table {name!r} of {self._target!r} was made otherwise than the backup's",
                    "restore the backup to a new file with --to and copy what you need",
                )
        else:
            ours, theirs = (
                {column.name for column in read_table(self._connection, name, schema).columns}
                for schema in ("main", "backup")
            )
            if ours != theirs:
                differing = ", ".join(sorted(ours ^ theirs))
                raise RefusedError(
                    f"table {name!r} of {self._target!r} has other columns than the backup's: {differing}",
                    "the schema has changed since: restore the backup to a new file with --to and copy what you need",
                )
        if self._connection.execute(f"SELECT EXISTS(SELECT 1 FROM main.{quoted(name)})").fetchone()[0]:
            if not self._replace:
                raise RefusedError(
                    f"table {name!r} of {self._target!r} already has rows",
                    "overwrite them with --replace (the database is kept beside under a dated name)",
                )
            self.overwrites = True

    def copy(self, name: str) -> int:
        """Copy one table; returns its rows."""
        item = self._backup[("table", name)]
        existing = ("table", name) in self._main
        silenced = self._silence_triggers(name)
        if not existing:
            self._connection.execute(_in_main(item))
        if item.virtual:
            for shadow in self._shadows(item):
                self._fill(shadow)
        else:
            self._fill(name)
        self._restore_sequence(name)
        for kind in ("index", "trigger"):
            for other in self._backup.values():
                if other.kind == kind and other.table == name and other.sql and (kind, other.name) not in self._main:
                    self._connection.execute(_in_main(other))
        for sql in silenced:
            self._connection.execute(sql)
        return int(self._connection.execute(f"SELECT count(*) FROM main.{quoted(name)}").fetchone()[0])

    def _fill(self, name: str) -> None:
        table = read_table(self._connection, name, "backup")
        columns = ",".join(table.selected)
        self._connection.execute(f"DELETE FROM main.{quoted(name)}")
        self._connection.execute(
            f"INSERT INTO main.{quoted(name)}({columns}) SELECT {columns} FROM backup.{quoted(name)}"
        )
        counts = [
            self._connection.execute(f"SELECT count(*) FROM {schema}.{quoted(name)}").fetchone()[0]
            for schema in ("main", "backup")
        ]
        if counts[0] != counts[1]:
            raise ProofError(f"table {name!r} has {counts[0]} rows after the copy instead of {counts[1]}")

    def _silence_triggers(self, name: str) -> list[str]:
        """Drop the table's triggers for the copy, which must not run them; returns how to make them again."""
        own = [item for item in self._main.values() if item.kind == "trigger" and item.table == name and item.sql]
        for item in own:
            self._connection.execute(f"DROP TRIGGER main.{quoted(item.name)}")
        return [item.sql for item in own if item.sql]

    def _shadows(self, item: Item) -> list[str]:
        """The tables that hold a virtual table's content (manual, "The Virtual Table Mechanism", 2.1.4)."""
        made = _items(self._connection, "main")
        candidates = (f"{item.name}_{part}" for part in SHADOWS[_module(item)])
        return [name for name in candidates if ("table", name) in self._backup and ("table", name) in made]

    def _restore_sequence(self, name: str) -> None:
        if not all(("table", SEQUENCES) in items for items in (self._backup, _items(self._connection, "main"))):
            return
        row = self._connection.execute("SELECT seq FROM backup.sqlite_sequence WHERE name = ?", (name,)).fetchone()
        if row:
            ours = self._connection.execute("SELECT seq FROM main.sqlite_sequence WHERE name = ?", (name,)).fetchone()
            self._connection.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (name,))
            self._connection.execute(
                "INSERT INTO main.sqlite_sequence(name, seq) VALUES(?, ?)",
                (name, max(row[0], ours[0] if ours else 0)),
            )

    def broken_references(self) -> set[tuple[object, ...]]:
        """Rows whose foreign key names no row."""
        return set(self._connection.execute("PRAGMA main.foreign_key_check").fetchall())

    def require_references(self, before: set[tuple[object, ...]]) -> None:
        """Refuse the copy when it leaves references broken that were whole."""
        broken = sorted(self.broken_references() - before, key=repr)
        if broken:
            table, rowid, parent, _key = broken[0]
            raise ProofError(
                f"row {rowid} of table {table!r} would refer to a row of {parent!r} that is not there"
                + (f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""),
                f"restore {parent!r} as well: --table {parent}; nothing was changed",
            )

    def _table_names(self) -> list[str]:
        return [
            item.name for item in self._backup.values() if item.kind == "table" and not item.name.startswith("sqlite_")
        ]


def _items(connection: sqlite3.Connection, schema: str) -> dict[tuple[str, str], Item]:
    return {(item.kind, item.name): item for item in read_items(connection, schema)}


def _module(item: Item) -> str:
    found = re.search(r"\busing\s+[\"'`\[]?(\w+)", item.sql or "", re.IGNORECASE)
    return found[1].lower() if found else ""


def _in_main(item: Item) -> str:
    """The statement that makes ``item``; unqualified names go to ``main`` unless ``temp`` has them."""
    return item.sql or ""
