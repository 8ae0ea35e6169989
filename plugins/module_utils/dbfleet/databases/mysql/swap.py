"""Putting restored tables in the place of living ones, all at one moment.

One RENAME TABLE moves the old tables out and the new ones in (MariaDB manual, "RENAME TABLE": atomic). A
table with triggers cannot move to another database, so these are dropped while the tables are locked for
writing and the RENAME already waits for that lock, before any other writer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from ...errors import BusyError, DbfleetError, RefusedError
from .address import Address
from .server import Session, quoted

PENDING_SECONDS = 2.0
LONGEST = 64  # characters of a name


@dataclass(frozen=True)
class Move:
    """One table from one database to another."""

    table: str
    source: str
    target: str

    @property
    def sql(self) -> str:
        """``a.t TO b.t``."""
        name = quoted(self.table)
        return f"{quoted(self.source)}.{name} TO {quoted(self.target)}.{name}"


def triggers_of(session: Session, database: str, tables: Optional[Sequence[str]] = None) -> list[tuple[str, str]]:
    """The triggers of ``database``, each with its table; of some tables only, if they are given."""
    found = session.rows(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_schema = %s"
        " ORDER BY 2, action_order",
        database,
    )
    return [(str(name), str(table)) for name, table in found if tables is None or table in tables]


def drop_triggers(session: Session, database: str, triggers: Sequence[tuple[str, str]]) -> None:
    """Drop ``triggers``."""
    for name, _table in triggers:
        session.run(f"DROP TRIGGER {quoted(database)}.{quoted(name)}")


def move_tables(
    address: Address, out: Sequence[Move], into: Sequence[Move], triggers: Sequence[tuple[str, str]], *, wait: int
) -> None:
    """Move ``out`` away and ``into`` their places, at one moment; ``triggers`` of the old tables are dropped with it.

    Raises ``BusyError`` when the tables stay in use for ``wait`` seconds; then nothing was changed.
    """
    moves = [*out, *into]
    if not moves:
        return
    rename = f"RENAME TABLE {', '.join(move.sql for move in moves)}"
    with Session(address.at(""), lock_wait=wait) as mover:
        mover.lift_rules()
        if not triggers:
            _busy(mover, rename)
            return
        database = out[0].source
        guarded = sorted({table for _name, table in triggers})
        with Session(address.at(""), lock_wait=wait) as guard:
            locks = ", ".join(f"{quoted(database)}.{quoted(table)} WRITE" for table in guarded)
            _busy(guard, f"LOCK TABLES {locks}")
            failures: list[BaseException] = []
            thread = threading.Thread(target=_attempt, args=(mover, rename, failures), daemon=True)
            thread.start()
            _wait_until_pending(address, mover.number)
            drop_triggers(guard, database, triggers)
            guard.run("UNLOCK TABLES")
            thread.join()
            if failures:
                raise failures[0]


def _attempt(session: Session, sql: str, failures: list[BaseException]) -> None:
    try:
        session.run(sql)
    except BaseException as error:  # raised again by the thread that waits for this one
        failures.append(error)


def _wait_until_pending(address: Address, number: int) -> None:
    deadline = time.monotonic() + PENDING_SECONDS
    with suppress(DbfleetError), Session(address.at("")) as session:
        while time.monotonic() < deadline:
            row = session.row("SELECT state FROM information_schema.processlist WHERE id = %s", number)
            if row and "metadata lock" in str(row[0]):
                return
            time.sleep(0.005)


def _busy(session: Session, sql: str) -> None:
    try:
        session.run(sql)
    except BusyError as error:
        raise BusyError(
            f"the tables of the target stay in use: {error.message}",
            "end the transactions that use them, or raise limits.lock_wait; nothing was changed",
        ) from error


def require_unreferenced(session: Session, database: str) -> None:
    """Refuse to move tables that tables of other databases refer to: their foreign keys would move along."""
    row = session.row(
        "SELECT DISTINCT table_schema, table_name FROM information_schema.key_column_usage"
        " WHERE referenced_table_schema = %s AND table_schema <> %s LIMIT 1",
        database,
        database,
    )
    if row:
        raise RefusedError(
            f"table {row[1]!r} of database {row[0]!r} refers to tables of {database!r} that would be replaced",
            "drop that foreign key first, or restore elsewhere with --to",
        )


def kept_name(session: Session, database: str, moment: datetime) -> str:
    """A name that is not taken for the database that keeps what was replaced."""
    stamp = f"_before_restore_{moment:%Y%m%d_%H%M%S}"
    taken = {str(row[0]) for row in session.rows("SHOW DATABASES")}
    number = 0
    while True:
        suffix = stamp + (f"_{number}" if number else "")
        name = database[: LONGEST - len(suffix)] + suffix
        if name not in taken:
            return name
        number += 1


def create_like(session: Session, name: str, charset: tuple[str, str]) -> None:
    """Create the database ``name`` with this character set and collation."""
    session.run(f"CREATE DATABASE {quoted(name)} CHARACTER SET {charset[0]} COLLATE {charset[1]}")
