"""Accounts for backups: they suffice, they cannot write, and their passwords are replaced without a gap."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pymysql
import pytest
from integration import mysql_server, postgresql_server
from integration.mysql_server import own_state
from integration.postgresql_server import ask, ident, job_of, psql, server

from dbfleet.accounts.base import Account
from dbfleet.accounts.keeping import Report, drop, keep
from dbfleet.accounts.login import accounts_at
from dbfleet.accounts.password_file import PasswordFile
from dbfleet.errors import NotFoundError, RefusedError
from dbfleet.model import Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state", "server"]

ODD = ("dbfleet", 'it\'s "odd" \\ name; DROP TABLE x -- ä%_')
DAY = 86400


@pytest.fixture
def file(tmp_path: Path) -> PasswordFile:
    return PasswordFile(str(tmp_path / "password"), "root", "root") if os.geteuid() == 0 else pytest.skip("needs root")


def read(file: PasswordFile) -> str:
    password = file.read()
    assert password is not None
    return password


# --- PostgreSQL -------------------------------------------------------------------------------


def keep_role(server: postgresql_server.Server, account: Account, file: PasswordFile, **how: Any) -> Report:
    with accounts_at(server.url()) as accounts:
        return keep(accounts, account, file, **{"rotate_after": None, **how})


def drop_role(server: postgresql_server.Server, account: Account, file: PasswordFile, **how: Any) -> Report:
    with accounts_at(server.url()) as accounts:
        return drop(accounts, account, file, **how)


def as_role(server: postgresql_server.Server, name: str, password: str, database: str) -> Any:
    connection = psycopg2.connect(
        host="127.0.0.1", port=server.port, user=name, password=password, dbname=database, sslmode="disable"
    )
    connection.autocommit = True
    return connection


SAMPLE = """
CREATE SCHEMA "other Schema";
CREATE TABLE items (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO items (name) SELECT 'item ' || n FROM generate_series(1, 500) n;
CREATE TABLE "other Schema"."more" AS SELECT n, md5(n::text) FROM generate_series(1, 100) n;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
"""


@pytest.mark.parametrize("name", ODD, ids=["plain", "odd"])
def test_a_role_suffices_for_a_backup_and_for_nothing_else(
    server: postgresql_server.Server, file: PasswordFile, tmp_path: Path, name: str
) -> None:
    source = server.create(SAMPLE)
    database = ask(source, "SELECT current_database()")[0][0]
    account = Account(name, (database,))
    assert keep_role(server, account, file).actions
    assert keep_role(server, account, file).actions == ()
    password = read(file)
    assert len(password) >= 32
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o640

    url = f"postgresql://{quote(name, safe='')}@127.0.0.1:{server.port}/{quote(database)}"
    job = job_of(Source(url, password_file=file.path), tmp_path / "backups")
    manifest = backup(job).manifest
    target = server.source(f"{database} restored")
    restore(job_of(source, tmp_path / "backups"), manifest.id, to=target.url)
    assert postgresql_server.dump(server, target) == postgresql_server.dump(server, source)

    connection = as_role(server, name, password, database)
    with connection.cursor() as cursor:
        for statement in (
            "INSERT INTO items (name) VALUES ('x')",
            "UPDATE items SET name = 'x'",
            "DELETE FROM items",
            "DROP TABLE items",
            "TRUNCATE items",
            "CREATE TABLE public.mine (n int)",
            "CREATE DATABASE mine",
            "CREATE ROLE mine",
            "ALTER ROLE postgres PASSWORD 'x'",
            "SELECT pg_read_file('postgresql.conf')",
        ):
            try:
                cursor.execute(statement)
            except psycopg2.errors.InsufficientPrivilege:
                continue
            pytest.fail(f"was allowed: {statement}")
    connection.close()
    assert drop_role(server, account, file).actions
    assert drop_role(server, account, file).actions == ()
    assert not os.path.exists(file.path)
    assert ask(source, "SELECT rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolcanlogin") == []


def test_check_mode_tells_what_happens_and_changes_nothing(
    server: postgresql_server.Server, file: PasswordFile
) -> None:
    account = Account("checked", replication=True, create_databases=True)
    would = keep_role(server, account, file, dry_run=True)
    assert not os.path.exists(file.path)
    assert ask(server.source(), "SELECT 1 FROM pg_roles WHERE rolname = 'checked'") == []
    assert keep_role(server, account, file).actions == would.actions
    less = Account("checked", ("postgres",))
    would = keep_role(server, less, file, dry_run=True)
    done = keep_role(server, less, file)
    assert done.actions == would.actions
    assert any("NOCREATEDB" in action and "NOREPLICATION" in action for action in done.actions)
    with accounts_at(server.url()) as accounts:
        assert accounts.standing(less) == would.after == accounts.wanted(less)
    assert drop_role(server, less, file, dry_run=True).actions == drop_role(server, less, file).actions


def test_an_old_password_is_replaced_and_a_young_one_stays(
    server: postgresql_server.Server, file: PasswordFile
) -> None:
    account = Account("rotated")
    keep_role(server, account, file)
    first = read(file)
    assert keep_role(server, account, file, rotate_after=DAY).actions == ()
    os.utime(file.path, (time.time() - 2 * DAY,) * 2)
    assert keep_role(server, account, file, rotate_after=DAY, dry_run=True).rotated
    assert read(file) == first
    report = keep_role(server, account, file, rotate_after=DAY)
    assert report.rotated
    second = read(file)
    assert second != first
    assert not any(first in text or second in text for text in map(str, (report.actions, report.before, report.after)))
    as_role(server, "rotated", second, "postgres").close()
    with pytest.raises(psycopg2.OperationalError):
        as_role(server, "rotated", first, "postgres")
    assert keep_role(server, account, file, rotate_after=DAY).actions == ()
    drop_role(server, account, file)


def test_a_refused_change_leaves_the_old_password_in_place(
    server: postgresql_server.Server, file: PasswordFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server refuses in the moment of the change: the file still holds what the server knows."""
    account = Account("unlucky")
    keep_role(server, account, file)
    first = read(file)
    monkeypatch.setattr("dbfleet.accounts.postgresql.verifier", lambda password: "x" * 5 + "\\0'")
    monkeypatch.setattr("dbfleet.accounts.postgresql.literal", lambda text: "broken")
    with pytest.raises(Exception, match="syntax"):
        keep_role(server, account, file, rotate_after=0)
    assert read(file) == first
    assert sorted(os.listdir(os.path.dirname(file.path))) == ["password"]
    as_role(server, "unlucky", first, "postgres").close()
    monkeypatch.undo()
    drop_role(server, account, file)


def test_a_rotation_that_was_killed_is_made_up_for(server: postgresql_server.Server, file: PasswordFile) -> None:
    """Killed when the server knew the new password and the file had the old one."""
    account = Account("killed")
    keep_role(server, account, file)
    first = read(file)
    ask(server.source(), "ALTER ROLE killed PASSWORD 'another'")
    Path(file.path).with_name(".password.new").write_text("another\n")
    assert keep_role(server, account, file).actions == ("give killed the password of its file",)
    as_role(server, "killed", first, "postgres").close()
    assert keep_role(server, account, file).actions == ()
    drop_role(server, account, file)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE ROLE boss SUPERUSER LOGIN", "more than any backup"),
        ("CREATE ROLE boss CREATEROLE LOGIN", "more than any backup"),
        ("CREATE ROLE boss LOGIN; CREATE TABLE owned (n int); ALTER TABLE owned OWNER TO boss", "owns 1 objects"),
        ("CREATE ROLE boss LOGIN; GRANT pg_write_all_data TO boss", "member of pg_write_all_data"),
    ],
)
def test_an_account_of_somebody_else_is_refused(
    server: postgresql_server.Server, file: PasswordFile, made: str, said: str
) -> None:
    psql(server, server.source(), made)
    try:
        with pytest.raises(RefusedError, match=said):
            keep_role(server, Account("boss"), file)
        with pytest.raises(RefusedError, match=said):
            drop_role(server, Account("boss"), file)
        assert not os.path.exists(file.path)
    finally:
        psql(server, server.source(), "DROP OWNED BY boss; DROP ROLE boss")


