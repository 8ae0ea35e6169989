"""The tools that copy a running server's files: mariadb-backup, and Percona's xtrabackup for MySQL.

What is different between them is data here; everything else is the same code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from ...errors import BusyError, CapacityError, DamagedError, DbfleetError, ProofError, SourceError, ToolError
from ...stream.process import Command, Filter, show_exit
from ..tool_faults import ROOM, host_fault_of, lacks_room
from .address import Address
from .copied_options import OPTION_FILE
from .server import Version, version_of
from .tools import ENVIRONMENT, Tool, find

COMPLETED = "completed OK!"
MEMORY = "256M"  # for replaying the log
LINE = 4096  # bytes of a line that are kept: a tool writes whole damaged pages, with their rows, to stderr
TOLD = 8  # lines that tell of a failure are few
REASONS = re.compile(r"\b(error|fatal|failed|corrupt\w*|denied|unable|missing|can't|cannot|no space)\b", re.IGNORECASE)
CORRUPT = re.compile(r"File (?:\./)?(\S+) seems to be corrupted|corrupt\w* .*?(\S+\.ibd)")
STAMP = re.compile(
    r"^(\[\d\d\] )?(FATAL ERROR: )?(\d{4}-\d\d-\d\d[ T]+\d+:\d\d:\d\d(\.\d+[-+]\d\d:\d\d)? )?(\d+ )?"
    r"(\[\w+\] )?(\[MY-\d+\] )?(\[\w+\] )?(InnoDB: )?"
)
SMALL_FILES = "Starting to backup non-InnoDB tables and files"
LASTING = (8, 0, 34)  # xtrabackup from then on copies all later servers of its series (Percona, "Supported versions")


@dataclass(frozen=True)
class Moment:
    """What a tool says around the commit at which its backup is consistent.

    At ``begin`` snapshots of that very commit can begin; where it says ``stand`` they must. Commits are held from
    ``begin`` on by the tool itself, or have to be until it says ``over``. After ``waits`` it waits for a lock without
    an end. Older versions, which say nothing of the first of ``older``, hold commits when they say the second.
    """

    begin: str
    stand: re.Pattern[str]
    older: Optional[tuple[str, str]] = None
    over: Optional[str] = None
    waits: Optional[re.Pattern[str]] = None


@dataclass(frozen=True)
class Flavour:
    """How one of the tools is called: arguments for every backup, and for every step of a chain but the last one.

    ``by_hand``: its own name, and that of the tool that unpacks its stream.
    """

    backup: tuple[str, ...]
    not_last: tuple[str, ...]
    lock_wait: str
    by_hand: tuple[str, str]
    moment: Moment


FLAVOURS: Mapping[str, Flavour] = {
    "mariadb": Flavour(
        (),
        (),
        "--ftwrl-wait-timeout",
        ("mariadb-backup", "mbstream"),
        Moment(
            "Acquired locks for BACKUP STAGE BLOCK_COMMIT",
            re.compile(r"(Starting|Executing) BACKUP STAGE END"),
            older=("BACKUP STAGE", SMALL_FILES),
        ),
    ),
    # Its version check asks a server in the internet; increments can only follow where nothing was rolled back.
    # It holds no commits: of their logs it takes the state that performance_schema.log_status tells.
    "mysql": Flavour(
        ("--no-version-check",),
        ("--apply-log-only",),
        "--backup-lock-timeout",
        ("xtrabackup", "xbstream"),
        Moment(
            SMALL_FILES,
            re.compile("Selecting LSN and binary log position"),
            over="Executing FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS",
            waits=re.compile("Executing FLUSH (NO_WRITE_TO_BINLOG TABLES|TABLES WITH READ LOCK)"),
        ),
    ),
}


def copy_tool(version: Version, folder: Optional[str], why: str) -> Tool:
    """The tool for a server of ``version``: of its flavour and release series; Percona's not of an early one.

    MariaDB and Percona promise no more: the format of the log changes between series. Raises ``ToolError``.
    """
    tool = find("copy", version.flavour, folder)
    early = version.flavour == "mysql" and tool.number < min(version.number, LASTING)
    if tool.number[:2] != version.number[:2] or early:
        series = ".".join(map(str, version.number[:2]))
        raise ToolError(
            f"{why}, but {tool.path} is of version {tool.shown}",
            f"install {os.path.basename(tool.path)} of {series}, or name the folder of its tools with source.tools",
        )
    return tool


class Hearing:
    """What a tool says on stderr, line by line as it comes; keeps those that may tell why it fails."""

    def __init__(self, tell: Optional[Callable[[str, int], None]] = None) -> None:
        self.reasons: list[str] = []
        self.completed = False
        self._tell = tell
        self._line = bytearray()  # the beginning of the present line
        self._start = 0  # at which byte of all it begins
        self._length = 0  # bytes of it that were heard

    def hear(self, data: bytes) -> None:
        """The next bytes; each whole line goes to ``tell``, with the place where it began."""
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._add(part)
            lines.append((self._line.decode("utf-8", "replace"), self._start))
            self._start += self._length + 1
            self._length = 0
            self._line.clear()
        self._add(rest)
        for line, start in lines:
            self._take(line, start)

    def _add(self, part: bytes) -> None:
        self._line += part[: LINE - len(self._line)]
        self._length += len(part)

    @property
    def heard(self) -> int:
        """Bytes that were heard."""
        return self._start + self._length

    def _take(self, line: str, start: int) -> None:
        self.completed |= COMPLETED in line
        if REASONS.search(line[:300]) and line.isprintable():
            said = STAMP.sub("", line.strip())[:300]
            if said not in self.reasons:
                self.reasons = [*self.reasons[:2], *self.reasons[2:][-TOLD:], said]
        if self._tell is not None:
            self._tell(line, start)


@dataclass(frozen=True)
class HotCopy:
    """One backup of the server at ``address``; ``since`` is the position in InnoDB's log that the parent reached."""

    tool: Tool
    address: Address
    option_file: str
    folder: str
    parallel: int
    lock_wait: int
    since: Optional[int] = None

    def start(self, hearing: Hearing) -> Filter:
        """Begin; the stream is what it writes."""
        flavour = FLAVOURS[self.tool.flavour]
        argv = [
            self.tool.path,
            f"--defaults-file={self.option_file}",
            "--backup",
            "--stream=xbstream",
            f"--target-dir={self.folder}",
            f"--parallel={self.parallel}",
            f"{flavour.lock_wait}={max(1, self.lock_wait)}",
            *flavour.backup,
        ]
        if self.since is not None:
            argv.append(f"--incremental-lsn={self.since}")

        def explain(code: int, _words: str) -> DbfleetError:
            return backup_failure(self.tool, self.address, code, hearing.reasons)

        return Filter(Command(tuple(argv), ENVIRONMENT, explain=explain), hear=hearing.hear)


