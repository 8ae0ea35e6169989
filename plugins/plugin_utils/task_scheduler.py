"""A task of the Windows Task Scheduler as XML (Task Scheduler Schema 1.4, MS-TSCH 2.5), from a calendar."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from . import calendars
from .calendars import DAY, WEEKDAYS, Calendar

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
FULL_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = "January February March April May June July August September October November December".split()
START = "2020-01-01T{:02}:{:02}:00"  # any day gone by; only the time of day counts
SHELL = r"%SystemRoot%\System32\cmd.exe"
SERVICE_ACCOUNTS = ("S-1-5-18", "S-1-5-19", "S-1-5-20")  # known by number, whatever the language of the host
RUN_LEVELS = {"limited": "LeastPrivilege", "highest": "HighestAvailable"}
GRACE = 10  # minutes between the end of a run's window, when it ends itself, and its end by force


class TaskError(ValueError):
    """Something that cannot be said to the Task Scheduler."""


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
    retries: int = 0,
    retry_after: int = 10,
    run_level: str = "limited",
    log: str = "",
) -> str:
    """The whole task: nobody needs to be logged in, and it never runs twice at a time.

    It is ended by force ``GRACE`` minutes after its ``window`` of minutes; 0 sets no end. A task that failed is
    tried again ``retries`` times, after ``retry_after`` minutes each. A ``program`` that is a ``.bat`` is run by
    cmd.exe, and what its last run said is in ``log`` where that is given. The task's version is a digest of the rest:
    one that is there with the same version is the same. Raises ``CalendarError`` for a calendar in another scheduler's
    words, ``TaskError`` for a word that cmd.exe would change and for a ``run_level`` that there is not.
    """
    calendars.task_scheduler(calendar)
    if run_level not in RUN_LEVELS:
        raise TaskError(f"the run level {run_level!r} is none of {', '.join(RUN_LEVELS)}")
    task = Xml.Element("Task", {"version": "1.4", "xmlns": NAMESPACE})
    about = Xml.SubElement(task, "RegistrationInfo")
    _texts(about, {"Author": "dbfleet.recovery", "Description": description})
    _trigger(Xml.SubElement(task, "Triggers"), calendar)
    principal = Xml.SubElement(Xml.SubElement(task, "Principals"), "Principal", {"id": "Author"})
    _texts(principal, {"UserId": user, **_logon(user), "RunLevel": RUN_LEVELS[run_level]})
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
        "ExecutionTimeLimit": f"PT{window + GRACE}M" if window else "PT0S",
        "Priority": str(priority),
    }
    element = Xml.SubElement(task, "Settings")
    _texts(element, settings)
    if retries:
        _add(element, "RestartOnFailure", {"Interval": f"PT{retry_after}M", "Count": str(retries)})
    actions = Xml.SubElement(task, "Actions", {"Context": "Author"})
    line = " ".join(quoted(argument) for argument in arguments)
    if program.lower().endswith((".bat", ".cmd")):
        program, line = SHELL, shell_line([program, *arguments], log)
    _add(actions, "Exec", {"Command": program, "Arguments": line, "WorkingDirectory": folder})
    _texts(about, {"Version": hashlib.sha256(Xml.tostring(task)).hexdigest()[:16]})
    Xml.indent(task)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + Xml.tostring(task, encoding="unicode") + "\n"


def shell_line(words: Sequence[str], log: str = "") -> str:
    """Arguments of cmd.exe that run a batch file with just these words. Raises ``TaskError`` where that cannot be.

    What it says goes to the file ``log``, which then holds that alone.

    With /s, cmd.exe takes away the outer quotes and nothing else. Inside of quotes only % and quotes mean something
    to it: names of variables do not begin with a digit, so %20 stays what it is, but not %CD%.
    """
    for word in (*words, log):
        if '"' in word or re.search(r"%(?![0-9])", word):
            raise TaskError(f"{word!r} has a sign that cmd.exe takes for its own: leave out quotes, and % but %0 to %9")
    line = " ".join(quoted(word, safe=False) for word in words)
    return f'/d /s /c "{line} >{quoted(log, safe=False)} 2>&1"' if log else f'/d /s /c "{line}"'


def quoted(argument: str, *, safe: bool = True) -> str:
    """One argument as the C runtime of Windows takes a command line apart (CommandLineToArgvW).

    Without ``safe``, what may mean something to cmd.exe stands in quotes as well.
    """
    plain = r"[^ \t\n\v\"]+" if safe else r"[A-Za-z0-9_.:/\\-]+"
    if re.fullmatch(plain, argument):
        return argument
    text, slashes = '"', 0
    for character in argument:
        if character == "\\":
            slashes += 1
            continue
        text += "\\" * (slashes * 2 + 1 if character == '"' else slashes) + character
        slashes = 0
    return text + "\\" * (slashes * 2) + '"'


def _logon(user: str) -> dict[str, str]:
    """How ``user`` logs on: the schema has no word for service accounts, which need none."""
    if user in SERVICE_ACCOUNTS:
        return {}
    # Windows itself keeps the password of an account of Active Directory that is managed for a group ($).
    return {"LogonType": "Password" if user.endswith("$") else "S4U"}


def _trigger(triggers: Xml.Element, calendar: Calendar) -> None:
    trigger = Xml.SubElement(triggers, "CalendarTrigger")
    _texts(trigger, {"Enabled": "true", "StartBoundary": START.format(*divmod(calendar.minute, 60))})
    if calendar.every < DAY:
        # It repeats until the end of the day, and the next day begins anew.
        _add(trigger, "Repetition", {"Interval": f"PT{calendar.every}M", "Duration": "P1D"})
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
