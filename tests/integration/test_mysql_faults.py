"""What goes wrong with MySQL and MariaDB: each is caused for real, and is one clear line with a remedy."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from mysql_server import Server, content, job_of, own_state  # noqa: E402

from dbfleet.errors import (  # noqa: E402
    BusyError,
    DbfleetError,
    KeyMaterialError,
    NotFoundError,
    ProofError,
    RefusedError,
    SourceError,
    ToolError,
    UsageError,
)
from dbfleet.model import Job, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)
SAMPLE = (
    "CREATE TABLE parents(id INT PRIMARY KEY, name VARCHAR(50))",
    "CREATE TABLE children(id INT PRIMARY KEY, parent INT, FOREIGN KEY(parent) REFERENCES parents(id))",
    "INSERT INTO parents SELECT seq, concat('parent ', seq) FROM seq_1_to_100",
    "INSERT INTO children SELECT seq, seq FROM seq_1_to_50",
    "CREATE VIEW named AS SELECT name FROM parents",
    "CREATE TRIGGER cut BEFORE INSERT ON parents FOR EACH ROW SET new.name = trim(new.name)",
)


@pytest.fixture
def server() -> Server:
    return mysql_server.server()


@pytest.fixture
def database(server: Server) -> str:
    name = f"fault_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    server.script(name, *SAMPLE)
    return name


@pytest.fixture
def job(server: Server, database: str, tmp_path: Path) -> Job:
    return job_of(server.url(database), tmp_path / "backups")


def refused(kind: type[DbfleetError], match: str, act: Callable[[], object]) -> DbfleetError:
    with pytest.raises(kind, match=match) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def nothing_kept(job: Job) -> None:
    folder = Path(job.repository.url)
    assert not [path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


class Acting:
    """Progress that does something once, when the artifacts begin to stream."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._done = False

    def step(self, text: str) -> None:
        pass

    def expect(self, total_bytes: object) -> None:
        pass

    def advance(self, count: int) -> None:
        if not self._done:
            self._done = True
            self._act()


# --- reaching the server ----------------------------------------------------------------------


def test_a_server_that_is_down(job: Job) -> None:
    url = f"mysql://root@127.0.0.1:{mysql_server.free_port()}/app"
    refused(SourceError, "cannot be reached", lambda: backup(replace(job, source=Source(url))))
    refused(SourceError, "cannot be reached", lambda: backup(replace(job, source=Source("mysql:///a?socket=/no/such"))))
    nothing_kept(job)


def test_passwords(server: Server, database: str, job: Job, tmp_path: Path) -> None:
    password = "p'a\"s\\s #;ä word"
    server.ask(f"CREATE OR REPLACE USER app@localhost IDENTIFIED BY {_literal(password)}")
    server.ask("GRANT ALL ON *.* TO app@localhost")
    path = tmp_path / "password"
    path.write_text(password + "\n")
    url = server.url(database, "app")
    good = replace(job, source=Source(url, str(path)))
    made(good)
    path.write_text("wrong")
    error = refused(SourceError, "refuses the login", lambda: backup(good))
    assert "wrong" not in str(error)
    refused(KeyMaterialError, "cannot be read", lambda: backup(replace(job, source=Source(url, str(tmp_path / "no")))))


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def test_the_password_is_on_no_command_line_and_in_no_environment(
    server: Server, database: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_state: Path
) -> None:
    server.ask("CREATE OR REPLACE USER hidden@localhost IDENTIFIED BY 'verysecret'")
    server.ask("GRANT ALL ON *.* TO hidden@localhost")
    (tmp_path / "password").write_text("verysecret\n")
    seen: list[str] = []

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen.append((process / "cmdline").read_text(errors="replace"))
                if "mariadb-dump" in seen[-1]:
                    assert "verysecret" not in (process / "environ").read_text(errors="replace")
            except OSError:
                pass
        for file in own_state.rglob("*.cnf"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    job = replace(job, source=Source(server.url(database, "hidden"), str(tmp_path / "password")))
    manifest = backup(job, progress=Acting(look)).manifest
    assert manifest is not None and seen
    assert not [line for line in seen if "verysecret" in line]
    for path in (tmp_path / "backups").rglob("*"):
        assert path.is_dir() or b"verysecret" not in path.read_bytes()


def test_a_socket(server: Server, database: str, job: Job) -> None:
    made(replace(job, source=Source(f"mariadb://root@localhost/{database}?unix_socket={server.socket}")))


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("mysql://root@localhost", "names no database"),
        ("mysql://root@localhost:port/app", "names no port"),
        ("mysql://root@localhost/app?sokcet=/x", "unknown option 'sokcet'"),
        ("mysql://root@localhost/app?ssl_mode=maybe", "unknown ssl_mode"),
    ],
)
def test_urls_that_cannot_be_meant(job: Job, url: str, match: str) -> None:
    refused(UsageError, match, lambda: backup(replace(job, source=Source(url))))


