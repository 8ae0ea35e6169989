"""The runs of a host: what each touches follows from its job, and a mistake names the job."""

from __future__ import annotations

import json
import plistlib
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from test_calendars import plugin

schedules = plugin("plugin_utils.schedules")
task_scheduler = plugin("plugin_utils.task_scheduler")
calendars = plugin("plugin_utils.calendars")

DEFAULTS = {"user": "dbfleet", "backup": "daily 01:00", "verify": "weekly sun 03:00", "prune": "", "sync": ""}


def runs(*jobs: Any, kind: str = "systemd", **options: Any) -> list[dict[str, Any]]:
    return schedules.scheduled_runs(jobs, **{"host": "db1", "kind": kind, "defaults": DEFAULTS, **options})


def refusal(*jobs: Any, **options: Any) -> str:
    with pytest.raises(schedules.ScheduleError) as caught:
        runs(*jobs, **options)
    return str(caught.value)


def test_defaults_and_what_a_job_says_itself() -> None:
    found = runs({"name": "app", "backup": "every 4h", "prune": "daily 05:00"}, {"name": "small", "verify": False})
    assert [(run["name"], run["calendar"]) for run in found] == [
        ("dbfleet-backup-app", "*-*-* 00/4:00:00"),
        ("dbfleet-verify-app", "Sun *-*-* 03:00:00"),
        ("dbfleet-prune-app", "*-*-* 05:00:00"),
        ("dbfleet-backup-small", "*-*-* 01:00:00"),
    ]
    assert {run["user"] for run in found} == {"dbfleet"}


def test_a_job_that_does_not_say_what_to_keep_is_not_pruned() -> None:
    defaults = {**DEFAULTS, "verify": "", "prune": "daily 05:00"}
    installed = {"app": '{"retention": {"keep_daily": 7}}', "small": "{}", "kept": '{"retention": {"keep_last": 1}}'}
    found = runs("app", "small", {"name": "kept", "prune": ""}, defaults=defaults, installed=installed)
    assert [run["name"] for run in found if run["verb"] == "prune"] == ["dbfleet-prune-app"]


def test_the_words_of_the_command() -> None:
    job = {
        "name": "app",
        "backup": {"at": "hourly", "type": "incremental"},
        "verify": {"at": "hourly", "backup": "all", "level": "restore"},
        "prune": "hourly",
        "sync": {"at": "hourly", "to": "file:///mnt/off%20site"},
    }
    assert [run["arguments"] for run in runs(job)] == [
        ["backup", "--job", "app", "--type", "incremental"],
        ["verify", "all", "--job", "app", "--level", "restore"],
        ["prune", "--job", "app"],
        ["sync", "--job", "app", "--to", "file:///mnt/off%20site"],
    ]


def test_a_run_may_write_where_its_job_writes() -> None:
    installed = {
        "source": {"url": "sqlite:////srv/my%20app/app.db?mode=rw"},
        "repository": {"url": "file:///mnt/backups/app"},
        "retention": {"archive_to": "/mnt/archive"},
    }
    job = {"name": "app", "writable": ["/opt/check"], "sync": {"at": "hourly", "to": "file:///mnt/off%20site"}}
    found = {run["verb"]: run for run in runs(job, installed={"app": json.dumps(installed)})}
    places = ["/mnt/archive", "/mnt/backups/app", "/opt/check", "/srv/my app"]
    assert found["backup"]["writable"] == places
    assert found["sync"]["writable"] == sorted([*places, "/mnt/off site"])
    assert not any(found["backup"][need] for need in ("network", "home", "temporary"))


