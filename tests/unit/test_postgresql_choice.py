"""What people mean by the name of a table, and by OLD=NEW."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbfleet.command.pairs import read_pairs
from dbfleet.databases.postgresql.assembly import read_map
from dbfleet.databases.postgresql.choice import Entry, choose
from dbfleet.errors import NotFoundError, UsageError

TABLES: list[Entry] = [
    (1, "public", "items", "r", None),
    (2, "sales", "items", "r", None),
    (3, "sales", "orders", "p", None),
    (4, "sales", "orders_1", "r", 3),
    (5, "parts", "orders_2", "r", 3),
    (6, "Odd.One", "*", "r", None),
    (7, "sales", "view", "m", None),
    (8, "sales", "far", "f", None),
    (9, "a", "twice", "r", None),
    (10, "b", "twice", "r", None),
]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ("items", [(1,)]),
        ("sales.items", [(2,)]),
        ("orders", [(3, 4, 5)]),
        ("orders_1", [(4,)]),
        ("sales.*", [(2,), (3, 4, 5)]),
        ("parts.*", [(5,)]),
        ("Odd.One.*", [(6,)]),
        ('"Odd.One".*', [(6,)]),
        ('"*"', [(6,)]),
    ],
)
def test_what_a_name_means(wanted: str, numbers: list[tuple[int, ...]]) -> None:
    assert list(choose(TABLES, [wanted]).values()) == numbers


def test_nothing_is_chosen_twice() -> None:
    assert list(choose(TABLES, ["sales.orders", "sales.*", "orders"]).values()) == [(3, 4, 5), (2,)]


@pytest.mark.parametrize("wanted", ["nothing", "nothing.*", "view", ".*", ""])
def test_what_is_not_there(wanted: str) -> None:
    with pytest.raises(NotFoundError, match="no table"):
        choose(TABLES, [wanted])


def test_what_several_are_called() -> None:
    with pytest.raises(UsageError, match="several schemas") as caught:
        choose(TABLES, ["twice"])
    assert "a.twice, b.twice" in caught.value.remedy


def test_pairs() -> None:
    assert read_pairs("--x", ["/a=/b", r"/c\=d=/e\=f"]) == {"/a": "/b", "/c=d": "/e=f"}
    for words in (["/a"], ["/a="], ["=/b"], ["/a=/b=/c"], ["/a=/b", "/a=/c"]):
        with pytest.raises(UsageError, match="--x"):
            read_pairs("--x", words)


def test_the_servers_own_list_of_tablespaces(tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(b"16405 /srv/a b\n16406 /srv/new\\\nline\\\\x\n16407 /srv/\xc3\xbc\n")
    assert read_map(str(tmp_path / "map")) == {"16405": "/srv/a b", "16406": "/srv/new\nline\\x", "16407": "/srv/ü"}
    assert read_map(str(tmp_path / "none")) == {}
