"""Names of transactions with a tag, out of the events of MySQL 8.3 and later."""

from __future__ import annotations

import uuid

import pytest
from gtid_messages import message
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.mysql.tagged_gtid import read_tagged

# What Percona Server 8.4 wrote.
REAL = bytes.fromhex(
    "027c 00 0002 02ee4503410258026903 22c503690282 41023502dcbedc3502 0404 0610746573745f746167 0800 0a04"
    "0c7f003e8900fa5b0610450512dbd009"
)


def test_what_a_server_wrote_is_read() -> None:
    assert read_tagged(REAL) == "77d1902c-01da-11f1-9a41-908d6e5f6e8d:test_tag:1"


@given(st.uuids(), st.integers(1, 2**63 - 1), st.from_regex(r"[a-z_][a-z0-9_]{0,31}", fullmatch=True))
def test_what_is_written_is_read(server: uuid.UUID, number: int, tag: str) -> None:
    assert read_tagged(message(server, number, tag)) == f"{server}:{tag}:{number}"


@given(st.integers(0, 34))
def test_what_is_cut_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        read_tagged(REAL[:length])


@given(st.binary(max_size=80))
def test_whatever_is_there_is_a_name_or_a_value_error(data: bytes) -> None:
    try:
        assert read_tagged(data).count(":") >= 2
    except ValueError:
        pass
