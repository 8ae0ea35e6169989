"""The words of the project as frozen dataclasses: the job, and what a repository keeps.

Shapes and units: sizes are bytes, durations seconds, moments aware UTC datetimes, digests
lower-case hexadecimal SHA-256. The JSON forms are chapter 6 of the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Optional

SCHEMA = 1


# --- the job: what to protect, where to keep it, how ---------------------------------------


@dataclass(frozen=True)
class Source:
    """The database that a job protects, or the databases of a server, and what of them.

    ``databases`` without any means the one in the URL; ``*`` means the whole server. Tables and schemas are
    patterns of the database's own dump tool; ``tools`` is the folder where that tool is.
    """

    url: str
    password_file: Optional[str] = None
    databases: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    exclude_schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()
    tools: Optional[str] = None


class Login(NamedTuple):
    """How to log in to a server that keeps a repository: as the keys of ``repository`` with these names say."""

    identity_file: Optional[str] = None
    known_hosts_file: Optional[str] = None
    password_file: Optional[str] = None


@dataclass(frozen=True)
class Repository:
    """A store URL, the modes of what is written there, and how to log in to a server that keeps it."""

    url: str
    file_mode: int = 0o600
    folder_mode: int = 0o700
    identity_file: Optional[str] = None
    known_hosts_file: Optional[str] = None
    password_file: Optional[str] = None

    @property
    def login(self) -> Login:
        """How to log in to the server that keeps it."""
        return Login(self.identity_file, self.known_hosts_file, self.password_file)


@dataclass(frozen=True)
class Compression:
    """``zstd``, ``gzip`` or ``none``; ``threads`` 0 means what the host has."""

    method: str = "zstd"
    level: Optional[int] = None
    threads: int = 0


@dataclass(frozen=True)
class Encryption:
    """``gpg`` with a passphrase file (AES256) or recipients, ``age`` with recipients, or ``none``.

    ``identity_file`` and ``gpg_home`` are only needed to read a backup again.
    """

    method: str = "none"
    recipients: tuple[str, ...] = ()
    passphrase_file: Optional[str] = None
    identity_file: Optional[str] = None
    gpg_home: Optional[str] = None


@dataclass(frozen=True)
class Retention:
    """How many backups each rule keeps; ``None`` means the rule is not set."""

    keep_last: Optional[int] = None
    keep_within: Optional[int] = None  # seconds
    keep_hourly: Optional[int] = None
    keep_daily: Optional[int] = None
    keep_weekly: Optional[int] = None
    keep_monthly: Optional[int] = None
    keep_yearly: Optional[int] = None
    min_keep: int = 1
    archive_after: Optional[int] = None  # seconds
    archive_to: Optional[str] = None


@dataclass(frozen=True)
class ProofPolicy:
    """How much of the data is measured, and what else a restore must answer."""

    level: str = "rows"  # none | rows | content
    queries: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    scratch_url: Optional[str] = None
    scratch_password_file: Optional[str] = None


@dataclass(frozen=True)
class Limits:
    """What a run may take of the host; ``None`` means no limit."""

    parallel: int = 2
    bandwidth: Optional[int] = None  # bytes per second
    nice: Optional[int] = None
    min_free: str = "2%"
    timeout: Optional[int] = None  # seconds
    lock_wait: int = 30  # seconds
    chain_length: int = 30  # backups in a chain, the full one included


@dataclass(frozen=True)
class HealthPolicy:
    """From which age on ``health`` finds fault; 0 means at no age."""

    max_age: int = 93600  # seconds: a day, and two hours for a daily backup to run late
    max_unverified: int = 691200  # seconds: a week and a day


@dataclass(frozen=True)
class LogSettings:
    """How the log of the source is kept between its backups; ``None`` leaves it to the archiver."""

    max_lag: int = 10  # seconds
    slot: Optional[str] = None
    slot_limit: Optional[int] = None  # bytes
    spool: Optional[str] = None


@dataclass(frozen=True)
class Job:
    """A named policy: one source, one repository, and how to back it up, keep it and prove it.

    ``source`` is ``None`` for verbs that only look at a repository.
    """

    name: str
    repository: Repository
    source: Optional[Source] = None
    method: str = "logical"
    type: str = "full"
    format: Optional[str] = None
    compression: Compression = Compression()
    encryption: Encryption = Encryption()
    retention: Retention = Retention()
    proof: ProofPolicy = ProofPolicy()
    limits: Limits = Limits()
    health: HealthPolicy = HealthPolicy()
    log_archive: LogSettings = LogSettings()


# --- what a repository keeps ---------------------------------------------------------------


@dataclass(frozen=True)
class Artifact:
    """One stored file of a backup; ``file`` is relative to the repository, with ``/``.

    ``database`` says which one of a server it holds, where a backup holds several.
    """

    file: str
    role: str  # "db", "sql", "pages", …: what the file is for
    size_bytes: int
    sha256: str
    raw_size_bytes: int
    raw_sha256: str
    compression: str = "none"
    encryption: Mapping[str, Any] = field(default_factory=lambda: {"method": "none"})
    database: Optional[str] = None


class TableProof(NamedTuple):
    """What was measured of one table: rows, and at level ``content`` an order-independent digest."""

    rows: int
    digest: Optional[str] = None


@dataclass(frozen=True)
class QueryProof:
    """A user's query, how many rows answered it, and the SHA-256 of the answer."""

    sql: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Proof:
    """What was measured inside the backup's own snapshot (or of a restored database).

    ``image_sha256`` digests the whole database image where the engine has one; it is
    compared only when the restore is meant to be the same bytes.
    """

    level: str
    tables: Mapping[str, TableProof] = field(default_factory=dict)
    schema_sha256: Optional[str] = None
    queries: tuple[QueryProof, ...] = ()
    image_sha256: Optional[str] = None