def test_a_missing_database(server: Server, job: Job) -> None:
    refused(
        NotFoundError, "Unknown database", lambda: backup(replace(job, source=Source(server.url("nowhere_at_all"))))
    )


# --- privileges -------------------------------------------------------------------------------


def test_missing_privileges_are_named_before_anything_is_written(server: Server, database: str, job: Job) -> None:
    server.ask("CREATE OR REPLACE USER poor@localhost")
    job = replace(job, source=Source(server.url(database, "poor")))
    server.ask(f"GRANT SELECT, SHOW VIEW ON {database}.* TO poor@localhost")
    error = refused(SourceError, f"lacks TRIGGER, EVENT ON `{database}`", lambda: backup(job))
    assert error.remedy.startswith(f"GRANT TRIGGER, EVENT ON `{database}`.* TO")
    server.ask(f"GRANT TRIGGER, EVENT ON {database}.* TO poor@localhost")
    server.script(database, "CREATE PROCEDURE unseen() SELECT 1")
    refused(SourceError, "lacks SELECT ON mysql.proc; .* no routines", lambda: backup(job))
    server.ask(f"GRANT EXECUTE ON {database}.* TO poor@localhost")  # shows its name, and not what it does
    refused(SourceError, "definition of procedure 'unseen' cannot be read", lambda: backup(job))
    server.ask("CREATE OR REPLACE ROLE reads_routines")
    server.ask("GRANT SELECT ON mysql.proc TO reads_routines")
    server.ask("GRANT reads_routines TO poor@localhost")
    server.ask("SET DEFAULT ROLE reads_routines FOR poor@localhost")
    refused(SourceError, "may hold commits in no way", lambda: backup(job))
    nothing_kept(job)


