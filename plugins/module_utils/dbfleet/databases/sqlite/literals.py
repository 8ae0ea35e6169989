"""Rows as the text of an INSERT, and the proof that the text says what the rows were.

Batches are encoded column by column with operations that run at memory speed. Each batch's text
is then read back and compared with the rows before it leaves: strings by what stands between
quotes, decimals by what SQLite makes of them. Whatever is not read back unchanged is encoded value
by value and parsed whole by SQLite. So no rule of the encoding has to be trusted.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Callable, Optional

from ...errors import ProofError

Row = tuple[Any, ...]


def decode_text(data: bytes) -> str:
    """A ``text_factory`` that keeps invalid UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def encode_fast(rows: Sequence[Row]) -> tuple[str, list[bool]]:
    """``(values, texts)`` of ``rows``: the text behind VALUES, and which columns hold quoted parts.

    NUL bytes and lone surrogates are written as they are: the caller looks for them.
    """
    encoded = []
    texts = []
    template = []
    for column in zip(*rows):
        types = set(map(type, column))
        template.append("'%s'" if types == {str} else "%s")
        texts.append(str in types or bytes in types)
        encoded.append(_encode_column(types, column))
    row = "(" + ",".join(template) + ")"
    return ",\n".join(map(row.__mod__, zip(*encoded))), texts


def _encode_column(types: set[type], column: Sequence[Any]) -> Sequence[str]:
    if types == {str}:
        return [value.replace("'", "''") if "'" in value else value for value in column]
    if types == {int}:
        return list(map(repr, column))
    if types == {float}:
        return list(map(float_literal, column))
    return list(map(literal, column))


def literal(value: Any) -> str:
    """One value as an SQL literal (SQLite manual, "Literal Values")."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, float):
        return float_literal(value)
    return repr(value)


def float_literal(value: float) -> str:
    """The shortest decimal of a double; SQLite knows no word for infinity."""
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return repr(value)


def exact_float(value: float) -> str:
    """A double as an exact product: SQLite before 3.47 misreads the last bit of some decimals."""
    fraction, exponent = math.frexp(value)
    mantissa, exponent = int(fraction * 2**53), exponent - 53
    while mantissa % 2 == 0 and mantissa:
        mantissa, exponent = mantissa // 2, exponent + 1
    step = "*" if exponent > 0 else "/"
    powers = [50] * (abs(exponent) // 50) + [abs(exponent) % 50]
    return f"({mantissa}.0" + "".join(f"{step}{2**power}.0" for power in powers if power) + ")"


def exact_text(value: str) -> str:
    """Text by its bytes, whatever they are."""
    return f"CAST(X'{value.encode('utf-8', 'surrogateescape').hex()}' AS TEXT)"


class Reader:
    """Reads batches back: what stands between quotes and what does not, decimals as SQLite reads them."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.text_factory = decode_text
        self._known_decimals: set[str] = set()

    def close(self) -> None:
        """End the private connection."""
        self._connection.close()

    def reads(self, values: str, rows: Sequence[Row]) -> bool:
        """Whether SQLite parses ``values`` as exactly ``rows``, types included."""
        try:
            found = self._connection.execute("VALUES " + values).fetchall()
        except (sqlite3.Error, UnicodeEncodeError):
            return False
        return found == list(rows) and [list(map(type, row)) for row in found] == [list(map(type, row)) for row in rows]

    def confirms(self, values: str, texts: Sequence[bool], rows: Sequence[Row]) -> bool:
        """Whether ``values`` says exactly ``rows``; ``False`` also where that is not certain.

        Single quotes divide what is quoted from what is not; where nothing is between two of
        them, they are one quote inside a string. Each side is compared with the rows.
        """
        pieces = values.split("'")
        outside, inside = pieces[0::2], pieces[1::2]
        if "" in outside:
            outside, inside = _join_doubled(outside, inside)
        columns = list(zip(*rows))
        if inside != _quoted_parts(columns, texts):
            return False
        skeleton = "''".join(outside)
        if (skeleton[:1], skeleton[-1:], skeleton.count(",")) != ("(", ")", len(rows) * len(columns) - 1):
            return False
        lines = skeleton[1:-1].split("),\n(")
        tokens = list(zip(*(line.split(",") for line in lines)))
        if len(lines) != len(rows) or len(tokens) != len(columns):
            return False
        try:
            return all(map(self._confirms_column, tokens, columns))
        except (ValueError, sqlite3.Error):  # what should be a number is none
            return False

    def _confirms_column(self, tokens: Sequence[str], column: Sequence[Any]) -> bool:
        types = set(map(type, column))
        if types == {int}:
            return list(map(int, tokens)) == list(column)
        if types == {str}:
            return set(tokens) == {"''"}
        if types == {float}:
            return self._confirms_decimals(tokens, column)
        return all(map(self._confirms_value, tokens, column))

    def _confirms_value(self, written: str, value: Any) -> bool:
        if value is None:
            return written == "NULL"
        if isinstance(value, str):
            return written == "''"
        if isinstance(value, bytes):
            return written == "X''"
        if isinstance(value, float):
            return self._confirms_decimals((written,), (value,))
        return bool(int(written) == value)

    def _confirms_decimals(self, tokens: Sequence[str], column: Sequence[float]) -> bool:
        known = self._known_decimals
        fresh = [(token, value) for token, value in zip(tokens, column) if token not in known]
        if [float(token) for token in tokens] != list(column):
            return False
        for start in range(0, len(fresh), 400):
            part = fresh[start : start + 400]
            if self._connection.execute("SELECT " + ",".join(token for token, _value in part)).fetchone() != tuple(
                value for _token, value in part
            ):
                return False
        if len(known) > 100_000:
            known.clear()
        known.update(token for token, _value in fresh)
        return True