def test_before_version_14_every_table_is_granted(
    server: postgresql_server.Server, file: PasswordFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of version 13, taken on a newer server."""
    monkeypatch.setattr("dbfleet.accounts.postgresql.READ_ALL_SINCE", 10**9)
    source = server.create(SAMPLE)
    database = ask(source, "SELECT current_database()")[0][0]
    account = Account("thirteen", (database,))
    assert any(f"read database {database}" in action for action in keep_role(server, account, file).actions)
    assert keep_role(server, account, file).actions == ()
    psql(server, source, "CREATE TABLE later AS SELECT 1 AS n")
    assert keep_role(server, account, file).actions == ()
    url = f"postgresql://thirteen@127.0.0.1:{server.port}/{database.replace(' ', '%20')}"
    backup(job_of(Source(url, password_file=file.path), tmp_path / "backups"))
    psql(server, source, "CREATE SCHEMA third; CREATE TABLE third.t (n int)")
    assert keep_role(server, account, file).actions == (f"let thirteen read database {database}",)
    assert drop_role(server, account, file).actions
    assert ask(source, "SELECT 1 FROM pg_roles WHERE rolname = 'thirteen'") == []


def test_a_database_that_is_not_there_is_named(server: postgresql_server.Server, file: PasswordFile) -> None:
    with pytest.raises(NotFoundError, match="'missing'"):
        keep_role(server, Account("nobody", ("missing",)), file)
    assert not os.path.exists(file.path)


def test_the_servers_log_holds_no_password(file: PasswordFile) -> None:
    settings = "log_statement = all\nlog_min_messages = info\n"
    with postgresql_server.running(settings=settings) as logged:
        keep_role(logged, Account("quiet"), file)
        log = (logged.folder / "log").read_text()
        assert "ALTER ROLE" in log
        assert read(file) not in log


# --- MariaDB ----------------------------------------------------------------------------------


@contextmanager
def maria_accounts(maria: mysql_server.Server) -> Iterator[Any]:
    with accounts_at(f"mysql://root@localhost/?unix_socket={maria.socket}") as accounts:
        yield accounts


def keep_account(maria: mysql_server.Server, account: Account, file: PasswordFile, **how: Any) -> Report:
    with maria_accounts(maria) as accounts:
        return keep(accounts, account, file, **{"rotate_after": None, **how})


TABLES = (
    "CREATE TABLE items (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT) ENGINE=InnoDB",
    "INSERT INTO items (name) SELECT concat('item ', seq) FROM seq_1_to_500",
    "CREATE TABLE plain (n INT) ENGINE=MyISAM",
    "INSERT INTO plain VALUES (1), (2)",
    "CREATE VIEW shown AS SELECT name FROM items",
    "CREATE PROCEDURE nothing() SELECT 1",
    "CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n",
    "CREATE TRIGGER stamped BEFORE INSERT ON items FOR EACH ROW SET NEW.name = upper(NEW.name)",
    "CREATE EVENT never ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM items",
)


@pytest.fixture
def maria() -> mysql_server.Server:
    return mysql_server.server()


@pytest.fixture(params=["the_app", "odd `name` %_ ä", "o'dd \\ %_"], ids=["plain", "odd", "odder"])
def database(maria: mysql_server.Server, request: pytest.FixtureRequest) -> Iterator[str]:
    name = str(request.param)
    maria.ask(f"CREATE OR REPLACE DATABASE {mysql_server.quoted(name)}")
    maria.script(name, *TABLES)
    if "'" in name:
        maria.script(name, "DROP EVENT never")  # mariadb-dump does not find the events of such a database
    yield name
    for one in maria.databases():
        if one.startswith(name):
            maria.ask(f"DROP DATABASE {mysql_server.quoted(one)}")


def test_a_server_that_asks_for_good_passwords_gets_them(file: PasswordFile) -> None:
    judge = ("--plugin-load-add=simple_password_check", "--strict-password-validation=ON")
    server = mysql_server.Server(*judge, "--general-log=1", "--general-log-file=all.log")
    try:
        with pytest.raises(pymysql.Error, match="current policy"):
            server.ask("CREATE USER careless IDENTIFIED BY 'OnlyLetters4nd4Digits'")
        for _time in range(2):
            assert keep_account(server, Account("keeper"), file, rotate_after=0).actions
            pymysql.connect(unix_socket=server.socket, user="keeper", password=read(file)).close()
            server.ask("FLUSH BINARY LOGS")
            for log in (server.folder / "data").glob("*log*"):
                assert read(file).encode() not in log.read_bytes(), log
        assert keep_account(server, Account("keeper"), file).actions == ()
    finally:
        server.remove()


@pytest.mark.parametrize("name", ODD, ids=["plain", "odd"])
@pytest.mark.parametrize("everything", [False, True])
def test_an_account_suffices_for_a_backup_and_for_nothing_else(
    maria: mysql_server.Server, database: str, file: PasswordFile, tmp_path: Path, name: str, everything: bool
) -> None:
    maria.ask("CREATE OR REPLACE DATABASE theXapp")  # which the name, read as a pattern, would match
    account = Account(name, () if everything else (database,))
    assert keep_account(maria, account, file).actions
    assert keep_account(maria, account, file).actions == ()
    url = f"mysql://{quote(name, safe='')}@localhost/{quote(database, safe='')}?unix_socket={maria.socket}"
    job = replace(mysql_server.job_of(url, tmp_path / "backups"), source=Source(url, file.path))
    manifest = backup(job).manifest
    assert any("BACKUP STAGE" in note for note in manifest.notes), manifest.notes
    target = f"{database} 2"
    restore(mysql_server.job_of(maria.url(database), tmp_path / "backups"), manifest.id, to=maria.url(target))
    assert mysql_server.content(maria, target) == mysql_server.content(maria, database)

    connection = pymysql.connect(unix_socket=maria.socket, user=name, password=read(file), database=database)
    with connection.cursor() as cursor:
        for statement in (
            "INSERT INTO items (name) VALUES ('x')",
            "UPDATE items SET name = 'x'",
            "DELETE FROM items",
            "DROP TABLE items",
            "TRUNCATE items",
            "CREATE TABLE mine (n INT)",
            "ALTER TABLE items ADD n INT",
            "CALL nothing()",
            "CREATE DATABASE mine",
            "CREATE USER mine",
            "SET GLOBAL read_only = 1",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
        ):
            with pytest.raises(pymysql.Error) as refused:
                cursor.execute(statement)
            assert refused.value.args[0] in (1044, 1142, 1227, 1370, 1045), (statement, refused.value)
        if not everything:
            with pytest.raises(pymysql.Error):
                cursor.execute("USE theXapp")
            with pytest.raises(pymysql.Error):
                cursor.execute("SELECT * FROM mysql.global_priv")
    connection.close()
    with maria_accounts(maria) as accounts:
        assert drop(accounts, account, file).actions
        assert drop(accounts, account, file).actions == ()
    assert maria.ask("SELECT 1 FROM mysql.user WHERE user NOT IN ('root', 'mysql', 'mariadb.sys')") == []


def test_passwords_of_mariadb_are_replaced_when_they_are_old(maria: mysql_server.Server, file: PasswordFile) -> None:
    account = Account("rotated", host="%", replication=True)
    would = keep_account(maria, account, file, dry_run=True)
    assert not os.path.exists(file.path)
    assert keep_account(maria, account, file).actions == would.actions
    first = read(file)
    assert keep_account(maria, account, file, rotate_after=DAY).actions == ()
    os.utime(file.path, (time.time() - 2 * DAY,) * 2)
    assert keep_account(maria, account, file, rotate_after=DAY).rotated
    pymysql.connect(unix_socket=maria.socket, user="rotated", password=read(file)).close()
    with pytest.raises(pymysql.Error):
        pymysql.connect(unix_socket=maria.socket, user="rotated", password=first)
    less = Account("rotated", ("mysql_is_no_database_of_yours",), host="%")
    with pytest.raises(NotFoundError):
        keep_account(maria, less, file)
    done = keep_account(maria, Account("rotated", host="%"), file)
    assert done.actions == ("no longer let rotated@% PROCESS, REPLICATION SLAVE on *.*",)
    with maria_accounts(maria) as accounts:
        drop(accounts, account, file)


@pytest.mark.parametrize("grant", ["INSERT ON *.*", "SUPER ON *.*", "SELECT ON mysql.* WITH GRANT OPTION"])
def test_an_account_that_may_write_is_refused(maria: mysql_server.Server, file: PasswordFile, grant: str) -> None:
    what, _with, option = grant.partition(" WITH ")
    maria.ask("CREATE USER app@localhost")
    maria.ask(f"GRANT {what} TO app@localhost" + (f" WITH {option}" if option else ""))
    try:
        with pytest.raises(RefusedError, match="no account for backups"):
            keep_account(maria, Account("app"), file)
        with pytest.raises(RefusedError), maria_accounts(maria) as accounts:
            drop(accounts, Account("app"), file)
    finally:
        maria.ask("DROP USER app@localhost")


def test_the_log_of_mariadb_holds_no_password(file: PasswordFile) -> None:
    logged = mysql_server.Server("--general-log=1", "--general-log-file=all.log")
    try:
        keep_account(logged, Account("quiet"), file)
        keep_account(logged, Account("quiet"), file, rotate_after=0)
        log = (logged.folder / "data" / "all.log").read_text()
        assert "CREATE USER" in log
        assert read(file) not in log
    finally:
        logged.remove()


def test_identifiers_of_tests_are_quoted() -> None:
    assert ident('a"b') == '"a""b"'
