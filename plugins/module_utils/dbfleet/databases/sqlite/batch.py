"""The quick way to write a batch of rows, for the columns that tables usually have.

Strings are joined with single quotes and whatever stands between them, each passed once. If the
text then holds exactly as many quotes as were put there (those around strings, and two for each
one inside), no string can end early or go on too long: it falls apart, at its quotes, into the
very strings that went in. Whole numbers have one decimal form; other numbers are given to SQLite to
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Callable, Optional

Confirm = Callable[[Sequence[float]], bool]


def write(rows: Sequence[tuple[Any, ...]], float_literal: Callable[[float], str], confirm: Confirm) -> Optional[str]:
    """The text behind VALUES, or ``None`` where it is not certain that it says exactly ``rows``.

    ``confirm`` says whether SQLite reads the literals of these doubles as them.
    """
    parts: list[Sequence[str]] = []
    quotes = 0
    between = "("
    cells: list[Sequence[str]] = []
    for column in zip(*rows):
        types = set(map(type, column))
        if types == {str}:
            parts.append(_filled(between, cells, len(rows)))
            between, cells = "", []
            doubled = [value.replace("'", "''") for value in column]
            quotes += 2 * len(column) + 2 * (sum(map(len, doubled)) - sum(map(len, column)))
            parts.append(doubled)
            between += ","
            continue
        tokens, inside = _plain(types, column, float_literal, confirm)
        if tokens is None:
            return None
        quotes += inside
        cells.append(tokens)
        between += "%s,"
    parts.append(_filled(between[:-1] + ")", cells, len(rows)))
    text = ",\n".join(map("'".join, zip(*parts)))
    return text if text.count("'") == quotes else None


def _filled(template: str, cells: Sequence[Sequence[str]], count: int) -> Sequence[str]:
    """What stands before, between or behind the strings of each row."""
    if not cells:
        return list(repeat(template, count))
    return list(map(template.__mod__, zip(*cells)))


def _plain(
    types: set[type], column: Sequence[Any], float_literal: Callable[[float], str], confirm: Confirm
) -> tuple[Optional[Sequence[str]], int]:
    """The literals of a column that is not all strings, and the quotes in them; ``None`` for an unusual mixture."""
    if types == {int}:
        return list(map(repr, column)), 0
    if types == {float}:
        return (list(map(float_literal, column)), 0) if confirm(column) else (None, 0)
    if types == {type(None)}:
        return ["NULL"] * len(column), 0
    if types == {bytes}:
        return [f"X'{value.hex()}'" for value in column], 2 * len(column)
    if types == {str, type(None)}:
        strings = [value for value in column if value is not None]
        quotes = 2 * len(strings) + 2 * sum(value.count("'") for value in strings)
        return ["NULL" if value is None else "'" + value.replace("'", "''") + "'" for value in column], quotes
    return None, 0
