"""What SQLite itself finds wrong with a database, and what of it is damage."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

COLLATIONS = ("BINARY", "NOCASE", "RTRIM")  # SQLite's own
SHOWN = 3  # of each kind of trouble
NO_LIMIT = 2**31 - 1

# Rows that do not fit their table's constraints: written while these were not enforced, or before they
# were added. The pages are sound (SQLite manual, "PRAGMA integrity_check").
_BROKEN_CONSTRAINT = re.compile(r"(CHECK constraint failed in|(NULL|TEXT|NUMERIC|non-\w+) value in) ")


@dataclass(frozen=True)
class Soundness:
    """The first lines of what SQLite finds: damage, and rows that do not fit their table's constraints."""

    damage: tuple[str, ...]
    broken_constraints: tuple[str, ...]


def examine(connection: sqlite3.Connection, *, thorough: bool) -> Soundness:
    """``quick_check``, or thoroughly ``integrity_check``; both read every page. Raises ``sqlite3.Error``."""
    pragma = "quick_check" if stand_in_collations(connection) or not thorough else "integrity_check"
    damage: list[str] = []
    broken: list[str] = []
    for (line,) in connection.execute(f"PRAGMA {pragma}({NO_LIMIT})"):
        found = broken if _BROKEN_CONSTRAINT.match(str(line)) else damage
        if line != "ok" and len(found) < SHOWN:
            found.append(str(line))
    return Soundness(tuple(damage), tuple(broken))


def stand_in_collations(connection: sqlite3.Connection) -> list[str]:
    """Give ``connection`` what its indexes name and only the application defines; returns the names.

    SQLite refuses to touch such an index otherwise. The stand-ins order by bytes, which is right for
    reading rows and for ``quick_check``, but not for ``integrity_check``, which compares the order.
    """
    try:
        rows = connection.execute(
            "SELECT DISTINCT part.coll FROM main.sqlite_master AS item, pragma_index_list(item.name) AS list, "
            "pragma_index_xinfo(list.name) AS part WHERE item.type = 'table' AND part.coll IS NOT NULL"
        ).fetchall()
    except sqlite3.DatabaseError:  # damaged: whoever reads on will say so
        return []
    missing = [name for (name,) in rows if name.upper() not in COLLATIONS]
    for name in missing:
        connection.create_collation(name, lambda one, other: (one > other) - (one < other))
    return missing
