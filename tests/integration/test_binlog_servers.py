"""Whole MariaDB servers out of logical backups, brought to moments of their binary log on a server of their own."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "binlog_conformance")

from ansible_runs import PYTHON, Ansible, lay_out  # noqa: E402
from binlog_conformance import wait_until_kept  # noqa: E402
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql_copies import copied, everything  # noqa: E402
from mysql_server import Server, content, job_of, own_state  # noqa: E402
from rooms import damage  # noqa: E402
from test_binlog_recovery import History, Mark, act, found, marked  # noqa: E402
from waiting import wait_until  # noqa: E402

from dbfleet.databases.mysql.takeover import take_over_whole  # noqa: E402
from dbfleet.errors import DamagedError, DbfleetError, RefusedError, UsageError  # noqa: E402
from dbfleet.model import Job, LogSettings  # noqa: E402
from dbfleet.operations.log_status import status  # noqa: E402
from dbfleet.operations.prune import prune  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.targets import Target, target_of  # noqa: E402

__all__ = ["own_state"]

HOLE = "CREATE TABLE hole(x INT) ENGINE=BLACKHOLE"
SYSTEM = {"information_schema", "performance_schema", "mysql", "sys"}


def whole(server: Server, repository: Path) -> Job:
    """A logical backup of everything on the server, whose log is kept."""
    job = job_of(server.url(""), repository, log_archive=LogSettings(max_lag=1))
    assert job.source is not None
    return replace(job, source=replace(job.source, databases=("*",)))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Two files of log with every kind of statement, a database that comes later, events and accounts."""
    chance = random.Random(12)
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBFLEET_STATE_DIR", str(folder / "state"))
        server = copied("--binlog-format=ROW", "--event-scheduler=ON")
        try:
            yield _history(server, whole(server, folder / "backups"), chance)
        finally:
            server.remove()


def _history(server: Server, job: Job, chance: random.Random) -> History:
    tick = "CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO ticks(at) VALUES(now(6))"
    server.script("app", "CREATE TABLE ticks(id INT PRIMARY KEY AUTO_INCREMENT, at TIMESTAMP(6))", tick)
    server.script(
        "app", "CREATE TRIGGER noted AFTER DELETE ON items FOR EACH ROW INSERT INTO ticks(at) VALUES('2001-01-01')"
    )
    marks = []
    with archiver(job):
        act(server, 0, chance)  # before the backup: it is not to come twice
        made(job)
        for number in range(1, 25):
            act(server, number, chance)
            if number == 12:
                server.ask("FLUSH BINARY LOGS")
                time.sleep(2.2)  # so that the moment can be told apart, and an event runs
        server.script("", "CREATE DATABASE later", "CREATE TABLE later.t(x INT)", "INSERT INTO later.t VALUES(7)")
        server.script("app", "ALTER EVENT tick DISABLE")
        marks.append(marked(server))
        time.sleep(1.1)
        server.script("app", "DELETE FROM items")
        server.script("", "DROP DATABASE later")
        wait_until_kept(job, server)
    return History(server, job, marks)


@contextmanager
def empty(*options: str) -> Iterator[Server]:
    """A server to restore to. It runs no events of its own accord unless ``options`` say so."""
    server = Server("--server-id=9", *options)
    try:
        yield server
    finally:
        server.remove()


def to(server: Server, job: Job, target: Target | None) -> Any:
    assert target is not None
    report = restore(job, "latest", to=server.url(""), target=target)
    assert report.proven and report.recovered is not None
    return report


def assert_is(server: Server, mark: Mark) -> None:
    assert everything(server) == mark.content
    assert server.ask("SELECT x FROM later.t") in ([(7,)], [("7",)])


def test_a_server_comes_back_to_a_position_a_transaction_and_just_before_the_damage(history: History) -> None:
    job, (mark,) = history.job, history.marks
    moment = datetime.fromtimestamp(mark.second, timezone.utc)
    delete = found(job, ["delete"], "app.items")[-1]
    targets = (
        target_of(position=mark.position),
        target_of(gtid=mark.gtid),
        Target("time", "", moment),
        target_of(gtid=delete["transaction"], inclusive=False),
    )
    for target in targets:
        with empty("--event-scheduler=ON") as server:
            report = to(server, job, target)
            assert_is(server, mark)
            assert report.recovered["stopped"].startswith("at binlog.")
            assert server.ask("SELECT @@event_scheduler") == [("ON",)]
            assert any("SELECT" in str(row) for row in server.ask("SHOW GRANTS FOR u9@localhost"))


