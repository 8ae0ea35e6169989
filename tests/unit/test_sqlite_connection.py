"""A URL means one file, and SQLite's errors come out in our words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.connection import path_of, translate, url_of
from dbfleet.databases.sqlite.soundness import examine
from dbfleet.errors import BusyError, CapacityError, SourceError, UsageError


@given(st.text(alphabet=st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_the_url_of_a_path_means_that_path_even_before_it_exists(name: str) -> None:
    if name not in (".", ".."):
        assert path_of(url_of(f"/srv/{name}")) == f"/srv/{name}"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/app.db", "/srv/app.db"),
        ("sqlite:////srv/app.db?timeout=30", "/srv/app.db"),
        ("sqlite:////srv/app.db?mode=ro&x=1", "/srv/app.db"),
        ("SQLITE:////srv/a b.db", "/srv/a b.db"),
        ("sqlite:////srv/../etc/app.db", "/etc/app.db"),
    ],
)
def test_urls_of_applications(url: str, path: str) -> None:
    assert path_of(url) == path


def test_a_file_that_is_there_is_meant_literally_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a%20b.db", "a b.db", "q?x=1", "q"):
        (tmp_path / name).touch()
    assert path_of("sqlite:///a%20b.db") == str(tmp_path / "a%20b.db")
    assert path_of("sqlite:///q?x=1") == str(tmp_path / "q?x=1")
    (tmp_path / "a%20b.db").unlink()
    (tmp_path / "q?x=1").unlink()
    assert path_of("sqlite:///a%20b.db") == str(tmp_path / "a b.db")
    assert path_of("sqlite:///q?x=1") == str(tmp_path / "q")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/x", "/srv/app.db", "sqlite:////a\0b"]
)
def test_what_names_no_file(url: str) -> None:
    with pytest.raises(UsageError):
        path_of(url)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("database is locked", BusyError),
        ("database table is locked", BusyError),
        ("database disk image is malformed", SourceError),
        ("file is not a database", SourceError),
        ("database or disk is full", CapacityError),
        ("attempt to write a readonly database", SourceError),
        ("unable to open database file", SourceError),
        ("something new", SourceError),
    ],
)
def test_errors_in_our_words(text: str, kind: type[Exception]) -> None:
    error = translate(sqlite3.OperationalError(text), "/srv/app.db")
    assert error.__class__ is kind
    assert "/srv/app.db" in error.message and error.remedy


def test_rows_that_break_constraints_are_no_damage() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(
        "CREATE TABLE t(a CHECK(a > 0), b); PRAGMA ignore_check_constraints = ON; INSERT INTO t VALUES(-1, NULL);"
        "PRAGMA ignore_check_constraints = OFF; PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = 'CREATE TABLE t(a CHECK(a > 0), b NOT NULL)'; PRAGMA writable_schema = RESET"
    )
    for thorough in (False, True):
        found = examine(connection, thorough=thorough)
        assert found.damage == ()
        assert set(found.broken_constraints) == {"CHECK constraint failed in t", "NULL value in t.b"}


def test_damage_is_told_in_a_few_lines() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); PRAGMA writable_schema = ON;"
        "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x < 99) INSERT INTO t SELECT x, -x FROM n;"
        "UPDATE sqlite_master SET sql = 'CREATE INDEX i ON t(b)' WHERE name = 'i'; PRAGMA writable_schema = RESET"
    )
    found = examine(connection, thorough=True)
    assert len(found.damage) == 3 and "missing from index i" in found.damage[0]
