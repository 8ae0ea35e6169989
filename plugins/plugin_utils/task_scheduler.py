"""A task of the Windows Task Scheduler as XML (Task Scheduler Schema 1.4, MS-TSCH), from a calendar."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from .calendars import DAY, WEEKDAYS, Calendar, CalendarError

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
FULL_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = "January February March April May June July August September October November December".split()
START = "2020-01-01T{:02}:{:02}:00"  # any day gone by; only the time of day counts


def task_xml(
    calendar: Calendar,
    *,
    description: str,
    program: str,
    arguments: Sequence[str],
    folder: str,
    user: str,
    window: int,
    catch_up: bool,
    priority: int,
) -> str:
    """The whole task: nobody needs to be logged in, it never runs twice at a time, and ends after ``window`` minutes.

    Raises ``CalendarError`` for a calendar in another scheduler's words.
    """
    if calendar.raw:
        raise CalendarError(f"'{calendar.scheduler} {calendar.raw}' cannot be said to the Task Scheduler")
    task = Xml.Element("Task", {"version": "1.4", "xmlns": NAMESPACE})
    _add(task, "RegistrationInfo", {"Author": "dbfleet.recovery", "Description": description})
    _trigger(Xml.SubElement(task, "Triggers"), calendar)
    principal = Xml.SubElement(Xml.SubElement(task, "Principals"), "Principal", {"id": "Author"})
    # A name of NT AUTHORITY is known by its number, whatever the language of the host.
    _texts(principal, {"UserId": user, "LogonType": "ServiceAccount" if user.startswith("S-1-5-") else "S4U"})
    _texts(principal, {"RunLevel": "LeastPrivilege"})
    settings = {
        "MultipleInstancesPolicy": "IgnoreNew",
        "DisallowStartIfOnBatteries": "false",
        "StopIfGoingOnBatteries": "false",
        "AllowHardTerminate": "true",
        "StartWhenAvailable": "true" if catch_up else "false",
        "RunOnlyIfNetworkAvailable": "false",
        "AllowStartOnDemand": "true",
        "Enabled": "true",
        "Hidden": "false",
        "RunOnlyIfIdle": "false",
        "WakeToRun": "false",
        "ExecutionTimeLimit": f"PT{window}M" if window else "PT0S",
        "Priority": str(priority),
    }
    _add(task, "Settings", settings)
    actions = Xml.SubElement(task, "Actions", {"Context": "Author"})
    line = " ".join(quoted(argument) for argument in arguments)
    _add(actions, "Exec", {"Command": program, "Arguments": line, "WorkingDirectory": folder})
    Xml.indent(task)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + Xml.tostring(task, encoding="unicode") + "\n"


def quoted(argument: str) -> str:
    """One argument as the C runtime of Windows takes a command line apart (CommandLineToArgvW)."""
    if argument and not any(character in argument for character in ' \t\n\v"'):
        return argument
    text, slashes = '"', 0
    for character in argument:
        if character == "\\":
            slashes += 1
            continue
        text += "\\" * (slashes * 2 + 1 if character == '"' else slashes) + character
        slashes = 0
    return text + "\\" * (slashes * 2) + '"'


def _trigger(triggers: Xml.Element, calendar: Calendar) -> None:
    trigger = Xml.SubElement(triggers, "CalendarTrigger")
    if calendar.every < DAY:
        # It repeats until the end of the day, and the next day begins anew.
        _add(trigger, "Repetition", {"Interval": f"PT{calendar.every}M", "Duration": "P1D"})
    _texts(trigger, {"StartBoundary": START.format(*divmod(calendar.minute, 60)), "Enabled": "true"})
    if calendar.day is not None:
        schedule = Xml.SubElement(trigger, "ScheduleByMonth")
        _add(schedule, "DaysOfMonth", {"Day": str(calendar.day)})
        _add(schedule, "Months", dict.fromkeys(MONTHS, ""))
    elif calendar.weekday is not None:
        schedule = Xml.SubElement(trigger, "ScheduleByWeek")
        _texts(schedule, {"WeeksInterval": "1"})
        _add(schedule, "DaysOfWeek", {FULL_WEEKDAYS[calendar.weekday % len(WEEKDAYS)]: ""})
    else:
        _add(trigger, "ScheduleByDay", {"DaysInterval": "1"})


def _add(parent: Xml.Element, name: str, texts: dict[str, str]) -> None:
    _texts(Xml.SubElement(parent, name), texts)


def _texts(parent: Xml.Element, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        Xml.SubElement(parent, name).text = text or None
