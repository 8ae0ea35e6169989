"""The quick way to write a batch of rows, at the speed of a few copies of its bytes.

Strings are joined as SQLite gave them, by their bytes, with a NUL wherever a quote begins or ends
one. If the text then holds exactly as many NULs as were put there, no string holds one, and every
quote in the text belongs to a string: doubling these and only then turning each NUL into a quote
leaves a text that falls apart, at its quotes, into the very strings that went in. Whole numbers have
one decimal form; other numbers are given to SQLite to read.
"""

from __future__ import annotations

import math
from binascii import hexlify
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any, Callable, Optional

Confirm = Callable[[Sequence[float]], bool]
Kinds = Sequence[set[type]]

MARK = b"\0"
NULL = type(None)


def write(
    columns: Sequence[Sequence[Any]], kinds: Kinds, float_literal: Callable[[float], str], confirm: Confirm
) -> Optional[bytes]:
    """The text behind VALUES, or ``None`` where it is not certain that every reader takes it for exactly these rows.

    ``kinds`` are the types of each column's values, where text is a ``bytearray`` of UTF-8 (or a
    ``str``); ``confirm`` says whether SQLite reads the literals of these doubles as them.
    """
    parts: list[Iterable[bytes]] = []
    between = b"("
    cells: list[Iterable[Any]] = []
    marks = 0
    for column, kind in zip(columns, kinds):
        if str in kind:
            column, kind = _as_bytes(column, kind)
        floats = [value for value in column if value.__class__ is float] if float in kind else []
        if floats and not confirm(floats):
            return None
        marks += _marks(column, kind)
        if kind == {bytearray}:
            parts += _filled(between + MARK, cells, len(column)), column
            between, cells = MARK + b",", []
        elif kind == {int}:
            cells.append(column)
            between += b"%d,"
        elif kind == {NULL}:
            between += b"NULL,"
        elif kind == {float} and math.inf not in column and -math.inf not in column:
            cells.append(",".join(map(float_literal, column)).encode().split(b","))
            between += b"%b,"
        else:
            cells.append([_token(value, float_literal) for value in column])
            between += b"%b,"
    parts.append(_filled(between[:-1] + b"),\n", cells, len(columns[0])))
    text = b"".join(chain.from_iterable(zip(*parts)))
    # Python removes a byte many times faster than it counts it.
    if len(text) - len(text.replace(MARK, b"")) != marks or b"\r" in text or not _is_utf8(text):
        return None
    return text[:-2].replace(b"'", b"''").replace(MARK, b"'")


def _as_bytes(column: Sequence[Any], kind: set[type]) -> tuple[Sequence[Any], set[type]]:
    """Strings by their bytes. Raises ``UnicodeEncodeError`` for what is not UTF-8."""
    changed = [bytearray(value.encode("utf-8")) if value.__class__ is str else value for value in column]
    return changed, kind - {str} | {bytearray}


def _marks(column: Sequence[Any], kind: set[type]) -> int:
    """How many quotes stand around the strings and blobs of a column."""
    if kind.isdisjoint((bytearray, bytes)):
        return 0
    if len(kind) == 1:
        return 2 * len(column)
    return 2 * sum(value.__class__ in (bytearray, bytes) for value in column)


def _filled(template: bytes, cells: Sequence[Iterable[Any]], count: int) -> Iterable[bytes]:
    """What stands before, between or behind the strings of each row."""
    if not cells:
        return repeat(template, count)
    return map(template.__mod__, zip(*cells))


def _token(value: Any, float_literal: Callable[[float], str]) -> bytes:
    if value is None:
        return b"NULL"
    if isinstance(value, bytearray):
        return MARK + value + MARK
    if isinstance(value, bytes):
        return b"X\0%b\0" % hexlify(value)
    if isinstance(value, float):
        return float_literal(value).encode()
    return b"%d" % value


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
