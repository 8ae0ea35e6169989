"""A database as SQL text that any SQLite reads, proven to say what the database holds.

The text creates the tables, fills them, then creates everything else, as the shell's ``.dump``
does; unlike it, hidden rowids, NUL bytes, invalid UTF-8, doubles to the last bit, header
pragmas and statistics are carried, and an object that cannot be is an error.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

from ...errors import ProofError
from ..base import Sink
from .batch import Kinds
from .connection import quoted, sqlite_errors
from .literals import Encoder, as_text, decode_text, python_codec, text_literal
from .schema import (
    SEQUENCES,
    STATISTICS,
    Item,
    Table,
    differences,
    header_pragmas,
    read_items,
    read_tables,
)

BATCH_BYTES = 256 * 1024
LONGEST_STATEMENT = 1_000_000_000  # bytes (SQLite manual, "Implementation Limits", 3)
BATCH_ROWS = 400

Row = tuple[object, ...]


def dump(connection: sqlite3.Connection, path: str, sink: Sink, *, shared: bool = False) -> dict[str, int]:
    """Write the database of ``connection`` to ``sink`` as SQL; returns the rows written of each table.

    ``shared`` says that others ask the connection meanwhile, who expect strings of it. Raises
    ``ProofError`` naming the object that the text cannot carry.
    """
    connection.text_factory = decode_text
    with sqlite_errors(path):
        items = read_items(connection)
        outline = Outline(connection, items)
        outline.prove(path)
        sink.write(outline.before.encode("utf-8"))
        counts = {}
        encoder = Encoder(outline.encoding)
        tables = sorted(read_tables(connection, items), key=_fills_others)
        try:
            if not shared:
                connection.text_factory = bytearray  # the fastest that tells text from blobs
            for table in tables:
                require_true_text(connection, table, outline.encoding)
                counts[table.name] = dump_rows(connection, table, encoder, sink)
        finally:
            encoder.close()
        sink.write(outline.after.encode("utf-8"))
        return counts


def _fills_others(table: Table) -> bool:
    """Inserting into an AUTOINCREMENT table writes here, so what was here comes last."""
    return table.name == SEQUENCES


# --- everything but rows ----------------------------------------------------------------------


class Outline:
    """The statements before and after the rows."""

    def __init__(self, connection: sqlite3.Connection, items: Sequence[Item]) -> None:
        self._items = items
        self._pragmas = header_pragmas(connection)
        self.encoding = str(connection.execute("PRAGMA encoding").fetchone()[0])
        (vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        self.before = "".join(
            [
                "PRAGMA foreign_keys=OFF;\n",
                # Rows may be older than a constraint, or written while it was not enforced.
                "PRAGMA ignore_check_constraints=ON;\n" if self._has_checks() else "",
                f"PRAGMA encoding='{self.encoding}';\n" if self.encoding != "UTF-8" else "",
                f"PRAGMA auto_vacuum={vacuum};\n" if vacuum else "",
                "BEGIN TRANSACTION;\n",
                *self._tables(),
            ]
        )
        self.after = "".join(
            [
                *(f"{item.sql};\n" for kind in ("index", "view", "trigger") for item in self._of(kind)),
                *self._virtual_tables(),
                *self._line_ends(),
                *(f"PRAGMA {name}={value};\n" for name, value in self._pragmas.items() if value),
                "COMMIT;\n",
                "PRAGMA writable_schema=RESET;\n",
            ]
        )

    def _of(self, kind: str) -> Iterator[Item]:
        return (item for item in self._items if item.kind == kind and item.sql is not None)

    def _has_checks(self) -> bool:
        return any(re.search(r"\bcheck\b", item.sql or "", re.IGNORECASE) for item in self._of("table"))

    def _line_ends(self) -> Iterator[str]:
        """The sqlite3 shell reads the line end of Windows as that of Unix, so such statements are put right."""
        changed = [item for item in self._items if item.sql and "\r\n" in item.sql]
        if not changed:
            return
        yield "PRAGMA writable_schema=ON;\n"
        for item in changed:
            sql, kind, name = (text_literal(text, self.encoding) for text in (item.sql or "", item.kind, item.name))
            yield f"UPDATE sqlite_master SET sql={sql} WHERE type={kind} AND name={name};\n"
        yield "PRAGMA writable_schema=OFF;\n"

    def _tables(self) -> Iterator[str]:
        special = []
        for item in self._of("table"):
            if item.name in (SEQUENCES, *STATISTICS):
                special.append(f"CREATE TABLE IF NOT EXISTS {(item.sql or '')[len('CREATE TABLE ') :]};\n")
            elif not item.virtual:
                yield f"{item.sql};\n"
        if special:  # names that only a writable schema may create
            yield "PRAGMA writable_schema=ON;\n"
            yield from special
            yield "PRAGMA writable_schema=OFF;\n"

    def _virtual_tables(self) -> Iterator[str]:
        """Entered without running their module: their shadow tables are already there, as they were."""
        virtual = [item for item in self._of("table") if item.virtual]
        if not virtual:
            return
        yield "PRAGMA writable_schema=ON;\n"
        for item in virtual:
            texts = (item.name, item.table, item.sql or "")
            name, table, sql = (text_literal(text, self.encoding) for text in texts)
            yield (
                f"INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql) VALUES('table',{name},{table},0,{sql});\n"
            )
        yield "PRAGMA writable_schema=OFF;\n"

    def prove(self, path: str) -> None:
        """Run the statements in a scratch database, with the line ends that the shell reads, and compare."""
        scratch = sqlite3.connect(":memory:", isolation_level=None)
        scratch.text_factory = decode_text
        try:
            scratch.executescript((self.before + self.after).replace("\r\n", "\n"))
            missing = differences(self._items, read_items(scratch))
            pragmas = header_pragmas(scratch)
        except (sqlite3.Error, UnicodeEncodeError, ValueError) as error:
            raise ProofError(
                f"the schema of {path!r} cannot be carried by the .sql: {error}",
                "use method: physical, which keeps the database's own pages, or drop the object that the message names",
            ) from error
        finally:
            scratch.close()
        if missing or pragmas != self._pragmas:
            raise ProofError(
                f"the .sql cannot carry {', '.join(missing) or 'the header of the database'} of {path!r}",
                "use method: physical, which keeps the database's own pages",
            )


# --- rows -------------------------------------------------------------------------------------


def dump_rows(connection: sqlite3.Connection, table: Table, encoder: Encoder, sink: Sink) -> int:
    """Write the rows of ``table`` as INSERT statements of a few hundred rows; returns how many."""
    selected = ",".join(table.selected)
    head = f"INSERT INTO {quoted(table.name)}({selected}) VALUES\n".encode()
    if table.name in (SEQUENCES, *STATISTICS):
        sink.write(f"DELETE FROM {quoted(table.name)};\n".encode())
    check = affinity_check(table)
    written = 0
    for rows in batches(
        connection, f"SELECT {selected} FROM main.{quoted(table.name)} ORDER BY {','.join(table.key) or 1}"
    ):
        columns = list(zip(*rows))
        kinds = [set(map(type, column)) for column in columns]
        if check:
            check(columns, kinds)
        text = encoder.columns(rows, columns, kinds, lambda: f"table {table.name!r}")
        if len(text) > LONGEST_STATEMENT - len(head) - 2:
            raise ProofError(
                f"the .sql cannot carry table {table.name!r}: one of its rows is too long for a statement of SQLite",
                "use method: physical, which keeps the database's own pages",
            )
        sink.write(b"".join((head, text, b";\n")))
        written += len(rows)
    return written


def require_true_text(connection: sqlite3.Connection, table: Table, encoding: str) -> None:
    """SQLite gives back other characters than it holds where UTF-16 has lone surrogates: refuse such a table."""
    if encoding == "UTF-8":
        return
    codec = python_codec(encoding)

    def is_broken(*texts: Optional[bytes]) -> bool:
        try:
            for text in texts:
                (text or b"").decode(codec)
        except UnicodeDecodeError:
            return True
        return False

    connection.create_function("dbfleet_is_broken", -1, is_broken)
    names = [quoted(column.name) for column in table.columns]
    for start in range(0, len(names), 100):  # a function takes no more than 127 arguments
        texts = ",".join(
            f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) END" for name in names[start : start + 100]
        )
        query = f"SELECT EXISTS(SELECT 1 FROM main.{quoted(table.name)} WHERE dbfleet_is_broken({texts}))"
        if connection.execute(query).fetchone()[0]:
            raise ProofError(
                f"the .sql cannot carry table {table.name!r}: it holds text that is not valid {encoding}",
                "store the text anew, or use method: physical, which keeps the database's own pages",
            )


def batches(connection: sqlite3.Connection, query: str) -> Iterator[list[Row]]:
    """The rows of ``query`` in lists of about :data:`BATCH_BYTES`, growing slowly so that memory stays flat."""
    cursor = connection.execute(query)
    count = 4
    while rows := cursor.fetchmany(count):
        yield rows
        size = sum(
            len(value)
            for row in (rows[0], rows[len(rows) // 2], rows[-1])
            for value in row
            if hasattr(value, "__len__")
        )
        likely = max(1, size // min(3, len(rows)))
        count = max(1, min(BATCH_ROWS, count * 2, BATCH_BYTES // likely))


def affinity_check(table: Table) -> Optional[Callable[[Sequence[Row], Kinds], None]]:
    """A check, of columns and the types in each, that no stored value would be converted by being inserted again.

    A column's affinity converts on the way in (SQLite manual, "Datatypes In SQLite", 3); a value
    that kept another storage class got there by an edited schema, and no INSERT brings it back.
    """
    offset = len(table.selected) - len(table.columns)
    watched = [(offset + i, column) for i, column in enumerate(table.columns) if column.affinity in _UNSTABLE]
    if not watched:
        return None

    def check(columns: Sequence[Row], kinds: Kinds) -> None:
        for position, column in watched:
            suspicious = _UNSTABLE[column.affinity]
            if suspicious.isdisjoint(kinds[position]):
                continue
            for value in columns[position]:
                if type(value) in suspicious and _converts(as_text(value), column.affinity):
                    raise ProofError(
                        f"the .sql cannot carry table {table.name!r}: column {column.name!r} holds "
                        f"{str(as_text(value))[:40]!r}, which its type {column.affinity} would convert",
                        "store the value anew (UPDATE … SET column = column), or use method: physical",
                    )

    return check


_UNSTABLE: dict[str, frozenset[type]] = {
    "TEXT": frozenset((int, float)),
    "INTEGER": frozenset((str, bytearray, float)),
    "NUMERIC": frozenset((str, bytearray, float)),
    "REAL": frozenset((str, bytearray)),
}


def _converts(value: object, affinity: str) -> bool:
    probe = sqlite3.connect(":memory:")
    try:
        probe.execute(f"CREATE TABLE probe(value {affinity})")
        probe.execute("INSERT INTO probe VALUES(?)", (value,))
        (stored,) = probe.execute("SELECT value FROM probe").fetchone()
    except UnicodeEncodeError:
        return False  # text that is not UTF-8 looks like no number
    finally:
        probe.close()
    return type(stored) is not type(value)
