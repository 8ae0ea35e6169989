"""Bringing a prepared data directory forward by its binary log, with a private server and the flavour's own tools.

The tool that decodes the log (``mariadb-binlog``) and the client run side by side, one client for all files, so that
what a session carries from one transaction to the next survives. Both are given whole transactions only: the log is
never cut within one. What the backup holds already lies before its position and is not replayed.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError, ToolError
from ...stream.process import Command, Filter, last_lines
from ...units import to_text
from ..logs import Recovered, Recovery
from .address import Address
from .binlog_events import Transaction, transactions
from .binlog_format import MAGIC, Name, name_of
from .examine import check_tables
from .prepared import Prepared
from .server import Session, Version
from .tools import ENVIRONMENT, Tool, find, find_log_reader
from .trial import TrialServer

# The server runs without accounts, so that we get in. They are needed once a statement of the log changes one: the
# session that asks for them keeps what it may do.
FIRST = b"FLUSH PRIVILEGES;\n"
UNKNOWN_ENGINE = re.compile(rb"\(Code 1286\): (.{1,200})")
EARLIER = "restore to a moment before it, or from another backup"


class Replay:
    """One recovery of the data directory of ``prepared``."""

    def __init__(
        self, prepared: Prepared, folder: str, tools: Optional[str], parallel: int, recovery: Recovery
    ) -> None:
        """``folder`` is private, for the server's own files and for one file of the log at a time."""
        self._prepared = prepared
        self._folder = folder
        self._parallel = parallel
        self._recovery = recovery
        version = prepared.version
        self._reader = find_log_reader(version.flavour, tools)
        self._client = find("client", version.flavour, tools)
        self._last: Optional[Transaction] = None
        self._engines: set[str] = set()  # what was said of storage engines that are not here
        self._at = ""

    def run(self) -> Recovered:
        """Apply the log, examine every table, and leave the directory as a server leaves it that ends in order.

        Raises ``RefusedError`` where the target is not in the log, or the log does not fit; ``DamagedError`` for
        damaged log and damaged tables.
        """
        require_series(self._prepared.version)
        with self._server() as server, Session(server.address) as session:
            session.run("SET SESSION wait_timeout = 31536000")  # seconds: as long as the replay takes
            reached = self._replay(server.address)
            target = self._recovery.target
            notes = []
            if not reached and target.kind != "end":
                if not self._recovery.may_end:
                    raise RefusedError(
                        f"{target} is not in the log that follows the backup",
                        "see `dbfleet log-archive status` for what is; of a transaction before this backup, name an "
                        "earlier backup",
                    )
                notes.append(f"the log ends before {target}: nothing was committed between its end and then")
            server.shut_down(session)
        notes += [
            f"other engines took their place in tables that the log made: {said}" for said in sorted(self._engines)
        ]
        with self._server() as server, Session(server.address) as session:
            damage = check_tables(server.address, self._parallel)
            if damage:
                raise DamagedError(damage[0], "restore to an earlier moment, or from another backup")
            server.shut_down(session)
        return Recovered(self._told(), notes=tuple(notes))

    def _server(self) -> TrialServer:
        return TrialServer(self._folder, data=self._prepared.data, version=self._prepared.version)

    def _told(self) -> str:
        if self._last is None:
            return f"at {self._at}, the backup's own position: nothing was to be applied"
        return f"at {self._at}, after transaction {self._last.gtid} of {to_text(self._last.moment)}"

    # --- replaying ----------------------------------------------------------------------------

    def _replay(self, address: Address) -> bool:
        """Apply the files of the line one after the other; whether the target was reached."""
        with Filter(self._client_command(address)) as client:
            drain = threading.Thread(target=self._hear, args=(client,), daemon=True)
            drain.start()
            try:
                client.write(FIRST)
                reached = self._files(client)
                client.close_input()
            except OSError as error:  # the client ended: why is what it said
                client.wait()
                raise ToolError(f"{self._client.path} stopped reading before the end", EARLIER) from error
            drain.join()
            client.wait()
        return reached

    def _hear(self, client: Filter) -> None:
        """What the client says: nothing but warnings."""
        rest = b""
        with suppress(OSError, ValueError):  # it was ended
            while data := client.read():
                *lines, rest = (rest + data).split(b"\n")
                found = map(UNKNOWN_ENGINE.search, lines)
                self._engines.update(one[1].decode("utf-8", "replace") for one in found if one)

    def _files(self, client: Filter) -> bool:
        start = int(self._recovery.position["binlog_offset"])
        with tempfile.TemporaryDirectory(prefix="log-", dir=self._folder) as folder:
            for kept in self._recovery.line.names:
                name = name_of(kept)
                if name is None:
                    raise DamagedError(f"{kept} is no file of a binary log", EARLIER)
                path = os.path.join(folder, name.on_server)
                self._recovery.fetch(kept, path)
                found = transactions(path, start)
                wanted, reached = self._wanted(found, name, start)
                self._at = f"{name.on_server}:{wanted[-1].end if wanted else start}"
                if wanted:
                    self._decode(path, wanted, client)
                    self._last = wanted[-1]
                os.remove(path)
                if reached:
                    return True
                start = len(MAGIC)
        return False

    def _wanted(self, found: Sequence[Transaction], name: Name, start: int) -> tuple[Sequence[Transaction], bool]:
        """Those of the transactions in a file that are applied, and whether the target lies behind them."""
        target = self._recovery.target
        if target.kind == "position":
            file, _mark, offset = target.value.rpartition(":")
            if file != name.on_server:
                return found, False
            return _up_to(found, int(offset), target.value, start), True
        for place, one in enumerate(found):
            if target.kind == "gtid" and one.gtid == target.value:
                return found[: place + 1 if target.inclusive else place], True
            if target.moment is not None and (
                one.moment > target.moment or (not target.inclusive and one.moment == target.moment)
            ):
                return found[:place], True
        return found, False

    def _decode(self, path: str, wanted: Sequence[Transaction], client: Filter) -> None:
        """Let the tool write the transactions as statements, and the client read them."""
        options = (f"--start-position={wanted[0].start}", f"--stop-position={wanted[-1].end}")
        command = Command(
            (self._reader.path, "--no-defaults", "--verify-binlog-checksum", *options, "--", path),
            ENVIRONMENT,
            explain=lambda _code, words: DamagedError(
                f"{os.path.basename(path)} of the log cannot be read: {last_lines(words)}", EARLIER
            ),
        )
        with Filter(command) as reader:
            reader.close_input()
            for data in reader.chunks():
                client.write(data)

    def _client_command(self, address: Address) -> Command:
        argv = (
            self._client.path,
            "--no-defaults",
            "--batch",
            "--show-warnings",
            "--binary-mode",
            "--max-allowed-packet=1G",
            f"--socket={address.socket}",
            f"--user={address.user}",
        )
        return Command(argv, ENVIRONMENT, explain=self._explain)

    def _explain(self, _code: int, words: str) -> DbfleetError:
        return RefusedError(
            f"the log that follows {self._at or 'the backup'} cannot be applied: {last_lines(words)}",
            "restore to a moment before that statement; nothing was changed",
        )


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


def _up_to(found: Sequence[Transaction], offset: int, shown: str, start: int) -> Sequence[Transaction]:
    """The transactions before the byte ``offset``. Raises ``RefusedError`` where it is within one."""
    broken = next((one for one in found if one.start < offset < one.end), None)
    if broken is not None:
        raise RefusedError(
            f"{shown} is within the transaction {broken.gtid}",
            f"name its begin, {broken.start}, or its end, {broken.end}",
        )
    if offset > max((one.end for one in found), default=start):
        raise RefusedError(
            f"{shown} is not in the log that follows the backup", "see `dbfleet log-archive status` for what is"
        )
    return [one for one in found if one.end <= offset]
