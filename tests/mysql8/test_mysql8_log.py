"""The binary log of MySQL 8.0: kept as it grows, searched, and applied to a server of its own."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("mysql_server", "binlog_conformance")

import mysql8_server  # noqa: E402
from binlog_conformance import BinlogConformance, BinlogLab, position, wait_until_kept  # noqa: E402
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql8_server import Mysql8, job_for  # noqa: E402
from mysql_server import content, own_state  # noqa: E402

from dbfleet.databases.logs import Wanted  # noqa: E402
from dbfleet.errors import RefusedError  # noqa: E402
from dbfleet.model import Job, LogSettings, Repository  # noqa: E402
from dbfleet.operations.log_search import find  # noqa: E402
from dbfleet.operations.log_status import status  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.targets import Target, target_of  # noqa: E402

__all__ = ["own_state"]

TABLES = (
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(80), amount INT)",
    "INSERT INTO items WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300)"
    " SELECT n, concat('name ', n), n * n FROM s",
    "CREATE TABLE words(id INT PRIMARY KEY AUTO_INCREMENT, t TEXT, at TIMESTAMP(6) DEFAULT now(6))",
    "CREATE TRIGGER noted AFTER DELETE ON items FOR EACH ROW INSERT INTO words(t) VALUES(concat('gone ', OLD.id))",
    "CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO words(t) VALUES('tick')",
)
STEPS: tuple[tuple[str, ...], ...] = (
    ("UPDATE items SET amount = amount + 1, name = concat(name, 'é') WHERE id <= 40",),
    ("DELETE FROM items WHERE id IN (3, 5)",),
    (
        "START TRANSACTION",
        "INSERT INTO items VALUES(1001, 'a ''quoted'' \\n line', NULL)",
        "SAVEPOINT s",
        "DELETE FROM words",
        "ROLLBACK TO s",
        "COMMIT",
    ),
    ("CREATE TABLE made AS SELECT id, repeat('x', 200) AS t FROM items LIMIT 50",),
    ("ALTER TABLE items ADD COLUMN more INT DEFAULT 7",),
    ("CREATE PROCEDURE p() INSERT INTO items(id) VALUES(-1)", "CALL p()"),
    ("CREATE USER u@localhost IDENTIFIED BY 'secret'", "GRANT SELECT ON app.* TO u@localhost"),
    ("SET time_zone = '+05:00'", "CREATE TABLE zoned AS SELECT CAST(now() AS DATETIME) AS at"),
    ("SET binlog_format = STATEMENT", "UPDATE items SET amount = 9 WHERE id = 9"),
    ("CREATE DATABASE later", "CREATE TABLE later.t(x INT)", "INSERT INTO later.t VALUES(7)"),
    ("SET binlog_transaction_compression = ON", "UPDATE items SET name = repeat('long ', 15) WHERE id > 100"),
)


def whole(server: Mysql8, folder: Path) -> Job:
    """A logical backup of everything on the server, whose log is kept."""
    return job_for(replace(server.source(""), databases=("*",)), folder, log_archive=LogSettings(max_lag=1))


class Mysql8Lab(BinlogLab):
    server: Mysql8

    def __init__(self, server: Mysql8) -> None:
        self.server = server

    def job(self, repository: Path) -> Job:
        return replace(whole(self.server, repository.parent), repository=Repository(str(repository)))

    def data(self) -> Path:
        return self.server.folder / "data"

    def write(self, number: int, rows: int = 200) -> None:
        seq = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})"
        self.server.script("app", f"CREATE TABLE noise{number} AS {seq} SELECT n, repeat('{number}', 50) AS t FROM s")


class TestMysql8(BinlogConformance):
    @pytest.fixture
    def lab(self) -> Iterator[BinlogLab]:
        server = mysql8_server.another()
        try:
            server.script("", "CREATE DATABASE app")
            yield Mysql8Lab(server)
        finally:
            server.remove()


@dataclass(frozen=True)
class History:
    """A server whose log is kept, a backup of it, and what it was just before the damage."""

    server: Mysql8
    job: Job
    position: str
    gtid: str
    second: int
    content: Any


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBFLEET_STATE_DIR", str(folder / "state"))
        server = mysql8_server.another("event_scheduler=ON\n")
        try:
            server.script("", "CREATE DATABASE app")
            server.script("app", *TABLES)
            yield _history(server, whole(server, folder))
        finally:
            server.remove()


def _history(server: Mysql8, job: Job) -> History:
    chance = random.Random(13)
    with archiver(job):
        server.script("app", "DELETE FROM items WHERE id = 1")  # before the backup: it is not to come twice
        made(job)
        time.sleep(1)  # so that the second before the damage is none in which the backup was made
        tag = ("SET gtid_next = 'AUTOMATIC:a_tag'",) if server.has_tags else ()
        for number, step in enumerate(STEPS):
            server.script("app", *(tag if number % 3 == 1 else ()), *step)
            if chance.random() < 0.3 or number == len(STEPS) - 2:
                server.ask("FLUSH BINARY LOGS")
        server.script("app", "ALTER EVENT tick DISABLE")
        server.script("app", *tag, "UPDATE items SET amount = -1 WHERE id = 200")
        ((executed,),) = server.ask("SELECT @@gtid_executed")
        last = re.sub(r":1-\d+(?=:a_tag)", "", str(executed)).replace(":1-", ":")
        told = position(server), last, int(time.time()), content(server, "app")
        time.sleep(1.1)
        server.script("app", "SET binlog_transaction_compression = ON", "DELETE FROM items")
        server.script("", "DROP DATABASE later")
        wait_until_kept(job, server)
    return History(server, job, *told)


def test_the_log_is_kept_and_brings_a_server_to_a_moment(history: History) -> None:
    (reach,) = status(history.job)["log_archive"]["backups"]
    assert reach["missing"] is None
    moment = datetime.fromtimestamp(history.second, timezone.utc)
    targets = (target_of(position=history.position), target_of(gtid=history.gtid), Target("time", "", moment))
    for target in targets:
        assert target is not None
        other = mysql8_server.another("event_scheduler=ON\n")
        try:
            report = restore(history.job, "latest", to=other.url(""), target=target)
            assert report.proven and report.recovered is not None
            assert content(other, "app") == history.content
            assert other.ask("SELECT x FROM later.t") == [(7,)]
            assert other.ask("SELECT @@event_scheduler") == [("ON",)]
            assert any("SELECT" in str(row) for row in other.ask("SHOW GRANTS FOR u@localhost"))
        finally:
            other.remove()


def test_what_did_the_damage_is_found_also_in_what_is_compressed(history: History) -> None:
    found = find(history.job, Wanted(frozenset(["delete"]), "app.items"))["found"]
    assert len(found) == 3 and "insert app.words" in found[-1]["changes"]  # by the trigger
    assert found[-1]["position"] == history.position
    (drop,) = find(history.job, Wanted(frozenset(["drop"])))["found"]
    assert drop["statements"] == ["DROP DATABASE later"]


def test_the_server_that_wrote_the_log_is_refused(history: History) -> None:
    with pytest.raises(RefusedError, match="is the server that wrote the log"):
        restore(history.job, "latest", to=history.server.url(""), target=Target("end", "latest"))
