"""The server's own manifest of a base backup (manual, chapter "Backup Manifest Format")."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

from ...errors import DamagedError

FILE = "backup_manifest"
CHECKSUM = re.compile(rb'"Manifest-Checksum": "([0-9a-f]{64})"\}\s*\Z')


@dataclass(frozen=True)
class WalRange:
    """Log that a base backup needs: positions in bytes from the beginning of all log, the end not included."""

    timeline: int
    start: int
    end: int

    def segments(self, size: int) -> Iterator[str]:
        """The names of its files, each of ``size`` bytes."""
        for number in range(self.start // size, (max(self.end, self.start + 1) - 1) // size + 1):
            yield segment_name(self.timeline, number, size)


@dataclass(frozen=True)
class BackupManifest:
    """What the server says of a base backup: its log, its cluster (from version 17 on), its checksum.

    ``unlogged`` are the numbers of the databases that have unlogged tables: only the empty files that these begin
    with are in a backup (manual, chapter "The Initialization Fork").
    """

    ranges: tuple[WalRange, ...]
    system: Optional[str]
    sha256: str
    unlogged: frozenset[int] = frozenset()

    @property
    def timeline(self) -> int:
        """The timeline on which the backup ended."""
        return self.ranges[-1].timeline


def read_manifest(data: bytes) -> BackupManifest:
    """The manifest in ``data``. Raises ``DamagedError`` where it is not what the server wrote."""
    found = CHECKSUM.search(data)
    last = data.rstrip().rfind(b"\n") + 1  # the checksum covers everything before the last line
    if found is None or hashlib.sha256(data[:last]).hexdigest().encode() != found[1]:
        raise DamagedError(f"the {FILE} of the base backup is damaged", "take a new backup")
    try:
        fields = json.loads(data)
        ranges = tuple(
            WalRange(int(one["Timeline"]), read_lsn(one["Start-LSN"]), read_lsn(one["End-LSN"]))
            for one in fields["WAL-Ranges"]
        )
        system = fields.get("System-Identifier")
        unlogged = frozenset(_with_empty_files(file.get("Path", "") for file in fields["Files"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"the {FILE} of the base backup cannot be read: {error}", "take a new backup") from error
    if not ranges:
        raise DamagedError(f"the {FILE} of the base backup names no log", "take a new backup")
    return BackupManifest(ranges, None if system is None else str(system), found[1].decode(), unlogged)


def _with_empty_files(paths: Iterable[str]) -> Iterator[int]:
    """The numbers of databases among whose ``paths`` there are initialization forks."""
    for path in paths:
        if path.endswith("_init"):
            yield int(path.split("/")[-2])


def read_lsn(text: str) -> int:
    """Bytes of ``0/3000028``."""
    high, mark, low = text.partition("/")
    if not mark:
        raise ValueError(f"{text!r} is no position in the log")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(position: int) -> str:
    """``0/3000028``."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, size: int) -> str:
    """The file of the log's segment ``number``, of ``size`` bytes (``XLogFileName`` of the server)."""
    each = 2**32 // size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"
