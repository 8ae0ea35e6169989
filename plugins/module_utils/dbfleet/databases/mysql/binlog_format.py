"""The files of a binary log, as a log archive keeps them (MariaDB manual, "Binary Log Formats"; MySQL internals).

A server numbers its files: ``binlog.000001``. ``RESET MASTER`` lets the numbers begin anew, so a file is
kept under its epoch as well, the moment at which the first file of that numbering was begun:
``6b076cfa-binlog.000001``.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple, Optional

from ...errors import DamagedError, NotFoundError, UsageError
from ...model import Manifest
from ...targets import Target
from ..logs import Extent, Found, Line, LogFormat, Shelf, Wanted

MAGIC = b"\xfebin"
NAME = re.compile(r"([0-9a-f]{8})-([0-9A-Za-z_][0-9A-Za-z_.-]*)\.([0-9]{6,10})", re.ASCII)
SERVER_NAME = re.compile(r"([0-9A-Za-z_][0-9A-Za-z_.-]*)\.([0-9]{6,10})", re.ASCII)
HEADER = struct.Struct("<IBIIIH")  # when, kind, server, length, end of it in the file, flags
DESCRIPTION, STOP, ROTATE = 15, 3, 4
QUERY, XID, GTID, ANONYMOUS_GTID, TAGGED_GTID, MARIADB_GTID = 2, 16, 33, 34, 42, 162
BEGINS = frozenset((GTID, ANONYMOUS_GTID, TAGGED_GTID, MARIADB_GTID))  # what a transaction begins with
OF_TRANSACTIONS = BEGINS | {QUERY, XID}  # their time is that of a commit, about
WINDOW = 1024 * 1024
# The second (since 1970, by the server's clock) in which a logical backup of a whole server was consistent. Only
# those have it in their position, and with it what the log can be applied to.
LOGICAL_SINCE = "binlog_since"
TARGETS = ("time", "end", "position", "gtid")


class Name(NamedTuple):
    """A kept file: the epoch of its number, and its name on the server."""

    epoch: str
    base: str
    number: int

    @property
    def on_server(self) -> str:
        """``binlog.000001``"""
        return f"{self.base}.{self.number:06d}"

    @property
    def kept(self) -> str:
        """``6b076cfa-binlog.000001``"""
        return f"{self.epoch}-{self.on_server}"

    def next(self) -> Name:
        """The file that follows in the same epoch."""
        return self._replace(number=self.number + 1)


def name_of(kept: str) -> Optional[Name]:
    """``kept`` taken apart, or ``None`` for what is no file of a log."""
    found = NAME.fullmatch(kept)
    return Name(found[1], found[2], int(found[3])) if found else None


def epoch_of(moment: int) -> str:
    """How the epoch that began at ``moment`` (seconds since 1970) is written."""
    return f"{moment:08x}"


@dataclass
class _Scan:
    """How far a file was read, and what was seen: the file may have grown when it is read again."""

    used: int = len(MAGIC)
    begun: int = 0
    server: int = 0
    first: int = 0
    last: int = 0
    ended: bool = False


def begun_at(path: str) -> Optional[int]:
    """When the log file at ``path`` was begun, in seconds since 1970; ``None`` where its head is not there yet."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC) + HEADER.size)
    except FileNotFoundError:
        return None
    if len(head) < len(MAGIC) + HEADER.size or not head.startswith(MAGIC):
        return None
    moment, kind = HEADER.unpack_from(head, len(MAGIC))[:2]
    return int(moment) if kind == DESCRIPTION else None


