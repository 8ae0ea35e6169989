"""Files of binary logs without a server: what is in them, and which ones follow a backup."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dbfleet.databases.mysql.binlog_format import MAGIC, BinlogFormat, Name, begun_at, name_of
from dbfleet.errors import DamagedError, NotFoundError

DESCRIPTION, XID, ROTATE, ROWS = 15, 16, 4, 30


def event(moment: int, kind: int, size: int = 0) -> bytes:
    return struct.pack("<IBIIIH", moment, kind, 7, 19 + size, 0, 0) + bytes(size)


HEAD = MAGIC + event(1000, DESCRIPTION, 200)


def test_whole_events_are_kept_and_a_file_is_read_on_where_it_grew(tmp_path: Path) -> None:
    form, path = BinlogFormat(), tmp_path / "binlog.000001"
    name = "000003e8-binlog.000001"
    path.write_bytes(HEAD + event(1001, XID, 8) + event(1002, ROWS, 3_000_000) + event(1003, XID, 8)[:-3])
    assert begun_at(str(path)) == 1000
    extent = form.examine(name, str(path), finished=False)
    assert extent.used_bytes == len(HEAD) + 27 + 3_000_019
    assert extent.end == f"binlog.000001:{extent.used_bytes}" and extent.details == {"begun": 1000, "server_id": 7}
    assert extent.first_time == extent.last_time and extent.first_time is not None
    assert extent.first_time.timestamp() == 1001
    assert not form.is_ended(name, str(path))
    with open(path, "ab") as file:
        file.write(event(1003, XID, 8)[-3:] + event(1004, ROTATE, 30))
    extent = form.examine(name, str(path), finished=True)
    assert extent.used_bytes == path.stat().st_size and form.is_ended(name, str(path))
    assert extent.last_time is not None and extent.last_time.timestamp() == 1003
    path.write_bytes(HEAD)  # the receiver began it anew
    assert form.examine(name, str(path), finished=False).used_bytes == len(HEAD)


@pytest.mark.parametrize("data", [b"PK\3\4" + bytes(300), HEAD + bytes(100), MAGIC + event(1, XID, 20)])
def test_what_no_server_wrote_is_damaged(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "binlog.000001"
    path.write_bytes(data)
    with pytest.raises(DamagedError):
        BinlogFormat().examine("000003e8-binlog.000001", str(path), finished=True)


def test_names_are_taken_apart() -> None:
    name = name_of("6b076cfa-mysql-bin.v2.999999")
    assert name == Name("6b076cfa", "mysql-bin.v2", 999999)
    assert name is not None and name.next().kept == "6b076cfa-mysql-bin.v2.1000000"
    form = BinlogFormat()
    assert form.kind("6b076cfa-binlog.000001") == "segment"
    for odd in (
        "binlog.000001",
        "6b076cfa-binlog",
        "6b076cfa-.000001",
        "6B076CFA-b.000001",
        "000000010000000000000002",
    ):
        assert form.kind(odd) is None
    kept = ["b-x", "000003e9-binlog.000001", "000003e8-binlog.1000000", "000003e8-binlog.999999"]
    assert sorted(kept[1:], key=form.sort_key) == [kept[3], kept[2], kept[1]]


class Shelf:
    """What an archive holds, given as names; an unfinished one ends with ``?``."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def names(self) -> list[str]:
        return [name for name in self._names if not name.endswith("?")]

    def unfinished(self) -> list[str]:
        return [name[:-1] for name in self._names if name.endswith("?")]

    def content(self, name: str) -> bytes:
        raise NotImplementedError

    def details(self, name: str) -> Mapping[str, Any]:
        return {"begun": 50 if name.startswith("aaaaaaaa") else 70}


A, B = "aaaaaaaa-b.00000{}".format, "bbbbbbbb-b.00000{}".format


@pytest.mark.parametrize(
    ("kept", "position", "names", "missing"),
    [
        ((A(1), A(2), A(3) + "?"), {"binlog_file": "b.000002"}, [A(2), A(3)], None),
        ((A(1), A(2), A(4)), {"binlog_file": "b.000001"}, [A(1), A(2)], A(3)),
        ((A(1), A(2) + "?", B(1), B(2) + "?"), {"binlog_file": "b.000001", "binlog_begun": 50}, [A(1), A(2)], None),
        ((A(1), A(2) + "?", B(1), B(2) + "?"), {"binlog_file": "b.000001", "binlog_begun": 70}, [B(1), B(2)], None),
        ((A(1), A(2) + "?", B(1), B(2) + "?"), {"binlog_file": "b.000001", "binlog_since": 69}, [A(1), A(2)], None),
        ((A(1), A(2) + "?", B(1), B(2) + "?"), {"binlog_file": "b.000001", "binlog_since": 70}, [B(1), B(2)], None),
        ((A(1), B(1)), {"binlog_file": "b.000001"}, [B(1)], None),
    ],
)
def test_the_log_that_follows_a_backup(
    kept: tuple[str, ...], position: dict[str, Any], names: list[str], missing: str | None
) -> None:
    line = BinlogFormat().line(Shelf(*kept), position)
    assert (list(line.names), line.missing) == (names, missing)


@pytest.mark.parametrize(
    "position",
    [
        {},
        {"binlog_since": 99},
        {"binlog_file": "b.000009"},
        {"binlog_file": "b.000001", "binlog_begun": 1},
        {"binlog_file": "b.000001", "binlog_since": 49},
    ],
)
def test_a_backup_that_no_log_follows_is_told(position: dict[str, Any]) -> None:
    with pytest.raises(NotFoundError):
        BinlogFormat().line(Shelf(A(1), A(2)), position)


def test_gaps_and_needs_are_of_one_numbering() -> None:
    form, shelf = BinlogFormat(), Shelf(A(1), A(4), B(1), B(2), B(3) + "?")
    assert form.gaps(shelf) == [A(2)]
    position = {"binlog_file": "b.000002", "binlog_begun": 70}
    assert [form.is_needed(shelf, name, [position]) for name in (A(4), B(1), B(2), B(3))] == [False, False, True, True]
    assert not form.is_needed(shelf, B(3), [])
