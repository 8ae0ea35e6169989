"""How the command writes for people: colours where a terminal shows them, tables, pairs of words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TextIO

from ..errors import one_line

WIDTH = 80
_COLOURS = {"good": "32", "bad": "31", "damaged": "31", "unproven": "33", "foreign": "2", "bold": "1"}


class Style(NamedTuple):
    """Whether to colour."""

    colour: bool = False

    def paint(self, word: str, role: str) -> str:
        """``word`` in the colour of ``role``, a state or ``bold``."""
        code = _COLOURS.get(role)
        return f"\x1b[{code}m{word}\x1b[0m" if self.colour and code else word


def style_of(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Colours only on a terminal, and never where ``NO_COLOR`` (no-color.org) is set."""
    old_windows = os.name == "nt" and "WT_SESSION" not in environ
    plain = environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or old_windows
    return Style(colour=not plain and stream.isatty())


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: Style,
    *,
    right: Iterable[str] = (),
    spare: Iterable[str] = (),
    painted: str = "",
) -> list[str]:
    """Lines of a table. Columns of ``spare`` go, first named first, until it fits 80 columns.

    The last column goes on in further lines. Nothing is ever cut: an identifier that cannot be
    copied is of no use. Cells of the column ``painted`` are coloured by what they say; those of
    ``right`` stand to the right.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    shown = list(range(len(header)))
    widths = [max(len(row[column]) for row in [list(header), *cells]) for column in shown]
    for name in spare:
        if sum(widths[column] + 2 for column in shown) - 2 > WIDTH:
            shown.remove(header.index(name))
    to_right = {header.index(name) for name in right}
    last = shown[-1]
    room = max(WIDTH - sum(widths[column] + 2 for column in shown[:-1]), 20)

    def cell(text: str, column: int, role: str) -> str:
        space = " " * (widths[column] - len(text))
        return space + style.paint(text, role) if column in to_right else style.paint(text, role) + space

    def filled(column: int, texts: Sequence[str]) -> list[str]:
        """A column's cells, each as wide as the widest one: of thousands of rows."""
        if style.colour and header[column] == painted:
            return [cell(text, column, text) for text in texts]
        width = widths[column]
        return [text.rjust(width) if column in to_right else text.ljust(width) for text in texts]

    ends = [[row[last]] if last in to_right else wrapped(row[last], room) for row in cells]
    columns = [filled(column, [row[column] for row in cells]) for column in shown[:-1]]
    columns.append(filled(last, [end[0] for end in ends]))
    lines = ["  ".join(cell(header[column], column, "bold") for column in shown).rstrip()]
    for parts, end in zip(zip(*columns), ends):
        lines.append("  ".join(parts).rstrip())
        lines += [" " * (WIDTH - room) + more for more in end[1:]]
    return lines


def pairs(facts: Iterable[tuple[str, str]]) -> list[str]:
    """``word   what`` lines, aligned and wrapped; empty ones are left out."""
    told = [(word, one_line(text)) for word, text in facts if text]
    width = max((len(word) for word, _text in told), default=0)
    lines = []
    for word, text in told:
        first, *rest = wrapped(text, WIDTH - width - 2)
        lines += [f"{word:<{width}}  {first}", *(" " * (width + 2) + more for more in rest)]
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns, broken at spaces only; at least one line."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def counted(number: int, noun: str, many: str = "") -> str:
    """``1 backup``, ``1,234 backups``; ``many`` is the plural where it is no plain s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {many or noun + 's'}"
