"""Applying a binary log to a running server, with the flavour's own tools.

The tool that decodes the log (``mariadb-binlog``, ``mysqlbinlog``) and the client run side by side, one client for
all files, so that what a session carries from one transaction to the next survives. Both are given whole
transactions only: the log is never cut within one. What the backup holds already lies before its position and is not
replayed.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError, ToolError
from ...stream.process import Command, Filter, last_lines
from ...units import to_text
from ..logs import Recovered, Recovery
from .binlog_events import Transaction, transactions
from .binlog_format import MAGIC, Name, name_of
from .load import hear_of_engines
from .tools import ENVIRONMENT, Tool

CLIENT = ("--batch", "--show-warnings", "--binary-mode", "--max-allowed-packet=1G")
EARLIER = "restore to a moment before it, or from another backup"
# Transactions get names of the server that they are applied to: it may know none, and those of the rows that were
# loaded into it are its own as well. MariaDB's tool has no such option, and its servers take any.
UNNAMED = {"mysql": ("--skip-gtids",), "mariadb": ()}


class Replay:
    """The log of one recovery on its way into one server."""

    def __init__(
        self, recovery: Recovery, reader: Tool, client: Sequence[str], folder: str, *, first: bytes = b""
    ) -> None:
        """``client`` begins the command line of the native client; ``folder`` is private, for one file at a time.

        ``first`` is SQL that the client runs before the log.
        """
        self._recovery = recovery
        self._reader = reader
        self._client = client
        self._folder = folder
        self._first = first
        self._last: Optional[Transaction] = None
        self._engines: set[str] = set()  # what was said of storage engines that are not here
        self._at = ""

    def run(self) -> Recovered:
        """Apply the log.

        Raises ``RefusedError`` where the target is not in it, or it does not fit; ``DamagedError`` where it is damaged.
        """
        reached = self._replay()
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
        notes += [
            f"other engines took their place in tables that the log made: {said}" for said in sorted(self._engines)
        ]
        return Recovered(self._told(), notes=tuple(notes))

    def _told(self) -> str:
        if self._last is None:
            return f"at {self._at}, the backup's own position: nothing was to be applied"
        name = f"transaction {self._last.gtid}" if self._last.gtid else "the transaction"
        return f"at {self._at}, after {name} of {to_text(self._last.moment)}"

    def _replay(self) -> bool:
        """Apply the files of the line one after the other; whether the target was reached."""
        command = Command((*self._client, *CLIENT), ENVIRONMENT, explain=self._explain, text=True)
        with Filter(command) as client:
            drain = threading.Thread(target=hear_of_engines, args=(client, self._engines), daemon=True)
            drain.start()
            try:
                client.write(self._first)
                reached = self._files(client)
                client.close_input()
            except OSError as error:  # the client ended: why is what it said
                client.wait()
                raise ToolError(f"{self._client[0]} stopped reading before the end", EARLIER) from error
            drain.join()
            client.wait()
        return reached

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
        more = ("--verify-binlog-checksum", *UNNAMED[self._reader.flavour], *options, "--", path)
        command = Command(
            (self._reader.path, "--no-defaults", *more),
            ENVIRONMENT,
            text=True,
            explain=lambda _code, words: DamagedError(
                f"{os.path.basename(path)} of the log cannot be read: {last_lines(words)}", EARLIER
            ),
        )
        with Filter(command) as reader:
            reader.close_input()
            for data in reader.chunks():
                client.write(data)

    def _explain(self, _code: int, words: str) -> DbfleetError:
        return RefusedError(
            f"the log that follows {self._at or 'the backup'} cannot be applied: {last_lines(words)}",
            "restore to a moment before that statement; nothing was changed",
        )


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
