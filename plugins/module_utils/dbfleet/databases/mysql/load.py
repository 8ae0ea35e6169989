"""Feeding SQL into a database that is being built: rows by several connections, the rest by the native client."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Optional

from ...errors import CapacityError, DbfleetError, ProofError, ToolError
from ...stream.process import Filter
from ...units import show_size
from .address import Address
from .faults import code_behind
from .lanes import MARK, split, statements
from .server import Session
from .streams import picked
from .tools import Tools

LOAD = "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0, unique_checks = 0, autocommit = 1"
ATTEMPTS = 20
COLLISIONS = (1213, 1205)  # deadlock, lock wait: the statement was undone and may be run again
LARGEST_PACKET = 2**30  # that a server can be told to take
UNKNOWN_ENGINE = re.compile(rb"\(Code 1286\): (.{1,200})")
BATCH = 4  # blocks that wait for a free connection


class _Stopped(Exception):
    """Raised in the feeding thread when a connection has failed."""


def load_rows(
    address: Address, chunks: Iterable[bytes], *, parallel: int, only: Optional[Sequence[str]] = None
) -> None:
    """Run the INSERT statements of a data artifact on ``parallel`` connections; ``only`` those of some tables.

    A failure of the bytes themselves is raised before one of the server.
    """
    waiting: queue.Queue[Optional[bytes]] = queue.Queue(BATCH * parallel)
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=_work, args=(address, waiting, failures), daemon=True) for _number in range(parallel)
    ]
    for thread in threads:
        thread.start()
    try:
        wanted = picked(only) if only is not None else None
        for block in statements(chunks):
            for statement in split(block):
                if wanted is None or statement.startswith(wanted):
                    _put(waiting, statement, failures)
    except _Stopped:
        for _chunk in chunks:  # the digests are compared at their end: bytes that are wrong are the better reason
            pass
    finally:
        for _thread in threads:
            _end(waiting, threads)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _put(waiting: queue.Queue[Optional[bytes]], statement: bytes, failures: list[BaseException]) -> None:
    while True:
        if failures:
            raise _Stopped
        try:
            waiting.put(statement, timeout=1)
            return
        except queue.Full:
            continue


def _end(waiting: queue.Queue[Optional[bytes]], threads: Sequence[threading.Thread]) -> None:
    """One end mark for one thread, unless all have ended."""
    while any(thread.is_alive() for thread in threads):
        try:
            waiting.put(None, timeout=0.2)
            return
        except queue.Full:
            continue


def _work(address: Address, waiting: queue.Queue[Optional[bytes]], failures: list[BaseException]) -> None:
    try:
        with Session(address) as session:
            session.run(LOAD)
            longest = int(session.row("SELECT @@max_allowed_packet")[0])
            while not failures:
                statement = waiting.get()
                if statement is None:
                    return
                require_room(session.what, statement, longest)
                _insert(session, statement.rstrip(b";\n"))
    except BaseException as error:  # raised again by load_rows
        failures.append(error)


def require_room(what: str, statement: bytes, longest: int) -> None:
    """Refuse a statement that the server would not take: it would only close the connection.

    Raises ``CapacityError`` that names the table and the value to set.
    """
    if len(statement) < longest:
        return
    table = statement[len(MARK) : len(MARK) + 80].decode("utf-8", "replace").partition(" VALUES")[0]
    needed = 1 << len(statement).bit_length()
    raise CapacityError(
        f"{what}: a row of table {table} takes {show_size(len(statement))} as SQL, more than the server's"
        f" max_allowed_packet of {show_size(longest)}",
        f"SET GLOBAL max_allowed_packet = {min(needed, LARGEST_PACKET)} on that server, and start again",
    )


def _insert(session: Session, statement: bytes) -> None:
    """Run one INSERT, which is a transaction of its own: another one may have locked the gap that it needs."""
    for attempt in range(ATTEMPTS):
        try:
            session.send(statement)
            return
        except DbfleetError as error:
            if code_behind(error) not in COLLISIONS or attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.01 * attempt)


def run_client(tools: Tools, database: str, chunks: Iterable[bytes], what: str, *, only_there: bool = False) -> None:
    """Run SQL with the native client in ``database``; ``only_there`` skips what is meant for other databases.

    A failure of the bytes themselves is raised before one of the client. Raises ``ToolError`` for a table of an
    engine that the server does not have, unless the file is from elsewhere: the server would take another engine.
    """
    arguments = [
        "--batch",
        "--show-warnings",
        "--comments",
        "--max-allowed-packet=1G",
        "--default-character-set=utf8mb4",
    ]
    # A client in binary mode leaves the line ends of routines as they are, but does not know USE.
    arguments.append("--one-database" if only_there else "--binary-mode")
    command = tools.client_command((*arguments, *(("--", database) if database else ())), what)
    refused = False
    engines: set[str] = set()
    with Filter(command) as client:
        drain = threading.Thread(target=hear_of_engines, args=(client, engines), daemon=True)
        drain.start()
        for chunk in chunks:
            if refused:
                continue  # to the end, where the digests are compared
            try:
                client.write(chunk)
            except OSError:
                refused = True
        client.close_input()
        drain.join()
        words = client.wait()
    if refused:
        raise ProofError(f"{what}: the client stopped reading before the end", "see what it says: " + words)
    if engines and not only_there:
        raise ToolError(
            f"{what}: the server cannot make its tables: {', '.join(sorted(engines))}",
            "let the server load the engine's plugin (INSTALL SONAME), or restore to one that has it",
        )


def hear_of_engines(client: Filter, found: set[str]) -> None:
    """Read what a client with ``--show-warnings`` says, to its end; adds what it says of unknown engines."""
    rest = b""
    with suppress(OSError, ValueError):  # it was ended
        while data := client.read():
            *lines, rest = (rest + data).split(b"\n")
            told = map(UNKNOWN_ENGINE.search, lines)
            found.update(one[1].decode("utf-8", "replace") for one in told if one)
