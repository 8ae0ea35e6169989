"""What only MariaDB has, and its dump tool writes in other ways than the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from mysql_server import Server, content, job_of, own_state  # noqa: E402

from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

ORACLE = (
    "CREATE PACKAGE staff AS FUNCTION raised(n INT) RETURN INT; PROCEDURE show_it(n INT); END;",
    "CREATE PACKAGE BODY staff AS\r\n  rate INT := 5;\n"
    "  FUNCTION raised(n INT) RETURN INT AS BEGIN RETURN n * rate; END;\n"
    "  PROCEDURE show_it(n INT) AS BEGIN SELECT raised(n) FROM DUAL; END;\nEND;",
    "CREATE PROCEDURE longer(x IN INT) AS y INT := 1; BEGIN IF x > 1 THEN y := x; END IF; SELECT x || 'a'; END;",
    "CREATE TABLE people(name VARCHAR2(20), pay NUMBER(10,2), since DATE)",
    "INSERT INTO people VALUES('one', 1.5, '2020-01-02 03:04:05')",
    "CREATE TRIGGER marked BEFORE INSERT ON people FOR EACH ROW BEGIN :NEW.name := :NEW.name || '!'; END;",
    "CREATE VIEW names AS SELECT name || '?' AS name FROM people",
)
SUM_OF_ALL = (
    "CREATE AGGREGATE FUNCTION total(x INT) RETURNS INT NO SQL BEGIN DECLARE s INT DEFAULT 0;"
    " DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s; LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END"
)
OVER_TIME = (
    "CREATE TABLE stays(id INT, begins DATE, ends DATE, PERIOD FOR stay(begins, ends),"
    " UNIQUE(id, stay WITHOUT OVERLAPS))",
    "INSERT INTO stays VALUES(1, '2020-01-01', '2021-01-01'), (1, '2021-01-01', '2022-01-01')",
    "CREATE TABLE plain(id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
    "CREATE TABLE named(id INT PRIMARY KEY, v INT, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START,"
    " until TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME(since, until)) WITH SYSTEM VERSIONING"
    " PARTITION BY SYSTEM_TIME (PARTITION old HISTORY, PARTITION present CURRENT)",
    "INSERT INTO plain VALUES(1, 1), (2, 2)",
    "INSERT INTO named(id, v) VALUES(1, 1), (2, 2)",
    "UPDATE plain SET v = 3 WHERE id = 1",
    "UPDATE named SET v = 3 WHERE id = 1",
)


def routines(server: Server, database: str) -> list[tuple[Any, ...]]:
    """All of them with their bodies, packages as well."""
    return server.ask(f"SELECT name, type, body_utf8, sql_mode FROM mysql.proc WHERE db = '{database}' ORDER BY 1, 2")


def test_packages_and_what_else_oracle_mode_makes(tmp_path: Path) -> None:
    server = mysql_server.server()
    server.ask("CREATE DATABASE oracle")
    server.script("oracle", *ORACLE, mode="ORACLE")
    server.script("oracle", SUM_OF_ALL)
    expected, bodies = content(server, "oracle"), routines(server, "oracle")
    assert {row[1] for row in bodies} == {"PACKAGE", "PACKAGE BODY", "PROCEDURE", "FUNCTION"}
    job = job_of(server.url("oracle"), tmp_path / "backups")
    made(job)
    restore(job, "latest", to=server.url("oracle_back"))
    assert content(server, "oracle_back") == expected and routines(server, "oracle_back") == bodies
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    report = restore(job, "latest", replace=True)  # which drops them all first
    assert report.kept and content(server, "oracle") == expected and routines(server, "oracle") == bodies
    assert server.ask("SELECT total(v) FROM (SELECT 2 AS v UNION SELECT 3) x", "oracle") == [(5,)]


def test_tables_over_time_come_back_as_of_now(tmp_path: Path) -> None:
    server = mysql_server.server()
    server.ask("CREATE DATABASE over_time")
    server.script("over_time", *OVER_TIME)
    job = job_of(server.url("over_time"), tmp_path / "backups")
    manifest = made(job)
    assert any("history of system-versioned tables is not kept: named, plain" in note for note in manifest.notes)
    restore(job, "latest", to=server.url("later"))
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    for table in ("stays", "plain", "named"):
        (before,), (after,) = (server.ask(f"SHOW CREATE TABLE {table}", name) for name in ("over_time", "later"))
        assert before == after
    for query in ("SELECT * FROM stays", "SELECT * FROM plain", "SELECT id, v FROM named"):
        assert server.ask(f"{query} ORDER BY 1, 2", "later") == server.ask(f"{query} ORDER BY 1, 2", "over_time")


def test_a_default_may_be_any_bytes(tmp_path: Path) -> None:
    """MariaDB writes them into a definition as they are."""
    server = mysql_server.server()
    server.ask("CREATE DATABASE bytes_")
    made_of = "id INT PRIMARY KEY, h VARBINARY(9) DEFAULT x'00ff27c3', k BINARY(3) DEFAULT x'fe0000', KEY(h), KEY(k, h)"
    server.script("bytes_", f"CREATE TABLE t({made_of})", "INSERT INTO t(id) VALUES(1), (2)")
    expected = server.dump("bytes_")
    job = job_of(server.url("bytes_"), tmp_path / "backups")
    made(job)
    restore(job, "latest", to=server.url("bytes_back"))
    assert server.dump("bytes_back").replace(b"bytes_back", b"bytes_") == expected
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    server.ask("DROP TABLE t", "bytes_")
    restore(job, "latest", tables=["t"])
    assert server.dump("bytes_") == expected
