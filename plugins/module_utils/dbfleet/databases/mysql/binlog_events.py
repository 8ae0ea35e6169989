"""The transactions in a file of a binary log, by the headers of its events.

Each one begins with an event that gives it a GTID, or in MySQL none, and reaches up to the next such event
(MariaDB documentation, "Replication Protocol", events; MySQL internals, "Event Structure"). Nothing of what the
events hold is changed or parsed, but for the word with which a statement that is the last in the file may end its
transaction.
"""

from __future__ import annotations

import mmap
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from ...errors import DamagedError
from .binlog_format import (
    BEGINS,
    DESCRIPTION,
    GTID,
    HEADER,
    MAGIC,
    MARIADB_GTID,
    QUERY,
    ROTATE,
    STOP,
    TAGGED_GTID,
    XID,
)
from .tagged_gtid import read_tagged

# Between transactions: the file's head and end, lists of GTIDs, checkpoints, the start of encryption.
BETWEEN = frozenset((DESCRIPTION, ROTATE, STOP, 27, 35, 161, 163, 164))
QUERY_COMPRESSED, XA_PREPARE = 165, 38
PAYLOAD = 40  # of MySQL: all events of a transaction, compressed
STANDALONE = 1  # in the flags of MariaDB's GTID event: a statement that is no transaction, such as DDL
QUERY_HEAD = 13  # bytes of a QUERY event before its variables, whose length is in the last two
DATABASE_LENGTH = 8  # where among them the length of the database's name is
CRC32 = 1
OPENING, CLOSING, UNDOING = (b"BEGIN", b"XA START"), (b"COMMIT", b"ROLLBACK"), b"ROLLBACK TO"


@dataclass(frozen=True)
class Transaction:
    """Bytes ``start`` to ``end`` of a file. ``seconds`` since 1970 are when its last statement began."""

    start: int
    end: int
    seconds: int
    gtid: str

    @property
    def moment(self) -> datetime:
        """When its last statement began, in UTC."""
        return datetime.fromtimestamp(self.seconds, timezone.utc)


def transactions(path: str, start: int = len(MAGIC)) -> list[Transaction]:
    """The whole transactions in the file at ``path`` from the byte ``start`` on, in order.

    One that the file breaks off in is left out. Raises ``DamagedError`` where the file is none of a binary log, or
    ``start`` is within a transaction.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = list(_transactions(data, path))
    broken = next((one for one in found if one.start < start < one.end), None)
    if broken is not None:
        raise DamagedError(
            f"byte {start} of {path} is within the transaction {broken.gtid or 'without a name'}",
            "take a new backup: where this one ends in the log is not known",
        )
    return [one for one in found if one.start >= start]


@dataclass
class _Open:
    """A transaction whose end was not seen yet. ``standalone`` is a statement that is none, ``None``: not known yet."""

    start: int
    seconds: int
    gtid: str
    standalone: Optional[bool]
    closed: bool = False  # by its last event so far


def _transactions(data: mmap.mmap, path: str) -> Iterator[Transaction]:
    if data[: len(MAGIC)] != MAGIC:
        raise DamagedError(f"{path} is no file of a binary log", "see who put it into the log archive")
    at, size, checksum = len(MAGIC), len(data), checksum_of(data)
    current: Optional[_Open] = None
    while at + HEADER.size <= size:
        seconds, kind, server, length, _end, _flags = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            raise _damaged(path, at)
        if at + length > size:
            break
        body, end = at + HEADER.size, at + length - checksum
        if kind in BEGINS or kind in BETWEEN:
            if current is not None:
                yield Transaction(current.start, at, current.seconds, current.gtid)
            try:
                current = _Open(at, seconds, *_begin(data, body, end, kind, server)) if kind in BEGINS else None
            except ValueError as error:
                raise _damaged(path, at) from error
        elif current is not None:
            text = _statement(data, body, end) if kind == QUERY else b""
            _note(current, kind, text)
        at += length
    if current is not None and current.closed:
        yield Transaction(current.start, at, current.seconds, current.gtid)


def _damaged(path: str, at: int) -> DamagedError:
    return DamagedError(f"{path} is damaged at byte {at}", "restore to a moment before it")


def checksum_of(data: Any) -> int:
    """Bytes of the checksum at the end of every event, as the file's first one says it in its last but four."""
    if len(data) < len(MAGIC) + HEADER.size:
        return 0
    kind, length = (HEADER.unpack_from(data, len(MAGIC))[place] for place in (1, 3))
    last = len(MAGIC) + length
    return (
        4 if kind == DESCRIPTION and HEADER.size + 5 <= length and last <= len(data) and data[last - 5] == CRC32 else 0
    )


def _begin(data: Any, body: int, end: int, kind: int, server: int) -> tuple[str, Optional[bool]]:
    """The GTID of the transaction that begins with this event, and whether it is a statement that is none."""
    if kind == MARIADB_GTID:
        number, domain = (int.from_bytes(data[body + a : body + b], "little") for a, b in ((0, 8), (8, 12)))
        return f"{domain}-{server}-{number}", bool(data[body + 12] & STANDALONE)
    if kind == GTID:
        number = int.from_bytes(data[body + 17 : body + 25], "little")
        return f"{uuid.UUID(bytes=data[body + 1 : body + 17])}:{number}", None
    if kind == TAGGED_GTID:
        return read_tagged(bytes(data[body:end])), None
    return "", None


def _note(current: _Open, kind: int, text: bytes) -> None:
    """Whether the transaction ends with this event, as far as the file goes. In MySQL its first statement opens it."""
    if kind == QUERY and current.standalone is None:
        current.standalone = not text.startswith(OPENING)
    if (
        kind in (XID, XA_PREPARE, PAYLOAD)
        or kind == QUERY
        and text.startswith(CLOSING)
        and not text.startswith(UNDOING)
    ):
        current.closed = True
    else:
        current.closed = bool(current.standalone) and kind in (QUERY, QUERY_COMPRESSED)


def _statement(data: Any, body: int, end: int) -> bytes:
    """The first bytes of the text of a QUERY event."""
    variables = int.from_bytes(data[body + QUERY_HEAD - 2 : body + QUERY_HEAD], "little")
    text = body + QUERY_HEAD + variables + data[body + DATABASE_LENGTH] + 1
    return bytes(data[text : min(end, text + 16)]).upper()
