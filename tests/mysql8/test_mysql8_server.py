"""What is MySQL's own: accounts and roles, privileges, GTIDs, its locks, and the line between it and MariaDB."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql8_server  # noqa: E402
import mysql_server  # noqa: E402
from mysql8_server import Mysql8, beside_mariadb, job_for  # noqa: E402
from mysql_server import own_state  # noqa: E402

from dbfleet.databases.mysql import snapshot  # noqa: E402
from dbfleet.databases.mysql.address import address_of  # noqa: E402
from dbfleet.databases.mysql.measure import measure, measure_table  # noqa: E402
from dbfleet.databases.mysql.server import Session  # noqa: E402
from dbfleet.errors import SourceError, ToolError, UsageError  # noqa: E402
from dbfleet.model import Job, Manifest, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)
SAMPLE = (
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(50))",
    "INSERT INTO items VALUES(1, 'one'), (2, 'two')",
    "CREATE PROCEDURE nothing() SELECT 1",
)


@pytest.fixture
def server() -> Mysql8:
    return mysql8_server.server()


@pytest.fixture
def database(server: Mysql8) -> str:
    name = f"own_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    server.script(name, *SAMPLE)
    return name


@pytest.fixture
def job(server: Mysql8, database: str, tmp_path: Path) -> Job:
    return job_for(server.source(database), tmp_path)


def artifact(job: Job, manifest: Manifest, role: str) -> bytes:
    (found,) = [one for one in manifest.artifacts if one.role == role]
    return (Path(job.repository.url) / found.file).read_bytes()


def accounts(server: Mysql8) -> list[str]:
    """What makes every account, in the server's words."""
    found = []
    for name, host in server.ask("SELECT user, host FROM mysql.user WHERE user NOT LIKE 'mysql.%' ORDER BY 1, 2"):
        account = "@".join("'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'" for part in (name, host))
        with closing(server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET print_identified_with_as_hex = ON")
            cursor.execute(f"SHOW CREATE USER {account}")
            found.append(cursor.fetchone()[0])
        found += sorted(row[0] for row in server.ask(f"SHOW GRANTS FOR {account}"))
    return found


def test_a_whole_server_with_its_accounts_and_roles(server: Mysql8, tmp_path: Path) -> None:
    others = server.databases() - {"information_schema", "mysql", "performance_schema", "sys"}
    # A table that a restore put aside may refer to what is in another database.
    server.script("", "SET foreign_key_checks = 0", *(f"DROP DATABASE `{name}`" for name in sorted(others)))
    server.ask("CREATE DATABASE whole")
    server.script("whole", *SAMPLE)
    people = ("'it''s \\\\ me'@'10.%'", "reader", "writer", "'app'@'localhost'")
    server.script(
        "whole",
        "CREATE ROLE reader, writer",
        "GRANT SELECT ON whole.* TO reader",
        "GRANT INSERT, UPDATE (name) ON whole.items TO writer",
        f"CREATE USER {people[0]} IDENTIFIED BY 'secret' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3"
        " PASSWORD EXPIRE INTERVAL 9 DAY ACCOUNT LOCK COMMENT 'it''s'",
        f"GRANT reader, writer TO {people[0]} WITH ADMIN OPTION",
        f"SET DEFAULT ROLE reader TO {people[0]}",
        f"CREATE USER 'app'@'localhost' IDENTIFIED WITH {server.authentication} BY 'other'",
        "GRANT EXECUTE ON PROCEDURE whole.nothing TO app@localhost",
        "GRANT BACKUP_ADMIN ON *.* TO app@localhost WITH GRANT OPTION",
    )
    expected = accounts(server)
    job = job_for(server.source("", databases=("*",)), tmp_path)
    manifest = made(job)
    server.ask(f"DROP USER {', '.join(people)}")
    server.ask("DROP DATABASE whole")
    restore(job, manifest.id, to=server.url(""))
    assert accounts(server) == expected
    server.connect("whole", user="app", password="other").close()
    assert server.ask("SELECT name FROM items ORDER BY id", "whole") == [("one",), ("two",)]


def test_the_least_that_an_account_needs(server: Mysql8, database: str, job: Job, tmp_path: Path) -> None:
    server.ask("DROP USER IF EXISTS modest@localhost")
    server.ask("CREATE USER modest@localhost IDENTIFIED WITH caching_sha2_password BY 'its password'")
    server.ask(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON {database}.* TO modest@localhost")
    (tmp_path / "password").write_text("its password\n")
    source = Source(server.url(database, "modest"), str(tmp_path / "password"), tools=server.tools)
    job = replace(job, source=source)
    with pytest.raises(SourceError, match=r"lacks SHOW_ROUTINE ON \*\.\*; .* no routines") as caught:
        backup(job)
    assert caught.value.remedy == "GRANT SHOW_ROUTINE ON *.* TO that account"
    assert not (tmp_path / "backups").exists()
    server.ask("GRANT SHOW_ROUTINE ON *.* TO modest@localhost")
    manifest = made(job)
    assert any("(LOCK TABLES READ)" in note for note in manifest.notes)
    assert any("lacks REPLICATION CLIENT" in note for note in manifest.notes)
    assert b"PROCEDURE `nothing`" in artifact(job, manifest, "objects")
    server.ask("CREATE ROLE IF NOT EXISTS backups")
    server.ask("GRANT FLUSH_TABLES, BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO backups")
    server.ask("GRANT backups TO modest@localhost")
    server.ask("SET DEFAULT ROLE backups TO modest@localhost")
    notes = made(job).notes
    assert any("(FLUSH TABLES WITH READ LOCK)" in note for note in notes)
    assert any("LOCK INSTANCE FOR BACKUP" in note for note in notes)
    assert not any("REPLICATION CLIENT" in note for note in notes)


def test_the_position_is_kept_and_no_artifact_touches_that_of_the_target(server: Mysql8, job: Job) -> None:
    manifest = made(job)
    uuid = server.ask("SELECT @@server_uuid")[0][0]
    assert manifest.source.server_identity == uuid
    assert manifest.position["gtid"].startswith(f"{uuid}:1-")
    assert manifest.position["binlog_file"] and manifest.position["binlog_offset"]
    for one in manifest.artifacts:
        text = (Path(job.repository.url) / one.file).read_bytes()
        assert b"GTID" not in text and b"SQL_LOG_BIN" not in text


def test_who_alters_a_table_waits_for_the_backup(server: Mysql8, database: str, job: Job) -> None:
    waiting: list[str] = []
    altering = threading.Thread(target=server.ask, args=("ALTER TABLE items ADD COLUMN more INT", database))

    class Altering:
        def step(self, text: str) -> None:
            pass

        def expect(self, total_bytes: object) -> None:
            pass

        def advance(self, count: int) -> None:
            if altering.ident is None:
                altering.start()
                while not waiting:
                    states = server.ask("SELECT state FROM information_schema.processlist WHERE info LIKE 'ALTER %'")
                    waiting.extend(row[0] for row in states if "backup lock" in row[0])

    assert backup(job, progress=Altering()).manifest is not None
    altering.join()
    assert waiting and server.ask("SELECT more FROM items WHERE id = 1", database) == [(None,)]


@beside_mariadb
def test_mariadbs_tools_are_never_used_on_it(server: Mysql8, database: str, job: Job, tmp_path: Path) -> None:
    for tools in (None, "/usr/bin"):
        with pytest.raises(ToolError, match=r"not the tool of MySQL|not installed") as caught:
            backup(replace(job, source=Source(server.url(database), tools=tools)))
        assert "of MySQL" in caught.value.remedy and "source.tools" in caught.value.remedy
    assert not (tmp_path / "backups").exists()


@beside_mariadb
def test_one_flavour_is_not_restored_to_the_other(server: Mysql8, database: str, job: Job, tmp_path: Path) -> None:
    maria = mysql_server.server()
    manifest = made(job)
    with pytest.raises(UsageError, match="the backup is of MySQL 8.0.29, and .* is MariaDB"):
        restore(job, manifest.id, to=maria.url(f"{database}_there"))
    assert f"{database}_there" not in maria.databases()


def test_a_proof_by_md5_needs_a_component_of_newer_servers(
    server: Mysql8, database: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL has no MD5 from 9.6 on; backups from before SHA-256 are proven by it."""
    gone = tuple(map(int, server.ask("SELECT version()")[0][0].split(".")[:2])) >= (9, 6)
    hashing = "COMPONENT 'file://component_classic_hashing'"
    with monkeypatch.context() as before:
        before.setattr(snapshot, "measure", partial(measure, hash_name="md5"))
        if gone:
            server.ask(f"INSTALL {hashing}")
        manifest = made(job)
    if gone:
        server.ask(f"UNINSTALL {hashing}")
        with pytest.raises(SourceError, match="proven by MD5, which this server does not have") as caught:
            restore(job, manifest.id, to=server.url(f"{database}_back"))
        assert f"INSTALL {hashing}" in caught.value.remedy
        assert f"{database}_back" not in server.databases()
        server.ask(f"INSTALL {hashing}")
    try:
        assert restore(job, manifest.id, to=server.url(f"{database}_back")).proven
    finally:
        if gone:
            server.ask(f"UNINSTALL {hashing}")
    if server.scratch is None:  # a server of our own knows it
        (result,) = verify(job, manifest.id, "restore")
        assert result.ok, result.findings


@beside_mariadb
def test_the_same_rows_have_the_same_proof_on_both(server: Mysql8, database: str) -> None:
    maria = mysql_server.server()
    maria.ask(f"CREATE OR REPLACE DATABASE {database}")
    for one in (server, maria):
        one.script(
            database,
            "CREATE TABLE same(id BIGINT PRIMARY KEY, d DECIMAL(20,6), g DOUBLE, f FLOAT, n BIT(9), c CHAR(9),"
            " v VARCHAR(99) CHARACTER SET latin1, t LONGTEXT CHARACTER SET utf8mb4, b VARBINARY(9), bl LONGBLOB,"
            " e ENUM('a', 'b'), s SET('x', 'y'), da DATE, ti TIME(3), dt DATETIME(6), ts TIMESTAMP NULL, y YEAR,"
            " p POINT, g2 INT AS (id * 2) VIRTUAL)",
            "INSERT INTO same(id, d, g, f, n, c, v, t, b, bl, e, s, da, ti, dt, ts, y, p) VALUES"
            " (1, -1.5, 0.1e0 + 0.2e0, 3.14159, b'101', 'x', 'caf\u00e9', '\U0001f600 \\n', 0x00ff, 0x0027225c, 'b',"
            " 'x,y', '2024-02-29', '-12:34:56.789', '2024-10-27 02:30:00.000001', '2038-01-19 03:14:07', 1999,"
            " ST_GeomFromText('POINT(1 2.5)')), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
            " NULL, NULL, NULL, NULL, NULL, NULL)",
        )
    proofs = []
    for one in (server, maria):
        with Session(address_of(Source(one.url(database)))) as session:
            proofs.append(measure_table(session, database, "same", "sha256"))
    assert proofs[0] == proofs[1] and proofs[0].rows == 2


def test_the_commands_of_the_manifest_restore_it_by_hand(
    server: Mysql8, database: str, job: Job, tmp_path: Path
) -> None:
    manifest = made(job)
    options = tmp_path / "my.cnf"
    options.write_text(f"[client]\nhost=127.0.0.1\nport={server.port}\nprotocol=tcp\nuser=root\n")
    server.ask("DROP DATABASE IF EXISTS restored")
    mysql = f"{server.tools}/mysql" if server.tools else shutil.which("mysql")
    for command in manifest.restore_with:
        script = f'mysql() {{ "{mysql}" --defaults-file={options} "$@"; }}\n{command}'
        subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=job.repository.url, check=True, timeout=300)
    assert mysql_server.content(server, "restored") == mysql_server.content(server, database)
