"""Tasks of Windows: their XML is what Microsoft's schema takes, and says the times that other schedulers are told.

That Windows itself takes them was not seen: these tests hold the XML against the facts of the schema (MS-TSCH 2.5).
"""

from __future__ import annotations

import re
import subprocess
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_calendars import TEXTS, by_cron, plugin

calendars = plugin("plugin_utils.calendars")
task_scheduler = plugin("plugin_utils.task_scheduler")

# What the schema says of the elements that we write: their children, and whether those have an order (xs:sequence)
# or none (xs:all).
SEQUENCES: dict[str, list[str]] = {
    "CalendarTrigger": "Enabled StartBoundary EndBoundary Repetition ExecutionTimeLimit RandomDelay "
    "ScheduleByDay ScheduleByWeek ScheduleByMonth ScheduleByMonthDayOfWeek".split(),
}
ALL: dict[str, set[str]] = {
    "Task": set("RegistrationInfo Triggers Settings Data Principals Actions".split()),
    "RegistrationInfo": set("URI SecurityDescriptor Source Date Author Version Description Documentation".split()),
    "Triggers": {"CalendarTrigger", "BootTrigger"},
    "Repetition": {"Interval", "Duration", "StopAtDurationEnd"},
    "ScheduleByDay": {"DaysInterval"},
    "ScheduleByWeek": {"WeeksInterval", "DaysOfWeek"},
    "ScheduleByMonth": {"DaysOfMonth", "Months"},
    "DaysOfWeek": set(task_scheduler.FULL_WEEKDAYS),
    "DaysOfMonth": {"Day"},
    "Months": set(task_scheduler.MONTHS),
    "Principals": {"Principal"},
    "Principal": set("UserId LogonType GroupId DisplayName RunLevel ProcessTokenSidType RequiredPrivileges".split()),
    "Settings": set(
        "AllowStartOnDemand RestartOnFailure MultipleInstancesPolicy DisallowStartIfOnBatteries "
        "StopIfGoingOnBatteries AllowHardTerminate StartWhenAvailable NetworkProfileName RunOnlyIfNetworkAvailable "
        "WakeToRun Enabled Hidden DeleteExpiredTaskAfter IdleSettings NetworkSettings ExecutionTimeLimit Priority "
        "RunOnlyIfIdle UseUnifiedSchedulingEngine".split()
    ),
    "RestartOnFailure": {"Interval", "Count"},
    "Actions": {"Exec"},
    "Exec": {"Command", "Arguments", "WorkingDirectory"},
}
DURATION = r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?"
VALUES = {
    "LogonType": "S4U|Password|InteractiveToken|InteractiveTokenOrPassword",
    "RunLevel": "LeastPrivilege|HighestAvailable",
    "MultipleInstancesPolicy": "Parallel|Queue|IgnoreNew|StopExisting",
    "StartBoundary": r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d",
    "Interval": DURATION,
    "Duration": DURATION,
    "ExecutionTimeLimit": DURATION,
    "Count": r"[1-9]\d?|1\d\d|2[0-4]\d|25[0-5]",
    "Priority": r"\d|10",
    "Day": r"[1-9]|[12]\d|3[01]",
    "DaysInterval": "1",
    "WeeksInterval": "1",
    "Enabled": "true",
    "StartWhenAvailable": "true|false",
    "Hidden": "false",
    "UserId": ".+",
    "Version": "[0-9a-f]{16}",
}
USERS = st.sampled_from(["dbfleet", "S-1-5-18", "S-1-5-19", "ACME\\backups$", "ACME\\app"])


def name_of(element: Xml.Element) -> str:
    space, _brace, name = element.tag.removeprefix("{").partition("}")
    assert space == task_scheduler.NAMESPACE
    return name


def check_element(element: Xml.Element) -> None:
    """That the schema allows an element, its children, their order and their values."""
    name, children = name_of(element), [name_of(child) for child in element]
    if name in SEQUENCES:
        places = [SEQUENCES[name].index(child) for child in children]
        assert places == sorted(set(places)), children
        assert len([child for child in children if child.startswith("ScheduleBy")]) == 1
    else:
        assert set(children) <= ALL.get(name, set()), (name, children)
        assert len(children) == len(set(children)) or name == "Triggers"
    if name in VALUES:
        assert re.fullmatch(VALUES[name], element.text or ""), (name, element.text)
    for child in element:
        check_element(child)


def task_text(calendar: Any, **options: Any) -> str:
    given_options = {
        "description": "dbfleet: backup of <app>",
        "program": r"C:\Program Files\Python\python.exe",
        "arguments": [r"C:\ProgramData\db fleet\dbfleet.pyz", "backup", "--job", "app"],
        "folder": r"C:\ProgramData\dbfleet",
        "user": "S-1-5-18",
        "window": 240,
        "catch_up": True,
        "priority": 7,
        **options,
    }
    return str(task_scheduler.task_xml(calendar, **given_options))


