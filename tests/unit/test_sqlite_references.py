"""A quick answer about foreign keys is never another one than SQLite's own check gives."""

from __future__ import annotations

import sqlite3

import pytest

from dbfleet.databases.sqlite.references import all_lead_to_rows

P = "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES(1), (2);"


def database(sql: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(sql)
    return connection


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE alone(a)",
        P + "CREATE TABLE c(x INTEGER REFERENCES p(id)); INSERT INTO c VALUES(1), (NULL), (2)",
        P + "CREATE TABLE c(x BIGINT REFERENCES P); INSERT INTO c VALUES(2)",
        P + 'CREATE TABLE "q""c"("a b" INT REFERENCES P("ID")); CREATE INDEX i ON "q""c"("a b");',
        "CREATE TABLE t(id INTEGER PRIMARY KEY, up INTEGER REFERENCES t); INSERT INTO t VALUES(1, NULL), (2, 1)",
    ],
)
def test_usual_references_are_answered_quickly(sql: str) -> None:
    connection = database(sql)
    assert all_lead_to_rows(connection)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize(
    "sql",
    [
        P + "CREATE TABLE c(x INTEGER REFERENCES p); INSERT INTO c VALUES(3)",
        P + "CREATE TABLE c(x INTEGER REFERENCES p); INSERT INTO c VALUES('one')",
        P + "CREATE TABLE c(x INTEGER REFERENCES gone(id)); INSERT INTO c VALUES(1)",
        P + "CREATE TABLE c(x TEXT REFERENCES p); INSERT INTO c VALUES('01')",
        P + "CREATE TABLE c(x REFERENCES p); INSERT INTO c VALUES('1')",
        P + "CREATE VIEW v AS SELECT * FROM p; CREATE TABLE c(x INTEGER REFERENCES v(id)); INSERT INTO c VALUES(1)",
        "CREATE TABLE p(k TEXT PRIMARY KEY); INSERT INTO p VALUES('01'); "
        "CREATE TABLE c(x INTEGER REFERENCES p); INSERT INTO c VALUES(1)",
        "CREATE TABLE p(a, b, PRIMARY KEY(a, b)); "
        "CREATE TABLE c(x INTEGER, y INTEGER, FOREIGN KEY(x, y) REFERENCES p); INSERT INTO c VALUES(1, 2)",
        "CREATE TABLE p(id INTEGER PRIMARY KEY, other INTEGER UNIQUE); INSERT INTO p VALUES(1, 7); "
        "CREATE TABLE c(x INTEGER REFERENCES p(other)); INSERT INTO c VALUES(1)",
    ],
)
def test_what_is_broken_or_unusual_is_left_to_sqlite(sql: str) -> None:
    assert not all_lead_to_rows(database(sql))
