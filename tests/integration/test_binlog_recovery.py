"""MariaDB servers brought back to moments of their binary log: every transaction up to there, and none behind."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "binlog_conformance")

from ansible_runs import PYTHON, Ansible, lay_out  # noqa: E402
from binlog_conformance import position, wait_until_kept  # noqa: E402
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql_copies import copied, data_of, everything, job_of, started  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import a_room, damage  # noqa: E402
from test_binlog_archive import log_job  # noqa: E402

from dbfleet.cli import main  # noqa: E402
from dbfleet.databases.logs import Wanted  # noqa: E402
from dbfleet.errors import DamagedError, DbfleetError, RefusedError, UsageError  # noqa: E402
from dbfleet.model import Job  # noqa: E402
from dbfleet.operations.log_search import find  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.targets import Target, target_of  # noqa: E402

__all__ = ["own_state"]


@dataclass(frozen=True)
class Mark:
    """What the server was at a moment of its log."""

    position: str
    gtid: str
    second: int
    content: Any


@dataclass
class History:
    """A server whose log is kept, a backup, and what it was afterwards."""

    server: Server
    job: Job
    marks: list[Mark]


def marked(server: Server) -> Mark:
    ((gtid,),) = server.ask("SELECT @@gtid_binlog_pos")
    return Mark(position(server), str(gtid), int(time.time()), everything(server))


def act(server: Server, number: int, chance: random.Random) -> None:
    """One transaction, or one statement that is none, of many kinds."""
    one = chance.randint(1, 250)
    kinds = [
        (f"UPDATE items SET amount = amount + {number}, name = concat(name, 'é') WHERE id <= {one}",),
        (f"DELETE FROM items WHERE id = {one}",),
        (f"INSERT INTO items(id, name, amount) VALUES({1000 + number}, 'a ''quoted'' \\n line', NULL)",),
        (
            "START TRANSACTION",
            f"DELETE FROM items WHERE id = {one}",
            f"INSERT INTO words VALUES({100 + number}, repeat('blob ', 3000))",
            "SAVEPOINT s",
            "DELETE FROM words",
            "ROLLBACK TO s",
            "COMMIT",
        ),
        (f"CREATE TABLE made{number} AS SELECT seq, repeat('x', 200) AS t FROM seq_1_to_50",),
        (f"ALTER TABLE items ADD COLUMN c{number} INT DEFAULT {number}",),
        (f"INSERT INTO old VALUES({1000 + number}, 'no transaction')",),
        (
            "CREATE TEMPORARY TABLE passing(x INT)",
            "INSERT INTO passing VALUES(1)",
            f"INSERT INTO `odd $ü/` SELECT {1000 + number} FROM passing",
        ),
        (f"CREATE PROCEDURE p{number}() INSERT INTO items(id) VALUES(-{number + 1})", f"CALL p{number}()"),
        (f"CREATE USER u{number}@localhost IDENTIFIED BY 'secret'", f"GRANT SELECT ON app.* TO u{number}@localhost"),
        ("SET time_zone = '+05:00'", f"CREATE TABLE zoned{number}(at TIMESTAMP) AS SELECT now() AS at"),
        ("SET binlog_format = STATEMENT", f"UPDATE items SET amount = {number} WHERE id = {one}"),
    ]
    server.script("app", *kinds[number % len(kinds)])


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """36 steps with a few new files of the log between them, the last of which is still being written."""
    chance = random.Random(11)
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBFLEET_STATE_DIR", str(folder / "state"))
        yield from _history(folder, chance)


def _history(folder: Path, chance: random.Random) -> Iterator[History]:
    server = copied("--binlog-format=ROW")
    try:
        job = log_job(server, folder / "backups")
        marks = []
        with archiver(job):
            act(server, 0, chance)  # before the backup: it is not to come twice
            made(job)
            for number in range(1, 37):
                act(server, number, chance)
                marks.append(marked(server))
                if number % 10 == 0:
                    server.ask("FLUSH BINARY LOGS")
                if number % 12 == 0:
                    time.sleep(1.1)  # so that some moments can be told apart
            server.script("app", "DELETE FROM items")
            server.script("app", "DROP TABLE words")
            wait_until_kept(job, server)
        yield History(server, job, marks)
    finally:
        server.remove()


def at(job: Job, target: Target) -> Any:
    """Everything that a server holds that was restored to ``target``."""
    with a_room() as room:
        report = restore(job, "latest", to=str(room / "data"), target=target)
        assert report.proven and report.recovered is not None
        with started(room / "data") as restored:
            return everything(restored)


@pytest.mark.parametrize("place", [0, 13, 24, 35])
def test_every_position_and_every_transaction_can_be_reached(history: History, place: int) -> None:
    mark = history.marks[place]
    assert at(history.job, target_of(position=mark.position)) == mark.content  # type: ignore[arg-type]
    assert at(history.job, target_of(gtid=mark.gtid)) == mark.content  # type: ignore[arg-type]


def test_what_is_exactly_at_the_target_can_be_left_out(history: History) -> None:
    """Each step of the history's first file ends with a transaction whose GTID the server told."""
    number = int(history.marks[14].gtid.rpartition("-")[2])
    target = target_of(gtid=f"0-1-{number}", inclusive=False)
    assert target is not None
    before = target_of(gtid=f"0-1-{number - 1}")
    assert before is not None
    assert at(history.job, target) == at(history.job, before) != history.marks[14].content


