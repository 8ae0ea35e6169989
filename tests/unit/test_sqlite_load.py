"""SQL text is taken apart as SQLite does it, in pieces of any size, and may do nothing outside its database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.load import load, statements
from dbfleet.errors import CapacityError, DamagedError, DbfleetError, RefusedError

PARTS = [
    "SELECT 1;",
    "\nINSERT INTO t VALUES('a;''b\n;--x', \"c;\"\"d\", [e;f], `g;h`);",
    "/* ; ' \n */ SELECT 1-1, 4/2, -1;",
    "-- a comment; it's long\nSELECT 'x';",
    "\nCREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT ';END;'; UPDATE t SET a = 1; END;",
    "/* x */ CREATE  TEMP\tTRIGGER b BEFORE DELETE ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END;",
    "CREATE TABLE trigger_log(a);",
    ";",
    "SELECT 'é🐘\u2028';",
    "SELECT '--', '/*', 5;",
]


def cut(text: str, size: int) -> list[bytes]:
    data = text.encode()
    return [data[i : i + size] for i in range(0, len(data), size)]


@given(
    st.lists(st.sampled_from(PARTS), max_size=8),
    st.integers(1, 40),
    st.sampled_from(["", "\n", " -- end;'", "/* ; */"]),
)
def test_statements_come_apart_where_sqlite_ends_them(parts: list[str], size: int, rest: str) -> None:
    found = list(statements(cut("".join(parts) + rest, size), "x.sql"))
    assert found == parts
    assert all(map(sqlite3.complete_statement, found))


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), st.data())
def test_a_text_that_was_cut_is_never_taken_for_whole(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    end = data.draw(st.integers(0, len(text)))
    taken = []
    try:
        for statement in statements([text[:end].encode()], "x.sql"):
            taken.append(statement)
    except DamagedError:
        pass
    assert taken == parts[: len(taken)], "nothing but whole statements"


@pytest.mark.parametrize(
    "rest",
    [
        "SELECT 1",
        "INSERT INTO t VALUES('a;",
        "/* open ;",
        'SELECT "a',
        "CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;",
    ],
)
def test_an_unfinished_statement_is_damage(rest: str) -> None:
    with pytest.raises(DamagedError, match="in the middle of a statement"):
        list(statements([b"SELECT 1;" + rest.encode()], "x.sql"))


def test_long_texts_full_of_semicolons_take_no_longer_than_others() -> None:
    text = "INSERT INTO t VALUES('" + "x = y;\n" * 300_000 + "');"
    begun = time.perf_counter()
    assert list(statements(cut(text, 65536), "x.sql")) == [text]
    assert time.perf_counter() - begun < 5


def test_it_loads_what_the_shell_loads(tmp_path: Path) -> None:
    text = "\ufeffPRAGMA foreign_keys=OFF;BEGIN TRANSACTION; CREATE TABLE t(a);INSERT INTO t VALUES('x\r\ny');COMMIT;"
    load(cut(text, 7), str(tmp_path / "x.db"), "x.sql")
    assert sqlite3.connect(tmp_path / "x.db").execute("SELECT a FROM t").fetchall() == [("x\r\ny",)]


@pytest.mark.parametrize(
    ("sql", "kind", "match"),
    [
        ("ATTACH '{}' AS o;", RefusedError, "statement 1 of 'x.sql' would open another file"),
        ("CREATE TABLE t(a); VACUUM INTO '{}';", RefusedError, "statement 2"),
        ("BEGIN; CREATE TABLE t(a); ROLLBACK;", DamagedError, "the dump says that it failed"),
        ("BEGIN; CREATE TABLE t(a);", DamagedError, "ends inside a transaction"),
        ("CREATE TABLE t(a); CREATE TABLE t(a);", DamagedError, "statement 2 .*already exists"),
        ("SELECT '\0';", DamagedError, "NUL byte"),
    ],
)
def test_what_it_does_not_load(sql: str, kind: type[DbfleetError], match: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=match):
        load([sql.format(tmp_path / "other.db").encode()], str(tmp_path / "x.db"), "x.sql")
    assert not (tmp_path / "other.db").exists()


def test_no_room_is_not_called_damage(tmp_path: Path) -> None:
    text = "PRAGMA max_page_count = 2; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000));"
    with pytest.raises(CapacityError, match="no room left"):
        load([text.encode()], str(tmp_path / "x.db"), "x.sql")


@pytest.mark.parametrize("data", [b"SELECT '\xff';", b"SELECT '\xc3", "SELECT 1;".encode("utf-16")])
def test_bytes_that_are_no_text(data: bytes) -> None:
    with pytest.raises(DamagedError, match="UTF-8|NUL"):
        list(statements([data], "x.sql"))
