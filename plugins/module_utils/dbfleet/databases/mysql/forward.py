"""Bringing what was restored forward by the binary log: a data directory, or a server that was filled.

A data directory gets a private server. A logical backup goes into a server of its own that is empty and not the
source: the log may name any database and account, so it is applied where there is nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError, ToolError, UsageError
from ..base import RestoreRequest
from ..logs import Recovered, Recovery
from .address import Address
from .examine import check_tables
from .prepared import Prepared
from .replay import Replay
from .server import Session, Version, quoted
from .takeover import is_empty
from .tools import Tool, Tools, find, find_log_reader
from .trial import TrialServer

# A private server runs without accounts, so that we get in. They are needed once a statement of the log changes one:
# the session that asks for them keeps what it may do.
FIRST = b"FLUSH PRIVILEGES;\n"
REMEDY = "restore to an earlier moment, or from another backup"
LONG = "SET SESSION wait_timeout = 31536000"  # seconds: as long as the replay takes
EVENTS_OFF, EVENTS_ON = ("SET GLOBAL event_scheduler = OFF", "SET GLOBAL event_scheduler = ON")


def forward_directory(
    prepared: Prepared, folder: str, tools: Optional[str], parallel: int, recovery: Recovery
) -> Recovered:
    """Apply the log to ``prepared``, examine every table, and leave it as a server leaves it that ends in order.

    ``folder`` is private. Raises as :meth:`Replay.run`, and ``DamagedError`` for damaged tables.
    """
    version = prepared.version
    require_series(version)
    reader = find_log_reader(version.flavour, tools)
    client = find("client", version.flavour, tools)

    def server() -> TrialServer:
        return TrialServer(folder, data=prepared.data, version=version)

    with server() as running, Session(running.address) as session:
        session.run(LONG)
        there = (f"--socket={running.address.socket}", f"--user={running.address.user}")
        done = Replay(recovery, reader, (client.path, "--no-defaults", *there), folder, first=FIRST).run()
        running.shut_down(session)
    with server() as running, Session(running.address) as session:
        _require_sound(check_tables(running.address, parallel))
        running.shut_down(session)
    return done


def require_series(version: Version) -> Tool:
    """The installed server, which must be of the very series that the files are of: they are handed over.

    Raises ``ToolError`` otherwise.
    """
    server = find("server", version.flavour, None)
    if server.number[:2] != version.number[:2]:
        raise ToolError(
            f"the backup is of {version.shown}, and {server.path} is {server.shown}: its log is applied by a server of"
            " the same series",
            "restore on a host with that server, or without a target",
        )
    return server


def require_own_server(session: Session, address: Address, request: RestoreRequest) -> None:
    """Refuse a target to which no log may be applied, before anything is restored to it."""
    if request.tables:
        raise UsageError(
            "single tables of a logical backup cannot be brought forward: the log is of the whole server",
            "restore the whole server to an empty one, and copy the tables from there",
        )
    if address.database:
        raise UsageError(
            f"the log is of a whole server, and the target names the database {address.database!r}",
            "name an empty server alone: mysql://USER@HOST/",
        )
    if request.origin is not None and session.server_identity() == request.origin.server_identity:
        raise RefusedError(
            f"{session.what} is the server that wrote the log: it would be applied to what is there by now",
            "name another server with --to, which must be empty",
        )
    there = [name for name in session.databases() if not is_empty(session, name)]
    if there:
        raise RefusedError(
            f"{session.what} has databases ({', '.join(there[:3])}): the log could change what is in them",
            "name a server with --to that is empty",
        )
    if session.variable("gtid_strict_mode") == "ON" and session.variable("log_bin") == "ON":
        raise RefusedError(
            f"{session.what} has gtid_strict_mode on: it would refuse the log's transactions behind its own",
            "SET GLOBAL gtid_strict_mode = OFF there until the restore has ended",
        )


def forward_server(
    session: Session, tools: Tools, reader: Tool, folder: str, parallel: int, recovery: Recovery
) -> Recovered:
    """Apply the log to the server of ``session``, which was filled; on any failure drop what is in it.

    Needs :func:`events_off`.
    """
    client = (tools.client.path, f"--defaults-file={tools.option_file}")
    try:
        done = Replay(recovery, reader, client, folder).run()
        _require_sound(check_tables(session.address, parallel, system=False))
    except BaseException as error:
        _empty(session, error)
        raise
    return done


def _require_sound(damage: Sequence[str]) -> None:
    if damage:
        raise DamagedError(damage[0], REMEDY)


@contextmanager
def events_off(session: Session) -> Iterator[None]:
    """No event of what is restored may run before the log has told what events did."""
    if session.variable("event_scheduler") != "ON":
        yield
        return
    try:
        session.run(EVENTS_OFF)
    except DbfleetError as error:
        raise RefusedError(
            f"the events of {session.what} cannot be turned off while the log is applied: {error.message}",
            f"{EVENTS_OFF} there, or restore with an account that may",
        ) from error
    try:
        yield
    except BaseException:
        with suppress(DbfleetError):  # the server may be what failed
            session.run(EVENTS_ON)
        raise
    session.run(EVENTS_ON)


def _empty(session: Session, error: BaseException) -> None:
    """Take the databases away again; the server had none. Accounts stay."""
    try:
        session.run("SET SESSION foreign_key_checks = 0")
        for name in session.databases():
            session.run(f"DROP DATABASE {quoted(name)}")
    except DbfleetError as second:
        if isinstance(error, DbfleetError):
            error.message += f"; and what was restored could not be removed: {second.message}"
            error.remedy = f"empty {session.what} before another try"