@pytest.mark.parametrize(
    ("source", "repository", "needs"),
    [
        ("postgresql://app@db1/app", "/backups", {"network"}),
        ("sqlite:////home/app/app.db", "/backups", {"home"}),
        ("sqlite:////srv/app.db", "/tmp/backups", {"temporary"}),
        ("sqlite:////srv/app.db", "s3://bucket/app", {"network"}),
        ("sqlite:///relative.db", "relative", set()),
    ],
)
def test_what_a_run_needs(source: str, repository: str, needs: set[str]) -> None:
    installed = json.dumps({"source": {"url": source}, "repository": {"url": repository}})
    (run, _verify) = runs({"name": "app"}, installed={"app": installed})
    assert {need for need in ("network", "home", "temporary") if run[need]} == needs


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({}, "needs the name"),
        ({"name": "../app"}, "needs the name"),
        ({"name": "app; rm"}, "needs the name"),
        ("App", "needs the name"),
        (7, "needs the name"),
        ({"name": "app", "backp": "hourly"}, "backp of app is none of"),
        ({"name": "app", "backup": "sometimes"}, "backup of app: 'sometimes' is no calendar"),
        ({"name": "app", "backup": {"type": "full"}}, "does not say when"),
        ({"name": "app", "backup": {"at": "hourly", "level": "restore"}}, "level is none of at, type"),
        ({"name": "app", "verify": {"at": "hourly", "level": "deep"}}, "level is one of"),
        ({"name": "app", "verify": {"at": "hourly", "backup": "--json"}}, "not begin with -"),
        ({"name": "app", "sync": "hourly"}, "does not say where to"),
        ({"name": "app", "sync": {"at": "hourly", "to": "a\nUser=root"}}, "printable"),
        ({"name": "app", "backup": "cron 0 1 * * *"}, "backup of app: 'cron 0 1 * * *' cannot be said to systemd"),
        ({"name": "app", "writable": "/srv"}, "writable of app is a list"),
        ({"name": "app", "user": "root\nExecStart=/bin/sh"}, "user of app"),
        ({"name": "app", "sync": {"at": "hourly", "to": "sftp://u:secret@h/b"}}, "sync of app: every user"),
    ],
)
def test_a_mistake_names_the_job(job: Any, said: str) -> None:
    message = refusal(job)
    assert said in message and "secret" not in message


def test_two_of_one_name_and_a_broken_job_file_are_refused() -> None:
    assert "stands there twice" in refusal({"name": "app"}, {"name": "app"})
    assert "schedule_spread: 'x' is no length" in refusal({"name": "app"}, spread="x")
    for text in ("{", "[]", '{"source": "postgresql://u:secret@db/app"}'):
        message = refusal({"name": "app"}, installed={"app": text})
        assert "job file of app" in message and "secret" not in message


def test_the_file_of_launchd() -> None:
    files = plugin("filter.scheduled_files").scheduled_files(
        [{"name": "app", "verify": False}],
        host="db1",
        kind="launchd",
        defaults=DEFAULTS,
        command=["/usr/local/bin/dbfleet"],
        window="4h",
        nice=10,
    )
    plist = plistlib.loads(files["dbfleet-backup-app"].encode())
    assert plist["Label"] == "org.dbfleet.backup.app"
    line = ["/usr/local/bin/dbfleet", "backup", "--job", "app", "--limits-timeout", "240m"]
    assert plist["ProgramArguments"] == line
    assert plist["StartCalendarInterval"] == [{"Hour": 1, "Minute": 0}]
    assert (plist["UserName"], plist["Nice"], plist["LowPriorityIO"]) == ("dbfleet", 10, True)


# --- the Task Scheduler ---------------------------------------------------------------------


def task(text: str, **options: Any) -> Xml.Element:
    given = {
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
    text = task_scheduler.task_xml(calendars.parse(text), **given)
    return Xml.fromstring(text.partition("\n")[2])


def text_of(root: Xml.Element, path: str) -> str:
    found = root.find("/".join(f"{{{task_scheduler.NAMESPACE}}}{part}" for part in path.split("/")))
    assert found is not None, path
    return found.text or ""


def test_a_task_of_windows() -> None:
    root = task("daily 02:05")
    trigger = "Triggers/CalendarTrigger"
    assert text_of(root, f"{trigger}/StartBoundary").endswith("T02:05:00")
    assert text_of(root, f"{trigger}/ScheduleByDay/DaysInterval") == "1"
    assert text_of(root, "Settings/StartWhenAvailable") == "true"
    assert text_of(root, "Settings/MultipleInstancesPolicy") == "IgnoreNew"
    assert text_of(root, "Settings/ExecutionTimeLimit") == "PT240M"
    assert text_of(root, "Principals/Principal/LogonType") == "ServiceAccount"
    assert text_of(root, "Actions/Exec/Command") == r"C:\Program Files\Python\python.exe"
    assert text_of(root, "Actions/Exec/Arguments") == r'"C:\ProgramData\db fleet\dbfleet.pyz" backup --job app'
    assert text_of(root, "Actions/Exec/WorkingDirectory") == r"C:\ProgramData\dbfleet"


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
    with pytest.raises(calendars.CalendarError, match="Task Scheduler"):
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
