"""A whole database in the place of another: tables by one RENAME, the objects around them made anew.

Views, routines, triggers and events cannot be moved between databases. Those of the old database are
dumped before anything is changed, so that they can be made again: beside the old tables, where these
are kept, or, when something fails, where they were. Events are never made beside: they would run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional

from ...errors import DbfleetError, RefusedError
from ...stream.process import run
from ...units import utc_now
from ..base import RestoreRequest, TakenOver
from .address import Address
from .load import run_client
from .objects import Objects, missing_definers, next_value, read_charset, read_events, read_objects
from .server import Session, quoted
from .streams import events_calls, objects_calls
from .swap import Move, create_like, drop_triggers, kept_name, move_tables, require_unreferenced, triggers_of
from .tools import Tools

NOTHING = Objects((), (), (), "", "")


@dataclass(frozen=True)
class Built:
    """What was built and proven, and where it is to go."""

    address: Address
    session: Session
    tools: Tools
    side: str
    target: str
    saved: dict[str, str]
    request: RestoreRequest
    foreign: bool = False

    @property
    def wait(self) -> int:
        """Seconds to wait for locks of tables."""
        return self.request.limits.lock_wait

    def path(self, name: str) -> str:
        """A file of the run's private folder that only this database uses."""
        return os.path.join(self.request.folder(), f"{self.side.encode().hex()[-16:]}-{name}")

    def feed(self, database: str, path: Optional[str], what: str) -> None:
        """Run the SQL of a file in ``database``."""
        if path is not None:
            with open(path, "rb") as file:
                run_client(self.tools, database, iter(lambda: file.read(65536), b""), what)

    def dump(self, calls: Sequence[tuple[str, ...]], name: str) -> str:
        """Write what the dump tool says to ``calls`` to a file; returns its path."""
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for arguments in calls:
                run(self.tools.dump_command(arguments, "the definitions"), sink=file.write)
        return path


def is_empty(session: Session, database: str) -> bool:
    """Whether ``database`` holds no table, view, routine or event."""
    found = session.row(
        "SELECT (SELECT count(*) FROM information_schema.tables WHERE table_schema = %s)"
        " + (SELECT count(*) FROM information_schema.routines WHERE routine_schema = %s)"
        " + (SELECT count(*) FROM information_schema.events WHERE event_schema = %s)",
        database,
        database,
        database,
    )
    return str(found[0]) == "0"


def take_over_whole(all_built: Sequence[Built], users: Optional[str]) -> TakenOver:
    """Swap whole databases, then make ``users`` (a file of SQL); on any failure they are all as they were before.

    The accounts come last because privileges on single tables and routines need these. Accounts that were made
    stay, for nothing of the server's own was replaced by them.
    """
    swaps: list[_Swap] = []
    try:
        for built in all_built:
            swaps.append(_begun(built))
            swaps[-1].put()
        all_built[0].feed("", users, "the accounts")
    except BaseException as error:
        for swap in reversed(swaps):
            swap.undo(error)
        raise
    kept = [name for name in (swap.keep() for swap in swaps) if name is not None]
    notes = _notes(all_built[0].session, [built.target for built in all_built])
    return TakenOver(kept=", ".join(kept) or None, notes=notes)


def _notes(session: Session, databases: Sequence[str]) -> tuple[str, ...]:
    """Definers without an account: their views and routines fail when they are used."""
    with suppress(DbfleetError):  # the account may not see other accounts
        missing = missing_definers(session, databases)
        if missing:
            return (f"these accounts define objects and are not on this server: {', '.join(missing)}",)
    return ()


def _begun(built: Built) -> _Swap:
    session = built.session
    exists = bool(session.row("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", built.target))
    occupied = exists and not is_empty(session, built.target)
    if occupied and not built.request.replace:
        raise RefusedError(f"the target {built.target!r} is not empty any more", "nothing was changed; use --replace")
    return _Swap(built, exists=exists, occupied=occupied)


