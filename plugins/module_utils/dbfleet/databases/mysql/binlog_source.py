"""A MySQL or MariaDB server whose binary log is archived, read by the flavour's own ``mysqlbinlog``."""

from __future__ import annotations

import base64
import binascii
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, Optional

from ...errors import DbfleetError, SourceError, ToolError, UsageError
from ...stream.process import Command, Filter, show_exit
from ..logs import LogLostError, LogSource, Origin, ServerState, SpoolFile
from .address import Address, write_option_file
from .binlog_format import DESCRIPTION, SERVER_NAME, BinlogFormat, Name, begun_at, epoch_of, name_of
from .faults import tool_failure
from .server import Session, Version
from .tools import ENVIRONMENT, Tool, find_log_reader

EPOCH = re.compile(r"[0-9a-f]{8}", re.ASCII)
HEAD = re.compile(rb"BINLOG '\s*\n([A-Za-z0-9+/]{8})")
HEAD_LIMIT = 64 * 1024  # bytes within which a decoded file has shown its first event
REPLICA = 2**31  # what we call ourselves as a replica: above what people number their servers with
EXPIRY = ("binlog_expire_logs_seconds", "expire_logs_days")


class BinlogSource(LogSource):
    """See :class:`LogSource`. The spool holds a folder for each epoch, and in it the files as the server has them."""

    format: BinlogFormat

    def __init__(self, address: Address, name: str, tools: Optional[str]) -> None:
        self.format = BinlogFormat()
        self._address = address.at("")
        self._replica = REPLICA + zlib.crc32(name.encode()) % REPLICA // 2
        self._tools = tools
        self._next: Optional[Name] = None
        self._lost: Optional[Name] = None  # the newest file before a gap

    def origin(self) -> Origin:
        """The server by its own identity."""
        with Session(self._address) as session:
            logs = self._logs(session)
            last = list(logs.items())[-1]
            return Origin(session.server_identity(), session.version().shown, f"{last[0]}:{last[1]}")

    def check(self) -> list[str]:
        """The binary log must be on, hold rows, and be readable by this account."""
        with Session(self._address) as session:
            version = session.version()
            self._tool(version)
            if session.variable("log_bin") != "ON":
                raise SourceError(
                    f"{session.what} writes no binary log", "set log_bin in the server's configuration and restart it"
                )
            logs = self._logs(session)
            for name in logs:
                if not SERVER_NAME.fullmatch(name):
                    raise SourceError(
                        f"{session.what}: its log file is called {name!r}",
                        "let log_bin name files of letters, digits, dots, _ and -",
                    )
            notes = []
            form = session.variable("binlog_format")
            if form != "ROW":
                notes.append(
                    f"binlog_format is {form}: statements may have another effect when they are replayed; set ROW"
                )
            expires = _expiry(session)
            if expires:
                notes.append(
                    f"the server removes log after {expires}: an archiver that is away for longer leaves a gap"
                )
            return notes

    def _logs(self, session: Session) -> dict[str, int]:
        """The server's files, the oldest first, with their sizes in bytes."""
        found = {str(row[0]): int(row[1]) for row in session.rows("SHOW BINARY LOGS")}
        if not found:
            raise SourceError(f"{session.what} has no binary log", "see whether log_bin is set")
        return found

    def _tool(self, version: Version) -> Tool:
        return find_log_reader(version.flavour, self._tools)

    # --- where to go on -------------------------------------------------------------------------

    def start_over(self) -> None:
        """The server keeps no position for us."""

    def prepare(self, spool: str, last: Optional[str], details: Mapping[str, Any]) -> list[str]:
        """Find the file with which the receiver begins: one that it left unfinished is fetched again."""
        with Session(self._address) as session:
            logs = list(self._logs(session))
        here = self._newest(spool)
        kept = name_of(last) if last is not None else None
        for known, begun in ((here, begun_at(_path(spool, here)) if here else None), (kept, details.get("begun"))):
            if known is None or begun is None:
                continue
            if known.on_server in logs:
                if self._begun(known.on_server) != begun:
                    return self._anew(spool, logs, f"{known.on_server} is another file now")
                after = known.next().on_server
                self._begin(spool, known.next() if known is kept and after in logs else known)
                return []
            if known.next().on_server in logs:
                self._begin(spool, known.next())
                return []
            first = SERVER_NAME.fullmatch(logs[0])
            if first is not None and int(first[2]) > known.number:
                self._lost = known
                raise LogLostError(
                    f"{self._address.place()} has removed {known.next().on_server}, which comes next",
                    "take a new backup, and let the server keep its log for longer",
                )
            return self._anew(spool, logs, f"the server has no {known.on_server} any more")
        return self._anew(spool, logs, "")

    def _anew(self, spool: str, logs: list[str], why: str) -> list[str]:
        """Begin with the server's first file, in the epoch that it opens."""
        begun, found = self._begun(logs[0]), SERVER_NAME.fullmatch(logs[0])
        if begun is None or found is None:
            raise SourceError(f"{self._address.place()}: {logs[0]} cannot be read", "see the server's log")
        if not why and self._lost is not None:  # behind a gap in the same numbering
            self._begin(spool, self._lost._replace(number=int(found[2])))
            return []
        self._begin(spool, Name(epoch_of(begun), found[1], int(found[2])))
        if not why:
            return []
        return [f"the numbers of the server's log began anew ({why}): take a new backup"]

    def _begin(self, spool: str, name: Name) -> None:
        self._next = name
        os.makedirs(os.path.join(spool, name.epoch), mode=0o700, exist_ok=True)

    def _newest(self, spool: str) -> Optional[Name]:
        names = [name_of(file.name) for file in self.spooled(spool)]
        return names[-1] if names else None

    def _begun(self, file: str) -> Optional[int]:
        """When the server began its ``file``, as the first event of it says. Raises what keeps it from being read."""
        import tempfile

        with Session(self._address) as session:
            tool = self._tool(session.version())
        with tempfile.TemporaryDirectory(prefix="dbfleet-") as folder:
            command = self._command(tool, folder, (file,))
            data = b""
            with Filter(command) as child:
                child.close_input()
                while len(data) < HEAD_LIMIT and not HEAD.search(data):
                    more = child.read()
                    if not more:
                        child.wait()
                        break
                    data += more
        found = HEAD.search(data)
        if found is None:
            return None
        try:
            head = base64.b64decode(found[1])
        except binascii.Error:
            return None
        return int.from_bytes(head[:4], "little") if head[4] == DESCRIPTION else None

    # --- receiving ------------------------------------------------------------------------------

    def receiver(self, spool: str, scratch: str) -> Command:
        """The tool, as a replica that never stops; it writes every event at once."""
        if self._next is None:
            raise UsageError("the spool was not prepared", "start the archiver again")
        with Session(self._address) as session:
            version = session.version()
        option = "--stop-never-slave-server-id" if version.flavour == "mariadb" else "--connection-server-id"
        place = os.path.join(spool, self._next.epoch, "")
        more = ("--raw", "--stop-never", f"{option}={self._replica}", f"--result-file={place}", self._next.on_server)
        return self._command(self._tool(version), scratch, more)

    def _command(self, tool: Tool, scratch: str, more: tuple[str, ...]) -> Command:
        path = write_option_file(scratch, self._address, tool.flavour)
        _drop_line(path, "default-character-set")  # which this tool does not know
        argv = (tool.path, f"--defaults-file={path}", "--read-from-remote-server", *more)
        return Command(argv, ENVIRONMENT, explain=self._explain)

    def _explain(self, code: int, words: str) -> DbfleetError:
        place = self._address.place()
        said = " / ".join(line.strip() for line in words.splitlines() if line.strip())[-400:]
        if "could not find next log" in words or "Could not find first log" in words:
            # purged, or numbered anew: prepare() sees which
            return SourceError(f"{place} no longer has the log that was read: {said}", "it is looked for again")
        if "REPLICATION SLAVE" in words or "REPLICATION REPLICA" in words:
            return SourceError(
                f"{place} does not let this account read its log: {said}",
                "GRANT REPLICATION SLAVE ON *.* TO that account",
            )
        if code > 0 and "error" not in words.lower():
            return ToolError(f"the receiver of {place} ended with {show_exit(code)}: {said}", "it is started again")
        return tool_failure("mysqlbinlog", code, words, place)

    def spooled(self, spool: str) -> list[SpoolFile]:
        """The files of each epoch; the last of all grows, unless the server has ended it."""
        found: list[tuple[Name, str]] = []
        for epoch in sorted(os.listdir(spool)):
            folder = os.path.join(spool, epoch)
            if EPOCH.fullmatch(epoch) and os.path.isdir(folder):
                for file in os.listdir(folder):
                    parts = SERVER_NAME.fullmatch(file)
                    if parts is not None and begun_at(os.path.join(folder, file)) is not None:
                        found.append((Name(epoch, parts[1], int(parts[2])), os.path.join(folder, file)))
        found.sort(key=lambda one: (one[0].epoch, one[0].number))
        files = []
        for place, (name, path) in enumerate(found):
            goes_on = place + 1 < len(found) and found[place + 1][0].epoch == name.epoch
            files.append(SpoolFile(name.kept, path, goes_on or self.format.is_ended(name.kept, path)))
        return files

    # --- how it is ------------------------------------------------------------------------------

    def state(self, end: Optional[str]) -> ServerState:
        """Its position; how far the archive is behind; whether the server still has what comes next."""
        with Session(self._address) as session:
            logs = self._logs(session)
        file, size = list(logs.items())[-1]
        problems = []
        behind = None
        if end is not None:
            name, _mark, offset = end.rpartition(":")
            if name in logs:
                later = list(logs)[list(logs).index(name) :]
                behind = max(0, sum(logs[one] for one in later) - int(offset))
            else:
                problems.append(f"the server has no {name} any more: what followed it may be lost")
        return ServerState(f"{file}:{size}", behind, sum(logs.values()), tuple(problems))


def _path(spool: str, name: Name) -> str:
    return os.path.join(spool, name.epoch, name.on_server)


def _expiry(session: Session) -> str:
    for variable in EXPIRY:
        value = session.variable(variable)
        if value and float(value) > 0:
            return f"{value} s" if variable.endswith("seconds") else f"{value} days"
    return ""


def _drop_line(path: str, beginning: str) -> None:
    """Take the lines that begin with ``beginning`` out of the option file at ``path``."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith(beginning)]
    with open(os.open(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.writelines(lines)