def test_a_moment_is_the_last_transaction_up_to_it(history: History) -> None:
    """A second later the history went on: all of what was written until then, and nothing of what came after."""
    mark = history.marks[23]
    moment = datetime.fromtimestamp(mark.second, timezone.utc)
    assert at(history.job, Target("time", "", moment)) == mark.content


def test_all_the_log_there_is(history: History) -> None:
    assert at(history.job, Target("end", "latest")) == everything(history.server)


def test_accounts_that_the_log_makes_are_there(history: History) -> None:
    with a_room() as room:
        restore(history.job, "latest", to=str(room / "data"), target=Target("end", "latest"))
        with started(room / "data") as restored:
            grants = restored.ask("SHOW GRANTS FOR u9@localhost")
    assert any("SELECT" in str(row) for row in grants)


def refusal(job: Job, target: Target) -> DbfleetError:
    """What a restore to ``target`` raises; it leaves nothing."""
    with a_room() as room:
        with pytest.raises(DbfleetError) as caught:
            restore(job, "latest", to=str(room / "data"), target=target)
        assert list(room.iterdir()) == []
    return caught.value


def test_what_cannot_be_reached_is_refused(history: History) -> None:
    job, mark = history.job, history.marks[14]
    file, _mark, offset = mark.position.rpartition(":")
    within = refusal(job, Target("position", f"{file}:{int(offset) - 5}"))
    assert isinstance(within, RefusedError) and "within the transaction" in within.message and offset in within.remedy
    first = history.marks[0].position.rpartition(":")[0]
    for kind, value in (
        ("position", "binlog.000999:4"),
        ("position", f"{file}:99999999"),
        ("position", f"{first}:4"),
        ("gtid", "0-1-99999"),
        ("gtid", "0-1-1"),
    ):
        assert isinstance(refusal(job, Target(kind, value)), RefusedError), value
    for moment in (datetime(2099, 1, 1, tzinfo=timezone.utc), datetime(2001, 1, 1, tzinfo=timezone.utc)):
        assert isinstance(refusal(job, Target("time", "", moment)), RefusedError)
    for target in (
        Target("lsn", "0/1"),
        Target("xid", "7"),
        Target("name", "x"),
        Target("gtid", mark.gtid, action="pause"),
        Target("gtid", mark.gtid, timeline=2),
    ):
        assert isinstance(refusal(job, target), UsageError), target


def test_damaged_log_is_found_and_leaves_nothing(history: History, tmp_path: Path) -> None:
    backups = tmp_path / "copy"
    shutil.copytree(history.job.repository.url, backups)
    job = job_of(history.server, backups, proof=history.job.proof)
    damaged = sorted(backups.glob("app_log/*/*.zst"))[-2]
    damage(damaged, "middle")
    error = refusal(job, Target("end", "latest"))
    assert isinstance(error, DamagedError) and damaged.name in error.message


