"""Which tables of a backup people mean when they name some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ...errors import NotFoundError, UsageError
from .quoting import spelled

Entry = tuple[int, str, str, str, Optional[int]]  # number, schema, name, kind (pg_class.relkind), parent
ROWS_ELSEWHERE = ("m", "f")  # materialized views and foreign tables
EVERY = ".*"


def choose(tables: Sequence[Entry], wanted: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The numbers of the wanted tables and of their partitions, each table before these.

    A table is named with or without its schema, as SQL spells it or plainly; ``sales.*`` means every table of
    a schema. Raises ``NotFoundError`` for what is not there, ``UsageError`` for what several tables are called.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    begun: set[int] = set()
    for name in wanted:
        found = {name: _one(tables, name)}
        if found[name] is None:
            found = {spelled(entry[1], entry[2]): entry for entry in _of_schema(tables, name)}
        if not found:
            names = ", ".join(sorted(spelled(entry[1], entry[2]) for entry in tables)[:20]) or "none"
            raise NotFoundError(f"the backup has no table {name!r}", f"it has {names}")
        for asked, entry in found.items():
            if entry is not None and entry[0] not in begun:
                begun.add(entry[0])
                chosen[asked] = _family(tables, entry[0])
    return chosen


def _one(tables: Sequence[Entry], wanted: str) -> Optional[Entry]:
    found = [entry for entry in tables if wanted in _names(entry[1], entry[2]) and entry[3] != "m"]
    exact = [entry for entry in found if wanted != entry[2] or entry[1] == "public"] or found
    if len(exact) > 1:
        raise UsageError(
            f"several schemas have a table {wanted!r}",
            f"name one of {', '.join(spelled(entry[1], entry[2]) for entry in found)}",
        )
    return exact[0] if exact else None


def _of_schema(tables: Sequence[Entry], wanted: str) -> list[Entry]:
    """The tables of the schema that ``schema.*`` names; partitions come with their tables."""
    if not wanted.endswith(EVERY):
        return []
    schema = wanted[: -len(EVERY)]
    inside = [entry for entry in tables if schema in (entry[1], spelled(entry[1])) and entry[3] not in ROWS_ELSEWHERE]
    numbers = {entry[0] for entry in inside}
    return [entry for entry in inside if entry[4] not in numbers]


def _names(schema: str, table: str) -> tuple[str, ...]:
    """How people may name a table."""
    return (table, spelled(table), f"{schema}.{table}", spelled(schema, table))


def _family(tables: Sequence[Entry], number: int) -> tuple[int, ...]:
    family = [number]
    for member in family:
        family.extend(entry[0] for entry in tables if entry[4] == member)
    return tuple(family)
