"""Targets of recovery: what people write for a moment, and what cannot be one."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from dbfleet.errors import UsageError
from dbfleet.targets import read_time, target_of

MOMENT = datetime(2025, 8, 23, 10, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2025-08-23T10:30:00Z",
        "2025-08-23 10:30:00+00:00",
        "2025-08-23 12:30:00+02",
        "2025-08-23 12:30:00 Europe/Berlin",
        "2025-08-23T10:30 UTC",
    ],
)
def test_a_moment_with_a_zone_is_read_without_a_word(text: str) -> None:
    assert read_time(text) == (MOMENT, ())


@pytest.mark.parametrize(
    "text", ["2025-08-23 10:30:00.25+00", "2025-08-23 12:30:00.250000123+0200", "2025-08-23T10:30:00.25 UTC"]
)
def test_parts_of_a_second_have_any_number_of_digits(text: str) -> None:
    """PostgreSQL writes no zeros at their end, and other programs write nanoseconds."""
    assert read_time(text) == (MOMENT.replace(microsecond=250_000), ())


def test_a_moment_without_a_zone_is_utc_and_says_so() -> None:
    moment, notes = read_time("2025-08-23 10:30:00.000")
    assert moment == MOMENT and "read as UTC" in notes[0]


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "2025-08-23 10:30 Mars/Base", "2025-08-23T10:30Z UTC"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment|is not known|keep one"):
        read_time(text)


def test_one_target_at_a_time() -> None:
    assert target_of() is None
    end = target_of(time="latest")
    assert end is not None and end.kind == "end"
    assert str(target_of(position="db1-bin.000007:5120")) == "position db1-bin.000007:5120"
    assert str(target_of(gtid="0-1-4711")) == "gtid 0-1-4711"
    assert target_of(gtid="6c7bbf6e-2d4b-11ee-9f0a-0242ac120002:1") is not None
    assert target_of(gtid="6c7bbf6e-2d4b-11ee-9f0a-0242ac120002:a_tag:1") is not None
    for wrong in (
        {"time": "latest", "lsn": "0/1"},
        {"position": "binlog.000001"},
        {"position": "../binlog.000001:4"},
        {"position": "binlog.000001:4", "inclusive": False},
        {"gtid": "0-1"},
        {"gtid": "6c7bbf6e-2d4b-11ee-9f0a-0242ac120002"},
        {"gtid": "6c7bbf6e-2d4b-11ee-9f0a-0242ac120002:1-5"},
        {"gtid": "6c7bbf6e-2d4b-11ee-9f0a-0242ac120002:1tag:1"},
        {"lsn": "nowhere"},
        {"xid": "-1"},
        {"name": ""},
        {"name": "x" * 64},
        {"name": "a\nb"},
        {"time": "latest", "action": "pause"},
        {"time": "latest", "action": "dance"},
        {"lsn": "0/1", "timeline": "x"},
        {"timeline": "2"},
        {"action": "pause"},
        {"inclusive": False},
    ):
        with pytest.raises(UsageError):
            target_of(**wrong)  # type: ignore[arg-type]