class _Swap:
    """One swap on its way, and its undoing."""

    def __init__(self, built: Built, *, exists: bool, occupied: bool) -> None:
        self._built = built
        self._session = built.session
        self._exists = exists
        self._new = read_objects(built.session, built.side)
        self._old = read_objects(built.session, built.target) if occupied else NOTHING
        self._kept = kept_name(built.session, built.target, utc_now()) if occupied else None
        self._old_texts: dict[str, str] = {}
        self._begun = False
        self._moved = False

    def put(self) -> None:
        """Prepare, move the tables, make the objects."""
        self._prepare()
        self._begun = True
        self._move()
        self._make(self._built.target, self._texts, events=True)

    def keep(self) -> Optional[str]:
        """Make the old objects beside the old tables; returns where these are."""
        if self._kept is not None:
            with suppress(DbfleetError):  # a view that was broken before: the tables are what matters
                self._make(self._kept, self._old_texts, events=False)
        return self._kept

    def _prepare(self) -> None:
        built = self._built
        self._texts = dict(built.saved)
        if built.foreign:
            self._texts["objects"] = built.dump(objects_calls(built.tools, built.side, self._new.views), "new.sql")
            if read_events(self._session, built.side):
                self._texts["events"] = built.dump(events_calls(built.tools, built.side), "new-events.sql")
                _drop_events(self._session, built.side)
        if self._kept is not None:
            require_unreferenced(self._session, built.target)
            calls = objects_calls(built.tools, built.target, self._old.views)
            self._old_texts["objects"] = built.dump(calls, "old.sql")
            if read_events(self._session, built.target):
                self._old_texts["events"] = built.dump(events_calls(built.tools, built.target), "old-events.sql")
        drop_triggers(self._session, built.side, triggers_of(self._session, built.side))

    def _move(self) -> None:
        built, session = self._built, self._session
        charset = (self._new.charset, self._new.collation)
        if self._kept is not None:
            create_like(session, self._kept, (self._old.charset, self._old.collation))
        if not self._exists:
            create_like(session, built.target, charset)
        out = _moves(self._old, built.target, self._kept or "")
        into = _moves(self._new, built.side, built.target)
        move_tables(built.address, out, into, triggers_of(session, built.target), wait=built.wait)
        self._moved = True
        turn_sequences(session, built.target, built.side, self._new.sequences)
        if self._kept is not None:
            turn_sequences(session, self._kept, built.target, self._old.sequences)
        if read_charset(session, built.target) != charset:
            session.run(f"ALTER DATABASE {quoted(built.target)} CHARACTER SET {charset[0]} COLLATE {charset[1]}")
        if self._kept is not None:
            _drop_objects(session, built.target)

    def _make(self, database: str, texts: dict[str, str], *, events: bool) -> None:
        self._built.feed(database, texts.get("objects"), "the views, routines and triggers")
        if events:
            self._built.feed(database, texts.get("events"), "the events")

    def undo(self, error: BaseException) -> None:
        """Put everything back; a failure of that is added to ``error``, with the place of the old tables."""
        built, session = self._built, self._session
        if not self._begun:
            return
        try:
            if self._moved:
                drop_triggers(session, built.target, triggers_of(session, built.target))
                _drop_objects(session, built.target)
                out = _moves(self._new, built.target, built.side)
                into = _moves(self._old, self._kept or "", built.target)
                move_tables(built.address, out, into, (), wait=built.wait)
                turn_sequences(session, built.target, self._kept or "", self._old.sequences)
                if self._kept is not None:
                    charset = (self._old.charset, self._old.collation)
                    session.run(
                        f"ALTER DATABASE {quoted(built.target)} CHARACTER SET {charset[0]} COLLATE {charset[1]}"
                    )
                    self._make(built.target, self._old_texts, events=True)
            if self._kept is not None and is_empty(session, self._kept):
                session.run(f"DROP DATABASE IF EXISTS {quoted(self._kept)}")
            if not self._exists and is_empty(session, built.target):
                session.run(f"DROP DATABASE IF EXISTS {quoted(built.target)}")
        except DbfleetError as second:
            if isinstance(error, DbfleetError):
                error.message += f"; and it could not be undone: {second.message}"
                error.remedy = f"the old tables are in {self._kept!r}" if self._kept else second.remedy


def _moves(objects: Objects, source: str, target: str) -> list[Move]:
    names = [*(table.name for table in objects.tables), *objects.sequences]
    return [Move(name, source, target) for name in names]


def turn_sequences(session: Session, database: str, former: str, sequences: Sequence[str]) -> None:
    """Let defaults take the sequences beside them again: they go on naming those of the database they came from."""
    for sequence in sequences:
        for table, column in session.rows(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND column_default = %s",
            database,
            next_value(former, sequence),
        ):
            place = f"{quoted(database)}.{quoted(table)}"
            session.run(
                f"ALTER TABLE {place} ALTER COLUMN {quoted(column)} SET DEFAULT {next_value(database, sequence)}"
            )


def _drop_events(session: Session, database: str) -> None:
    for name in read_events(session, database):
        session.run(f"DROP EVENT {quoted(database)}.{quoted(name)}")


def _drop_objects(session: Session, database: str) -> None:
    """Drop views, routines and events."""
    _drop_events(session, database)
    place = quoted(database)
    for view in read_objects(session, database).views:
        session.run(f"DROP VIEW {place}.{quoted(view)}")
    for kind, name in session.rows(
        "SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s", database
    ):
        if kind == "PACKAGE":
            # Before 11.4 only this mode knows the statement.
            session.run("SET @dbfleet_sql_mode = @@SESSION.sql_mode, sql_mode = 'ORACLE'")
            session.run(f"DROP PACKAGE {place}.{quoted(name)}")
            session.run("SET sql_mode = @dbfleet_sql_mode")
        elif kind != "PACKAGE BODY":  # it goes with its package
            session.run(f"DROP {kind} {place}.{quoted(name)}")