@dataclass(frozen=True)
class SourceIdentity:
    """Which database it was: ``server_identity`` tells two databases with the same name apart."""

    host: str
    database: str
    server_version: str
    server_identity: Optional[str] = None


@dataclass(frozen=True)
class Manifest:
    """The JSON that commits a backup. ``digest`` covers every other byte of the file."""

    id: str
    name: str
    engine: str
    method: str
    type: str  # full | incremental
    source: SourceIdentity
    started_at: datetime
    consistent_at: datetime
    finished_at: datetime
    artifacts: tuple[Artifact, ...]
    proof: Proof
    tools: Mapping[str, str]
    restore_with: tuple[str, ...]
    parent: Optional[str] = None
    previous: Optional[str] = None
    position: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA
    digest: str = ""

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all artifacts."""
        return sum(artifact.size_bytes for artifact in self.artifacts)

    @property
    def raw_size_bytes(self) -> int:
        """Bytes of all artifacts before compression and encryption."""
        return sum(artifact.raw_size_bytes for artifact in self.artifacts)

    @property
    def duration_seconds(self) -> float:
        """From the first step to the commit."""
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Finding:
    """One thing that a check found wrong: on which object, what, and what to do."""

    object: str
    problem: str
    remedy: str = ""


@dataclass(frozen=True)
class ProofRecord:
    """One verification or drill of one backup, kept beside its manifest."""

    backup: str
    manifest_digest: str
    level: str  # checksum | structure | restore
    started_at: datetime
    finished_at: datetime
    ok: bool
    findings: tuple[Finding, ...] = ()
    measured: Optional[Proof] = None
    host: str = ""
    schema: int = SCHEMA
    digest: str = ""


@dataclass(frozen=True)
class Removal:
    """One backup that prune took away: ``archived_to`` names where it was moved, if it was."""

    id: str
    digest: str
    rule: str
    archived_to: Optional[str] = None


@dataclass(frozen=True)
class PruneRecord:
    """What one prune removed or moved and by which rule; ``previous`` is the prune record before it."""

    id: str
    name: str
    at: datetime
    removed: tuple[Removal, ...]
    previous: Optional[str] = None
    schema: int = SCHEMA
    digest: str = ""
