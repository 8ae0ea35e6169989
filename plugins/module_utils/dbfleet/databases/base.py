"""What a database can do. It knows nothing of stores, compression or the catalog.

A backup asks for a :class:`Snapshot` and pumps its artifacts; a restore hands the artifacts of
a chain to a :class:`Restoration`, which builds beside, is proven, and only then takes over.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Optional, Protocol

from ..errors import UsageError
from ..model import Artifact, Limits, LogSettings, Manifest, Proof, ProofPolicy, Source, SourceIdentity
from .logs import LogSource, Recovered, Recovery


class Sink(Protocol):
    """Where an artifact's bytes go."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True)
class SnapshotRequest:
    """What a backup wants of the database.

    ``parent_state`` is the :attr:`Snapshot.state` of the backup that an incremental starts
    from; ``None`` asks for a full backup. ``keep_state`` asks for the state of this one.
    ``scratch`` is a private folder for copies that the database's mode may demand. ``format``
    is the job's: ``None`` leaves the choice to the database. ``measured`` says that its state
    will be measured, for which some databases must hold others up.
    """

    method: str
    limits: Limits
    scratch: str
    format: Optional[str] = None
    parent_state: Optional[bytes] = None
    keep_state: bool = False
    measured: bool = True


class ArtifactStream(abc.ABC):
    """One artifact before compression: its role, its suffix (``.db``) and its bytes."""

    role: str
    suffix: str  # behind the backup's id: ``.db``, or ``/app.dump`` where there are many artifacts
    database: Optional[str] = None  # which database of a server it holds, where a backup holds several
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
    together: bool = False  # they come out of one stream in an order of its own: all must be pumped at once
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
    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Shell commands that restore this backup by hand.

        ``chain`` are the backups it needs, the full one first, without this one; ``stored`` are
        the artifacts of this backup, each with the command that decodes it to stdout.
        """


@dataclass(frozen=True)
class RestoreRequest:
    """What a restore is to build.

    ``replace``: what is at the target may be replaced, and is kept. ``tables``: only these are
    wanted, and taking over copies them into the target, which stays. ``trial``: build it only to
    be examined; the target is not touched. ``sound``: the database found the state itself sound when
    it was backed up, so the very same bytes need not be examined again. ``folder`` makes a private
    folder at its first call and then returns the same one. ``origin`` is the source as the manifest names it;
    ``None`` for a file that no manifest describes. ``tablespaces``: new folders by the old ones, or by numbers,
    of a database that :attr:`Database.maps_tablespaces`. ``recovers``: log will be applied to what is built.
    """

    folder: Callable[[], str]
    replace: bool = False
    tables: Sequence[str] = ()
    trial: bool = False
    sound: bool = False
    limits: Limits = Limits()
    origin: Optional[SourceIdentity] = None
    tablespaces: Mapping[str, str] = field(default_factory=dict)
    recovers: bool = False


@dataclass(frozen=True)
class TakenOver:
    """Where what was replaced is kept, if something was; with tables, the rows of each one copied.

    ``notes`` say what people should know of what is there now.
    """

    kept: Optional[str] = None
    rows: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Restoration(abc.ABC):
    """A restore on its way in, built beside its target. Leaving the context discards it unless it took over."""

    @abc.abstractmethod
    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """Take one artifact's raw bytes; the artifacts of a chain come in order, the full one first."""

    @abc.abstractmethod
    def check(self, *, thorough: bool = False) -> list[str]:
        """Damage that the database itself finds in what was built, one line each; empty when sound."""

    def scope(self, proof: Proof) -> Proof:
        """What of ``proof`` the database that was built must confirm: less where it holds only some tables."""
        return proof

    @abc.abstractmethod
    def prove(self, against: Proof) -> Proof:
        """Measure what was built, at the level that ``against`` was measured, and ask its queries again.

        ``against`` is what :meth:`scope` left.
        """

    def recover(self, recovery: Recovery) -> Recovered:
        """Apply log to what was built and proven. Raises ``RefusedError`` where the target is not in the log."""
        raise UsageError(f"no log can be applied to this backup to reach {recovery.target}", "leave the target out")

    @abc.abstractmethod
    def location(self) -> str:
        """Where what was built can be opened now: a path or URL for user commands."""

    @abc.abstractmethod
    def replaces(self) -> bool:
        """Whether taking over would replace something."""

    @abc.abstractmethod
    def take_over(self) -> TakenOver:
        """Put it in the target's place; with tables, copy them into the target, all of them or none."""


class Database(abc.ABC):
    """One kind of database, at one URL."""

    engine: str  # also what its URLs begin with
    methods: tuple[str, ...] = ("logical", "physical")
    formats: tuple[str, ...] = ()  # of a logical backup, where there is a choice
    maps_tablespaces = False  # whether a restore can put tablespaces elsewhere
    choices: tuple[str, ...] = ()  # keys of the source that it heeds: databases, schemas, exclude_tables, …

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    @abc.abstractmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> Database:
        """One for trials alone: in the request's folder, or where servers are needed on the one at ``place``.

        ``place`` is the job's ``proof.scratch_url``; without it a server of their own is started for the trial.
        ``tools`` is the folder of the job's tools.
        """

    @classmethod
    def url_of_place(cls, path: str) -> str:
        """The URL of a target that is named by a path. Raises ``UsageError`` where targets are no files."""
        raise UsageError(
            f"{path!r} is no target for a backup of {cls.engine}", f"write a URL that begins with {cls.engine}://"
        )

    @staticmethod
    @abc.abstractmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """The sets of artifacts of one backup that each rebuild it whole, the best first.

        The artifacts of a set are in the order in which a restoration receives them.
        """

    @abc.abstractmethod
    def increments(self, method: str) -> bool:
        """Whether it can take incremental backups by ``method``."""

    @abc.abstractmethod
    def check(self) -> None:
        """Refuse a source that cannot be backed up, before anything is written."""

    @abc.abstractmethod
    def identity(self) -> SourceIdentity:
        """Which database it is, as a snapshot would say."""

    @abc.abstractmethod
    def size_bytes(self) -> int:
        """Bytes that a full backup reads, about."""

    def log_source(self, name: str, settings: LogSettings) -> LogSource:
        """Its transaction log, for the archiver of the job ``name``. Raises ``UsageError`` where there is none."""
        raise UsageError(f"{self.engine} has no log archive", "take backups more often")

    @abc.abstractmethod
    def snapshot(self, request: SnapshotRequest) -> AbstractContextManager[Snapshot]:
        """Open a consistent state of the source."""

    @abc.abstractmethod
    def restoration(self, request: RestoreRequest) -> AbstractContextManager[Restoration]:
        """Begin a restore to this URL. Refuses, before anything is changed, a target that must not be touched."""
