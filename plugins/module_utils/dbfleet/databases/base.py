"""What a database can do. It knows nothing of stores, compression or the catalog.

A backup asks for a :class:`Snapshot` and pumps its artifacts; a restore hands the artifacts of
a chain to a :class:`Restoration`, which builds beside, is proven, and only then takes over.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional, Protocol

from ..model import Artifact, Limits, Manifest, Proof, ProofPolicy, Source, SourceIdentity


class Sink(Protocol):
    """Where an artifact's bytes go."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True)
class SnapshotRequest:
    """What a backup wants of the database.

    ``parent_state`` is the :attr:`Snapshot.state` of the backup that an incremental starts
    from; ``None`` asks for a full backup. ``keep_state`` asks for the state of this one.
    ``scratch`` is a private folder for copies that the database's mode may demand.
    """

    method: str
    limits: Limits
    scratch: str
    parent_state: Optional[bytes] = None
    keep_state: bool = False


class ArtifactStream(abc.ABC):
    """One artifact before compression: its role, its suffix (``.db``) and its bytes."""

    role: str
    suffix: str
    size_hint: Optional[int] = None

    @abc.abstractmethod
    def pump(self, sink: Sink) -> None:
        """Write all bytes to ``sink``, in this thread. Called once."""


class Snapshot(abc.ABC):
    """One consistent state of the source, held until the context ends."""

    identity: SourceIdentity
    type: str  # full | incremental: what it turned out to be
    consistent_at: datetime
    position: Mapping[str, Any]
    notes: Sequence[str]  # what people should know: which lock was held and for how long, why a full
    artifacts: Sequence[ArtifactStream]  # may be pumped in parallel
    tools: Mapping[str, str]

    @abc.abstractmethod
    def prove(self, policy: ProofPolicy) -> Proof:
        """Measure the data of this very snapshot; runs beside the pumps. Called once.

        Raises ``ProofError`` where the source itself is damaged.
        """

    @abc.abstractmethod
    def compare(self, proof: Proof) -> Proof:
        """Compare ``proof`` with what the artifacts carried, once every one was pumped; returns it completed.

        Raises ``ProofError`` where the artifacts are not equal to each other or to the source.
        """

    @abc.abstractmethod
    def interrupt(self) -> None:
        """End what :meth:`prove` and the pumps are doing, from another thread: the run has failed."""

    @abc.abstractmethod
    def state(self) -> Optional[bytes]:
        """What the next incremental must know of this snapshot, once every artifact was pumped."""

    @abc.abstractmethod
    def restore_with(self, chain: Sequence[Manifest], files: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Shell commands that restore this backup by hand.

        ``chain`` are the backups it needs, the full one first, without this one; ``files`` maps
        the role of each artifact of this backup to the command that decodes it to stdout.
        """


class Restoration(abc.ABC):
    """A restore on its way in, built beside its target. Leaving the context discards it unless it took over."""

    @abc.abstractmethod
    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """Take one artifact's raw bytes; the artifacts of a chain come in order, the full one first."""

    @abc.abstractmethod
    def check(self, *, thorough: bool = False) -> list[str]:
        """Damage that the database itself finds in what was built, one line each; empty when sound."""

    @abc.abstractmethod
    def prove(self, against: Proof) -> Proof:
        """Measure what was built, at the level that ``against`` was measured, and ask its queries again."""

    @abc.abstractmethod
    def location(self) -> str:
        """Where what was built can be opened now: a path or URL for user commands."""

    @abc.abstractmethod
    def replaces(self) -> bool:
        """Whether taking over would replace something."""

    @abc.abstractmethod
    def take_over(self) -> Optional[str]:
        """Put it in the target's place; returns where the replaced database was kept, if there was one."""


@dataclass(frozen=True)
class CopiedTables:
    """Rows of each table that was copied, and where the database before it was kept, if it was."""

    rows: Mapping[str, int]
    kept: Optional[str] = None


class Database(abc.ABC):
    """One kind of database, at one URL."""

    engine: str
    restore_roles: tuple[str, ...]  # which artifact roles a whole restore can use, best first

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    @abc.abstractmethod
    def scratch(cls) -> Database:
        """One that has no source of its own and only builds into scratch folders."""

    @abc.abstractmethod
    def check(self) -> None:
        """Refuse a source that cannot be backed up, before anything is written."""

    @abc.abstractmethod
    def identity(self) -> SourceIdentity:
        """Which database it is, as a snapshot would say."""

    @abc.abstractmethod
    def size_bytes(self) -> int:
        """Bytes that a full backup reads, about."""

    @abc.abstractmethod
    def snapshot(self, request: SnapshotRequest) -> AbstractContextManager[Snapshot]:
        """Open a consistent state of the source."""

    @abc.abstractmethod
    def restoration(self, *, replace: bool, scratch: Optional[str] = None) -> AbstractContextManager[Restoration]:
        """Begin a restore to this URL (``replace``: over what is there), or into the folder ``scratch``."""

    @abc.abstractmethod
    def restore_tables(self, built: str, tables: Sequence[str], *, replace: bool) -> CopiedTables:
        """Copy ``tables`` from the database at ``built`` into this one, all of them or none."""