SEARCH = (
    "(id BIGINT UNSIGNED NOT NULL, weight INT NOT NULL, query VARCHAR(3072) NOT NULL, KEY(query))"
    " ENGINE=SPHINX DEFAULT CHARSET=latin1"
)


def test_a_statement_that_cannot_be_applied_is_named(tmp_path: Path) -> None:
    """The engine is one that private servers do not load."""
    server = copied("--binlog-format=ROW", "--plugin-load-add=ha_sphinx")
    try:
        job = log_job(server, tmp_path / "backups")
        with archiver(job):
            made(job)
            server.script("app", "SET sql_mode = ''", f"CREATE TABLE found{SEARCH}")
            before = position(server)
            server.script("app", "SET sql_mode = 'NO_ENGINE_SUBSTITUTION'", f"CREATE TABLE again{SEARCH}")
            wait_until_kept(job, server)
        with a_room() as room:
            notes = restore(job, "latest", to=str(room / "data"), target=Target("position", before)).notes
        assert any("Unknown storage engine 'SPHINX'" in note for note in notes)
        error = refusal(job, Target("end", "latest"))
    finally:
        server.remove()
    assert isinstance(error, RefusedError)
    assert "cannot be applied: " in error.message and "Unknown storage engine" in error.message


def test_the_playbook_puts_it_into_the_place_of_the_live_server(tmp_path: Path) -> None:
    server = copied("--binlog-format=ROW")
    try:
        job = log_job(server, tmp_path / "backups")
        with archiver(job):
            made(job)
            server.script("app", "DELETE FROM items WHERE id > 200")
            mark = marked(server)
            server.script("app", "DROP TABLE items")
            wait_until_kept(job, server)
        assert job.source is not None
        variables = {
            "dbfleet_jobs": [
                {
                    "name": "app",
                    "source": {"url": job.source.url},
                    "repository": {"url": job.repository.url},
                    "method": "physical",
                    "limits": {"min_free": "0"},
                }
            ],
            "dbfleet_hosts": "localhost",
            "ansible_python_interpreter": PYTHON,
            "dbfleet_data": str(data_of(server)),
            "dbfleet_target": {"gtid": mark.gtid},
            "dbfleet_stop": ["mariadb-admin", "--no-defaults", f"--socket={server.socket}", "--user=root", "shutdown"],
            "dbfleet_start": ["true"],
        }
        ansible = Ansible(tmp_path, lay_out(tmp_path / "collections"))
        done = ansible.playbook("dbfleet.recovery.pitr", "-e", json.dumps(variables), "--check")
        assert "nothing was changed" in done.good().output
        done = ansible.playbook("dbfleet.recovery.pitr", "-e", json.dumps(variables)).good()
        assert "what was there is in" in done.output
        with started(data_of(server)) as restored:
            assert everything(restored) == mark.content
        assert len(list(server.folder.glob("data_before_restore_*"))) == 1
    finally:
        server.remove()


def found(job: Job, kinds: Sequence[str] = (), table: str | None = None, text: str | None = None) -> list[Any]:
    return list(find(job, Wanted(frozenset(kinds), table, text))["found"])


def test_what_did_damage_is_found_and_a_restore_ends_just_before_it(history: History) -> None:
    """Of rows, of a statement, and of one among many of its kind by its text."""
    job, last = history.job, history.marks[-1]
    delete = found(job, ["delete"], "app.items")[-1]
    assert delete["changes"] == ["delete app.items"] and delete["statements"] == ["DELETE FROM items"]
    assert at(job, target_of(position=delete["position"])) == last.content  # type: ignore[arg-type]
    assert at(job, target_of(gtid=delete["transaction"], inclusive=False)) == last.content  # type: ignore[arg-type]
    (drop,) = found(job, ["drop"], "words")
    assert drop["changes"] == ["drop in app"] and "DROP TABLE `words`" in drop["statements"][0]
    (marked_statement,) = found(job, text="ADD COLUMN C17")
    assert marked_statement["changes"] == ["alter in app"]
    (unsafe,) = found(job, ["update"], "items", "amount = 35 ")
    assert unsafe["changes"] == ["update in app"]
    assert {one["changes"][0].partition(" ")[0] for one in found(job, table="app.items")} >= {
        "update",
        "insert",
        "alter",
    }
    assert found(job, ["truncate"]) == found(job, table="other.items") == found(job, ["drop"], "items") == []


