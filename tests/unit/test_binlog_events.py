"""Transactions in files of binary logs: where each begins and ends, also where a file breaks off."""

from __future__ import annotations

import struct
import tempfile
import uuid
from pathlib import Path

import pytest
from gtid_messages import message
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.mysql.binlog_events import Transaction, transactions
from dbfleet.databases.mysql.binlog_format import MAGIC
from dbfleet.errors import DamagedError

SERVER, UUID = 7, uuid.UUID("6c7bbf6e-2d4b-11ee-9f0a-0242ac120002")
CHECKSUM = bytes(4)


def event(kind: int, body: bytes, seconds: int = 1000) -> bytes:
    return struct.pack("<IBIIIH", seconds, kind, SERVER, 19 + len(body) + 4, 0, 0) + body + CHECKSUM


def statement(text: bytes, seconds: int = 1000) -> bytes:
    database, variables = b"app", bytes(9)
    head = struct.pack("<IIBHH", 1, 0, len(database), 0, len(variables))
    return event(2, head + variables + database + b"\0" + text, seconds)


def mariadb(number: int, flags: int, *events: bytes, seconds: int = 1000) -> bytes:
    return event(162, struct.pack("<QIB", number, 0, flags) + bytes(6), seconds) + b"".join(events)


def mysql(number: int, *events: bytes) -> bytes:
    return event(33, b"\1" + UUID.bytes + struct.pack("<q", number)) + b"".join(events)


def tagged(number: int, *events: bytes) -> bytes:
    return event(42, message(UUID, number, "a_tag")) + b"".join(events)


HEAD = MAGIC + event(15, bytes(80) + b"\1")  # the last byte says that events end with a checksum
ROWS, COMMIT = event(30, bytes(40)), event(16, bytes(8))
TABLE = event(19, b"\0\0")
KINDS = {
    "rows": lambda n: mariadb(n, 0, TABLE, ROWS, ROWS, COMMIT),
    "statements": lambda n: mariadb(n, 0, statement(b"INSERT INTO t"), statement(b"rollback to s"), COMMIT),
    "without engine": lambda n: mariadb(n, 0, TABLE, ROWS, statement(b"COMMIT")),
    "undone": lambda n: mariadb(n, 0, TABLE, ROWS, statement(b"ROLLBACK")),
    "definition": lambda n: mariadb(n, 1, statement(b"CREATE TABLE begins (x INT)")),
    "with a variable": lambda n: mariadb(n, 1, event(5, bytes(9)), statement(b"DROP TABLE t")),
    "compressed definition": lambda n: mariadb(n, 1, event(165, bytes(30))),
    "mysql rows": lambda n: mysql(n, statement(b"BEGIN"), TABLE, ROWS, COMMIT),
    "mysql definition": lambda n: mysql(n, statement(b"CREATE TABLE t (x INT)")),
    "tagged mysql rows": lambda n: tagged(n, statement(b"BEGIN"), TABLE, ROWS, COMMIT),
    "mysql without engine": lambda n: mysql(n, statement(b"BEGIN"), statement(b"INSERT INTO t"), statement(b"COMMIT")),
}
BETWEEN = {"checkpoint": event(161, bytes(20)), "list": event(163, bytes(4)), "none": b""}


def read(data: bytes, start: int = len(MAGIC)) -> list[Transaction]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "binlog.000001"
        path.write_bytes(data)
        return transactions(str(path), start)


@pytest.mark.parametrize("kind", KINDS)
def test_a_transaction_is_whole_only_with_its_last_byte(kind: str) -> None:
    whole = HEAD + KINDS[kind](12)
    (one,) = read(whole)
    assert (one.start, one.end, one.seconds) == (len(HEAD), len(whole), 1000)
    names = {"mysql": f"{UUID}:12", "tagged": f"{UUID}:a_tag:12"}
    assert one.gtid == names.get(kind.split()[0], f"0-{SERVER}-12")
    assert not any(read(whole[:cut]) for cut in range(len(HEAD), len(whole)))


@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(BETWEEN))), max_size=6), st.data())
def test_a_file_is_read_up_to_the_last_whole_transaction(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    content, expected = HEAD, []
    for number, (kind, between) in enumerate(parts, 1):
        start = len(content)
        content += KINDS[kind](number)
        expected.append((start, len(content)))
        content += BETWEEN[between]
    cut = data.draw(st.integers(len(HEAD), len(content)))
    found = [(one.start, one.end) for one in read(content[:cut])]
    assert found == [(start, end) for start, end in expected if end <= cut]
    if expected:
        place = data.draw(st.integers(0, len(expected) - 1))
        assert len(read(content, expected[place][0])) == len(expected) - place


def test_a_start_within_a_transaction_and_damage_are_refused() -> None:
    whole = HEAD + KINDS["rows"](1)
    with pytest.raises(DamagedError, match="within the transaction 0-7-1"):
        read(whole, len(HEAD) + 25)
    with pytest.raises(DamagedError, match="no file of a binary log"):
        read(b"else" + whole)
    with pytest.raises(DamagedError, match=f"damaged at byte {len(HEAD)}"):
        read(HEAD + struct.pack("<IBIIIH", 1, 2, 7, 5, 0, 0) + whole)
    broken = HEAD + event(42, message(UUID, 1, "a_tag")[:20])
    with pytest.raises(DamagedError, match=f"damaged at byte {len(HEAD)}"):
        read(broken)
