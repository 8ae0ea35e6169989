"""Whether a base backup carries the log that it needs, found out while its tar passes."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ...errors import DamagedError
from .backup_manifest import FILE, BackupManifest, read_manifest, show_lsn
from .tarball import Member, TarReader

SEGMENT = re.compile(r"pg_wal/([0-9A-F]{24})")
HEADER = struct.Struct("=HHIQI4xQII")  # XLogLongPageHeaderData, in the server's own byte order
LARGEST_MANIFEST = 2**30
AGAIN = "take a new backup; nothing of this one was kept"


@dataclass(frozen=True)
class _Segment:
    size: int
    head: bytes


class BaseReader(TarReader):
    """Reads the base tar as it passes: the server's manifest, and the beginning of each file of the log."""

    def __init__(self) -> None:
        super().__init__()
        self._present: Optional[Member] = None
        self._kept = bytearray()
        self._keep = 0
        self._segments: dict[str, _Segment] = {}
        self._manifest: Optional[bytes] = None
        self._label = b""

    def begin(self, member: Member) -> None:
        """Keep what is wanted of it."""
        self._present = member
        self._kept.clear()
        if member.name in (FILE, "backup_label"):
            self._keep = min(member.size, LARGEST_MANIFEST)
        else:
            self._keep = HEADER.size if SEGMENT.fullmatch(member.name) else 0

    def content(self, data: memoryview) -> None:
        """The next bytes of the present member."""
        if len(self._kept) < self._keep:
            self._kept += data[: self._keep - len(self._kept)]

    def end(self) -> None:
        """The present member is complete."""
        if not self._keep or self._present is None:
            return
        found = SEGMENT.fullmatch(self._present.name)
        if found:
            self._segments[found[1]] = _Segment(self._present.size, bytes(self._kept))
        elif self._present.name == FILE:
            self._manifest = bytes(self._kept)
        else:
            self._label = bytes(self._kept)

    @property
    def manifest_bytes(self) -> bytes:
        """The server's manifest as it wrote it."""
        if self._manifest is None:
            raise DamagedError(f"the base backup has no {FILE}", AGAIN)
        return self._manifest

    @property
    def from_standby(self) -> bool:
        """Whether the server was a standby."""
        return b"BACKUP FROM: standby" in self._label

    def check(self, system: str) -> BackupManifest:
        """The manifest, when all the log it names is there. Raises ``DamagedError`` otherwise.

        ``system`` is the identifier of the cluster that was asked for.
        """
        self.close()
        manifest = read_manifest(self.manifest_bytes)
        if manifest.system is not None and manifest.system != system:
            raise DamagedError(f"the base backup is of the cluster {manifest.system}, not of {system}", AGAIN)
        sizes = {segment.size for segment in self._segments.values()}
        if len(sizes) != 1:
            raise DamagedError("the base backup holds no log, or files of it with several sizes", AGAIN)
        size = sizes.pop()
        for needed in manifest.ranges:
            for number, name in enumerate(needed.segments(size), needed.start // size):
                self._check_segment(name, number * size, size, system)
        return manifest

    def _check_segment(self, name: str, start: int, size: int, system: str) -> None:
        found = self._segments.get(name)
        if found is None:
            raise DamagedError(f"the base backup needs the log file {name}, which it does not hold", AGAIN)
        _magic, _info, _timeline, address, _rest, owner, told, _block = HEADER.unpack(found.head)
        if (address, str(owner), told) != (start, system, size):
            raise DamagedError(
                f"the log file {name} of the base backup holds the log of another place "
                f"({show_lsn(address)} of cluster {owner})",
                AGAIN,
            )


def position_of(manifest: BackupManifest, system: str, standby: bool) -> Mapping[str, Any]:
    """The log's places between which the backup was taken, for our manifest."""
    return {
        "start_lsn": show_lsn(manifest.ranges[0].start),
        "stop_lsn": show_lsn(manifest.ranges[-1].end),
        "timeline": manifest.timeline,
        "system_identifier": system,
        "standby": standby,
    }
