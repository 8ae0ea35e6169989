"""Finding a transaction in a file of a binary log by what it changed.

Events of rows name their table, events of statements hold a text (MySQL internals, "Event Structure"; MariaDB
documentation, "Replication Protocol"). Of a text only the first word is taken for what it does, and whole words
for names: enough to find the statement that somebody looks for, and shown before anybody relies on it.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from ...stream.compression import beginning
from ..logs import Found, Wanted
from .binlog_events import (
    DATABASE_LENGTH,
    PAYLOAD,
    QUERY_COMPRESSED,
    QUERY_HEAD,
    Transaction,
    checksum_of,
    transactions,
)
from .binlog_format import HEADER, QUERY

TABLE_MAP, ANNOTATE, ROWS_QUERY = 19, 160, 29
# The two versions of events of rows, and MariaDB's compressed ones.
ROWS = {
    **dict.fromkeys((23, 30, 166, 169), "insert"),
    **dict.fromkeys((24, 31, 167, 170), "update"),
    **dict.fromkeys((25, 32, 168, 171), "delete"),
}
FIELDS_END, FIELD_METHOD, METHOD_ZSTD = 0, 2, 0  # of a compressed transaction
NUMBER = 6  # bytes of a table's number at the begin of its events
FIRST_WORD = re.compile(r"(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*([A-Za-z]+)", re.DOTALL)
WORDS = re.compile(r"`((?:[^`]|``)*)`|([^\W\d][\w$]*|\d+[\w$]+)")
UNTOLD = frozenset(("begin", "commit", "rollback", "savepoint"))
LONGEST = 400  # characters of a statement that are shown
LONGEST_UNPACKED = 64 * 2**20


@dataclass
class _Statement:
    database: str
    text: str

    @property
    def kind(self) -> str:
        found = FIRST_WORD.match(self.text)
        return found[1].lower() if found else ""

    def names(self, table: str) -> bool:
        """Whether its text has the name: with its database in front, or without and in that database."""
        words = [(one[1].replace("``", "`") if one[1] is not None else one[2]) for one in WORDS.finditer(self.text)]
        database, dot, name = table.rpartition(".")
        places = [place for place, word in enumerate(words) if word == name]
        if not dot:
            return bool(places)
        return any((place and words[place - 1] == database) or self.database == database for place in places)


@dataclass
class _Content:
    """What one transaction does."""

    rows: set[tuple[str, str, str]] = field(default_factory=set)  # kind, database, table
    statements: list[_Statement] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # of statements whose rows are there


def search(path: str, name: str, wanted: Wanted) -> Iterator[Found]:
    """The ``wanted`` transactions in the file at ``path``, which the server calls ``name``. Raises ``DamagedError``."""
    found = transactions(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        checksum = checksum_of(data)
        for one in found:
            content = _content(data, one, checksum)
            if _is_wanted(content, wanted):
                yield _found(one, name, content)


def _is_wanted(content: _Content, wanted: Wanted) -> bool:
    texts = [*content.texts, *(one.text for one in content.statements)]
    if wanted.text is not None and not any(wanted.text.lower() in text.lower() for text in texts):
        return False
    if not wanted.kinds and wanted.table is None:
        return bool(content.rows or content.statements)
    for kind, database, table in content.rows:
        is_table = wanted.table is None or wanted.table in (table, f"{database}.{table}")
        if is_table and (not wanted.kinds or kind in wanted.kinds):
            return True
    return any(
        (not wanted.kinds or one.kind in wanted.kinds) and (wanted.table is None or one.names(wanted.table))
        for one in content.statements
    )


def _found(one: Transaction, name: str, content: _Content) -> Found:
    changes = [f"{kind} {database}.{table}" for kind, database, table in sorted(content.rows)]
    changes += [f"{statement.kind} in {statement.database or '-'}" for statement in content.statements]
    texts = [*content.texts, *(statement.text for statement in content.statements)]
    shown = tuple(" ".join(text.split())[:LONGEST] for text in texts)
    return Found(f"{name}:{one.start}", one.gtid, one.moment, tuple(dict.fromkeys(changes)), shown)


def _content(data: Any, one: Transaction, checksum: int) -> _Content:
    content = _Content()
    _gather(content, data, one.start, one.end, checksum)
    return content


def _gather(content: _Content, data: Any, at: int, until: int, checksum: int) -> None:
    """Take what the events do from the byte ``at`` on that begin before ``until``."""
    tables: dict[bytes, tuple[str, str]] = {}
    while at + HEADER.size <= until:
        _seconds, kind, _server, length, _end, _flags = HEADER.unpack_from(data, at)
        body, end = at + HEADER.size, at + length - checksum
        if kind == TABLE_MAP:
            tables[data[body : body + NUMBER]] = _table(data, body + NUMBER + 2)
        elif kind in ROWS:
            database, table = tables.get(data[body : body + NUMBER], ("", ""))
            if table:  # the last event of a statement may name none
                content.rows.add((ROWS[kind], database, table))
        elif kind in (QUERY, QUERY_COMPRESSED):
            statement = _statement(data, body, end, compressed=kind == QUERY_COMPRESSED)
            if statement.kind not in UNTOLD:
                content.statements.append(statement)
        elif kind in (ANNOTATE, ROWS_QUERY):
            content.texts.append(_text(data[body + (kind == ROWS_QUERY) : end]))
        elif kind == PAYLOAD:
            events = _packed_events(data, body, end)
            _gather(content, events, 0, len(events), 0)
        at += length


def _packed_events(data: Any, at: int, end: int) -> bytes:
    """The events of a transaction that MySQL compressed (MySQL internals, "Transaction_payload_event").

    Fields come first: a kind, the length of the value, and the value.
    """
    method = METHOD_ZSTD
    while at < end:
        field, at = _number(data, at)
        if field == FIELDS_END:
            break
        length, at = _number(data, at)
        if field == FIELD_METHOD:
            method = _number(data, at)[0]
        at += length
    return beginning("zstd" if method == METHOD_ZSTD else "none", bytes(data[at:end]), LONGEST_UNPACKED)


def _number(data: Any, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends (MySQL internals, "Length-Encoded Integer")."""
    size = {252: 2, 253: 3, 254: 8}.get(data[at], 0)
    return (int.from_bytes(data[at + 1 : at + 1 + size], "little") if size else int(data[at])), at + 1 + size


def _table(data: Any, at: int) -> tuple[str, str]:
    """Two names, each behind its length and before a zero."""
    names = []
    for _name in range(2):
        length = data[at]
        names.append(_text(data[at + 1 : at + 1 + length]))
        at += length + 2
    return names[0], names[1]


def _statement(data: Any, body: int, end: int, *, compressed: bool) -> _Statement:
    variables = int.from_bytes(data[body + QUERY_HEAD - 2 : body + QUERY_HEAD], "little")
    name = body + QUERY_HEAD + variables
    length = data[body + DATABASE_LENGTH]
    text = data[name + length + 1 : end]
    return _Statement(_text(data[name : name + length]), _text((_unpacked(text) or b"") if compressed else text))


def _unpacked(data: bytes) -> Optional[bytes]:
    """MariaDB's compressed text: a byte that says how long the length is, the length, and a zlib stream."""
    if not data:
        return None
    try:
        return zlib.decompressobj().decompress(data[1 + (data[0] & 7) :], LONGEST_UNPACKED)
    except zlib.error:
        return None


def _text(data: bytes) -> str:
    return bytes(data).decode("utf-8", "replace")
