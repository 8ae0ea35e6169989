"""Databases built beside their targets: made, recognised when a crash left them, and swapped into place."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ...errors import BusyError, NotFoundError, RefusedError, SourceError
from ...units import ID_TIME, utc_now
from .address import Address
from .connection import APPLICATION, Connection, connect, maintenance
from .preamble import Preamble
from .quoting import literal, quoted

PREFIX = "dbfleet_restore_"
PATTERN = f"^{PREFIX}[0-9a-f]{{12}}$"
LONGEST_NAME = 63  # bytes of an identifier (NAMEDATALEN - 1)
CLIENT_PATIENCE = 30.0  # seconds in which clients that were told to end must be gone

CONTENT = """
SELECT EXISTS(SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e'))
    OR EXISTS(SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e'))
    OR EXISTS(SELECT FROM pg_catalog.pg_largeobject_metadata)
"""


class SideDatabase:
    """A database with a name of its own on the target's server.

    Its session ``admin`` stays open as long as it is being built, under a name that tells others so.
    """

    def __init__(self, address: Address) -> None:
        self.name = PREFIX + os.urandom(6).hex()
        self.address = address.of(self.name)
        self.admin = maintenance(address, application=self.name)
        self._made = False

    def create(self, preamble: Preamble, *, trial: bool) -> None:
        """Make it with the encoding and the collation of the original.

        Raises ``RefusedError`` where the server cannot; a trial is content with another collation.
        """
        name = quoted(self.name)
        self._made = True
        try:
            self.admin.run(f"CREATE DATABASE {name} {preamble.creation()}")
        except SourceError as error:
            if trial and preamble.encoding != "SQL_ASCII":
                self.admin.run(f"CREATE DATABASE {name} {preamble.creation(collate='C', ctype='C')}")
                return
            raise RefusedError(
                f"the server cannot make a database like {preamble.database!r} (encoding {preamble.encoding}, "
                f"collation {preamble.collate}): {error.message.partition(': ')[2] or error.message}",
                "install the locale on the server's host, or let the role create databases; nothing was changed",
            ) from error

    def remove(self) -> None:
        """Remove it, whoever is connected, unless it took over."""
        if not self._made:
            return
        try:
            self.admin.run(f"DROP DATABASE IF EXISTS {quoted(self.name)} WITH (FORCE)")
        except SourceError:
            self._drop_subscriptions()  # the server keeps a database that has one
            self.admin.run(f"DROP DATABASE IF EXISTS {quoted(self.name)} WITH (FORCE)")

    def _drop_subscriptions(self) -> None:
        """Drop those that were restored, without a word to the servers that they name."""
        with connect(self.address) as connection:
            for (name,) in connection.rows(
                "SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid "
                "WHERE d.datname = current_database()"
            ):
                for change in ("DISABLE", "SET (slot_name = NONE)"):
                    connection.run(f"ALTER SUBSCRIPTION {quoted(name)} {change}")
                connection.run(f"DROP SUBSCRIPTION {quoted(name)}")

    def drop(self) -> None:
        """End with it: remove it unless it took over. Never raises."""
        try:
            self.remove()
        except (SourceError, BusyError, NotFoundError):
            pass  # the server is gone: the next restore sweeps it
        finally:
            self.admin.close()

    def took_over(self) -> None:
        """It has another name now and must stay."""
        self._made = False


def sweep(admin: Connection) -> None:
    """Drop what restores that no longer live left behind. Never raises."""
    for (name,) in admin.rows(
        "SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datname ~ %s AND NOT EXISTS "
        "(SELECT FROM pg_catalog.pg_stat_activity a WHERE a.application_name = d.datname OR a.datname = d.datname)",
        (PATTERN,),
    ):
        try:
            admin.run(f"DROP DATABASE IF EXISTS {quoted(name)}")
        except SourceError:
            pass  # another one's, or somebody just came: the next restore tries again


def is_there(admin: Connection, name: str) -> bool:
    """Whether the server has the database ``name``."""
    return bool(admin.value("SELECT EXISTS(SELECT FROM pg_catalog.pg_database WHERE datname = %s)", (name,)))


def is_occupied(address: Address) -> bool:
    """Whether the database at ``address`` holds anything that was made by people."""
    with connect(address) as connection:
        return bool(connection.value(CONTENT))


def clients(admin: Connection, name: str) -> list[str]:
    """Who is connected to the database ``name``, one text each."""
    return [
        f"{user or 'unknown'}{f' ({application})' if application else ''} from {host or 'the socket'}, process {pid}"
        for pid, user, application, host in admin.rows(
            "SELECT pid, usename, application_name, client_addr::text FROM pg_catalog.pg_stat_activity "
            "WHERE datname = %s AND backend_type = 'client backend' ORDER BY 1",
            (name,),
        )
    ]


@dataclass(frozen=True)
class Swap:
    """One database that is to take the name ``target``, with the properties of the original."""

    side: SideDatabase
    target: str
    preamble: Optional[Preamble]


def swap(swaps: Sequence[Swap], *, terminate: bool) -> dict[str, str]:
    """Give every side database its target's name, in one transaction; returns what the replaced ones are called now.

    The rename of an old database takes a lock that new sessions wait for, while those that are there
    are ended: at no time is the old one closed to anybody unless the new one is in its place.
    """
    first = swaps[0].side
    with maintenance(first.address, application=first.name, avoid=[one.target for one in swaps]) as admin:
        kept: dict[str, str] = {}
        for one in swaps:
            for statement in one.preamble.properties(quoted(one.side.name)) if one.preamble else ():
                admin.run(statement)
            if is_there(admin, one.target):
                kept[one.target] = dated(admin, one.target)
                if not terminate:
                    _require_nobody(admin, one.target)
        names = [one.side.name for one in swaps] + (list(kept) if terminate else [])
        deadline = time.monotonic() + CLIENT_PATIENCE
        while not _renamed(admin, swaps, kept, names, last=time.monotonic() > deadline):
            pass
        return kept


def _renamed(
    admin: Connection, swaps: Sequence[Swap], kept: Mapping[str, str], names: Sequence[str], *, last: bool
) -> bool:
    """One attempt; it is ``False`` where somebody is still connected, which is an error at the ``last`` one."""
    with _Ending(admin, names):
        try:
            admin.run("BEGIN")
            for old, new in kept.items():
                admin.run(f"ALTER DATABASE {quoted(old)} RENAME TO {quoted(new)}")
            for one in swaps:
                admin.run(f"ALTER DATABASE {quoted(one.side.name)} RENAME TO {quoted(one.target)}")
                for statement in one.preamble.mark(quoted(one.target)) if one.preamble else ():
                    admin.run(statement)
            admin.run("COMMIT")
        except SourceError as error:
            admin.run("ROLLBACK")
            if getattr(error.__cause__, "pgcode", None) != "55006":
                raise
            if last:
                for name in kept:
                    _require_nobody(admin, name)
                raise
            return False
    for one in swaps:
        one.side.took_over()
    return True


def _require_nobody(admin: Connection, target: str) -> None:
    connected = clients(admin, target)
    if connected:
        more = f" and {len(connected) - 1} more" if len(connected) > 1 else ""
        raise BusyError(
            f"database {target!r} is in use by {connected[0]}{more}",
            "stop the application for the restore (or give the role pg_signal_backend); nothing was changed",
        )


def dated(admin: Connection, name: str) -> str:
    """A free name that says when ``name`` was replaced: ``app_before_restore_20250823_103000``."""
    suffix = f"_before_restore_{utc_now().strftime(ID_TIME)}"
    number = 1
    while True:
        ending = suffix + (f"_{number}" if number > 1 else "")
        stem = name.encode("utf-8")[: LONGEST_NAME - len(ending)].decode("utf-8", "ignore")
        if not is_there(admin, stem + ending):
            return stem + ending
        number += 1


class _Ending:
    """Ends the sessions of some databases for as long as the context lasts, from a session of its own."""

    def __init__(self, admin: Connection, names: Sequence[str]) -> None:
        self._names = names
        self._over = threading.Event()
        self._connection = connect(admin.address, application=APPLICATION)
        self._thread = threading.Thread(target=self._end, name="ending-sessions", daemon=True)

    def _end(self) -> None:
        names = ", ".join(literal(name) for name in self._names)
        try:
            while not self._over.is_set():
                # Those that this role may not end keep the rename waiting, and are named then.
                self._connection.rows(
                    "SELECT CASE WHEN pg_catalog.pg_has_role(a.usesysid, 'MEMBER') OR "
                    "pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER') "
                    "THEN pg_catalog.pg_terminate_backend(a.pid) END FROM pg_catalog.pg_stat_activity a "
                    f"WHERE a.datname IN ({names}) AND a.backend_type = 'client backend'"
                )
                self._over.wait(0.05)
        except (SourceError, BusyError, NotFoundError):
            pass  # then the rename says what is in its way

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._connection.close()
