"""A proof is equal for equal data in any order, and differs for any other data."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.measure import REFERENCES, content_digest, measure, measure_query, written_differs
from dbfleet.errors import UsageError
from dbfleet.model import Proof, ProofPolicy, TableProof

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=5),
    st.text(max_size=5),
)
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=8)


def canonical(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(
        repr([(type(value), value + 0.0 if isinstance(value, float) else value) for value in row]) for row in rows
    )


@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_count(rows: list[tuple[Any, ...]], chance: random.Random) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert content_digest(shuffled) == content_digest(rows)


@given(ROWS, ROWS)
def test_other_rows_have_another_digest(one: list[tuple[Any, ...]], two: list[tuple[Any, ...]]) -> None:
    assert (content_digest(one) == content_digest(two)) == (canonical(one) == canonical(two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([("ab", "c")], [("a", "bc")]),
        ([("1",)], [(1,)]),
        ([(1,)], [(1.0,)]),
        ([("x",)], [(b"x",)]),
        ([("",)], [(None,)]),
        ([(1, 2)], [(2, 1)]),
        ([(1,), (1,)], [(1,)]),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)]),
        ([(0.1,)], [(0.1 + 2**-56,)]),
        ([("a\0b",)], [("a",)]),
    ],
)
def test_what_is_easily_confused(one: list[tuple[Any, ...]], two: list[tuple[Any, ...]]) -> None:
    assert content_digest(one).digest != content_digest(two).digest


def test_a_negative_zero_counts_as_zero() -> None:
    assert content_digest([(-0.0,)]) == content_digest([(0.0,)])


def database(sql: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(sql)
    return connection


def test_levels_measure_what_they_say() -> None:
    sql = "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2); CREATE TABLE e(a);"
    none = measure(database(sql), "x", ProofPolicy("none", ("SELECT 1",)))
    assert (none.tables, none.schema_sha256, len(none.queries)) == ({}, None, 1)
    rows = measure(database(sql), "x", ProofPolicy("rows"))
    assert rows.tables == {"t": TableProof(2), "e": TableProof(0)}
    full = measure(database(sql), "x", ProofPolicy("content"))
    assert full.tables["t"].digest and full.tables["t"].rows == 2
    assert full.schema_sha256 == rows.schema_sha256
    assert rows.schema_sha256 is not None


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ",
        "-- nothing",
        "nonsense",
        "SELECT 1; SELECT 2",
        "DELETE FROM t",
        "PRAGMA user_version = 9",
        "CREATE TABLE n(a)",
    ],
)
def test_a_query_must_be_one_that_gives_rows_and_changes_nothing(sql: str) -> None:
    connection = database("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
    with pytest.raises(UsageError, match=r"proof\.queries"):
        measure_query(connection, sql)
    assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_an_answer_is_its_rows_in_their_order() -> None:
    connection = database("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)")
    up, down = (measure_query(connection, f"SELECT a FROM t ORDER BY a {order}") for order in ("ASC", "DESC"))
    assert (up.rows, down.rows) == (2, 2)
    assert up.sha256 != down.sha256


def test_references_are_measured_unless_the_schema_forbids_the_question() -> None:
    broken = database("CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(x REFERENCES p(a)); INSERT INTO c VALUES(1)")
    (answer,) = measure(broken, "x", ProofPolicy("rows")).queries
    assert (answer.sql, answer.rows) == (REFERENCES, 1)
    mismatch = database("CREATE TABLE p(a, b); CREATE TABLE c(x REFERENCES p(b)); INSERT INTO c VALUES(1)")
    assert measure(mismatch, "x", ProofPolicy("rows")).queries == ()


def test_tables_with_other_rows_than_were_counted_are_named() -> None:
    proof = Proof("rows", {"a": TableProof(3), "b": TableProof(2)})
    assert written_differs(proof, {"a": 3, "b": 2}) == []
    assert written_differs(proof, {"a": 2, "b": 2}) == ["a"]
