"""Every kind of object, type and name goes through a backup and comes back as it was."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from mysql_server import Server, content, job_of, own_state  # noqa: E402
from mysql_zoo import OBJECTS, TABLES  # noqa: E402

from dbfleet.errors import SourceError  # noqa: E402
from dbfleet.model import Job, Source  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)


@pytest.fixture
def server() -> Server:
    return mysql_server.server()


@pytest.fixture
def zoo(server: Server) -> str:
    name = f"zoo_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name} CHARACTER SET latin2 COLLATE latin2_croatian_ci")
    server.script(name, *TABLES, *OBJECTS)
    return name


@pytest.fixture
def job(server: Server, zoo: str, tmp_path: Path) -> Job:
    return job_of(server.url(zoo), tmp_path / "backups")


def test_everything_comes_back(server: Server, zoo: str, job: Job) -> None:
    expected, dumped = content(server, zoo), server.dump(zoo)
    manifest = made(job)
    assert manifest.proof.tables["no_key"].rows == 5
    restore(job, manifest.id, to=server.url(f"{zoo}_back"))
    assert content(server, f"{zoo}_back") == expected
    assert server.dump(f"{zoo}_back").replace(f"{zoo}_back".encode(), zoo.encode()) == dumped
    assert not [name for name in server.databases() if "_dbfleet_" in name]


def test_verify_finds_it_sound_on_a_server_of_its_own(job: Job) -> None:
    made(job)
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings


def test_another_host_in_the_environment_is_not_taken_for_a_socket(
    server: Server, zoo: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native clients prefer it to the socket of their option file."""
    monkeypatch.setenv("MYSQL_HOST", "nowhere.invalid")
    socket = replace(job, source=Source(f"mysql://root@localhost/{zoo}?unix_socket={server.socket}"))
    made(socket)
    (result,) = verify(socket, "latest", "restore")
    assert result.ok, result.findings
    assert restore(socket, "latest", replace=True).proven


def test_the_commands_of_the_manifest_restore_it_by_hand(server: Server, zoo: str, job: Job, tmp_path: Path) -> None:
    manifest = made(job)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".my.cnf").write_text(f"[client]\nsocket={server.socket}\nuser=root\n")
    server.ask("DROP DATABASE IF EXISTS restored")
    for command in manifest.restore_with:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=job.repository.url,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and not done.stderr, (command, done.stderr)
    assert content(server, "restored") == content(server, zoo)


def test_over_a_database_with_all_of_it(server: Server, zoo: str, job: Job) -> None:
    """The old state is kept with its views, routines and triggers; its events are not, for they would run."""
    manifest = made(job)
    first = content(server, zoo)
    server.script(
        zoo,
        "DELETE FROM children WHERE id > 1001",
        "DROP VIEW a_second",
        "CREATE VIEW newer AS SELECT id FROM parents",
        "ALTER TABLE parents ADD COLUMN extra INT",
        "CREATE TABLE more(id INT PRIMARY KEY)",
        "DROP EVENT never",
    )
    second = content(server, zoo, events=False)
    report = restore(job, manifest.id, replace=True)
    assert content(server, zoo) == first
    assert report.kept is not None and report.kept.startswith(f"{zoo}_before_restore_")
    assert content(server, report.kept) == second


def test_a_proof_is_the_same_whatever_the_settings_of_the_server_are(server: Server, job: Job) -> None:
    before = made(job).proof
    with server.set_globally(time_zone="'+05:00'", sql_mode="'ANSI,NO_BACKSLASH_ESCAPES'"):
        manifest = made(job)
        assert manifest.proof == before
        restore(job, manifest.id, replace=True)
    assert made(job).proof == before


# Of each of them alone, a backup failed or could not be restored.
UNFRIENDLY = {
    "max_statement_time": "0.001",
    "autocommit": "0",
    "sql_quote_show_create": "0",
    "sql_safe_updates": "1",
    "alter_algorithm": "'INSTANT'",
    "enforce_storage_engine": "'InnoDB'",
    "idle_transaction_timeout": "1",
}


