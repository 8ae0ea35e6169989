"""Sharing the rows of the tables out among dump processes, and cutting their output into statements.

A dump of rows is nothing but INSERT statements, and the tools escape every line break inside a value
(mysql_real_escape_string): a line that begins with ``INSERT INTO`` begins a statement. So the outputs
of several processes can be put into one artifact, statement by statement, a single table can be
picked out again, and a restore can hand statements to several connections. Only a table whose own
name, or a column's, holds a line break does not fit, and gets an artifact of its own kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Optional

from .objects import Table

MARK = b"INSERT INTO "
BREAK = b"\n" + MARK
LARGE = 64 * 2**20  # bytes of a table below which it is not worth splitting
TABLES_EACH = 5000  # names on one command line


@dataclass(frozen=True)
class Part:
    """What one dump process writes: some tables, or with ``where`` a part of the rows of one.

    ``verbatim``: the bytes of their values can be written as they are stored.
    """

    tables: tuple[str, ...]
    size_bytes: int
    where: Optional[str] = None
    verbatim: bool = False


@dataclass(frozen=True)
class Ranges:
    """The integer primary key of a large table, quoted, and its least and greatest value."""

    column: str
    least: int
    greatest: int

    def conditions(self, parts: int) -> list[str]:
        """Conditions that every row meets exactly one of."""
        step = max(1, (self.greatest - self.least + 1) // parts)
        bounds = [self.least + step * number for number in range(1, parts)]
        found = [f"{self.column} < {bounds[0]}"]
        found += [f"{self.column} >= {low} AND {self.column} < {high}" for low, high in zip(bounds, bounds[1:])]
        return [*found, f"{self.column} >= {bounds[-1]}"]


def share_out(
    tables: Sequence[Table], parallel: int, ranges: dict[str, Ranges], verbatim: AbstractSet[str] = frozenset()
) -> list[list[Part]]:
    """Lanes of about the same size, at most ``parallel``; a table in ``ranges`` may be split over all of them.

    Tables in ``verbatim`` get a process of their own in a lane where they are large enough.
    """
    total = sum(table.size_bytes for table in tables)
    parts: list[Part] = []
    rest: list[Table] = []
    for table in tables:
        if table.name in ranges and worth_splitting(table, total, parallel):
            share, alike = table.size_bytes // parallel, table.name in verbatim
            parts += [Part((table.name,), share, where, alike) for where in ranges[table.name].conditions(parallel)]
        else:
            rest.append(table)
    lanes: list[list[Part]] = [[] for _number in range(parallel)]
    weights = [0] * parallel
    for number, part in enumerate(parts):
        lanes[number % parallel].append(part)
        weights[number % parallel] += part.size_bytes
    members: list[list[Table]] = [[] for _number in range(parallel)]
    # The largest first, each to the lane that has least; a table's own cost counts as some of its bytes.
    for table in sorted(rest, key=lambda one: -one.size_bytes):
        lane = weights.index(min(weights))
        members[lane].append(table)
        weights[lane] += table.size_bytes + 64 * 1024
    for lane, chosen in enumerate(members):
        lanes[lane] += _parts(chosen, verbatim)
    return [lane for lane in lanes if lane]


def _parts(tables: Sequence[Table], verbatim: AbstractSet[str]) -> Iterator[Part]:
    alike = [table for table in tables if table.name in verbatim]
    if len(alike) < len(tables) and sum(table.size_bytes for table in alike) < LARGE:
        alike = []  # not worth a process and a connection of its own
    names = {table.name for table in alike}
    for some, as_stored in ((alike, True), ([table for table in tables if table.name not in names], False)):
        for start in range(0, len(some), TABLES_EACH):
            these = some[start : start + TABLES_EACH]
            size = sum(table.size_bytes for table in these)
            yield Part(tuple(table.name for table in these), size, verbatim=as_stored)


def worth_splitting(table: Table, total: int, parallel: int) -> bool:
    """Whether one table is so large that the other processes would end long before it."""
    return parallel > 1 and table.size_bytes >= LARGE and table.size_bytes * parallel > total * 1.25


def statements(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole statements, one or several at a time; what comes before the first one is left out."""
    kept = bytearray(b"\n")
    begun = False
    for chunk in chunks:
        searched = max(0, len(kept) - len(BREAK))
        kept += chunk
        if not begun:
            first = kept.find(BREAK)
            if first < 0:
                del kept[: -len(BREAK)]
                continue
            del kept[:first]
            begun, searched = True, 0
        cut = kept.rfind(BREAK, searched)
        if cut > 0:
            yield bytes(kept[1 : cut + 1])
            del kept[:cut]
    if begun:
        yield bytes(kept[1:])


def split(block: bytes) -> Iterator[bytes]:
    """The single statements of a block of :func:`statements`."""
    start = 0
    while start < len(block):
        end = block.find(BREAK, start)
        end = len(block) if end < 0 else end + 1
        yield block[start:end]
        start = end
