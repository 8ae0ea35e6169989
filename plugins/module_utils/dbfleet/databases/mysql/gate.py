"""Holding every commit for the moment in which several connections take their snapshots.

MariaDB: ``BACKUP STAGE BLOCK_COMMIT`` (10.4 and newer), which waits for no reader. Else ``FLUSH TABLES
WITH READ LOCK``; and for an account without RELOAD, ``LOCK TABLES … READ`` on the tables concerned.
Tables that no snapshot covers (MyISAM, Aria, MEMORY …) stay locked for reading until the end.

A snapshot covers no definitions. MySQL 8 lets whoever has BACKUP_ADMIN hold these as well (MySQL manual, "LOCK
INSTANCE FOR BACKUP"): statements that alter a table, or empty it with TRUNCATE, then wait until the backup is
complete, instead of making it fail.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Optional

from ...errors import BusyError, DbfleetError, SourceError
from .address import Address
from .faults import DENIED, code_behind
from .objects import Table
from .server import Session, Version, quoted

INSTANCE = "LOCK INSTANCE FOR BACKUP"
STAGES = (10, 4)  # MariaDB versions from which on BACKUP STAGE is there


@dataclass
class Held:
    """What was held: the way, and for how many seconds."""

    way: str
    since: float = field(default_factory=time.monotonic)
    seconds: Optional[float] = None

    def release(self) -> None:
        """It is over."""
        self.seconds = time.monotonic() - self.since


@contextmanager
def definitions_held(session: Session, version: Version, *, wait: int) -> Iterator[Optional[Held]]:
    """Nobody alters a table while this lasts; ``None`` where the server or the account cannot do that.

    Raises ``BusyError`` when a statement that alters one goes on for ``wait`` seconds.
    """
    if version.flavour != "mysql" or version.number < (8,):
        yield None
        return
    try:
        session.run(INSTANCE)
    except BusyError as error:
        raise who_is_in_the_way(session, wait) from error
    except SourceError as error:
        if code_behind(error) not in DENIED:
            raise
        yield None
        return
    held = Held(f"definitions could not be changed ({INSTANCE})")
    try:
        yield held
    finally:
        with suppress(DbfleetError):  # the lock goes with the connection, if that is lost
            session.run("UNLOCK INSTANCE")
        held.release()


@contextmanager
def commits_held(
    session: Session, version: Version, tables: Mapping[str, Sequence[Table]], *, wait: int
) -> Iterator[Held]:
    """No commit happens while this lasts. ``tables`` are those of the backup, by database.

    Raises ``BusyError`` that names who is in the way, ``SourceError`` where the account may do none of it.
    """
    refusals = []
    for way, take, give in _ways(version, tables):
        try:
            for statement in take:
                session.run(statement)
        except DbfleetError as error:
            for statement in give:
                with suppress(DbfleetError):
                    session.run(statement)
            if isinstance(error, BusyError):
                raise who_is_in_the_way(session, wait) from error
            if code_behind(error) not in DENIED:
                raise
            refusals.append(error.message)
            continue
        held = Held(way)
        try:
            yield held
        finally:
            with suppress(DbfleetError):  # the lock goes with the connection, if that is lost
                for statement in give:
                    session.run(statement)
            held.release()
        return
    raise SourceError(
        f"{session.what}: the account may hold commits in no way, so no consistent backup is possible: {refusals[-1]}",
        "grant it RELOAD, or LOCK TABLES on every database of the backup",
    )


def _ways(
    version: Version, tables: Mapping[str, Sequence[Table]]
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """How to hold commits, the lightest first: its name, the statements that take it, and that give it back."""
    if version.flavour == "mariadb" and version.number >= STAGES:
        yield (
            "BACKUP STAGE BLOCK_COMMIT",
            ("BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"),
            ("BACKUP STAGE END",),
        )
    yield "FLUSH TABLES WITH READ LOCK", ("FLUSH TABLES WITH READ LOCK",), ("UNLOCK TABLES",)
    names = lock_list(tables)
    yield "LOCK TABLES READ", ((f"LOCK TABLES {names}",) if names else ()), ("UNLOCK TABLES",)


def lock_list(tables: Mapping[str, Sequence[Table]]) -> str:
    """``db.table READ, …``."""
    return ", ".join(
        f"{quoted(database)}.{quoted(table.name)} READ" for database, members in tables.items() for table in members
    )


@contextmanager
def tables_locked(address: Address, tables: Mapping[str, Sequence[Table]], *, wait: int) -> Iterator[Optional[Held]]:
    """Hold the tables that no snapshot covers against writers while this lasts; ``None`` where there are none."""
    plain = {
        database: [table for table in members if not table.transactional and table.has_rows]
        for database, members in tables.items()
    }
    names = lock_list(plain)
    if not names:
        yield None
        return
    shown = ", ".join(f"{table.name} ({table.engine})" for members in plain.values() for table in members[:5])
    count = sum(len(members) for members in plain.values())
    with Session(address, lock_wait=wait) as session:
        try:
            session.run(f"LOCK TABLES {names}")
        except BusyError as error:
            raise who_is_in_the_way(session, wait) from error
        except SourceError as error:
            raise SourceError(
                f"{error.message}; tables without transactions must be locked: {shown}",
                "grant the account LOCK TABLES, or convert these tables to InnoDB",
            ) from error
        held = Held(f"{count} tables without transactions were locked for reading: {shown}")
        try:
            yield held
        finally:
            held.release()


def who_is_in_the_way(session: Session, wait: int, ours: Iterable[int] = ()) -> BusyError:
    """The busy error with the oldest transaction or statement of others named, where the account may see them.

    Connections of the numbers ``ours`` are not meant.
    """
    found: list[tuple[Any, ...]] = []
    with suppress(DbfleetError):
        found = session.rows(
            "SELECT id, user, host, time, left(coalesce(info, command), 80) FROM information_schema.processlist"
            f" WHERE id NOT IN ({', '.join(map(str, (session.number, *ours)))})"
            " AND user NOT IN ('system user', 'event_scheduler')"
            " AND coalesce(state, '') NOT LIKE 'Waiting for%'"
            " ORDER BY command = 'Sleep', time DESC, id LIMIT 1"
        )
    who = ""
    if found:
        number, user, host, seconds, doing = found[0]
        who = f"; perhaps connection {number} of {user}@{host} holds it, {seconds} s in: {doing}"
    return BusyError(f"{session.what}: no lock within {wait} s{who}", "end what holds it, or raise limits.lock_wait")
