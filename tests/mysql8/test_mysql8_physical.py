"""Physical backups of MySQL servers by Percona's xtrabackup: their proofs, their hardships, and where they end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "mysql_copy_lab", "mysql8_copies")

from binlog_conformance import position, wait_until_kept  # noqa: E402
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql8_copies import copied, copied_here, job_of, started  # noqa: E402
from mysql8_native import NativeServer  # noqa: E402
from mysql_copies import counted, everything, nothing_is_listed  # noqa: E402
from mysql_copy_lab import CopyLab, check_that_it_comes_back  # noqa: E402
from mysql_server import own_state  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.accounts.base import Account  # noqa: E402
from dbfleet.accounts.keeping import keep  # noqa: E402
from dbfleet.accounts.login import accounts_at  # noqa: E402
from dbfleet.accounts.password_file import PasswordFile  # noqa: E402
from dbfleet.errors import BusyError, ProofError, SourceError, ToolError  # noqa: E402
from dbfleet.model import LogSettings, ProofPolicy, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402
from dbfleet.targets import target_of  # noqa: E402

__all__ = ["own_state", "room"]

pytestmark = copied_here


@pytest.fixture(scope="module")
def source() -> Iterator[NativeServer]:
    server = copied()
    yield server
    server.remove()


def url_of(server: NativeServer, user: str = "root") -> str:
    return f"mysql://{user}@localhost/?unix_socket={server.folder}/s"


def owned(path: Path) -> Path:
    """A folder of the server's user."""
    path.mkdir(exist_ok=True)
    shutil.chown(path, "mysql") if os.geteuid() == 0 else None
    return path


