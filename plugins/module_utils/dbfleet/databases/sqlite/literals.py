"""Rows as the text of an INSERT, and the proof that the text says what the rows were.

Most batches are written the quick way (:mod:`.batch`). Others are encoded column by column, and
the text is read back and compared with the rows before it leaves: strings by what stands between
quotes, decimals and text by its bytes by what SQLite makes of them. Whatever is not read back
unchanged is encoded value by value and parsed whole by SQLite. So no rule of the encoding has to be
trusted.

Text goes by its bytes where a reader would change it: NUL bytes and invalid UTF-8, and the line
ends of Windows, which the sqlite3 shell reads as those of Unix, in the middle of a string too.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Callable, Union

from ...errors import ProofError
from . import batch

Row = tuple[Any, ...]


def decode_text(data: Union[bytes, bytearray]) -> str:
    """A ``text_factory`` that keeps invalid UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def as_text(value: Any) -> Any:
    """``value``, decoded where it is text as SQLite gives it fastest: a ``bytearray``."""
    return decode_text(value) if value.__class__ is bytearray else value


class TextBytes(bytes):
    """Text by its bytes in the encoding of the database."""


def needs_bytes(text: str) -> bool:
    """Whether a reader of quoted text would change ``text``."""
    return "\r\n" in text or "\0" in text or not _is_utf8(text)


def python_codec(encoding: str) -> str:
    """Python's name of the encoding that ``PRAGMA encoding`` gives."""
    return {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}[encoding]


def by_bytes(value: Any, encoding: str) -> Any:
    """``value``, as :class:`TextBytes` where it is text that needs it."""
    if value.__class__ is str and needs_bytes(value):
        return TextBytes(value.encode(python_codec(encoding), "surrogateescape"))
    return value


def text_literal(text: str, encoding: str) -> str:
    """``text`` as an SQL literal that every reader leaves as it is."""
    return literal(by_bytes(text, encoding))


def encode_fast(rows: Sequence[Row]) -> tuple[str, list[bool]]:
    """``(values, texts)`` of ``rows``: the text behind VALUES, and which columns hold quoted parts.

    Text that needs its bytes (:func:`by_bytes`) is written as it is: the caller looks for it.
    """
    encoded = []
    texts = []
    template = []
    for column in zip(*rows):
        types = set(map(type, column))
        template.append("'%s'" if types == {str} else "%s")
        texts.append(not types.isdisjoint((str, bytes, TextBytes)))
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
    if isinstance(value, TextBytes):
        return f"CAST(X'{value.hex()}' AS TEXT)"
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


class Reader:
    """Reads batches back: what stands between quotes and what does not, decimals as SQLite reads them."""

    def __init__(self, encoding: str) -> None:
        self._codec = python_codec(encoding)
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        self._connection.execute(f"PRAGMA encoding='{encoding}'")
        self._connection.text_factory = decode_text
        self._known_doubles: set[float] = set()

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
            return self.confirms_decimals(tokens, column)
        return all(map(self._confirms_value, tokens, column))

    def _confirms_value(self, written: str, value: Any) -> bool:
        if value is None:
            return written == "NULL"
        if isinstance(value, str):
            return written == "''"
        if isinstance(value, TextBytes):
            return written == "CAST(X'' AS TEXT)" and self._confirms_bytes(value)
        if isinstance(value, bytes):
            return written == "X''"
        if isinstance(value, float):
            return self.confirms_decimals((written,), (value,))
        return bool(int(written) == value)

    def _confirms_bytes(self, value: TextBytes) -> bool:
        text = value.decode(self._codec, "surrogateescape")
        return bool(self._connection.execute(f"SELECT {literal(value)}").fetchone() == (text,))

    def reads_decimals(self, column: Sequence[float]) -> bool:
        """Whether SQLite reads the literals of these doubles as them; remembers many that it did."""
        if self._known_doubles.issuperset(column):
            return True
        fresh = list(set(column) - self._known_doubles)
        if not self.confirms_decimals([float_literal(value) for value in fresh], fresh):
            return False
        if len(self._known_doubles) > 100_000:
            self._known_doubles.clear()
        self._known_doubles.update(fresh)
        return True

    def confirms_decimals(self, tokens: Sequence[str], column: Sequence[float]) -> bool:
        """Whether SQLite reads ``tokens`` as exactly the doubles of ``column``."""
        for start in range(0, len(tokens), 400):
            found = self._connection.execute("SELECT " + ",".join(tokens[start : start + 400])).fetchone()
            if found != tuple(column[start : start + 400]):
                return False
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
    return [part if isinstance(part, str) else part.hex() for part in parts if isinstance(part, (str, bytes))]


class Encoder:
    """Rows to text that is known to be read as these rows."""

    def __init__(self, encoding: str = "UTF-8") -> None:
        self._encoding = encoding
        self._reader = Reader(encoding)

    def close(self) -> None:
        """End the reader."""
        self._reader.close()

    def values(self, rows: Sequence[Row], describe: Callable[[], str]) -> bytes:
        """The text behind VALUES as UTF-8. Raises ``ProofError`` naming ``describe()`` where no text says it.

        Text in ``rows`` is a ``bytearray`` of UTF-8, or what :func:`decode_text` made of it.
        """
        columns = list(zip(*rows))
        return self.columns(rows, columns, [set(map(type, column)) for column in columns], describe)

    def columns(
        self, rows: Sequence[Row], columns: Sequence[Row], kinds: batch.Kinds, describe: Callable[[], str]
    ) -> bytes:
        """The same of ``rows`` whose columns, and the types in each, are known already."""
        try:
            quick = batch.write(columns, kinds, float_literal, self._reader.reads_decimals)
            if quick is not None:
                return quick
        except UnicodeEncodeError:
            pass
        rows = [tuple(as_text(value) for value in row) for row in rows]
        safe = [tuple(by_bytes(value, self._encoding) for value in row) for row in rows]
        values, texts = encode_fast(safe)
        if self._reader.confirms(values, texts, safe):
            return values.encode("utf-8")
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
        text = literal(by_bytes(value, self._encoding))
        if isinstance(value, float) and not self._reader.reads(f"({text})", [(value,)]):
            return exact_float(value)
        return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