def test_single_tables_come_back_as_they_were_at_a_moment(history: History) -> None:
    """Out of a server that was brought there, into the one that lives on, whose other tables stay."""
    job, server, mark = history.job, history.server, history.marks[23]
    assert job.source is not None
    to = job.source.url.replace("/?", "/app?")
    names = ["items", "odd $ü/", "words"]

    def rows(one: Server) -> list[Any]:
        return [one.ask(f"SELECT * FROM app.`{name}` ORDER BY 1, 2") for name in names[::2]] + [
            one.ask("SELECT * FROM app.`odd $ü/` ORDER BY 1")
        ]

    target = target_of(gtid=mark.gtid)
    assert target is not None
    with a_room() as room:
        restore(job, "latest", to=str(room / "data"), target=target)
        with started(room / "data") as restored:
            expected = rows(restored)
    server.script("app", "CREATE TABLE since(a INT)", "INSERT INTO since VALUES(1)")
    try:
        before = everything(server)
        with pytest.raises(RefusedError, match="already has rows"):
            restore(job, "latest", to=to, tables=names, target=target)
        for bad in (Target("gtid", "0-1-99999"), Target("position", "binlog.000999:4")):
            with pytest.raises(RefusedError):
                restore(job, "latest", to=to, tables=names, replace=True, target=bad)
        assert everything(server) == before
        report = restore(job, "latest", to=to, tables=names, replace=True, target=target)
        assert report.proven and report.rows == sum(map(len, expected)) and report.kept and report.recovered
        assert rows(server) == expected
        assert server.ask("SELECT a FROM app.since") in ([[1]], [["1"]], [(1,)])
        # A table that the log makes, and the backup never had.
        report = restore(job, "latest", to=to, tables=["made28"], replace=True, target=Target("end", "latest"))
        assert report.rows == 50
    finally:
        server.script("app", "DROP TABLE since")


def test_compressed_and_odd_names_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = copied("--binlog-format=ROW", "--log-bin-compress=ON", "--log-bin-compress-min-len=10")
    try:
        job = log_job(server, tmp_path / "backups")
        with archiver(job):
            made(job)
            server.script(
                "app", "UPDATE `odd $ü/` SET id = id + 1000", f"ALTER TABLE `odd $ü/` ADD t TEXT DEFAULT '{'x' * 500}'"
            )
            mark = marked(server)
            server.script("app", "DROP TABLE `odd $ü/`")
            wait_until_kept(job, server)
        assert [one["changes"] for one in found(job, table="app.odd $ü/")][-3:] == [
            ["update app.odd $ü/"],
            ["alter in app"],
            ["drop in app"],
        ]
        (drop,) = found(job, ["drop"], "odd $ü/")
        assert at(job, target_of(position=drop["position"])) == mark.content  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="nothing is looked for"):
            found(job)
        assert job.source is not None
        words = ["--name", "app", "--source", job.source.url, "--repository", job.repository.url]
        assert main(["log-archive", "find", *words, "--kind", "DROP", "--since", "2026-01-01"]) == 0
        assert f"--target-position {drop['position']}" in capsys.readouterr().out
        assert main(["log-archive", "find", *words, "--text", "nobody wrote this"]) == 0
        assert "no such transaction" in capsys.readouterr().out
        assert main(["log-archive", "status", *words, "--kind", "drop"]) == 2
        assert "--kind is for log-archive find" in capsys.readouterr().err
    finally:
        server.remove()