def _join_doubled(outside: Sequence[str], inside: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take doubled quotes, which are where nothing stands outside, as one quote inside."""
    texts: list[str] = []
    done = 0
    try:
        while True:  # ``outside[i]`` stands between ``inside[i - 1]`` and ``inside[i]``
            empty = outside.index("", done + 1)
            end = empty + 1
            while outside[end] == "":
                end += 1
            texts += inside[done : empty - 1]
            texts.append("'".join(inside[empty - 1 : end]))
            done = end
    except (ValueError, IndexError):
        texts += inside[done:]
    return list(filter(None, outside)), texts


def _quoted_parts(columns: Sequence[Sequence[Any]], texts: Sequence[bool]) -> list[str]:
    """What stands between quotes, in order: strings, and the hexadecimal digits of blobs."""
    kept = [column for column, has_text in zip(columns, texts) if has_text]
    parts = list(chain.from_iterable(zip(*kept)))
    if set(map(type, parts)) == {str}:
        return parts
    return [part.hex() if type(part) is bytes else part for part in parts if type(part) in (str, bytes)]


class Encoder:
    """Rows to text that is known to be read as these rows."""

    def __init__(self) -> None:
        self._reader = Reader()

    def close(self) -> None:
        """End the reader."""
        self._reader.close()

    def values(self, rows: Sequence[Row], describe: Callable[[], str]) -> bytes:
        """The text behind VALUES as UTF-8. Raises ``ProofError`` naming ``describe()`` where no text says it."""
        try:
            values, texts = encode_fast(rows)
            if "\0" not in values and self._reader.confirms(values, texts, rows):
                return values.encode("utf-8")
        except UnicodeEncodeError:
            pass
        return ",\n".join(self._exact_row(row, describe) for row in rows).encode("utf-8")

    def _exact_row(self, row: Row, describe: Callable[[], str]) -> str:
        text = "(" + ",".join(self._exact_value(value) for value in row) + ")"
        if not self._reader.reads(text, [row]):
            raise ProofError(
                f"{describe()} cannot be carried by the .sql: SQLite does not read {text[:80]!r} back unchanged",
                "use method: physical, which keeps the database's own pages, and report this",
            )
        return text

    def _exact_value(self, value: Any) -> str:
        if isinstance(value, str) and ("\0" in value or not _is_utf8(value)):
            return exact_text(value)
        text = literal(value)
        if isinstance(value, float) and not self._reader.reads(f"({text})", [(value,)]):
            return exact_float(value)
        return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