def test_settings_of_a_server_that_end_undo_or_forbid_what_dumps_hold(server: Server, zoo: str, job: Job) -> None:
    expected = content(server, zoo)
    with server.set_globally(**UNFRIENDLY):
        manifest = made(job)
        restore(job, manifest.id, to=server.url(f"{zoo}_back"))
        restore(job, manifest.id, replace=True)
    assert content(server, f"{zoo}_back") == expected
    assert content(server, zoo) == expected


def test_a_server_that_cuts_its_answers_is_refused(server: Server, job: Job) -> None:
    """The dump tool would take the first rows for all of them."""
    with server.set_globally(sql_select_limit="2"), pytest.raises(SourceError, match="after 2 rows") as failure:
        made(job)
    assert "SET GLOBAL sql_select_limit = DEFAULT" in failure.value.remedy
    assert made(job).proof.tables["texts"].rows == 4


def test_tables_without_transactions_are_locked_and_the_manifest_says_so(job: Job) -> None:
    manifest = made(job)
    (note,) = [note for note in manifest.notes if "without transactions" in note]
    assert "plain (MyISAM)" in note and "aria (Aria)" in note


def test_single_tables_of_it(server: Server, zoo: str, job: Job) -> None:
    made(job)
    expected = content(server, zoo)
    server.script(
        zoo, "SET foreign_key_checks = 0", "DROP TABLE children", "DROP TABLE `line\nbreak`", "TRUNCATE texts"
    )
    report = restore(job, "latest", tables=["children", "line\nbreak", "texts"])
    assert report.rows == 4 + 1 + 4
    found = content(server, zoo)
    for one in (found, expected):  # an index that the server made for a foreign key may change its place
        one["table children"] = sorted(line.rstrip(",") for line in one["table children"].splitlines())
    assert found == expected


def test_a_plain_dump_of_the_native_tool_restores_too(server: Server, zoo: str, job: Job, tmp_path: Path) -> None:
    server.ask("DROP TABLE calls", zoo)  # what the tool writes of it no server takes: LOCK TABLES without the sequence
    path = tmp_path / "plain.sql"
    path.write_bytes(server.dump(zoo))
    report = restore(replace(job, source=None), str(path), to=server.url(f"{zoo}_plain"))
    assert not report.proven
    expected = content(server, zoo)
    for name in ("PROCEDURE of_windows", "TRIGGER children_two", "EVENT never"):  # its USE needs a client that does so
        expected[name] = expected[name].replace("\r\n", "\n")
    assert content(server, f"{zoo}_plain") == expected


def test_one_huge_table_is_split_and_its_keys_come_last(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes and connections for one table, whose unique keys make the connections collide."""
    name = f"zoo_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    server.script(
        name,
        "CREATE TABLE huge(id INT AUTO_INCREMENT PRIMARY KEY, code CHAR(32) UNIQUE, other INT, v TEXT, KEY(other),"
        " KEY(code, other), parent INT, FOREIGN KEY(parent) REFERENCES huge(id), KEY late(v(20)))",
        "INSERT INTO huge(code, other, v) SELECT md5(seq), seq % 97, repeat(md5(seq), 9) FROM seq_1_to_40000",
        "UPDATE huge SET parent = id DIV 2 WHERE id > 1",
        "CREATE TABLE small(id INT PRIMARY KEY, v INT, UNIQUE KEY(v))",
        "INSERT INTO small SELECT seq, -seq FROM seq_1_to_50",
    )
    monkeypatch.setattr("dbfleet.databases.mysql.lanes.LARGE", 1)
    job = job_of(server.url(name), tmp_path / "backups", limits=replace(mysql_server.QUICK, parallel=3))
    manifest = made(job)
    assert len([artifact for artifact in manifest.artifacts if artifact.role == "data"]) == 3
    restore(job, manifest.id, to=server.url(f"{name}_back"))
    assert content(server, f"{name}_back") == content(server, name)
    server.ask("DROP TABLE small", name)
    restore(job, manifest.id, tables=["small"])
    assert content(server, f"{name}_back") == content(server, name)
