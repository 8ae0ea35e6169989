"""What a database contains is read from its own catalog, whatever the names."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.connection import quoted
from dbfleet.databases.sqlite.schema import affinity_of, differences, read_items, read_table, schema_digest


def database(sql: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(sql)
    return connection


@pytest.mark.parametrize(
    ("sql", "rowid", "key"),
    [
        ("CREATE TABLE t(a, b)", "rowid", ("rowid",)),
        ("CREATE TABLE t(a INTEGER PRIMARY KEY, b)", None, ('"a"',)),
        ("CREATE TABLE t(a INT PRIMARY KEY, b)", "rowid", ("rowid",)),
        ("CREATE TABLE t(a INTEGER PRIMARY KEY DESC)", "rowid", ("rowid",)),
        ("CREATE TABLE t(b, a, PRIMARY KEY(a, b)) WITHOUT ROWID", None, ('"a"', '"b"')),
        ("CREATE TABLE t(a INTEGER PRIMARY KEY) WITHOUT ROWID", None, ('"a"',)),
        ("CREATE TABLE t(rowid)", "_rowid_", ("_rowid_",)),
        ("CREATE TABLE t(ROWID, _rowid_)", "oid", ("oid",)),
        ("CREATE TABLE t(rowid, _rowid_, oid)", None, ()),
        ("CREATE TABLE t(a, rowid AS (a))", "_rowid_", ("_rowid_",)),
    ],
)
def test_how_the_rows_of_a_table_are_told_apart(sql: str, rowid: str, key: tuple[str, ...]) -> None:
    table = read_table(database(sql), "t")
    assert (table.rowid, table.key) == (rowid, key)


def test_generated_and_hidden_columns_are_not_stored_ones() -> None:
    connection = database("CREATE TABLE t(a, v AS (a) VIRTUAL, s AS (a) STORED, b)")
    assert [column.name for column in read_table(connection, "t").columns] == ["a", "b"]
    connection = database("CREATE VIRTUAL TABLE f USING fts5(x)")
    virtual = {item.name: item.virtual for item in read_items(connection)}
    assert virtual.pop("f") is True
    assert set(virtual.values()) == {False}


@given(st.text(alphabet="intcharlobtexreafdouINTBLOB ()0", max_size=16))
def test_the_affinity_is_the_one_that_sqlite_gives(declared: str) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE TABLE t(a {declared})")
        declared = connection.execute("PRAGMA table_info(t)").fetchone()[2]
    except (sqlite3.OperationalError, sqlite3.Warning):
        return  # no type
    connection.execute("INSERT INTO t VALUES('1.0')")
    connection.execute("INSERT INTO t VALUES(2)")
    stored = [row[0] for row in connection.execute("SELECT typeof(a) FROM t")]
    expected = {
        "TEXT": ["text", "text"],
        "BLOB": ["text", "integer"],
        "INTEGER": ["integer", "integer"],
        "NUMERIC": ["integer", "integer"],
        "REAL": ["real", "real"],
    }
    assert stored == expected[affinity_of(declared)]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
def test_every_name_is_only_a_name(name: str) -> None:
    connection = sqlite3.connect(":memory:")
    if name.lower().startswith("sqlite_"):
        return  # SQLite keeps these for itself
    connection.execute(f"CREATE TABLE {quoted(name)}({quoted(name)})")
    (item,) = read_items(connection)
    assert item.name == name
    assert [column.name for column in read_table(connection, name).columns] == [name]


def test_the_digest_of_a_schema_does_not_depend_on_the_order_but_on_everything_else() -> None:
    one = "CREATE TABLE a(x); CREATE TABLE b(y); CREATE INDEX i ON a(x);"
    two = "CREATE TABLE b(y); CREATE TABLE a(x); CREATE INDEX i ON a(x);"
    digest = schema_digest(read_items(database(one)))
    assert schema_digest(read_items(database(two))) == digest
    for other in (
        one.replace("a(x)", "a(X)"),
        one.replace("INDEX", "UNIQUE INDEX"),
        one + "CREATE VIEW v AS SELECT 1;",
    ):
        assert schema_digest(read_items(database(other))) != digest


def test_differences_name_what_is_missing_or_otherwise() -> None:
    expected = read_items(database("CREATE TABLE a(x UNIQUE); CREATE TABLE b(y); CREATE VIEW v AS SELECT 1;"))
    found = read_items(database("CREATE TABLE a(x); CREATE TABLE b(y);"))
    assert differences(expected, found) == ["table a", "index sqlite_autoindex_a_1", "view v"]
    assert differences(expected, expected) == []
