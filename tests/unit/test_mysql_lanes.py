"""Sharing rows out among dump processes, and cutting their output into statements."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dbfleet.databases.mysql.lanes import LARGE, Part, Ranges, share_out, split, statements
from dbfleet.databases.mysql.objects import Table
from dbfleet.databases.mysql.streams import picked

STATEMENTS = [
    b"INSERT INTO `a` VALUES\n(1,'x\\nINSERT INTO `b`'),\n(2,NULL);\n",
    b"INSERT INTO `b` VALUES (1);\n",
    b"INSERT INTO `a``b` (`c`) VALUES\n(0x0A);\n",
    b"INSERT INTO `ab` VALUES (1);\n",
]
HEAD = b"/*M!999999\\- enable the sandbox mode */ \n"


@given(some.lists(some.integers(1, 40), min_size=1), some.booleans())
def test_statements_are_whole_however_the_bytes_come(sizes: list[int], head: bool) -> None:
    text = (HEAD if head else b"") + b"".join(STATEMENTS)
    chunks, place = [], 0
    while place < len(text):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[place : place + size])
        place += size
    blocks = list(statements(chunks))
    assert b"".join(blocks) == b"".join(STATEMENTS)
    assert [one for block in blocks for one in split(block)] == STATEMENTS


@pytest.mark.parametrize("text", [b"", HEAD, b"\n", b"-- nothing\n"])
def test_a_dump_without_rows_has_no_statements(text: bytes) -> None:
    assert list(statements([text])) == []


@pytest.mark.parametrize(("table", "index"), [("a", 0), ("b", 1), ("a`b", 2), ("ab", 3)])
def test_a_table_is_picked_by_its_whole_name(table: str, index: int) -> None:
    assert [number for number, one in enumerate(STATEMENTS) if one.startswith(picked([table]))] == [index]


@given(
    some.lists(some.integers(0, 4 * LARGE), max_size=12),
    some.integers(1, 5),
    some.sets(some.integers(0, 11)),
)
def test_every_table_is_dumped_exactly_once(sizes: list[int], parallel: int, keyed: set[int]) -> None:
    tables = [Table(f"t{number}", "InnoDB", size) for number, size in enumerate(sizes)]
    ranges = {f"t{number}": Ranges("`id`", 1, 10**6) for number in keyed}
    lanes = share_out(tables, parallel, ranges)
    assert len(lanes) <= parallel and all(lanes)
    parts: list[Part] = [part for lane in lanes for part in lane]
    for table in tables:
        mine = [part for part in parts if table.name in part.tables]
        assert len(mine) == 1 or (all(part.where and part.tables == (table.name,) for part in mine) and len(mine) > 1)


@given(some.integers(-(2**63), 2**63), some.integers(1001, 2**40), some.integers(2, 9))
def test_ranges_meet_every_key_exactly_once(least: int, width: int, parts: int) -> None:
    conditions = Ranges("`id`", least, least + width).conditions(parts)
    assert len(conditions) == parts
    keys = {least - 1, least, least + width, least + width + 1, least + width // 2}
    keys |= {int(number) + step for one in conditions for number in re.findall(r"-?\d+", one) for step in (-1, 0, 1)}
    for key in keys:
        met = [one for one in conditions if eval(one.replace("`id`", str(key)).replace(" AND ", " and "))]
        assert len(met) == 1, (key, conditions)


@given(some.lists(some.tuples(some.integers(0, 4 * LARGE), some.booleans()), max_size=12), some.integers(1, 4))
def test_what_is_written_as_it_is_stored_has_processes_of_its_own(tables: list[Any], parallel: int) -> None:
    made = [Table(f"t{number}", "InnoDB", size) for number, (size, _alike) in enumerate(tables)]
    verbatim = {f"t{number}" for number, (_size, alike) in enumerate(tables) if alike}
    for lane in share_out(made, parallel, {}, verbatim):
        names = {name for part in lane for name in part.tables}
        assert len(lane) <= 2 and sum(part.verbatim for part in lane) <= 1
        for part in lane:
            assert not part.verbatim or verbatim.issuperset(part.tables)
        if names <= verbatim:
            assert all(part.verbatim for part in lane)
        elif len(lane) > 1:  # a process more, where it is worth one
            assert sum(part.size_bytes for part in lane if part.verbatim) >= LARGE
