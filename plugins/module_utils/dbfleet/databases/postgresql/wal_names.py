"""The names of PostgreSQL's log files, and the timelines that they lie on. Pure.

A segment is named by its timeline and its number (``XLogFileName``); the file ``NNNNNNNN.history``
of a timeline says where it left its parents (manual, chapter "Timelines").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Callable, Optional

from ...errors import DamagedError, NotFoundError
from .backup_manifest import read_lsn, segment_name

SEGMENT = re.compile(r"[0-9A-F]{24}", re.ASCII)
HISTORY = re.compile(r"([0-9A-F]{8})\.history", re.ASCII)
LABEL = re.compile(r"[0-9A-F]{24}\.[0-9A-F]{8}\.backup", re.ASCII)
DEFAULT_SIZE = 16 * 2**20


@dataclass(frozen=True)
class Fork:
    """A timeline, and the position at which the next one of the line left it; ``None`` for the last one."""

    timeline: int
    end: Optional[int]


def kind_of(name: str) -> Optional[str]:
    """``segment``, ``history``, or ``None`` for what is no file of the log."""
    if SEGMENT.fullmatch(name):
        return "segment"
    return "history" if HISTORY.fullmatch(name) or LABEL.fullmatch(name) else None


def timeline_of(name: str) -> int:
    """The timeline of a segment or a history."""
    return int(name[:8], 16)


def number_of(name: str, size: int) -> int:
    """Which segment of ``size`` bytes it is, counted from the beginning of all log."""
    return int(name[8:16], 16) * (2**32 // size) + int(name[16:24], 16)


def sort_key(name: str) -> tuple[str, str]:
    """The oldest first: by place, then by timeline; histories before everything."""
    return (name[8:], name[:8]) if SEGMENT.fullmatch(name) else ("", name)


def history_name(timeline: int) -> str:
    """``00000002.history``"""
    return f"{timeline:08X}.history"


def read_history(name: str, data: bytes) -> list[Fork]:
    """The line of timelines that leads to the one of the history ``name``, the oldest first, itself included."""
    forks = []
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            forks.append(Fork(int(words[0]), read_lsn(words[1])))
        except (ValueError, IndexError) as error:
            raise DamagedError(f"{name} is no timeline history: {line!r}", "get it from another copy") from error
    return [*forks, Fork(timeline_of(name), None)]


def line_to(timeline: int, names: Collection[str], content: Callable[[str], bytes]) -> list[Fork]:
    """The line of timelines that leads to ``timeline``. Raises ``NotFoundError`` where its history is missing."""
    name = history_name(timeline)
    if name in names:
        return read_history(name, content(name))
    if timeline == 1:
        return [Fork(1, None)]
    raise NotFoundError(
        f"the log archive has no {name}, which says where timeline {timeline} began",
        "copy it from pg_wal of a server with `dbfleet log-archive push`",
    )


def segments(line: list[Fork], position: int, size: int) -> Iterator[str]:
    """The names of the segments on ``line`` from ``position`` on, without end.

    Where a timeline ends within a segment, the next timeline's file holds all of it.
    """
    number = position // size
    while True:
        here = [fork for fork in line if fork.end is None or fork.end // size > number][0]
        yield segment_name(here.timeline, number, size)
        number += 1