def task(text: str, **options: Any) -> Xml.Element:
    """A task after the way that it takes: as UTF-16 in a file, read by a parser that believes its first line."""
    return Xml.fromstring(task_text(calendars.parse(text), **options).encode("utf-16"))


def found(root: Xml.Element, path: str) -> Xml.Element | None:
    return root.find("/".join(f"{{{task_scheduler.NAMESPACE}}}{part}" for part in path.split("/")))


def text_of(root: Xml.Element, path: str) -> str:
    element = found(root, path)
    assert element is not None, path
    return element.text or ""


def by_task(root: Xml.Element) -> set[tuple[int, ...]]:
    """(day of month, weekday, hour, minute) at which a task runs; 0 and -1 stand for all days."""
    trigger = found(root, "Triggers/CalendarTrigger")
    assert trigger is not None
    hour, minute = map(int, text_of(trigger, "StartBoundary")[11:16].split(":"))
    every = re.fullmatch(r"PT(\d+)M", text_of(trigger, "Repetition/Interval")) if found(trigger, "Repetition") else None
    starts = range(hour * 60 + minute, hour * 60 + minute + calendars.DAY, int(every[1]) if every else calendars.DAY)
    day = int(text_of(trigger, "ScheduleByMonth/DaysOfMonth/Day")) if found(trigger, "ScheduleByMonth") else 0
    weekday = -1
    days = found(trigger, "ScheduleByWeek/DaysOfWeek")
    if days is not None:
        [only] = days
        weekday = task_scheduler.FULL_WEEKDAYS.index(name_of(only))
    return {(day, weekday, *divmod(start % calendars.DAY, 60)) for start in starts}


@given(TEXTS, st.integers(0, 2000), st.text(max_size=5), USERS, st.integers(0, 3000), st.integers(0, 255))
def test_a_task_is_what_the_schema_takes_and_says_the_times_of_cron(
    text: str, spread: int, name: str, user: str, window: int, retries: int
) -> None:
    calendar = calendars.spread(calendars.parse(text), spread, name)
    root = Xml.fromstring(task_text(calendar, user=user, window=window, retries=retries).encode("utf-16"))
    check_element(root)
    months = found(root, "Triggers/CalendarTrigger/ScheduleByMonth/Months")
    assert months is None or len(months) == 12
    assert by_task(root) == by_cron(calendars.cron(calendar))


def test_the_file_is_utf_16_as_its_first_line_says() -> None:
    data = task_text(calendars.parse("hourly"), description="Sicherung: büro").encode("utf-16")
    assert data[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert text_of(Xml.fromstring(data), "RegistrationInfo/Description") == "Sicherung: büro"


def test_a_task_of_windows() -> None:
    root = task("daily 02:05", retries=3, retry_after=10)
    trigger = "Triggers/CalendarTrigger"
    assert text_of(root, f"{trigger}/StartBoundary").endswith("T02:05:00")
    assert text_of(root, f"{trigger}/ScheduleByDay/DaysInterval") == "1"
    assert text_of(root, "Settings/StartWhenAvailable") == "true"
    assert text_of(root, "Settings/MultipleInstancesPolicy") == "IgnoreNew"
    assert text_of(root, "Settings/ExecutionTimeLimit") == "PT250M"  # by then it has ended itself
    assert text_of(root, "Settings/RestartOnFailure/Interval") == "PT10M"
    assert text_of(root, "Settings/RestartOnFailure/Count") == "3"
    assert text_of(root, "Principals/Principal/RunLevel") == "LeastPrivilege"
    assert text_of(root, "Actions/Exec/Command") == r"C:\Program Files\Python\python.exe"
    assert text_of(root, "Actions/Exec/Arguments") == r'"C:\ProgramData\db fleet\dbfleet.pyz" backup --job app'
    assert text_of(root, "Actions/Exec/WorkingDirectory") == r"C:\ProgramData\dbfleet"


def test_a_version_is_of_everything_in_a_task() -> None:
    def version(**options: Any) -> str:
        return text_of(task("daily 02:05", **options), "RegistrationInfo/Version")

    others = [
        {"user": "S-1-5-19"},
        {"window": 1},
        {"retries": 1},
        {"arguments": ["verify"]},
        {"run_level": "highest"},
        {"description": "x"},
    ]
    assert version() == version()
    assert len({version(), *(version(**other) for other in others)}) == len(others) + 1
    assert text_of(task("hourly", run_level="highest"), "Principals/Principal/RunLevel") == "HighestAvailable"
    with pytest.raises(task_scheduler.TaskError, match="'root' is none of limited, highest"):
        task("hourly", run_level="root")


def test_what_is_not_asked_for_is_not_in_a_task() -> None:
    root = task("hourly", window=0, catch_up=False)
    assert text_of(root, "Settings/ExecutionTimeLimit") == "PT0S"  # no end
    assert text_of(root, "Settings/StartWhenAvailable") == "false"
    assert found(root, "Settings/RestartOnFailure") is None


@pytest.mark.parametrize(
    ("user", "logon"),
    [("dbfleet", "S4U"), ("ACME\\app", "S4U"), ("ACME\\backups$", "Password"), ("S-1-5-19", None)],
)
def test_no_account_needs_a_password_of_ours(user: str, logon: str | None) -> None:
    root = task("hourly", user=user)
    element = found(root, "Principals/Principal/LogonType")
    assert (None if element is None else element.text) == logon
    assert text_of(root, "Principals/Principal/UserId") == user


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("every 15m", "Repetition/Interval", "PT15M"),
        ("every 6h", "Repetition/Interval", "PT360M"),
        ("weekly sun 03:00", "ScheduleByWeek/DaysOfWeek/Sunday", ""),
        ("monthly 5 03:00", "ScheduleByMonth/DaysOfMonth/Day", "5"),
        ("monthly 5 03:00", "ScheduleByMonth/Months/February", ""),
    ],
)
def test_calendars_of_windows(text: str, path: str, value: str) -> None:
    assert text_of(task(text), f"Triggers/CalendarTrigger/{path}") == value


