"""Moments in a log file of PostgreSQL: its first and last commit, and its restore points.

Records are found by their shape and believed by their checksum (``xlogrecord.h``, ``xact.h``), so
that no server's program must read the file. A commit that crosses a page, or belongs to more than a
few dozen subtransactions, is passed over: the next one tells nearly the same time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Optional

EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
HEADER = struct.Struct("=IIQBBxxI")  # XLogRecord: length, xid, previous, info, resource manager, checksum
BEFORE_INFO = 16  # bytes of the header before ``info``
BEFORE_MANAGER = 17
WINDOW = 256 * 1024
OVERLAP = 512
# Manager 1, checksum, short data. What is sought begins with bytes that are always the same: that is fast.
TRANSACTION = re.compile(rb"\x01\x00\x00.{4}\xff.", re.DOTALL)
COMMITS = (0x00, 0x80, 0x30, 0xB0)  # info: commit, commit prepared; the highest bit says that more follows
# A restore point (manager 0, info 0x70): its time and 64 bytes of name.
POINT = re.compile(rb"\x70\x00\x00\x00.{4}\xff\x48", re.DOTALL)
DATA = HEADER.size + 2
LONGEST_NAME = 64


class RestorePoint(NamedTuple):
    """What ``pg_create_restore_point`` wrote: its name, and where in the file it ends."""

    name: str
    moment: datetime


def first_commit(data: bytes, used: int) -> Optional[datetime]:
    """When the first commit in the first ``used`` bytes of a file of the log was made."""
    for start in range(0, used, WINDOW):
        for found in TRANSACTION.finditer(data, start, min(used, start + WINDOW + OVERLAP)):
            moment = _commit(data, found.start() - BEFORE_MANAGER)
            if moment is not None:
                return moment
    return None


def last_commit(data: bytes, used: int) -> Optional[datetime]:
    """When the last commit in the first ``used`` bytes was made."""
    end = used
    while end > 0:
        start = max(0, end - WINDOW)
        times = [
            _commit(data, found.start() - BEFORE_MANAGER)
            for found in TRANSACTION.finditer(data, start, min(used, end + OVERLAP))
        ]
        found_times = [moment for moment in times if moment is not None]
        if found_times:
            return max(found_times)
        end = start
    return None


def restore_points(data: bytes) -> Iterator[RestorePoint]:
    """Every restore point in ``data``."""
    for found in POINT.finditer(data):
        start = found.start() - BEFORE_INFO
        record = _record(data, start)
        if record is None:
            continue
        name = record[DATA + 8 : DATA + 8 + LONGEST_NAME].split(b"\0")[0].decode("utf-8", "replace")
        yield RestorePoint(name, _moment(record))


def _commit(data: bytes, start: int) -> Optional[datetime]:
    if start < 0 or data[start + BEFORE_INFO] not in COMMITS:
        return None
    record = _record(data, start)
    if record is None or len(record) < DATA + 8:
        return None
    try:
        return _moment(record)
    except OverflowError:
        return None


def _moment(record: bytes) -> datetime:
    (microseconds,) = struct.unpack_from("=q", record, DATA)
    return EPOCH + timedelta(microseconds=microseconds)


def _record(data: bytes, start: int) -> Optional[bytes]:
    """The record at ``start``, if there is one that its checksum confirms."""
    if start < 0 or start % 8:  # records begin at multiples of eight
        return None
    length, _xid, _previous, _info, _manager, checksum = HEADER.unpack_from(data, start)
    if not DATA < length <= DATA + 255 or start + length > len(data):
        return None
    record = data[start : start + length]
    if crc32c(record[HEADER.size :], record[: HEADER.size - 4]) != checksum:
        return None
    return record


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _bit in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _table()


def crc32c(*parts: bytes) -> int:
    """The Castagnoli checksum of ``parts``, one after the other."""
    value = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF
