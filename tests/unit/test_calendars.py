"""Calendars: every scheduler is told the same times, and times are spread without getting lost."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def plugin(name: str) -> Any:
    """``plugins/…`` of this checkout, importable with its relative imports."""
    if "dbfleet_plugins" not in sys.modules:
        package = types.ModuleType("dbfleet_plugins")
        package.__path__ = [str(ROOT / "plugins")]
        sys.modules["dbfleet_plugins"] = package
    return importlib.import_module(f"dbfleet_plugins.{name}")


calendars = plugin("plugin_utils.calendars")
TIMES = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda time: "{:02}:{:02}".format(*time))
EVERY = st.sampled_from("1m 2m 5m 10m 15m 20m 30m 1h 2h 3h 4h 6h 8h 12h".split()).map(lambda length: f"every {length}")
TEXTS = st.one_of(
    st.just("hourly"),
    EVERY,
    TIMES.map(lambda time: f"daily {time}"),
    st.tuples(st.sampled_from(calendars.WEEKDAYS), TIMES).map(lambda pair: "weekly {} {}".format(*pair)),
    st.tuples(st.integers(1, 28), TIMES).map(lambda pair: "monthly {} {}".format(*pair)),
)


def field(text: str, first: int, last: int) -> set[int]:
    """The values of one field of crontab(5), as far as we write them."""
    values: set[int] = set()
    span, _slash, step = text.partition("/")
    low, _dash, high = span.partition("-")
    start, end = (first, last) if span == "*" else (int(low), int(high or low))
    values.update(range(start, end + 1, int(step or 1)))
    return values


def by_cron(text: str) -> set[tuple[int, ...]]:
    """(day of month, weekday, hour, minute) at which an entry of cron runs; 0 and -1 stand for all days."""
    minute, hour, day, _month, weekday = text.split()
    return {
        (0 if day == "*" else int(day), -1 if weekday == "*" else int(weekday), h, m)
        for h in field(hour, 0, 23)
        for m in field(minute, 0, 59)
    }


def by_launchd(times: list[dict[str, int]]) -> set[tuple[int, ...]]:
    """The same for launchd, which takes what is left out as a wildcard."""
    return {
        (time.get("Day", 0), time.get("Weekday", -1), hour, time["Minute"])
        for time in times
        for hour in ([time["Hour"]] if "Hour" in time else range(24))
    }


def by_systemd(text: str) -> set[tuple[int, ...]]:
    """The same for systemd."""
    found = re.fullmatch(r"(?:(\w{3}) )?\*-\*-(\*|\d\d) ([\d*]+)(?:/(\d+))?:([\d*]+)(?:/(\d+))?:00", text)
    assert found, text
    weekday, day, hour, hours, minute, every = found.groups()
    all_hours = range(24) if hour == "*" else range(int(hour), 24, int(hours)) if hours else [int(hour)]
    all_minutes = range(60) if minute == "*" else range(int(minute), 60, int(every)) if every else [int(minute)]
    return {
        (0 if day == "*" else int(day), calendars.WEEKDAYS.index(weekday.lower()) if weekday else -1, h, m)
        for h in all_hours
        for m in all_minutes
    }


@given(TEXTS, st.integers(0, 2000), st.text(max_size=5))
def test_every_scheduler_is_told_the_same_times(text: str, window: int, name: str) -> None:
    calendar = calendars.spread(calendars.parse(text), window, name)
    times = by_cron(calendars.cron(calendar))
    assert by_systemd(calendars.on_calendar(calendar)) == times
    assert by_launchd(calendars.launchd(calendar)) == times


@given(TEXTS, st.integers(0, 2000), st.text(max_size=5))
def test_spreading_loses_no_run(text: str, window: int, name: str) -> None:
    plain = calendars.parse(text)
    moved = calendars.spread(plain, window, name)
    assert moved == calendars.spread(plain, window, name)
    assert len(by_cron(calendars.cron(moved))) == len(by_cron(calendars.cron(plain)))
    assert moved.interval == plain.interval


@given(TIMES, st.integers(1, 600))
def test_a_time_moves_forward_by_less_than_the_window(time: str, window: int) -> None:
    plain = calendars.parse(f"weekly sat {time}")
    moved = calendars.spread(plain, window, "db1", "app", "backup")
    week = 7 * calendars.DAY
    later = (moved.weekday * calendars.DAY + moved.minute) - (plain.weekday * calendars.DAY + plain.minute)
    assert 0 <= later % week < window


def test_hosts_spread_over_the_whole_window() -> None:
    plain = calendars.parse("daily 02:00")
    minutes = [calendars.spread(plain, 60, f"db{n}", "app", "backup").minute - 120 for n in range(1000)]
    assert set(minutes) == set(range(60))
    assert max(minutes.count(minute) for minute in range(60)) < 40


def test_a_time_past_midnight_is_on_the_next_day() -> None:
    late = calendars.parse("weekly sat 23:59")
    moved = {calendars.spread(late, 30, str(n)).weekday for n in range(50)}
    assert moved == {6, 0}
    monthly = calendars.parse("monthly 28 23:50")
    assert {calendars.spread(monthly, 600, str(n)).day for n in range(50)} == {28}


@pytest.mark.parametrize(
    ("text", "systemd", "cron"),
    [
        ("hourly", "*-*-* 00/1:00:00", "0 * * * *"),
        ("daily 02:05", "*-*-* 02:05:00", "5 2 * * *"),
        ("Weekly Sunday 3:00", "Sun *-*-* 03:00:00", "0 3 * * 0"),
        ("monthly 1 03:00", "*-*-01 03:00:00", "0 3 1 * *"),
        ("every 15m", "*-*-* *:00/15:00", "0-59/15 * * * *"),
        ("every 1m", "*-*-* *:*:00", "* * * * *"),
        ("every 6h", "*-*-* 00/6:00:00", "0 0-23/6 * * *"),
    ],
)
def test_notation(text: str, systemd: str, cron: str) -> None:
    calendar = calendars.parse(text)
    assert (calendars.on_calendar(calendar), calendars.cron(calendar)) == (systemd, cron)


def test_words_of_one_scheduler_are_for_that_one_only() -> None:
    assert calendars.on_calendar(calendars.parse("oncalendar Mon..Fri 22:00")) == "Mon..Fri 22:00"
    assert calendars.cron(calendars.parse("cron 0 2 * * 1-5")) == "0 2 * * 1-5"
    assert calendars.cron(calendars.parse("cron @reboot")) == "@reboot"
    for text, function in [
        ("cron 0 2 * * 1-5", calendars.on_calendar),
        ("oncalendar Mon..Fri 22:00", calendars.cron),
        ("cron 0 2 * * 1-5", calendars.launchd),
    ]:
        with pytest.raises(calendars.CalendarError, match="cannot be said"):
            function(calendars.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "daily",
        "daily 24:00",
        "daily 2",
        "daily 02:60",
        "weekly 02:00",
        "weekly someday 02:00",
        "monthly 31 02:00",
        "monthly 0 02:00",
        "every 7m",
        "every 0m",
        "every 5h",
        "every 1d",
        "every day",
        "cron",
        "cron 0 2 * *",
        "cron 0 2 * * * rm -rf /",
        "cron 0 2 * * *\n* * * * * root evil",
        "oncalendar",
        "oncalendar daily\nOnFailure=evil",
        "yearly",
        "hourly 02:00",
    ],
)
def test_what_is_no_calendar_is_refused(text: str) -> None:
    try:
        calendar = calendars.parse(text)
    except calendars.CalendarError as error:
        assert repr(text) in str(error) or not text.strip()
    else:
        assert "\n" not in calendar.raw and "evil" not in calendar.raw.partition("OnFailure")[0]
        assert calendar.raw == "daily OnFailure=evil"  # one line, which systemd refuses as a calendar


@pytest.mark.parametrize(("text", "expected"), [("90", 90), (5, 5), ("1h30m", 90), ("2d", 2880), ("0", 0)])
def test_lengths(text: Any, expected: int) -> None:
    assert calendars.minutes(text) == expected


@pytest.mark.parametrize("text", ["", "h", "1.5h", "1 h", "-1h", "1h x", "10s"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(calendars.CalendarError, match="no length of time"):
        calendars.minutes(text)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_what_we_write() -> None:
    texts = ["hourly", "daily 02:05", "weekly sun 03:00", "monthly 1 03:00", "every 1m", "every 15m", "every 6h"]
    words = [calendars.on_calendar(calendars.spread(calendars.parse(text), 60, "db1")) for text in texts]
    subprocess.run(["systemd-analyze", "calendar", *words], check=True, stdout=subprocess.DEVNULL)
