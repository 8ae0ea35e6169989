"""A physical backup's view of a whole server: what its base backup carries, and how to restore it by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Optional

from ...model import Artifact, Manifest, Proof, ProofPolicy, SourceIdentity
from ...units import utc_now
from ..base import ArtifactStream, Snapshot
from .base_backup import BaseStream
from .cluster_stream import StreamedBase
from .tools import Tool
from .wal_check import position_of

MEANING = (
    "proof: a base backup is consistent only at its stop point, where nobody can ask it: instead of rows it holds "
    "the server's own checksum of every file, and verify starts a server on it and reads everything"
)
UNLOGGED = "unlogged tables come back empty, as after a crash: PostgreSQL keeps their rows out of base backups"
OWNER = "# where root ran this: chown -R postgres: restored*"
STEM = re.compile(r"[^./]+")
TABLESPACE = re.compile(r"/(\d+)\.tar(?:\.|$)")


class ClusterSnapshot(Snapshot):
    """What one base backup carries; see :class:`Snapshot`.

    The first artifact is the base tar. What its end tells is known when it was pumped.
    """

    def __init__(
        self,
        base: BaseStream,
        more: Sequence[ArtifactStream],
        identity: SourceIdentity,
        tool: Tool,
        *,
        kind: str,
        notes: Sequence[str],
        names: Mapping[int, str],
    ) -> None:
        """``names`` are those of the server's databases by their numbers."""
        self.artifacts = (base, *more)
        self.together = isinstance(base, StreamedBase)
        self.identity = identity
        self.type = kind
        self.notes = notes
        self.tools = {} if self.together else {"pg_basebackup": tool.version}
        self.consistent_at: datetime = utc_now()
        self.position: Mapping[str, Any] = {}
        self._base = base
        self._names = names

    def prove(self, policy: ProofPolicy) -> Proof:
        """Nothing yet: what can be proven is what the server's own manifest says, which comes last."""
        if policy.level != "none":
            self.notes = (*self.notes, MEANING)
        if policy.queries:
            self.notes = (*self.notes, "proof.queries are not asked of a physical backup: use proof.command")
        return Proof("none")

    def compare(self, proof: Proof) -> Proof:
        """All log that the backup needs must have passed. Raises ``DamagedError``."""
        reader = self._base.reader
        manifest = reader.check(str(self.identity.server_identity))
        self.position = position_of(manifest, str(self.identity.server_identity), reader.from_standby)
        self.consistent_at = utc_now()
        if manifest.unlogged:
            names = ", ".join(name for number, name in self._names.items() if number in manifest.unlogged)
            self.notes = (*self.notes, f"{UNLOGGED}: in {names}" if names else UNLOGGED)
        return Proof(proof.level, queries=proof.queries, image_sha256=manifest.sha256)

    def interrupt(self) -> None:
        """End the tool."""
        self._base.interrupt()

    def state(self) -> Optional[bytes]:
        """The server's manifest: what its next incremental backup starts from."""
        return self._base.reader.manifest_bytes

    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Unpack each backup of the chain into a folder ``ID.data``; join them where there are several."""
        commands = [command for command in chain[-1].restore_with if not _is_last(command)] if chain else []
        folders = [_folder(link.artifacts) for link in chain]
        folder = _folder([artifact for artifact, _command in stored])
        commands += _unpack(folder, stored)
        spaces = [number for artifact, _command in stored for number in _tablespace(artifact)]
        if not folders:
            return (*commands, f"mv {folder} restored")
        options = [f'-T "$PWD/{folder}.tablespaces/{number}=$PWD/restored.tablespaces/{number}"' for number in spaces]
        join = " ".join(["pg_combinebackup", "-o restored", *options, *folders, folder])
        return (*commands, join, "pg_verifybackup -q restored", OWNER)


def _is_last(command: str) -> bool:
    return command.startswith(("mv ", "pg_combinebackup ", "pg_verifybackup -q restored", "#"))


def _folder(artifacts: Sequence[Artifact]) -> str:
    """Where a backup is unpacked by hand: not the folder of its id, which may hold its artifacts."""
    found = STEM.match(artifacts[0].file)
    return shlex.quote(f"{found[0] if found else 'backup'}.data")


def _tablespace(artifact: Artifact) -> list[str]:
    found = TABLESPACE.search(artifact.file)
    return [found[1]] if found and artifact.role == "tablespace" else []


def _unpack(folder: str, stored: Sequence[tuple[Artifact, str]]) -> list[str]:
    """Commands that leave one backup in ``folder``, checked by the server's own manifest."""
    commands = []
    spaces = False
    for artifact, decode in stored:
        if artifact.role == "base":
            commands += [f"mkdir -m 700 {folder}", f"{decode} | tar -x -C {folder}"]
        for number in _tablespace(artifact):
            place = f"{folder}.tablespaces/{number}"
            commands += [
                f"mkdir -p -m 700 {place}",
                f"{decode} | tar -x -C {place}",
                f'ln -s "$PWD/{place}" {folder}/pg_tblspc/{number}',
            ]
            spaces = True
    commands.append(f"pg_verifybackup -q {folder}")
    if spaces:  # it names the original's folders, and a server would make its links anew from it
        commands.append(f"rm {folder}/tablespace_map")
    return commands
