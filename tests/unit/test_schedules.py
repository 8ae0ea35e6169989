"""The runs of a host: what each touches follows from its job, and a mistake names the job."""

from __future__ import annotations

import json
import plistlib
from typing import Any

import pytest
from test_calendars import plugin

schedules = plugin("plugin_utils.schedules")

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
        "sync": {"at": "hourly", "to": "sftp://me@far/b", "to_identity_file": "/etc/dbfleet/far.key"},
    }
    assert [run["arguments"] for run in runs(job)] == [
        ["backup", "--job", "app", "--type", "incremental"],
        ["verify", "all", "--job", "app", "--level", "restore"],
        ["prune", "--job", "app"],
        ["sync", "--job", "app", "--to", "sftp://me@far/b", "--to-identity-file", "/etc/dbfleet/far.key"],
    ]


@pytest.mark.parametrize("kind", ["systemd", "cron", "launchd", "task_scheduler"])
def test_every_scheduler_refuses_the_words_of_another_in_one_line(kind: str) -> None:
    words = "cron 0 1 * * *" if kind != "cron" else "oncalendar daily"
    message = refusal({"name": "app", "backup": words}, kind=kind)
    assert "backup of app" in message and "cannot be said to" in message and "\n" not in message


def test_a_run_may_write_where_its_job_writes() -> None:
    installed = {
        "source": {"url": "sqlite:////srv/my%20app/app.db?mode=rw"},
        "repository": {"url": "file:///mnt/backups/app"},
        "retention": {"archive_to": "/mnt/archive"},
        "encryption": {"gpg_home": "/etc/dbfleet/gnupg"},
    }
    job = {"name": "app", "writable": ["/opt/check"], "sync": {"at": "hourly", "to": "file:///mnt/off%20site"}}
    found = {run["verb"]: run for run in runs(job, installed={"app": json.dumps(installed)})}
    places = ["/etc/dbfleet/gnupg", "/mnt/archive", "/mnt/backups/app", "/opt/check", "/srv/my app"]
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
        ("sqlite+aiosqlite:////home/app/app.db", "/backups", {"home"}),
    ],
)
def test_what_a_run_needs(source: str, repository: str, needs: set[str]) -> None:
    installed = json.dumps({"source": {"url": source}, "repository": {"url": repository}})
    (run, _verify) = runs({"name": "app"}, installed={"app": installed})
    assert {need for need in ("network", "home", "temporary") if run[need]} == needs


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({"source": {"url": "mysql://app@localhost/app?unix_socket=/tmp/mysql.sock"}}, {"network", "temporary"}),
        ({"source": {"url": "postgresql://app@/app?host=%2Fvar%2Ftmp"}}, {"network", "temporary"}),
        ({"source": {"url": "postgresql://app@db1/tmp", "password_file": "/root/secret"}}, {"network", "home"}),
        ({"encryption": {"method": "age", "identity_file": "/home/me/key"}}, {"home"}),
        ({"proof": {"command": ["/home/app/bin/check", "--fast"], "queries": ["SELECT 1"]}}, {"home"}),
        ({"proof": {"queries": ["SELECT '/home/'"]}, "limits": {"chain_length": 3}}, set()),
    ],
)
def test_a_run_sees_the_places_that_its_file_names(more: dict[str, Any], needs: set[str]) -> None:
    file = {"source": {"url": "sqlite:////srv/app.db"}, "repository": {"url": "/backups"}, **more}
    (run, _verify) = runs({"name": "app"}, installed={"app": json.dumps(file)})
    assert {need for need in ("network", "home", "temporary") if run[need]} == needs
    assert not any(path.startswith(("/home", "/root", "/tmp", "/var/tmp")) for path in run["writable"])


@pytest.mark.parametrize(
    ("url", "method", "copies"),
    [
        ("mysql://dbfleet@localhost/?unix_socket=/run/s", "physical", True),
        ("MariaDB://dbfleet@localhost", "physical", True),
        ("mysql+pymysql://dbfleet@localhost", "physical", True),
        ("mysql://dbfleet@localhost/app", "logical", False),
        ("postgresql://dbfleet@localhost", "physical", False),
        ("sqlite:////srv/app.db", "physical", False),
    ],
)
def test_only_backups_of_mysql_files_read_what_is_the_servers(url: str, method: str, copies: bool) -> None:
    installed = json.dumps({"method": method, "source": {"url": url}, "repository": {"url": "/backups"}})
    backup, verify = runs({"name": "app"}, installed={"app": installed})
    assert (backup["verb"], backup["copies_files"], verify["copies_files"]) == ("backup", copies, False)


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


