"""What the columns of a database's tables say of their dumps, asked of the server in one query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .server import Session

TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
NUMBERS_AND_TIMES = (
    *("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double"),
    *("date", "time", "datetime", "timestamp", "year"),
)
# What no dump of the native tools keeps, by the type of column.
LOSSES = {
    "float": "a dump keeps 6 digits of FLOAT columns (in {}); DOUBLE is exact",
    # only MySQL has the type: a document may hold values of SQL types there
    "json": "a dump keeps JSON as text (in {}): DECIMAL, dates and binary strings inside come back as JSON's own types",
}


@dataclass(frozen=True)
class Traits:
    """Names of tables, and of views, by what is special in their columns.

    ``odd``: a dump does not keep one statement a line. ``verbatim``: there are only numbers, times and text in UTF-8,
    by names in ASCII, so MariaDB's dump tool can write the values as they are stored, and writes what it would write
    anyway. ``lossy``: they have a column of a type of :data:`LOSSES`.
    """

    odd: frozenset[str]
    verbatim: frozenset[str]
    lossy: Mapping[str, frozenset[str]]


def read_traits(session: Session, database: str) -> Traits:
    """The traits of everything in ``database`` that has columns.

    No table is verbatim on MySQL, whose tool would mark every text as binary, nor where the database's name or the
    user's is not ASCII: a client without a character set cannot log in by it.
    """
    as_text, always = (", ".join(f"'{kind}'" for kind in kinds) for kinds in (TEXTS, NUMBERS_AND_TIMES))
    plain = (
        f"lower(data_type) IN ({always}) OR (lower(data_type) IN ({as_text})"
        " AND character_set_name IN ('utf8mb4', 'utf8mb3', 'utf8', 'ascii'))"
    )
    lossy = "".join(f", max(lower(data_type) = '{kind}')" for kind in LOSSES)
    found = session.rows(  # by their bytes: case may tell names apart
        "SELECT min(table_name), max(instr(column_name, char(10)) > 0 OR instr(column_name, char(13)) > 0),"
        f" min({plain}), max(length(column_name) <> char_length(column_name)){lossy}"
        " FROM information_schema.columns WHERE table_schema = %s GROUP BY hex(table_name)",
        database,
    )
    can_be_verbatim = session.flavour == "mariadb" and (database + session.address.user).isascii()
    odd, verbatim = set(), set()
    losses: dict[str, set[str]] = {kind: set() for kind in LOSSES}
    for name, *flags in found:
        breaks_lines, is_plain, not_ascii, *loses = (int(flag) for flag in flags)  # answers are text
        if breaks_lines or "\n" in name or "\r" in name:
            odd.add(name)
        if can_be_verbatim and is_plain and not not_ascii and name.isascii():
            verbatim.add(name)
        for kind, lost in zip(LOSSES, loses):
            if lost:
                losses[kind].add(name)
    return Traits(frozenset(odd), frozenset(verbatim), {kind: frozenset(names) for kind, names in losses.items()})