def test_increments_carry_what_other_engines_hold(source: NativeServer, room: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups", type="auto")
    job = replace(job, proof=ProofPolicy("content", queries=("SELECT count(*), sum(amount) FROM app.items",)))
    states = []
    for step in range(3):
        manifest = counted(job if step else replace(job, type="full"))
        assert manifest.type == ("incremental" if step else "full"), manifest.notes
        assert {"binlog_file", "binlog_offset", "gtid", "lsn", "from_lsn", "to_lsn"} <= set(manifest.position)
        assert manifest.position["gtid"] == source.ask("SELECT @@gtid_executed")[0][0].replace("\n", "")
        states.append((manifest, everything(source)))
        source.script(
            "app",
            f"UPDATE items SET amount = amount + 1 WHERE id % 7 = {step}",
            f"INSERT INTO old VALUES({1000 + step}, 'later')",
            f"CREATE TABLE more{step + 1} AS SELECT id FROM items",
            f"DROP TABLE IF EXISTS more{max(0, step - 1)}",
        )
    tables = states[0][0].proof.tables
    assert set(tables) == {"app.items", "app.ledger", "app.total", "app.odd $ü/", "app.words"}
    assert tables["app.items"].rows == 300 and tables["app.items"].digest
    assert all(result.findings == () for result in verify(job, "all", "restore"))
    for number, (manifest, expected) in enumerate(states):
        assert restore(job, manifest.id, to=str(room / f"data{number}")).proven
        with started(room / f"data{number}") as restored:
            assert everything(restored) == expected


def test_who_alters_a_table_waits_until_the_rows_were_counted(
    source: NativeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.mysql import commit_view

    source.script("app", "CREATE TABLE brief AS SELECT 1 AS x")
    measure, threads, altered = commit_view.measure_table, [], []

    def empty() -> None:
        source.script("app", "TRUNCATE TABLE brief")
        altered.append(time.monotonic())

    def late(*arguments: Any, **words: Any) -> Any:
        if not threads:
            threads.append(threading.Thread(target=empty))
            threads[0].start()
            time.sleep(0.5)
        assert not altered
        return measure(*arguments, **words)

    monkeypatch.setattr(commit_view, "measure_table", late)
    job = job_of(source, tmp_path / "backups")
    manifest = made(job)
    threads[0].join()
    assert altered and manifest.proof.tables["app.brief"].rows == 1
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    source.script("app", "DROP TABLE brief")


def test_a_lock_that_is_not_free_in_time_is_told(source: NativeServer, tmp_path: Path) -> None:
    """The tool itself would wait for as long as it takes: for the tables of MyISAM, it locks all."""
    job = job_of(source, tmp_path / "backups")
    with closing(source.connect("app")) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLES total WRITE")
        with pytest.raises(BusyError, match=f"no lock within 5 s; perhaps connection {session.thread_id()} of root"):
            backup(job)
    assert nothing_is_listed(job)
    assert made(job)


def test_nothing_is_counted_where_commits_cannot_be_held_soon(source: NativeServer, tmp_path: Path) -> None:
    """They would wait for a statement that goes on, and everybody for them."""
    source.script("app", "ALTER TABLE old ENGINE = InnoDB")
    job = job_of(source, tmp_path / "backups")
    with closing(source.connect("app")) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLES total WRITE")
        manifest = made(job)
        assert manifest.proof.level == "none" and any("no lock within 2 s" in note for note in manifest.notes)
    assert counted(job).proof.level == "content"
    source.script("app", "ALTER TABLE old ENGINE = MyISAM")


def test_nothing_is_held_where_nothing_is_to_be_counted(source: NativeServer, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups", proof=ProofPolicy("none"))
    before = flushes(source)
    manifest = made(job)
    assert manifest.proof.level == "none" and not any("not counted" in note for note in manifest.notes)
    alone = flushes(source)
    counted(replace(job, proof=ProofPolicy("rows")))
    assert flushes(source) - alone > alone - before, "it was held by the tool alone"


def flushes(server: NativeServer) -> int:
    """How many statements FLUSH there were."""
    return int(server.ask("SHOW GLOBAL STATUS LIKE 'Com_flush'")[0][1])


def test_a_least_privileged_account_can_back_up(source: NativeServer, tmp_path: Path) -> None:
    """What it lacks is named before anything is written; without SELECT no rows are claimed."""
    secret = tmp_path / "secret"
    secret.write_text('it\'s: \\a "secret"\n', encoding="utf-8")
    secret.chmod(0o600)
    password = "it''s: \\\\a \"secret\""  # noqa: S105
    source.script(
        "app", f"CREATE USER keeper@localhost IDENTIFIED BY '{password}'", "GRANT PROCESS ON *.* TO keeper@localhost"
    )
    job = replace(job_of(source, tmp_path / "backups"), source=Source(url_of(source, "keeper"), str(secret)))
    with pytest.raises(SourceError, match="lacks RELOAD, LOCK TABLES, REPLICATION CLIENT, BACKUP_ADMIN") as caught:
        backup(job)
    assert "GRANT RELOAD" in caught.value.remedy and not (tmp_path / "backups").exists()
    source.script("app", "GRANT RELOAD, LOCK TABLES, REPLICATION CLIENT, BACKUP_ADMIN ON *.* TO keeper@localhost")
    with pytest.raises(SourceError, match=r"lacks SELECT ON performance_schema\.log_status"):
        backup(job)
    for table in ("log_status", "keyring_component_status", "replication_group_members"):
        source.script("app", f"GRANT SELECT ON performance_schema.{table} TO keeper@localhost")
    manifest = made(job)
    assert manifest.proof.tables == {} and any("lacks SELECT" in note for note in manifest.notes)
    source.script("app", "GRANT SELECT ON *.* TO keeper@localhost")
    assert counted(job).proof.tables["app.items"].rows == 300
    assert all(result.findings == () for result in verify(job, "latest", "restore"))
    secret.write_text("wrong\n", encoding="utf-8")
    with pytest.raises(SourceError, match="refuses the login"):
        backup(job)


def test_a_server_that_asks_for_good_passwords_gets_them(source: NativeServer, tmp_path: Path) -> None:
    """With the component that judges them as it comes, which wants a character that is no letter and no digit."""
    file = PasswordFile(str(tmp_path / "password"), "root", "root")
    source.ask("INSTALL COMPONENT 'file://component_validate_password'")
    try:
        with pytest.raises(pymysql.Error, match="policy"):
            source.ask("CREATE USER careless IDENTIFIED BY 'OnlyLetters4nd4Digits'")
        with accounts_at(url_of(source)) as accounts:
            for _time in range(2):
                assert keep(accounts, Account("keeper"), file, rotate_after=0).actions
                assert accounts.knows(Account("keeper"), Path(file.path).read_text().strip())
    finally:
        source.ask("UNINSTALL COMPONENT 'file://component_validate_password'")


@pytest.mark.parametrize("databases", [(), ("app",)])
def test_the_account_that_is_made_for_it_can(source: NativeServer, tmp_path: Path, databases: tuple[str, ...]) -> None:
    account = Account("made" + "".join(databases), databases=databases, replication=True)
    file = PasswordFile(str(tmp_path / "password"), "root", "root")
    with accounts_at(url_of(source)) as accounts:
        assert keep(accounts, account, file, rotate_after=None).actions
        assert keep(accounts, account, file, rotate_after=None).actions == ()
    made_for = Source(url_of(source, account.name), str(tmp_path / "password"))
    job = replace(job_of(source, tmp_path / "backups"), source=made_for)
    assert (made(job) if databases else counted(job)).proof.level == ("none" if databases else "content")
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]


def test_tables_with_a_place_of_their_own_come_back_in_the_usual_one(room: Path, tmp_path: Path) -> None:
    """The restored server, and one of a trial, must not open the original's files."""
    place = owned(room / "elsewhere")
    source = copied(f"innodb_directories={place}\n")
    try:
        source.script(
            "app",
            f"CREATE TABLE far(x INT) DATA DIRECTORY = '{place}'",
            f"CREATE TABLESPACE shared ADD DATAFILE '{place}/shared.ibd'",
            "CREATE TABLE within(x INT) TABLESPACE shared",
            "INSERT INTO far VALUES(7)",
            "INSERT INTO within VALUES(7)",
        )
        job = job_of(source, tmp_path / "backups")
        made(job)
        source.script("app", "UPDATE far SET x = 8", "UPDATE within SET x = 8")
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        report = restore(job, "latest", to=str(room / "data"))
        with started(room / "data") as restored:
            assert restored.ask("SELECT far.x, within.x FROM app.far, app.within") == [(7, 7)]
            restored.script("app", "UPDATE far SET x = 9", "UPDATE within SET x = 9")
        assert source.ask("SELECT far.x, within.x FROM app.far, app.within") == [(8, 8)]
        assert any("app/far" in note for note in report.notes), report.notes
    finally:
        source.remove()


LAYOUTS = {
    "names in lower case": "lower_case_table_names=1\n",
    "small pages": "innodb_page_size=8k\n",
    "files of InnoDB elsewhere": "innodb_data_home_dir={place}\ninnodb_data_file_path=one:12M;two:12M:autoextend\n",
    "logs elsewhere": "innodb_log_group_home_dir={place}\ninnodb_undo_directory={place}\nlog_bin={place}/binlog\n",
    "a small log": "innodb_redo_log_capacity=8M\n",
    "no binary log": "skip-log-bin\ngtid_mode=OFF\nenforce_gtid_consistency=OFF\n",
    "each table in one file": "innodb_file_per_table=OFF\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_servers_of_any_layout_come_back(room: Path, tmp_path: Path, layout: str) -> None:
    settings = LAYOUTS[layout].format(place=owned(room / "place"))
    source = copied(settings)
    try:
        own = "".join(f"{line}\n" for line in settings.splitlines() if str(room) not in line and "log" not in line)
        if "one:12M" in settings:
            own += "innodb_data_file_path=one:12M;two:12M:autoextend\n"
        lab = CopyLab(source, job_of, lambda data: started(data, own), "xtrabackup")
        check_that_it_comes_back(lab, room, tmp_path)
    finally:
        source.remove()


def test_a_point_in_time_is_reached_from_a_copy(room: Path, tmp_path: Path) -> None:
    server = copied()
    try:
        job = job_of(server, tmp_path / "backups", log_archive=LogSettings(max_lag=1))
        marks = []
        with archiver(job):
            made(job)
            for step in range(4):
                server.script(
                    "app", f"UPDATE items SET amount = {step} WHERE id <= 100", f"CREATE TABLE t{step}(x INT)"
                )
                marks.append((position(server), everything(server)))
                if step == 1:
                    server.ask("FLUSH BINARY LOGS")
            server.script("app", "DROP TABLE items")
            wait_until_kept(job, server)
        for number in (0, 3):
            place, expected = marks[number]
            report = restore(job, "latest", to=str(room / f"data{number}"), target=target_of(position=place))
            assert report.proven and report.recovered is not None
            with started(room / f"data{number}") as restored:
                assert everything(restored) == expected
    finally:
        server.remove()


def test_a_damaged_page_fails_the_backup_and_shows_nobody_its_rows(tmp_path: Path) -> None:
    server = copied()
    try:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
        server.script("app", f"CREATE TABLE secret {numbers} SELECT i, repeat('TOPSECRET', 20) AS t FROM n")
        server.script("app", "FLUSH TABLES secret FOR EXPORT", "UNLOCK TABLES")
        with open(server.folder / "data" / "app" / "secret.ibd", "r+b") as file:
            file.seek(5 * 16384 + 4000)
            file.write(b"\xff\x00\xaa" * 5)
        with pytest.raises(ProofError, match=r"damaged page in (\./)?app/secret.ibd") as caught:
            backup(job_of(server, tmp_path / "backups"))
        assert "TOPSECRET" not in str(caught.value)
    finally:
        server.remove()


def test_a_statement_that_alters_tables_for_long_is_told(source: NativeServer, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    with closing(source.connect("app")) as session, session.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM items LIMIT 1")
        thread = threading.Thread(target=lambda: source.script("app", "ALTER TABLE items COMMENT = 'x'"))
        thread.start()
        time.sleep(0.5)
        with pytest.raises(BusyError, match="no lock within 5 s"):
            backup(job)
        cursor.execute("ROLLBACK")
    thread.join()
    assert made(job)


@pytest.mark.parametrize("said", ["8.0.33-28 based on MySQL server 8.0.33", "8.1.0-1 based on MySQL server 8.1.0"])
def test_a_tool_that_does_not_fit_is_refused(source: NativeServer, tmp_path: Path, said: str) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "xtrabackup").write_text(f"#!/bin/sh\necho 'xtrabackup version {said} Linux (x86_64)' >&2\n")
    (folder / "xtrabackup").chmod(0o755)
    job = job_of(source, tmp_path / "backups")
    assert job.source is not None
    with pytest.raises(ToolError, match="needs the tool of that version, but"):
        backup(replace(job, source=replace(job.source, tools=str(folder))))