# --- log archives -----------------------------------------------------------------------------


def archivers(*jobs: Any, kind: str = "systemd", **files: Any) -> Any:
    installed = {name: json.dumps(file) for name, file in files.items()}
    return schedules.archivers(jobs, kind=kind, defaults=DEFAULTS, installed=installed)


def test_a_log_archive_is_a_service_of_its_own() -> None:
    file = {
        "method": "physical",
        "source": {"url": "postgresql://dbfleet@127.0.0.1"},
        "repository": {"url": "file:///mnt/backups"},
        "log_archive": {"spool": "/srv/spool"},
    }
    job = {"name": "cluster", "log_archive": True}
    assert archivers("app", job, {"name": "small", "log_archive": False}, cluster=file) == [
        {
            "name": "dbfleet-archiver-cluster",
            "job": "cluster",
            "arguments": ["log-archive", "run", "--job", "cluster"],
            "user": "dbfleet",
            "writable": ["/mnt/backups", "/srv/spool"],
            "network": True,
            "home": False,
            "temporary": False,
        }
    ]
    assert {run["verb"] for run in runs(job)} == {"backup", "verify"}


def test_a_log_archive_goes_with_logical_backups_of_a_whole_mysql_server() -> None:
    file = {"source": {"url": "mysql://dbfleet@127.0.0.1/", "databases": ["*"]}, "repository": {"url": "/mnt/backups"}}
    (service,) = archivers({"name": "cluster", "log_archive": True}, cluster=file)
    assert service["writable"] == ["/mnt/backups"] and service["network"]


def test_a_log_archive_is_a_daemon_of_launchd() -> None:
    def daemon(**file: Any) -> Any:
        files = plugin("filter.scheduled_files").scheduled_files(
            [{"name": "cluster", "log_archive": True, "verify": False}],
            host="db1",
            kind="launchd",
            defaults=DEFAULTS,
            installed={"cluster": json.dumps({"method": "physical", **file})},
            command=["/usr/local/bin/dbfleet"],
            window="4h",
        )
        assert set(files) == {"dbfleet-backup-cluster", "dbfleet-archiver-cluster"}
        return plistlib.loads(files["dbfleet-archiver-cluster"].encode())

    plist = daemon()
    assert plist["Label"] == "org.dbfleet.archiver.cluster" and plist["UserName"] == "dbfleet"
    assert plist["ProgramArguments"] == ["/usr/local/bin/dbfleet", "log-archive", "run", "--job", "cluster"]
    assert plist["KeepAlive"] and plist["RunAtLoad"] and plist["ThrottleInterval"] == 30
    assert "StartCalendarInterval" not in plist
    assert plist == daemon() != daemon(log_archive={"max_lag": 5})


@pytest.mark.parametrize(
    ("said", "kind", "file", "words"),
    [
        (True, "cron", {"method": "physical"}, "cron does not keep a service running"),
        (True, "task_scheduler", {"method": "physical"}, "task_scheduler does not keep a service running"),
        (True, "systemd", {"method": "logical"}, "belongs to a job with method: physical"),
        (True, "systemd", {}, "belongs to a job with method: physical"),
        (True, "systemd", {"source": {"url": "mysql:///", "databases": ["app"]}}, "belongs to a job with"),
        (True, "systemd", {"source": {"url": "postgresql:///", "databases": ["*"]}}, "belongs to a job with"),
        ("yes", "systemd", {"method": "physical"}, "'yes' is neither true nor false"),
    ],
)
def test_a_log_archive_that_cannot_be_is_refused(said: Any, kind: str, file: Any, words: str) -> None:
    with pytest.raises(schedules.ScheduleError) as caught:
        archivers({"name": "cluster", "log_archive": said}, kind=kind, cluster=file)
    assert "log_archive of cluster" in str(caught.value) and words in str(caught.value)
