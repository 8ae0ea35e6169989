"""PostgreSQL's log files as a log archive keeps them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Optional

from ...errors import DamagedError, NotFoundError, UsageError
from ...model import Manifest
from ...targets import Target
from ...units import to_text
from ..logs import Extent, Line, LogFormat, Shelf
from . import wal_names as wal
from .backup_manifest import read_lsn, segment_name, show_lsn
from .wal_check import HEADER
from .wal_times import first_commit, last_commit, restore_points

STEP = 64 * 1024
TARGETS = ("time", "end", "lsn", "xid", "name")
NOT_OURS = "archive the log of one server only, and of its successors"
LARGEST_HISTORY = 2**20


class WalFormat(LogFormat):
    """Segments of the write-ahead log, timeline histories, and the labels of backups."""

    engine = "postgresql"
    searched = ("xid",)

    def kind(self, name: str) -> Optional[str]:
        """By its name."""
        return wal.kind_of(name)

    def sort_key(self, name: str) -> Any:
        """Segments by their place in the log, then by their timeline."""
        return wal.sort_key(name)

    def examine(self, name: str, path: str, *, finished: bool) -> Extent:
        """Read the first page's header, find the last byte, the first and the last commit and the restore points."""
        if self.kind(name) != "segment":
            return _examine_small(name, path)
        size = os.path.getsize(path)
        if size < HEADER.size:
            raise DamagedError(f"{name} has {size} bytes, which is no segment of a log", "see where it came from")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _magic, _info, timeline, address, _rest, system, told, _block = HEADER.unpack_from(data)
            _check_header(name, timeline, address, told, size)
            used = size if finished else _used(data, size)
            return Extent(
                lineage=str(system),
                start=show_lsn(address),
                end=show_lsn(address + used),
                used_bytes=used,
                timeline=wal.timeline_of(name),
                first_time=first_commit(data, used),  # type: ignore[arg-type]  # reads like bytes
                last_time=last_commit(data, used),  # type: ignore[arg-type]
                whole_bytes=size,
                details={"segment_size": size, **_points(data)},
            )

    def line(self, shelf: Shelf, position: Mapping[str, Any], timeline: Optional[int] = None) -> Line:
        """From the segment in which the backup stopped, on the newest timeline that came of the backup's own."""
        begun = int(position["timeline"])
        stop = read_lsn(str(position["stop_lsn"]))
        names, size = shelf.names(), _size(shelf)
        forks = _line_from(shelf, begun, stop, timeline)
        available = {*names, *shelf.unfinished()}
        there: list[str] = []
        missing = None
        last = max((wal.number_of(one, size) for one in available if wal.kind_of(one) == "segment"), default=-1)
        first = max(0, stop - 1) // size
        for number, name in enumerate(wal.segments(forks, max(0, stop - 1), size), first):
            if number > last:
                break
            if name in names:
                there.append(name)
                continue
            if name in shelf.unfinished():
                there.append(name)
                missing = _beyond(name, forks, number, available, size)
                break
            # A primary ends the segment in which its backup stops, and the backup holds all of it.
            if number == first and not position.get("standby"):
                continue
            missing = _beyond(name, forks, number, available, size)
            break
        others = tuple(name for name in sorted(names) if wal.HISTORY.fullmatch(name))
        return Line(tuple(there), missing, forks[-1].timeline, others)

    def require(self, target: Target, backup: Manifest) -> None:
        """Its own kinds of targets, on every version."""
        if target.kind not in TARGETS:
            raise UsageError(
                f"PostgreSQL's log knows no {target.kind} to go to", "name a time, an LSN, an xid or a restore point"
            )

    def holds(self, shelf: Shelf, position: Mapping[str, Any], line: Line, end: str, target: Target) -> bool:
        """Positions are compared, restore points looked up."""
        if target.kind == "lsn":
            return read_lsn(str(position["stop_lsn"])) <= read_lsn(target.value) <= read_lsn(end)
        if target.kind == "name":
            points = (point for name in line.names for point in shelf.details(name).get("restore_points", ()))
            return any(str(point[0]) == target.value for point in points)
        return line.missing is None or target.kind in self.searched

    def gaps(self, shelf: Shelf) -> list[str]:
        """On each timeline, what is missing between its first and its last segment; where a fork joins, likewise."""
        size = _size(shelf)
        found = []
        available = sorted(
            (name for name in {*shelf.names(), *shelf.unfinished()} if wal.kind_of(name) == "segment"),
            key=lambda name: (name[:8], name[8:]),
        )
        for earlier, later in zip(available, available[1:]):
            timeline, number = wal.timeline_of(earlier), wal.number_of(earlier, size)
            whole = earlier in shelf.names()
            if wal.timeline_of(later) != timeline:
                continue
            if not whole:
                found.append(earlier)
            elif wal.number_of(later, size) != number + 1:
                found.append(segment_name(timeline, number + 1, size))
        return found

    def is_needed(self, shelf: Shelf, name: str, positions: Sequence[Mapping[str, Any]]) -> bool:
        """From the segment on in which the oldest backup began, on whatever timeline; histories always."""
        if wal.kind_of(name) != "segment":
            return not wal.LABEL.fullmatch(name) or self.is_needed(shelf, name[:24], positions)
        size = _size(shelf)
        starts = [read_lsn(str(position["start_lsn"])) // size for position in positions]
        return bool(starts) and wal.number_of(name, size) >= min(starts)


def _examine_small(name: str, path: str) -> Extent:
    size = os.path.getsize(path)
    if not 0 < size <= LARGEST_HISTORY:
        raise DamagedError(f"{name} has {size} bytes, which is no timeline history", "see where it came from")
    with open(path, "rb") as file:
        data = file.read()
    if wal.HISTORY.fullmatch(name):
        wal.read_history(name, data)
    return Extent("", "", "", size, wal.timeline_of(name))


def _check_header(name: str, timeline: int, address: int, told: int, size: int) -> None:
    """The first page says which file it is."""
    if told < 2**20 or told & (told - 1):
        raise DamagedError(f"{name} is no segment of a log: it does not begin as one", "see where it came from")
    if size != told:
        raise DamagedError(f"{name} has {size} bytes, a segment of this server has {told}", "see where it came from")
    true_name = segment_name(timeline, address // told, told)
    # The first file of a timeline begins with what it has of its parent's, the header included.
    if true_name[8:] != name[8:] or timeline > wal.timeline_of(name):
        raise DamagedError(f"{name} holds the segment {true_name}", "see where it came from")


def _used(data: mmap.mmap, size: int) -> int:
    """Up to which byte something was written: the rest are zeros."""
    end = size
    while end > 0:
        start = max(0, end - STEP)
        kept = data[start:end].rstrip(b"\0")
        if kept:
            return start + len(kept)
        end = start
    return 0


def _points(data: Any) -> dict[str, Any]:
    points = [[point.name, to_text(point.moment)] for point in restore_points(data)]
    return {"restore_points": points} if points else {}


def _size(shelf: Shelf) -> int:
    """The size of the server's segments."""
    for name in (*shelf.names(), *shelf.unfinished()):
        if wal.kind_of(name) == "segment":
            with suppress(DamagedError, NotFoundError):  # of another one then
                return int(shelf.details(name).get("segment_size", wal.DEFAULT_SIZE))
    return wal.DEFAULT_SIZE


def _line_from(shelf: Shelf, begun: int, stop: int, timeline: Optional[int]) -> list[wal.Fork]:
    """The timelines from the backup's own on to ``timeline``, or to the newest one that came of it."""
    names = shelf.names()
    known = [wal.timeline_of(name) for name in names if wal.HISTORY.fullmatch(name)]
    for wanted in [timeline] if timeline is not None else [*sorted({*known, begun}, reverse=True)]:
        if wanted == begun:
            return [wal.Fork(begun, None)]
        line = wal.line_to(wanted, names, shelf.content)
        place = next((place for place, fork in enumerate(line) if fork.timeline == begun), None)
        if place is not None and (line[place].end or 0) >= stop:
            return line[place:]
    raise NotFoundError(
        f"timeline {timeline} did not come of the backup's timeline {begun}, or left it before the backup ended",
        "name another timeline, or another backup",
    )


def _beyond(name: str, forks: list[wal.Fork], number: int, available: set[str], size: int) -> Optional[str]:
    """``name``, if there is log after it that cannot be reached without it."""
    ends = {fork.timeline: fork.end for fork in forks}
    for other in available:
        if wal.kind_of(other) != "segment" or wal.timeline_of(other) not in ends:
            continue
        end = ends[wal.timeline_of(other)]
        if number < wal.number_of(other, size) and (end is None or wal.number_of(other, size) < end // size):
            return name
    return None