def test_windows_takes_no_words_of_others() -> None:
    with pytest.raises(calendars.CalendarError, match="cannot be said to the Task Scheduler"):
        task("cron 0 2 * * *")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        (r"C:\ends with\ ".strip(), '"C:\\ends with\\\\"'),
        ('say "hi"', r'"say \"hi\""'),
        (r"back\"slash", r'"back\\\"slash"'),
    ],
)
def test_arguments_of_windows(argument: str, expected: str) -> None:
    assert task_scheduler.quoted(argument) == expected


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=20))
def test_arguments_are_taken_apart_as_they_were_put_together(argument: str) -> None:
    # Python puts a command line together by the same rules, which are those of the C runtime.
    # It puts quotes around an argument only where there is a space in it.
    ours = task_scheduler.quoted(argument)
    if ours.startswith('"'):
        assert f'" {ours[1:]}' == subprocess.list2cmdline([" " + argument])
    else:
        assert ours == argument == subprocess.list2cmdline([argument])


# --- a batch file ---------------------------------------------------------------------------------


def test_a_batch_file_is_run_by_the_shell() -> None:
    root = task("hourly", program=r"C:\Program Files\dbfleet\run.bat", arguments=["sync", "--to", "file:///D:/a%20b&c"])
    assert text_of(root, "Actions/Exec/Command") == r"%SystemRoot%\System32\cmd.exe"
    line = r'/d /s /c ""C:\Program Files\dbfleet\run.bat" sync --to "file:///D:/a%20b&c""'
    assert text_of(root, "Actions/Exec/Arguments") == line


def test_a_batch_file_writes_what_it_says_into_a_log() -> None:
    files = plugin("filter.scheduled_files").scheduled_files(
        [{"name": "app", "verify": False}],
        host="db1",
        kind="task_scheduler",
        defaults={"user": "dbfleet", "backup": "daily 02:00"},
        command=[r"C:\Program Files\dbfleet\dbfleet.bat"],
        lock_wait="1h",
        log=r"C:\logs & more",
    )
    [text] = files.values()
    line = text_of(Xml.fromstring(text.encode("utf-16")), "Actions/Exec/Arguments")
    words = "backup --job app --limits-lock-wait 1h"
    assert line == (
        rf'/d /s /c ""C:\Program Files\dbfleet\dbfleet.bat" {words} >"C:\logs & more\dbfleet-backup-app.log" 2>&1"'
    )


@pytest.mark.parametrize("word", ['say "hi"', "%PATH%", "%CD%", "50%", "a%%b"])
def test_what_the_shell_would_change_is_refused(word: str) -> None:
    with pytest.raises(task_scheduler.TaskError, match=re.escape(repr(word))):
        task("hourly", program="run.bat", arguments=[word])


def test_a_refused_word_names_the_job() -> None:
    files = plugin("filter.scheduled_files")
    options = {"host": "db1", "kind": "task_scheduler", "defaults": {"user": "dbfleet"}, "command": ["run.bat"]}
    job = {"name": "app", "sync": {"at": "hourly", "to": "file:///D:/%C3%BC"}}
    with pytest.raises(files.AnsibleFilterError, match=r"sync of app: .*%C3") as caught:
        files.scheduled_files([job], **options)
    assert "\n" not in str(caught.value)
