"""Whatever a row holds, SQLite reads its text back as that row; what it cannot read is refused, not written."""

from __future__ import annotations

import math
import sqlite3
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.literals import (
    Encoder,
    Reader,
    by_bytes,
    decode_text,
    encode_fast,
    exact_float,
    text_literal,
)
from dbfleet.errors import ProofError

DOUBLES = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0])
ANY_TEXT = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="'\r\n\0,;()X\"-", max_size=10),
    st.binary(max_size=8).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    DOUBLES.filter(lambda value: not math.isnan(value)),
    st.binary(max_size=12),
    ANY_TEXT,
)


def read_back(text: str, encoding: str = "UTF-8") -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.execute(f"PRAGMA encoding = '{encoding}'")
    connection.text_factory = decode_text
    try:
        return connection.execute("VALUES " + text).fetchall()
    finally:
        connection.close()


def exactly(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [
        [struct.pack(">d", value) if isinstance(value, float) else (type(value), value) for value in row]
        for row in rows
    ]


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[VALUES] * width), min_size=1, max_size=12)))
def test_rows_of_anything_are_read_back_to_the_last_bit(rows: list[tuple[Any, ...]]) -> None:
    encoder = Encoder()
    text = encoder.values(rows, lambda: "a table").decode("utf-8")
    encoder.close()
    assert exactly(read_back(text)) == exactly(rows)
    assert "\0" not in text
    assert "\r\n" not in text, "the sqlite3 shell would read another line end"


@given(
    st.sampled_from(["UTF-16le", "UTF-16be"]),
    st.lists(st.tuples(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=9)), min_size=1, max_size=5),
)
@example("UTF-16le", [("a\0b",), ("\ufeffx\r\n",), ("\U0001f600\0",)])
def test_text_by_its_bytes_is_in_the_encoding_of_the_database(encoding: str, rows: list[tuple[str]]) -> None:
    encoder = Encoder(encoding)
    text = encoder.values(rows, lambda: "a table").decode("utf-8")
    encoder.close()
    assert read_back(text, encoding) == rows


@given(DOUBLES.filter(lambda value: not math.isnan(value) and not math.isinf(value)))
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
def test_an_exact_product_is_that_very_double(value: float) -> None:
    ((found,),) = read_back(f"({exact_float(value)})")
    assert found == value


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.data())
def test_a_changed_text_is_never_confirmed(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """One character more, less or other: what is confirmed must still mean the same rows to SQLite."""
    rows = [tuple(by_bytes(value, "UTF-8") for value in row) for row in rows]
    text, texts = encode_fast(rows)
    place = data.draw(st.integers(0, len(text) - 1))
    what = data.draw(st.sampled_from(["", "'", ",", "0", "-", " ", "x", "(", ")", "''"]))
    changed = text[:place] + what + text[place + data.draw(st.integers(0, 1)) :]
    reader = Reader("UTF-8")
    confirmed = reader.confirms(changed, texts, rows)
    reader.close()
    if confirmed:
        assert read_back(changed) == read_back(text)


def test_what_sqlite_does_not_read_back_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbfleet.databases.sqlite.batch.write", lambda *_: None)
    monkeypatch.setattr(Reader, "reads", lambda *_: False)
    monkeypatch.setattr(Reader, "confirms", lambda *_: False)
    with pytest.raises(ProofError, match="table 'prices' cannot be carried"):
        Encoder().values([(1,)], lambda: "table 'prices'")


@pytest.mark.parametrize("text", ["", "plain", "it's", "a\0b", "\udcff", "x\r\ny", "\r", "\n\r"])
def test_one_text(text: str) -> None:
    assert read_back(f"({text_literal(text, 'UTF-8')})") == [(text,)]