def test_without_reload_the_tables_are_locked_for_the_moment(server: Server, database: str, job: Job) -> None:
    """The least privilege of one database: and a backup under load is still one state."""
    server.ask("CREATE OR REPLACE USER modest@localhost")
    server.ask(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON {database}.* TO modest@localhost")
    server.ask("GRANT SELECT ON mysql.proc TO modest@localhost")
    server.script(database, *mysql_server.LEDGER)
    job = replace(job, source=Source(server.url(database, "modest")))
    with mysql_server.writer(server, database):
        for number in range(3):
            manifest = made(job)
            assert any("LOCK TABLES READ" in note for note in manifest.notes)
            target = f"{database}_{number}"
            restore(replace(job, source=Source(server.url(database))), manifest.id, to=server.url(target))
            mysql_server.check_ledger(server, target)


# --- locks ------------------------------------------------------------------------------------


def test_a_lock_that_stays_is_told_with_its_holder(server: Server, database: str, job: Job) -> None:
    with closing(server.connect(database)) as holder, holder.cursor() as cursor:
        cursor.execute("BACKUP STAGE START")
        cursor.execute("SELECT connection_id()")
        number = cursor.fetchone()[0]
        begun = time.monotonic()
        error = refused(BusyError, "no lock within 2 s", lambda: backup(job))
        assert time.monotonic() - begun < 20
        assert f"connection {number} of root@" in error.message
    made(job)


def test_a_locked_table_holds_commits_no_longer_than_lock_wait(server: Server, database: str, job: Job) -> None:
    with closing(server.connect(database)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES parents WRITE")
        begun = time.monotonic()
        refused(BusyError, "within 2 s", lambda: backup(job))
        assert time.monotonic() - begun < 20
    nothing_kept(job)
    made(job)


def test_definers_that_are_missing_are_named(server: Server, database: str, job: Job) -> None:
    server.ask("CREATE OR REPLACE USER author@localhost")
    server.ask("CREATE DEFINER=author@localhost PROCEDURE theirs() SELECT 1", database)
    manifest = made(job)
    server.ask("DROP USER author@localhost")
    report = restore(job, manifest.id, to=server.url(f"{database}_authored"))
    assert any("author@localhost" in note for note in report.notes)


def test_a_target_that_is_in_use_stays_as_it_is(server: Server, database: str, job: Job) -> None:
    manifest = made(job)
    server.ask("UPDATE parents SET name = 'newer'", database)
    expected = content(server, database)
    with closing(server.connect(database)) as holder, holder.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM parents LIMIT 1")
        refused(BusyError, "stay in use", lambda: restore(job, manifest.id, replace=True))
    assert content(server, database) == expected
    assert not [name for name in server.databases() if name.startswith(f"{database}_")]


# --- while it runs ----------------------------------------------------------------------------


def large(server: Server, database: str) -> None:
    """Enough rows that a dump is still running when the first bytes arrive."""
    server.script(
        database,
        "CREATE TABLE large(id INT PRIMARY KEY, v TEXT)",
        "INSERT INTO large SELECT seq, repeat(md5(seq), 20) FROM seq_1_to_60000",
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("ALTER TABLE zz ADD COLUMN more INT", "altered|dropped"),
        ("DROP TABLE zz", "altered|dropped"),
        ("CREATE PROCEDURE p() SELECT 1", "was made"),
        ("DROP VIEW named", "dropped"),
    ],
)
def test_definitions_that_change_during_the_dump(
    server: Server, database: str, job: Job, change: str, match: str
) -> None:
    large(server, database)
    server.script(database, "CREATE TABLE zz(id INT PRIMARY KEY)", "INSERT INTO zz SELECT seq FROM seq_1_to_100")
    act = Acting(lambda: server.ask(change, database))
    refused(DbfleetError, match, lambda: backup(job, progress=act))
    nothing_kept(job)


def test_a_dump_process_that_is_killed_or_cut_off_fails_the_backup(server: Server, database: str, job: Job) -> None:
    large(server, database)

    def kill_tool() -> None:
        subprocess.run(
            ["pkill", "-9", "-P", str(os.getpid()), "-f", "mariadb-dump.*no-create-info.*compact"], check=True
        )

    def cut() -> None:
        for row in server.ask("SHOW PROCESSLIST"):
            if row[3] == database and row[7] and "SQL_NO_CACHE" in row[7]:
                server.ask(f"KILL {row[0]}")

    refused(ToolError, "signal 9", lambda: backup(job, progress=Acting(kill_tool)))
    refused(DbfleetError, "lost|ended|failed", lambda: backup(job, progress=Acting(cut)))
    nothing_kept(job)


def test_a_server_that_is_restarted_during_a_backup(tmp_path: Path) -> None:
    server = mysql_server.Server()
    try:
        server.ask("CREATE DATABASE app")
        large(server, "app")
        job = job_of(server.url("app"), tmp_path / "backups")

        def crash() -> None:
            server.kill()
            threading.Thread(target=server.start).start()

        refused(SourceError, "lost|reached", lambda: backup(job, progress=Acting(crash)))
        nothing_kept(job)
        time.sleep(3)
        made(job)
    finally:
        server.remove()


def test_a_view_that_is_broken(server: Server, database: str, job: Job) -> None:
    server.script(database, "CREATE TABLE gone(id INT)", "CREATE VIEW broken AS SELECT id FROM gone", "DROP TABLE gone")
    refused(SourceError, "broken", lambda: backup(job))
    nothing_kept(job)


def test_events_of_a_database_whose_name_the_tools_quote_wrongly(server: Server, job: Job) -> None:
    for name in ("o'dd", "back\\slash"):
        place = mysql_server.quoted(name)
        server.ask(f"CREATE OR REPLACE DATABASE {place}")
        server.script(name, *SAMPLE, "CREATE PROCEDURE p() SELECT 1")
        odd = replace(job, name=f"odd{len(name)}", source=Source(server.url(name)))
        made(odd)
        server.ask(f"CREATE EVENT {place}.never ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1")
        refused(UsageError, "has events, and the dump tools cannot", lambda job=odd: backup(job))  # type: ignore[misc]
        assert len(made(replace(odd, source=Source(server.url(name), tables=("*",)))).proof.tables) == 2
        server.ask(f"DROP DATABASE {place}")


# --- restores ---------------------------------------------------------------------------------


def test_a_failure_after_the_swap_puts_everything_back(
    server: Server, database: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.mysql import takeover

    manifest = made(job)
    server.script(database, "UPDATE parents SET name = 'newer'", "CREATE VIEW another AS SELECT 1 AS one")
    expected = content(server, database)
    feed = takeover.Built.feed

    def failing(self: Any, place: str, path: Any, what: str) -> None:
        if place == database and what == "the views, routines and triggers" and not failed:
            failed.append(1)
            raise ToolError("as if the client had failed", "try again")
        feed(self, place, path, what)

    failed: list[int] = []
    monkeypatch.setattr(takeover.Built, "feed", failing)
    refused(ToolError, "as if the client", lambda: restore(job, manifest.id, replace=True))
    assert content(server, database) == expected
    assert not [name for name in server.databases() if name.startswith(f"{database}_")]


def test_what_a_crash_left_is_swept(server: Server, database: str, job: Job) -> None:
    manifest = made(job)
    server.ask(f"CREATE DATABASE {database}_dbfleet_0123abcd")
    server.ask(f"CREATE DATABASE {database}_dbfleet_mine")
    restore(job, manifest.id, replace=True)
    assert f"{database}_dbfleet_0123abcd" not in server.databases()
    assert f"{database}_dbfleet_mine" in server.databases()
    server.ask(f"DROP DATABASE `{database}_dbfleet_mine`")


def test_tables_that_would_leave_references_broken_are_refused(server: Server, database: str, job: Job) -> None:
    made(job)
    server.script(database, "INSERT INTO parents VALUES(1000, 'x')", "UPDATE children SET parent = 1000 WHERE id = 3")
    expected = content(server, database)
    refused(ProofError, "would refer to", lambda: restore(job, "latest", tables=["parents"], replace=True))
    server.script(database, "UPDATE children SET parent = 3 WHERE id = 3", "DELETE FROM parents WHERE id = 1000")
    refused(RefusedError, "refers to 'parents'", lambda: restore(job, "latest", tables=["parents"], replace=True))
    server.ask("UPDATE children SET id = id + 1000", database)
    report = restore(job, "latest", tables=["parents", "children"], replace=True)
    assert report.rows == 150 and report.kept in server.databases()
    after = content(server, database)
    assert after["rows of children"] == [(number, number) for number in range(1, 51)] or report.rows
    assert after["table children"] == expected["table children"]


def test_a_plain_file_that_fails_in_the_middle_changes_nothing(
    server: Server, database: str, job: Job, tmp_path: Path
) -> None:
    path = tmp_path / "bad.sql"
    path.write_text("CREATE TABLE one(id INT);\nINSERT INTO one VALUES(1);\nINSERT INTO nowhere VALUES(1);\n")
    expected = content(server, database)
    refused(DbfleetError, "nowhere", lambda: restore(job, str(path), replace=True))
    path.write_text(f"CREATE DATABASE IF NOT EXISTS {database};\nUSE {database};\nDROP TABLE children;\n")
    refused(ProofError, "holds no table", lambda: restore(job, str(path), replace=True))
    assert content(server, database) == expected


def test_tools_of_the_other_flavour_or_too_old_are_refused(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()

    def install(words: str) -> None:
        for name in ("mysqldump", "mysql"):
            (folder / name).write_text(f"#!/bin/sh\necho '{words}'\n")
            (folder / name).chmod(0o755)

    assert job.source is not None
    job = replace(job, source=replace(job.source, tools=str(folder)))
    refused(ToolError, "not installed", lambda: backup(job))
    install("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)")
    refused(ToolError, "is not the tool of MariaDB", lambda: backup(job))
    install("mysqldump  Ver 10.16 Distrib 10.1.48-MariaDB, for Linux (x86_64)")
    refused(ToolError, "older than the server", lambda: backup(job))
    nothing_kept(job)
