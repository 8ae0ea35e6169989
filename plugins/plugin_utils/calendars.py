"""One notation for when a job runs, and how each scheduler says it.

``hourly``, ``daily 02:00``, ``weekly sun 03:00``, ``monthly 1 03:00``, ``every 15m``, or a scheduler's own words
after ``oncalendar`` or ``cron``. Times are those of the host's clock, to the minute. Schedulers' own syntax:
systemd.time(7), crontab(5), launchd.plist(5).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Optional, Union

DAY = 24 * 60  # everything here is in minutes
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # as crontab(5) and launchd count them
UNITS = {"m": 1, "h": 60, "d": DAY}
HELP = (
    "write hourly, daily 02:00, weekly sun 03:00, monthly 1 03:00, every 15m, "
    "or a scheduler's own words after oncalendar or cron"
)


class CalendarError(ValueError):
    """A text that is no calendar, or one that a scheduler cannot say."""


@dataclass(frozen=True)
class Calendar:
    """When a job runs: every ``every`` minutes of the day from ``minute`` on, on all days or on one.

    ``weekday`` is 0 for Sunday; ``day`` is a day of the month, at most 28, so that every month has it.
    ``raw`` holds the words of the one scheduler that ``scheduler`` names, and then nothing else counts.
    """

    minute: int = 0
    every: int = DAY
    weekday: Optional[int] = None
    day: Optional[int] = None
    scheduler: str = ""
    raw: str = ""

    @property
    def interval(self) -> int:
        """Minutes between two runs, at most; 0 for raw words, which nobody here understands."""
        if self.raw:
            return 0
        return 31 * DAY if self.day is not None else 7 * DAY if self.weekday is not None else self.every


def parse(text: str) -> Calendar:
    """The calendar that ``text`` means. Raises ``CalendarError``."""
    words = text.strip().split()
    if not words:
        raise CalendarError(f"a calendar is empty: {HELP}")
    kind, rest = words[0].lower(), words[1:]
    if kind in ("oncalendar", "cron"):
        return _raw(text, kind, " ".join(rest))
    if kind == "hourly" and not rest:
        return Calendar(every=60)
    if kind == "every" and len(rest) == 1:
        return Calendar(every=_interval(text, rest[0]))
    if kind == "daily" and len(rest) == 1:
        return Calendar(minute=_time(text, rest[0]))
    if kind == "weekly" and len(rest) == 2 and rest[0].lower()[:3] in WEEKDAYS:
        return Calendar(minute=_time(text, rest[1]), weekday=WEEKDAYS.index(rest[0].lower()[:3]))
    if kind == "monthly" and len(rest) == 2 and re.fullmatch(r"[0-9]{1,2}", rest[0]):
        if not 1 <= int(rest[0]) <= 28:
            raise CalendarError(f"{text!r}: not every month has this day: write 1 to 28")
        return Calendar(minute=_time(text, rest[1]), day=int(rest[0]))
    raise CalendarError(f"{text!r} is no calendar: {HELP}")


def minutes(text: Union[str, int]) -> int:
    """Minutes of ``90m``, ``2h``, ``1h30m``, or a plain number of minutes. Raises ``CalendarError``."""
    parts = re.findall(r"([0-9]+)([mhd])", str(text))
    if re.fullmatch(r"[0-9]+", str(text)):
        return int(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CalendarError(f"{text!r} is no length of time: write 30m, 2h or 1h30m")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def spread(calendar: Calendar, window: int, *names: str) -> Calendar:
    """``calendar``, later by a number of minutes below ``window`` that follows from ``names`` alone.

    The same names give the same time on every run; different ones are spread evenly. A time may go past
    midnight into the next day. On one day of the month it does not, since that day may be the last.
    """
    window = min(window, DAY if calendar.day is None else DAY - calendar.minute, calendar.every)
    if calendar.raw or window < 1:
        return calendar
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
    minute = calendar.minute + int.from_bytes(digest[:8], "big") % window
    weekday = calendar.weekday
    if weekday is not None:
        weekday = (weekday + minute // DAY) % 7
    return Calendar(minute % min(DAY, calendar.every), calendar.every, weekday, calendar.day)


def on_calendar(calendar: Calendar) -> str:
    """For ``OnCalendar=`` of a systemd timer."""
    if calendar.raw:
        return _only("oncalendar", "systemd", calendar)
    hour, minute = divmod(calendar.minute, 60)
    if calendar.every < 60:
        return f"*-*-* *:{minute:02}/{calendar.every}:00" if calendar.every > 1 else "*-*-* *:*:00"
    if calendar.every < DAY:
        return f"*-*-* {hour:02}/{calendar.every // 60}:{minute:02}:00"
    weekday = "" if calendar.weekday is None else WEEKDAYS[calendar.weekday].capitalize() + " "
    day = "*" if calendar.day is None else f"{calendar.day:02}"
    return f"{weekday}*-*-{day} {hour:02}:{minute:02}:00"


def cron(calendar: Calendar) -> str:
    """The five fields of crontab(5)."""
    if calendar.raw:
        return _only("cron", "cron", calendar)
    hour, minute = divmod(calendar.minute, 60)
    if calendar.every < 60:
        return f"{minute}-59/{calendar.every} * * * *" if calendar.every > 1 else "* * * * *"
    if calendar.every < DAY:
        hours = "*" if calendar.every == 60 else f"{hour}-23/{calendar.every // 60}"
        return f"{minute} {hours} * * *"
    day = "*" if calendar.day is None else calendar.day
    weekday = "*" if calendar.weekday is None else calendar.weekday
    return f"{minute} {hour} {day} * {weekday}"


def launchd(calendar: Calendar) -> list[dict[str, int]]:
    """For ``StartCalendarInterval`` of launchd: one mapping for each time of the day, or of the hour."""
    if calendar.raw:
        return [{}] if _only("launchd", "launchd", calendar) else []
    if calendar.every <= 60:
        return [{"Minute": minute} for minute in range(calendar.minute, 60, calendar.every)]
    at = [divmod(minute, 60) for minute in range(calendar.minute, DAY, calendar.every)]
    times = [{"Hour": hour, "Minute": minute} for hour, minute in at]
    if calendar.weekday is not None:
        times = [{**time, "Weekday": calendar.weekday} for time in times]
    if calendar.day is not None:
        times = [{**time, "Day": calendar.day} for time in times]
    return times


def task_scheduler(calendar: Calendar) -> str:
    """Nothing, because the Task Scheduler takes a whole document: only refuses the words of another scheduler."""
    return _only("task_scheduler", "the Task Scheduler", calendar) if calendar.raw else ""


def _raw(text: str, kind: str, words: str) -> Calendar:
    if not words or not words.isprintable():
        raise CalendarError(f"{text!r} says nothing after {kind}")
    if kind == "cron" and not re.fullmatch(r"@[a-z]+|([0-9A-Za-z*/,-]+ ){4}[0-9A-Za-z*/,-]+", words):
        raise CalendarError(f"{text!r}: cron takes five fields, such as 0 2 * * 1-5")
    if kind == "oncalendar" and "%" in words:
        raise CalendarError(f"{text!r}: a calendar has no %")
    return Calendar(scheduler=kind, raw=words)


def _only(kind: str, scheduler: str, calendar: Calendar) -> str:
    if calendar.scheduler != kind:
        raise CalendarError(
            f"'{calendar.scheduler} {calendar.raw}' cannot be said to {scheduler}: "
            "write it in the common notation, such as daily 02:00"
        )
    return calendar.raw


def _time(text: str, time: str) -> int:
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", time)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise CalendarError(f"{text!r}: {time!r} is no time of day: write 00:00 to 23:59")
    return int(found[1]) * 60 + int(found[2])


def _interval(text: str, length: str) -> int:
    try:
        every = minutes(length)
    except CalendarError as error:
        raise CalendarError(f"{text!r}: {error}") from None
    if not 1 <= every < DAY or (60 % every if every < 60 else every % 60 or DAY % every):
        raise CalendarError(
            f"{text!r} does not divide the hour or the day evenly: "
            "write every 1m, 2m, 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h"
        )
    return every