def backup_failure(tool: Tool, address: Address, code: int, reasons: list[str]) -> DbfleetError:
    """Why a backup failed, of what the tool said: ``reasons`` are its lines that tell of something bad."""
    name, place, said = os.path.basename(tool.path), address.place(), " / ".join(reasons) or "it gave no reason"
    for line in reasons:
        damaged = CORRUPT.search(line)
        if damaged:
            return ProofError(
                f"the server at {place} has a damaged page in {damaged[1] or damaged[2]}",
                "run CHECK TABLE on that table, and restore the newest good backup",
            )
    if "missing required privilege" in said:
        words = re.findall(r"missing required privilege (.+?) on", said)
        return SourceError(
            f"the account of {place} lacks {', '.join(dict.fromkeys(words))}",
            f"GRANT {', '.join(dict.fromkeys(words))} ON *.* TO that account",
        )
    if "Access denied" in said:
        return SourceError(f"{place}: {name} may not log in: {said}", "check the user and source.password_file")
    if "Unable to obtain lock" in said or "BACKUP STAGE" in said:
        return BusyError(
            f"{place}: the lock that begins a backup was not free in time",
            "end what holds it, or raise limits.lock_wait",
        )
    if lacks_room(said):
        return CapacityError(f"{name} on {place}: {said}", ROOM)
    if "able to copy log" in said or "was overwritten" in said:
        return SourceError(
            f"the server at {place} wrote over log that the backup still needed: {said}",
            "raise innodb_log_file_size on the server, or lower its load during the backup",
        )
    return ToolError(
        f"{name} on {place} failed with {show_exit(code)}: {said}",
        "nothing of what it wrote was kept; cure what it says and start again",
    )


def prepare(tool: Tool, folder: str, increment: Optional[str] = None, *, last: bool = True) -> None:
    """Replay the log of the backup in ``folder``, after adding ``increment`` to it if there is one.

    Raises ``DamagedError`` when the files are not what the tool wrote, ``CapacityError`` without room.
    """
    hearing = Hearing()

    def explain(code: int, _words: str) -> DbfleetError:
        return _prepare_failure(tool, code, hearing.reasons)

    argv = [
        tool.path,
        f"--defaults-file={os.path.join(folder, OPTION_FILE)}",
        "--prepare",
        f"--target-dir={folder}",
        f"--use-memory={MEMORY}",
        *(() if last else FLAVOURS[tool.flavour].not_last),
    ]
    if increment is not None:
        argv.append(f"--incremental-dir={increment}")
    with Filter(Command(tuple(argv), ENVIRONMENT, explain=explain), hear=hearing.hear) as child:
        child.close_input()
        while child.read():
            pass
        child.wait()
    if not hearing.completed:
        raise _prepare_failure(tool, 0, hearing.reasons)


def _prepare_failure(tool: Tool, code: int, reasons: list[str]) -> DbfleetError:
    name, said = os.path.basename(tool.path), " / ".join(reasons) or "it gave no reason"
    fault = host_fault_of(f"{name} --prepare", said, code=code, room=f"{ROOM}, or restore elsewhere with --to")
    if fault is not None:
        return fault
    return DamagedError(f"{name} --prepare failed with {show_exit(code)}: {said}", "restore another backup")


def fields_of(text: str) -> dict[str, str]:
    """``name = value`` of each line, as the tools write about a backup."""
    pairs = (line.partition(" = ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, mark, value in pairs if mark}


def version_in(info: str) -> Version:
    """The version of the server that a backup is of. Raises ``DamagedError`` when it does not say."""
    found = fields_of(info).get("server_version", "")
    version = version_of(found)
    if len(version.number) < 2:
        raise DamagedError("the backup says no version of its server", "restore another backup")
    return version
