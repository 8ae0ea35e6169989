"""Which keys of a table can be made after its rows."""

from __future__ import annotations

import pytest

from dbfleet.databases.mysql.indexes import keys_that_can_wait

TEXT = """CREATE TABLE `t` (
  `id` int(11) NOT NULL COMMENT 'KEY `x` (`y`)',
  `a` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`a`,`id`),
  KEY `odd``name` (`a` DESC) COMMENT 'it''s, (a) KEY',
  KEY `b` (`b`(10)),
%s  CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`id`)
) ENGINE=InnoDB"""


@pytest.mark.parametrize(
    ("more", "needed", "expected"),
    [
        ("", (), ["`u`", "`odd``name`", "`b`"]),
        ("", ("`a`",), ["`b`"]),
        ("", ("`b`",), []),
        ("  FULLTEXT KEY `f` (`a`),\n", (), []),
        ("  KEY `two\nlines` (`a`),\n", (), []),
        ("  KEY `last` (`b`),\n", ("`a`",), ["`b`", "`last`"]),
    ],
)
def test_only_the_last_keys_that_nobody_needs_wait(more: str, needed: tuple[str, ...], expected: list[str]) -> None:
    assert list(keys_that_can_wait(TEXT % more, frozenset(needed))) == expected


def test_a_definition_is_taken_as_it_is() -> None:
    keys = keys_that_can_wait(TEXT % "", frozenset())
    assert keys["`odd``name`"] == "KEY `odd``name` (`a` DESC) COMMENT 'it''s, (a) KEY'"
    assert keys["`u`"] == "UNIQUE KEY `u` (`a`,`id`)"