def test_events_are_off_before_they_are_there(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ran between its restore and the log would do what the log tells once more."""
    seen = []

    def take_over(all_built: Any, users: Any) -> Any:
        seen.append(all_built[0].session.variable("event_scheduler"))
        return take_over_whole(all_built, users)

    monkeypatch.setattr("dbfleet.databases.mysql.restoration.take_over_whole", take_over)
    with empty("--event-scheduler=ON") as server:
        to(server, history.job, Target("end", "latest"))
        assert seen == ["OFF"] and server.ask("SELECT @@event_scheduler") == [("ON",)]


def test_all_the_log_there_is(history: History) -> None:
    with empty() as server:
        to(server, history.job, Target("end", "latest"))
        assert content(server, "app") == everything(history.server)
        assert "later" not in server.databases()


def test_the_playbook_does_it(history: History, tmp_path: Path) -> None:
    job, (mark,) = history.job, history.marks
    assert job.source is not None
    with empty() as server:
        variables = {
            "dbfleet_jobs": [
                {
                    "name": "app",
                    "source": {"url": job.source.url, "databases": ["*"]},
                    "repository": {"url": job.repository.url},
                    "limits": {"min_free": "0"},
                }
            ],
            "dbfleet_hosts": "localhost",
            "ansible_python_interpreter": PYTHON,
            "dbfleet_to": server.url(""),
            "dbfleet_target": {"gtid": mark.gtid},
        }
        ansible = Ansible(tmp_path, lay_out(tmp_path / "collections"))
        ansible.playbook("dbfleet.recovery.restore", "-e", json.dumps(variables), "--check").good()
        assert "app" not in server.databases()
        ansible.playbook("dbfleet.recovery.restore", "-e", json.dumps(variables)).good()
        assert_is(server, mark)


def test_status_and_prune_know_that_the_log_is_needed(history: History) -> None:
    told = status(history.job)["log_archive"]
    (reach,) = told["backups"]
    assert reach["missing"] is None and not [one for one in told["findings"] if "take" in one["problem"]]
    prune(history.job)
    assert status(history.job)["log_archive"]["backups"] == told["backups"]


def refusal(job: Job, server: Server, target: Target, *, database: str = "", **options: Any) -> DbfleetError:
    """What a restore to ``target`` raises; it leaves nothing."""

    def there() -> Any:
        return {name: content(server, name) for name in server.databases() - SYSTEM}

    before = there()
    with pytest.raises(DbfleetError) as caught:
        restore(job, "latest", to=server.url(database), target=target, **options)
    assert there() == before
    return caught.value


def test_what_cannot_be_done_is_refused_and_leaves_nothing(history: History) -> None:
    job, end = history.job, Target("end", "latest")
    own = refusal(job, history.server, end)
    assert isinstance(own, RefusedError) and "is the server that wrote the log" in own.message
    with empty() as server:
        assert isinstance(refusal(job, server, end, database="app"), UsageError)
        assert isinstance(refusal(job, server, end, tables=["items"], database="app"), UsageError)
        assert isinstance(refusal(job, server, Target("gtid", "0-1-99999")), RefusedError)
        assert isinstance(refusal(job, server, Target("lsn", "0/1")), UsageError)
        server.script("", "CREATE DATABASE other", "CREATE TABLE other.t(x INT)")
        full = refusal(job, server, end, replace=True)
        assert isinstance(full, RefusedError) and "has databases (other)" in full.message
    with empty("--gtid-strict-mode=ON") as server:
        assert "gtid_strict_mode" in refusal(job, server, end).message


def test_damaged_log_leaves_nothing(history: History, tmp_path: Path) -> None:
    backups = tmp_path / "copy"
    shutil.copytree(history.job.repository.url, backups)
    damaged = sorted(backups.glob("app_log/*/*.zst"))[-1]
    damage(damaged, "middle")
    with empty() as server:
        error = refusal(whole(history.server, backups), server, Target("end", "latest"))
    assert isinstance(error, DamagedError) and damaged.name in error.message


def test_a_statement_that_cannot_be_applied_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    server = copied("--binlog-format=ROW", "--plugin-load-add=ha_blackhole")
    try:
        job = whole(server, tmp_path / "backups")
        with archiver(job):
            made(job)
            server.script("app", "DELETE FROM items", "SET sql_mode = 'NO_ENGINE_SUBSTITUTION'", HOLE)
            wait_until_kept(job, server)
        with empty() as other:
            error = refusal(job, other, Target("end", "latest"))
            assert isinstance(error, RefusedError) and "Unknown storage engine" in error.message
            assert other.databases() == SYSTEM
    finally:
        server.remove()


def test_a_server_that_dies_under_the_log_is_told_and_has_to_be_emptied(tmp_path: Path) -> None:
    server = copied("--binlog-format=ROW")
    try:
        job = whole(server, tmp_path / "backups")
        with archiver(job):
            made(job)
            for number in range(30):
                server.script("app", f"CREATE TABLE n{number} AS SELECT seq, repeat('x', 200) AS t FROM seq_1_to_20000")
            wait_until_kept(job, server)
        with empty("--event-scheduler=ON") as other:

            def kill_it() -> None:
                asked = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'n3'"
                wait_until(lambda: other.ask(asked))
                other.kill()

            thread = threading.Thread(target=kill_it)
            thread.start()
            with pytest.raises(DbfleetError) as caught:
                to(other, job, Target("end", "latest"))
            thread.join()
            assert "the log that follows" in caught.value.message or "stopped reading" in caught.value.message
            assert "could not be removed" in caught.value.message and "before another try" in caught.value.remedy
            other.start()
            again = refusal(job, other, Target("end", "latest"))
            assert isinstance(again, RefusedError) and "has databases (app" in again.message
    finally:
        server.remove()


def test_log_does_not_begin_with_less_than_a_whole_server(tmp_path: Path) -> None:
    """A backup of one database has a position as well, but the log may name any other database."""
    server = copied("--binlog-format=ROW")
    try:
        job = job_of(server.url("app"), tmp_path / "backups", log_archive=LogSettings(max_lag=1))
        with archiver(job):
            made(job)
            server.script("app", "DELETE FROM items WHERE id > 200")
            wait_until_kept(job, server)
        with empty() as other:
            error = refusal(job, other, Target("end", "latest"))
        assert isinstance(error, RefusedError) and "a logical one of a whole server" in error.remedy
    finally:
        server.remove()
