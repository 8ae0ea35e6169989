"""Whether every foreign key leads to a row, asked so that whole tables need not be read.

``foreign_key_check`` reads every row of every table that refers to another one. Where the key is a
whole number that refers to an INTEGER PRIMARY KEY, as almost all are, an index on it answers instead.
"""

from __future__ import annotations

import sqlite3
from typing import Optional

from .connection import quoted
from .schema import affinity_of, read_items


def all_lead_to_rows(connection: sqlite3.Connection) -> bool:
    """Whether no reference is broken; ``False`` also where only ``foreign_key_check`` can tell.

    Raises ``sqlite3.Error``.
    """
    tables = {item.name.lower(): item.name for item in read_items(connection) if item.kind == "table"}
    for name in tables.values():
        keys = connection.execute(f"PRAGMA main.foreign_key_list({quoted(name)})").fetchall()
        for number, place, parent, column, key, *_actions in keys:
            single = place == 0 and sum(other[0] == number for other in keys) == 1
            if not single or parent.lower() not in tables:
                return False
            if not _leads_to_rows(connection, name, column, tables[parent.lower()], key):
                return False
    return True


def _leads_to_rows(connection: sqlite3.Connection, child: str, column: str, parent: str, key: Optional[str]) -> bool:
    """The same of one key. Both sides are whole numbers, so that they are equal when ``=`` says so (manual, 3.2)."""
    declared = [
        row[2]
        for row in connection.execute(f"PRAGMA main.table_xinfo({quoted(child)})")
        if row[1].lower() == column.lower()
    ]
    primary = _rowid_column(connection, parent)
    if primary is None or (key is not None and key.lower() != primary.lower()):
        return False
    if [affinity_of(one) for one in declared] != ["INTEGER"]:
        return False
    found = f"SELECT 1 FROM main.{quoted(parent)} AS parent WHERE parent.{quoted(primary)} = child.{quoted(column)}"
    (broken,) = connection.execute(
        f"SELECT EXISTS(SELECT 1 FROM main.{quoted(child)} AS child "
        f"WHERE child.{quoted(column)} IS NOT NULL AND NOT EXISTS({found}))"
    ).fetchone()
    return not broken


def _rowid_column(connection: sqlite3.Connection, table: str) -> Optional[str]:
    """The name of the column that is the rowid, where there is one."""
    primary = [row[1] for row in connection.execute(f"PRAGMA main.table_xinfo({quoted(table)})") if row[5]]
    own_index = any(row[3] == "pk" for row in connection.execute(f"PRAGMA main.index_list({quoted(table)})"))
    return str(primary[0]) if len(primary) == 1 and not own_index else None
