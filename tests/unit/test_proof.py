"""Promise: a restore that differs from its backup in anything that was measured is not called proven."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.model import Proof, QueryProof, TableProof
from dbfleet.proof import compare

EXPECTED = Proof(
    "content",
    {"users": TableProof(3, "d1"), "empty": TableProof(0, "d2")},
    "schema",
    (QueryProof("select 1", 1, "q"),),
    "image",
)

tables = st.dictionaries(
    st.text(max_size=3), st.builds(TableProof, st.integers(0, 3), st.sampled_from(["x", "y"])), max_size=3
)


def objects(measured: Proof, expected: Proof = EXPECTED) -> list[str]:
    return [finding.object for finding in compare(expected, measured)]


def test_what_is_equal_has_no_findings():
    assert objects(EXPECTED) == []
    assert objects(replace(EXPECTED, image_sha256=None)) == []  # rebuilt from SQL: other bytes are right


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        (replace(EXPECTED, tables={"users": TableProof(3, "d1")}), "table empty"),
        (replace(EXPECTED, tables={**EXPECTED.tables, "more": TableProof(0, "x")}), "table more"),
        (replace(EXPECTED, tables={**EXPECTED.tables, "users": TableProof(2, "d1")}), "table users"),
        (replace(EXPECTED, tables={**EXPECTED.tables, "users": TableProof(3, "d9")}), "table users"),
        (replace(EXPECTED, tables={**EXPECTED.tables, "users": TableProof(3, None)}), "table users"),
        (replace(EXPECTED, schema_sha256="other"), "schema"),
        (replace(EXPECTED, schema_sha256=None), "schema"),
        (replace(EXPECTED, queries=()), "query select 1"),
        (replace(EXPECTED, queries=(QueryProof("select 1", 2, "q"),)), "query select 1"),
        (replace(EXPECTED, queries=(QueryProof("select 1", 1, "z"),)), "query select 1"),
        (replace(EXPECTED, image_sha256="other"), "database image"),
    ],
)
def test_each_difference_is_found(measured, found):
    assert objects(measured) == [found]


def test_what_was_never_expected_is_not_compared():
    assert objects(EXPECTED, Proof("none")) == []
    rows = Proof("rows", {"users": TableProof(3), "empty": TableProof(0)})
    assert objects(EXPECTED, rows) == []


@given(tables, tables)
def test_there_are_findings_exactly_when_the_tables_differ(one, other):
    assert bool(compare(Proof("content", one), Proof("content", other))) == (one != other)