class BinlogFormat(LogFormat):
    """See :class:`LogFormat`."""

    engine = "mysql"
    searched = ("gtid",)
    begins_with = "a physical backup, or a logical one of a whole server"

    def __init__(self) -> None:
        self._scans: dict[tuple[str, int], _Scan] = {}

    def kind(self, name: str) -> Optional[str]:
        """Every file of the log is a segment."""
        return "segment" if NAME.fullmatch(name) else None

    def sort_key(self, name: str) -> Any:
        """By epoch, then by number."""
        found = name_of(name)
        return (found.epoch, found.number) if found else ("", 0)

    def examine(self, name: str, path: str, *, finished: bool) -> Extent:
        """Whole events, from the first to the last one in the file."""
        found = name_of(name)
        if found is None:
            raise DamagedError(f"{name!r} is no file of a binary log", "see who put it into the spool")
        scan = self._scan(name, path)
        return Extent(
            lineage="",  # the file does not say it
            start=f"{found.on_server}:{len(MAGIC)}",
            end=f"{found.on_server}:{scan.used}",
            used_bytes=scan.used if scan.begun else 0,
            first_time=_moment(scan.first),
            last_time=_moment(scan.last),
            details={"begun": scan.begun, "server_id": scan.server},
        )

    def is_ended(self, name: str, path: str) -> bool:
        """Whether the server has ended the file: it went on to the next one, or stopped."""
        return self._scan(name, path).ended

    def _scan(self, name: str, path: str) -> _Scan:
        found = os.stat(path)
        scan = self._scans.get((path, found.st_ino))
        if scan is None or scan.used > found.st_size:  # the receiver began it anew
            self._scans = {key: one for key, one in self._scans.items() if key[0] != path}
            scan = self._scans[(path, found.st_ino)] = _Scan()
        with open(path, "rb", buffering=0) as file:
            if scan.used == len(MAGIC) and file.read(len(MAGIC)) not in (MAGIC, b""):
                raise DamagedError(f"{name} is no file of a binary log", "see who put it into the spool")
            _read_on(file, scan, name)
        return scan

    # --- what follows a backup ------------------------------------------------------------------

    def line(self, shelf: Shelf, position: Mapping[str, Any], timeline: Optional[int] = None) -> Line:
        """From the file of the backup's position on, in its epoch."""
        first = self._start(shelf, position)
        finished, unfinished = set(shelf.names()), set(shelf.unfinished())
        names = []
        at = first
        while at.kept in finished:
            names.append(at.kept)
            at = at.next()
        if at.kept in unfinished:
            names.append(at.kept)
            at = at.next()
        if not names:
            raise NotFoundError(
                f"the log archive does not have {first.on_server}, with which the backup ends", "take a new backup"
            )
        later = [one for one in map(name_of, {*finished, *unfinished}) if one and one.epoch == first.epoch]
        missing = at.kept if any(one.number > at.number for one in later) else None
        return Line(tuple(names), missing)

    def _start(self, shelf: Shelf, position: Mapping[str, Any]) -> Name:
        file, begun = position.get("binlog_file"), position.get("binlog_begun")
        found = SERVER_NAME.fullmatch(str(file))
        if found is None:
            raise NotFoundError(
                "the backup says no position in the binary log", "turn log_bin on, and take another one"
            )
        names = [one for one in map(name_of, {*shelf.names(), *shelf.unfinished()}) if one and one.on_server == file]
        # a file of that name may be of another numbering
        if begun is not None:
            names = [one for one in names if shelf.details(one.kept).get("begun") == begun]
        elif LOGICAL_SINCE in position:
            since = int(position[LOGICAL_SINCE])
            names = [one for one in names if int(shelf.details(one.kept).get("begun", 0)) <= since]
        if not names:
            raise NotFoundError(
                f"the log archive does not have {file}, with which the backup ends", "take a new backup"
            )
        return max(names)

    def fits(self, backup: Manifest) -> bool:
        """Files, and the rows of a whole server with its accounts: the log may name any of its databases."""
        return super().fits(backup) or (backup.method == "logical" and LOGICAL_SINCE in backup.position)

    def require(self, target: Target, backup: Manifest) -> None:
        """A binary log's own kinds of targets."""
        if target.kind not in TARGETS:
            raise UsageError(
                f"a binary log knows no {target.kind} to go to", "name a time, a position (FILE:OFFSET) or a GTID"
            )
        if target.action != "promote" or target.timeline is not None:
            raise UsageError(
                "a binary log has no timelines, and no server pauses in it",
                "leave out what is meant for PostgreSQL: restore elsewhere to have a look",
            )

    def holds(self, shelf: Shelf, position: Mapping[str, Any], line: Line, end: str, target: Target) -> bool:
        """Positions are compared as far as is known: in the middle the files themselves tell."""
        if target.kind != "position":
            return line.missing is None or target.kind in self.searched
        file, _mark, offset = target.value.rpartition(":")
        files = [name_of(name) for name in line.names]
        place = next((place for place, name in enumerate(files) if name and name.on_server == file), None)
        if place is None or (place == 0 and int(offset) < int(position["binlog_offset"])):
            return False
        return place < len(files) - 1 or int(offset) <= int(end.rpartition(":")[2])

    def search(self, name: str, path: str, wanted: Wanted) -> Iterator[Found]:
        """By the tables of rows, and by the text of statements."""
        from .binlog_search import search

        found = name_of(name)
        return search(path, found.on_server if found else name, wanted)

    def gaps(self, shelf: Shelf) -> list[str]:
        """Numbers that are missing within an epoch."""
        numbers: dict[tuple[str, str], list[int]] = {}
        for one in map(name_of, {*shelf.names(), *shelf.unfinished()}):
            if one is not None:
                numbers.setdefault((one.epoch, one.base), []).append(one.number)
        found = []
        for (epoch, base), there in sorted(numbers.items()):
            kept = sorted(there)
            for before, after in zip(kept, kept[1:]):
                if after > before + 1:
                    found.append(Name(epoch, base, before + 1).kept)
        return found

    def is_needed(self, shelf: Shelf, name: str, positions: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it is the file of a position, or a later one of the same epoch."""
        this = name_of(name)
        for position in positions:
            try:
                first = self._start(shelf, position)
            except NotFoundError:
                continue
            if this is not None and this.epoch == first.epoch and this.number >= first.number:
                return True
        return False


def _moment(seconds: int) -> Optional[datetime]:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None


def _read_on(file: Any, scan: _Scan, name: str) -> None:
    """Go through the events behind ``scan.used``, as far as whole ones are there."""
    file.seek(scan.used)
    data, at = file.read(WINDOW), 0
    while True:
        if len(data) - at < HEADER.size:
            data, at = data[at:] + file.read(WINDOW), 0
            if len(data) < HEADER.size:
                return
        moment, kind, server, length, _end, _flags = HEADER.unpack_from(data, at)
        if length < HEADER.size or (scan.used == len(MAGIC) and kind != DESCRIPTION):
            raise DamagedError(f"{name} is damaged at byte {scan.used}", "see whether the server's disk is sound")
        if at + length > len(data):
            missing = at + length - len(data)
            if missing > WINDOW:  # a long event: pass over it
                end = file.tell() + missing
                if end > os.fstat(file.fileno()).st_size:
                    return
                file.seek(end)
                data, at = b"", 0
            else:
                more = file.read(max(missing, WINDOW))
                if len(more) < missing:
                    return
                data, at = data[at:] + more, length
        else:
            at += length
        _note(scan, moment, kind, server)
        scan.used += length


def _note(scan: _Scan, moment: int, kind: int, server: int) -> None:
    if kind == DESCRIPTION and not scan.begun:
        scan.begun, scan.server = moment, server
    elif kind in OF_TRANSACTIONS and moment:
        scan.first = scan.first or moment
        scan.last = max(scan.last, moment)
    scan.ended = kind in (STOP, ROTATE)
