"""The files of PostgreSQL's log: their names, their timelines, and the moments that are found in them."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import pytest

from dbfleet.databases.logs import Wanted
from dbfleet.databases.postgresql import wal_names as wal
from dbfleet.databases.postgresql.wal_check import HEADER
from dbfleet.databases.postgresql.wal_format import WalFormat
from dbfleet.databases.postgresql.wal_times import EPOCH, crc32c, first_commit, last_commit, restore_points
from dbfleet.errors import DamagedError, NotFoundError, UsageError

SIZE = 2**20


class Kept:
    """A shelf of names; ``parts`` are unfinished, ``small`` the content of histories."""

    def __init__(self, *names: str, parts: Collection[str] = (), small: Optional[Mapping[str, str]] = None) -> None:
        self._small = small or {}
        self._names = {*names, *self._small}
        self._parts = set(parts)

    def names(self) -> Collection[str]:
        return self._names

    def unfinished(self) -> Collection[str]:
        return self._parts

    def content(self, name: str) -> bytes:
        return self._small[name].encode()

    def details(self, name: str) -> Mapping[str, Any]:
        return {"segment_size": SIZE}


def seg(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // 4096:08X}{number % 4096:08X}"


def at(number: int, timeline: int = 1, *, standby: bool = False) -> dict[str, Any]:
    """A backup that began in segment ``number`` and stopped in the next one."""
    start, stop = number * SIZE + 40, (number + 1) * SIZE + 500
    return {
        "start_lsn": f"{start >> 32:X}/{start & 0xFFFFFFFF:X}",
        "stop_lsn": f"{stop >> 32:X}/{stop & 0xFFFFFFFF:X}",
        "timeline": timeline,
        "standby": standby,
    }


def test_a_line_ends_at_the_first_file_that_is_missing() -> None:
    form = WalFormat()
    whole = Kept(seg(4094), seg(4095), seg(4096), parts=[seg(4097)])
    line = form.line(whole, at(4093))
    assert line.names == (seg(4094), seg(4095), seg(4096), seg(4097)) and line.missing is None
    assert form.gaps(whole) == []
    torn = Kept(seg(4094), seg(4096))
    line = form.line(torn, at(4093))
    assert line.names == (seg(4094),) and line.missing == seg(4095) and form.gaps(torn) == [seg(4095)]
    # A primary ends the file in which its backup stops, and the backup holds it; a standby does not.
    late = Kept(seg(4095))
    assert form.line(late, at(4093)).names == (seg(4095),)
    assert form.line(late, at(4093, standby=True)).missing == seg(4094)
    assert form.line(Kept(), at(3)).names == ()


def test_the_newest_timeline_that_came_of_the_backup_is_followed() -> None:
    form = WalFormat()
    fork = 7 * SIZE + 4096
    small = {"00000002.history": f"1\t{fork >> 32:X}/{fork & 0xFFFFFFFF:X}\tno recovery target specified\n"}
    kept = Kept(seg(5), seg(6), seg(7), seg(8), seg(7, 2), seg(8, 2), small=small)
    assert form.line(kept, at(4)).names == (seg(5), seg(6), seg(7, 2), seg(8, 2))
    assert form.line(kept, at(4), 1).names == (seg(5), seg(6), seg(7), seg(8))
    assert form.line(kept, at(7)).timeline == 1  # it went on after the fork
    with pytest.raises(NotFoundError, match="did not come of"):
        form.line(kept, at(7), 2)
    with pytest.raises(NotFoundError, match=r"no 00000003\.history"):
        form.line(kept, at(4), 3)
    with pytest.raises(DamagedError):
        wal.read_history("00000002.history", b"what is this\n")


def test_log_is_needed_from_where_the_oldest_backup_began() -> None:
    form, kept = WalFormat(), Kept(seg(5))
    needed = [n for n in range(10) if form.is_needed(kept, seg(n), [at(7), at(5)])]
    assert needed == [5, 6, 7, 8, 9]
    assert form.is_needed(kept, "00000002.history", [at(5)])
    assert not form.is_needed(kept, seg(9), [])


def record(info: int, manager: int, data: bytes) -> bytes:
    body = b"\xff" + bytes([len(data)]) + data
    head = struct.pack("=IIQBBxx", 24 + len(body), 700, 0, info, manager)
    return head + struct.pack("=I", crc32c(body, head)) + body


def stamp(moment: datetime) -> bytes:
    return struct.pack("=q", (moment - EPOCH) // timedelta(microseconds=1))


def segment(*records: bytes) -> bytes:
    data = bytearray(HEADER.pack(0xD110, 2, 1, 5 * SIZE, 0, 4711, SIZE, 8192))
    for one in records:
        data += bytes(-len(data) % 8) + one
    return bytes(data)


def test_commits_and_restore_points_are_believed_by_their_checksum(tmp_path: Path) -> None:
    early, late = datetime(2025, 8, 23, 10, tzinfo=timezone.utc), datetime(2025, 8, 23, 11, 0, 1, tzinfo=timezone.utc)
    lie = bytearray(record(0, 1, stamp(late + timedelta(days=1))))
    lie[-1] ^= 1
    point = record(0x70, 0, stamp(late) + b"before the upgrade".ljust(64, b"\0"))
    data = segment(record(0, 1, stamp(early)), point, record(0x80, 1, stamp(late) + b"more"), bytes(lie))
    assert (first_commit(data, len(data)), last_commit(data, len(data))) == (early, late)
    assert [tuple(found) for found in restore_points(data)] == [("before the upgrade", late)]
    path = tmp_path / seg(5)
    path.write_bytes(data + bytes(SIZE - len(data)))
    extent = WalFormat().examine(seg(5), str(path), finished=False)
    assert (extent.lineage, extent.start, extent.used_bytes) == ("4711", "0/500000", len(data))
    assert (extent.first_time, extent.last_time, extent.whole_bytes) == (early, late, SIZE)
    assert WalFormat().examine(seg(5), str(path), finished=True).end == "0/600000"
    for name, size in ((seg(6), SIZE), (seg(5), SIZE // 2)):
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DamagedError):
            WalFormat().examine(name, str(other), finished=True)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == crc32c(b"1234", b"56789") == 0xE3069283


def test_pages_hold_no_statements() -> None:
    with pytest.raises(UsageError, match="pages, not statements"):
        WalFormat().search("000000010000000000000001", "log", Wanted(frozenset({"drop"})))
