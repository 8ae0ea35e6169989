"""``restore``: build beside, prove, then take over; or copy single tables into a living database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

from ..audit import audited
from ..catalog import Catalog, read_catalog
from ..databases.base import Database, Restoration, RestoreRequest
from ..databases.registry import kind_of, kind_of_files, open_database
from ..errors import DbfleetError, NotFoundError, ProofError, UsageError
from ..model import Artifact, Job, Manifest, Proof, Source, SourceIdentity
from ..progress import SILENCE, Progress
from ..scratch import scratch_on_demand
from ..stores.base import Store
from ..stream.pipeline import read_foreign
from ..targets import Target
from ..urls import user_of, without_credentials
from . import foreign, point_in_time
from .lookup import open_repository
from .rebuild import database_for, fill, parts, problems


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did, or in a dry run what it would do."""

    backup: str
    to: str
    proven: bool
    tables: Sequence[str] = ()
    rows: Optional[int] = None
    kept: Optional[str] = None
    recovered: Optional[dict[str, Any]] = None
    notes: Sequence[str] = ()
    size_bytes: int = 0
    duration_seconds: float = 0.0
    plan: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """``{"restored": …}``, or ``{"plan": …}`` of a dry run."""
        if self.plan:
            return {"plan": self.plan}
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "plan"}
        return {"restored": {**facts, "tables": list(self.tables), "notes": list(self.notes)}}


def restore(
    job: Job,
    backup: str,
    *,
    to: Optional[str] = None,
    tables: Sequence[str] = (),
    replace: bool = False,
    target: Optional[Target] = None,
    tablespaces: Optional[Mapping[str, str]] = None,
    dry_run: bool = False,
    progress: Progress = SILENCE,
) -> RestoreReport:
    """Restore ``backup`` (an id, ``latest``, an artifact, or a plain file that no manifest describes).

    ``to`` is a URL or a path; without it the job's source is the target. ``replace`` allows what
    is there to be overwritten (it is kept beside). With ``tables`` only these are copied into
    the target. With ``target`` the log archive brings the backup forward, also of single tables; for ``latest``
    it is then the backup that is nearest before it. ``tablespaces`` are new folders by the old ones, or by
    numbers. Raises before anything is changed unless the restore is complete and proven.
    """
    store = open_repository(job)
    with ExitStack() as stack:
        known = _known(store, job, backup)
        if target is not None and known is None:
            raise UsageError(f"no log fits to the plain file {backup!r}", "leave the target out, or name a backup")
        if target is not None and tables and target.action == "pause":
            raise UsageError("a server that only lends its tables cannot stay paused", "leave the target's action out")
        plan = None if target is None or known is None else point_in_time.plan(job, store, known[0], backup, target)
        if known is not None and plan is not None:
            known = (known[0], plan.backup)
        place = _target(job, to, None if known is None else known[1])
        if known is None:
            work: _Work = _ForeignWork(job, backup, place, tables, replace, progress)
        else:
            stack.enter_context(store.lock(job.name, shared=True, wait=job.limits.lock_wait))
            work = _BackupWork(job, store, known[0], known[1], place, tables, replace, progress, plan)
        work.tablespaces = dict(tablespaces or {})
        if dry_run:
            return work.plan()
        action = stack.enter_context(audited("restore", job, [work.name]))
        report = work.run()
        action.note("restored", [work.name], to=without_credentials(report.to), kept=report.kept, tables=list(tables))
        return report


def _target(job: Job, to: Optional[str], manifest: Optional[Manifest]) -> Source:
    """Where to restore to. The password of the job is that of its source's account, and given to no other one."""
    if to is None:
        if job.source is None:
            raise UsageError("there is no target to restore to", "give --to, or the source of the job")
        return job.source
    source = job.source or Source("")
    if "://" not in to:
        return Source(_kind(job, manifest).url_of_place(to), tools=source.tools)
    own = user_of(to) == user_of(source.url)
    return Source(to, source.password_file if own else None, tools=source.tools)


def _kind(job: Job, manifest: Optional[Manifest]) -> type[Database]:
    """What a target must be: of the backup's kind, of the source's for a file that says nothing."""
    if manifest is not None:
        return kind_of(manifest)
    return type(open_database(job.source)) if job.source is not None else kind_of_files()


def _known(store: Store, job: Job, backup: str) -> Optional[tuple[Catalog, Manifest]]:
    """The backup's manifest, or ``None`` for a plain file elsewhere or beside no manifest."""
    try:
        catalog = read_catalog(store, job.name)
        manifest = catalog.find(backup)
    except NotFoundError:
        if os.path.lexists(backup):
            return None
        raise
    if os.path.isfile(backup) and not any(_same_file(store, artifact, backup) for artifact in manifest.artifacts):
        return None  # a file of that name, but somewhere else
    return catalog, manifest


def _same_file(store: Store, artifact: Artifact, path: str) -> bool:
    try:
        with closing(store.open(artifact.file)) as stored:
            return os.path.samestat(os.fstat(stored.fileno()), os.stat(path))
    except (DbfleetError, OSError):
        return False


# --- the two kinds of work --------------------------------------------------------------------


class _Work:
    """One restore: what it builds from differs, what becomes of it does not."""

    name: str
    proven: bool
    sound = False
    origin: Optional[SourceIdentity] = None
    notes: tuple[str, ...] = ()
    recovered: Optional[dict[str, Any]] = None
    tablespaces: Mapping[str, str] = {}

    def __init__(self, job: Job, target: Source, tables: Sequence[str], replace: bool, progress: Progress) -> None:
        self.job = job
        self.target = target
        self.tables = tables
        self.replace = replace
        self.progress = progress
        self.begun = time.monotonic()

    def database(self) -> Database:
        """The target."""
        raise NotImplementedError

    def build(self, restoration: Restoration) -> None:
        """Fill ``restoration`` and prove it."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """Raw bytes that are read."""
        raise NotImplementedError

    def run(self) -> RestoreReport:
        """Build, prove, take over."""
        with self._restoration() as restoration:
            self.build(restoration)
            self.progress.step(f"copying {', '.join(self.tables)}" if self.tables else "taking over")
            taken = restoration.take_over()
        return RestoreReport(
            self.name,
            without_credentials(self.target.url),
            self.proven,
            self.tables,
            rows=sum(taken.rows.values()) if self.tables else None,
            kept=taken.kept,
            recovered=self.recovered,
            notes=(*self.notes, *taken.notes),
            size_bytes=self.size_bytes(),
            duration_seconds=round(time.monotonic() - self.begun, 3),
        )

    @contextmanager
    def _restoration(self) -> Iterator[Restoration]:
        """The restoration that was asked for; a folder for it is only made if it needs one."""
        with scratch_on_demand() as folder, ExitStack() as stack:
            request = RestoreRequest(
                folder,
                self.replace,
                self.tables,
                sound=self.sound,
                limits=self.job.limits,
                origin=self.origin,
                tablespaces=self.tablespaces,
                recovers=self.recovery() is not None,
            )
            database = self.database()
            if self.tablespaces and (self.tables or not database.maps_tablespaces):
                raise UsageError(
                    "only a whole physical backup of PostgreSQL is restored with its tablespaces elsewhere",
                    "leave --tablespace-map out",
                )
            yield stack.enter_context(database.restoration(request))

    def plan(self) -> RestoreReport:
        """What :meth:`run` would do; refuses what it would refuse at once."""
        with self._restoration() as restoration:
            replaces = restoration.replaces()
        plan = {
            "backup": self.name,
            "to": without_credentials(self.target.url),
            "tables": list(self.tables),
            "replaces": replaces,
            "proven": self.proven,
            "size_bytes": self.size_bytes(),
            "needs": self.needs(),
            **({"recovery": recovery} if (recovery := self.recovery()) is not None else {}),
            "notes": list(self.notes),
        }
        return RestoreReport(self.name, without_credentials(self.target.url), self.proven, plan=plan)

    def needs(self) -> list[str]:
        """The files that are read."""
        raise NotImplementedError

    def recovery(self) -> Optional[dict[str, Any]]:
        """How far log brings it forward, where it does."""
        return None


class _BackupWork(_Work):
    """A backup of the catalog."""

    def __init__(
        self,
        job: Job,
        store: Store,
        catalog: Catalog,
        manifest: Manifest,
        target: Source,
        tables: Sequence[str],
        replace: bool,
        progress: Progress,
        plan: Optional[point_in_time.Plan] = None,
    ) -> None:
        super().__init__(job, target, tables, replace, progress)
        self.name = manifest.id
        self._plan = plan
        self.sound = manifest.proof.level != "none"
        self.proven = self.sound or manifest.proof.image_sha256 is not None
        self._store = store
        self._manifest = manifest
        self.origin = manifest.source
        self._artifacts = parts(catalog, manifest)
        standing = catalog.standing(manifest.id)
        if standing.state == "bad":
            self.notes = (f"{manifest.id} is known to be bad: {standing.reason}",)
        if not self.proven:
            self.notes += ("unproven: this backup was taken with proof.level none",)
        if plan is not None:
            self.notes += plan.notes

    def database(self) -> Database:
        """The target, which must be of the backup's kind."""
        return database_for(self.target, self._manifest)

    def build(self, restoration: Restoration) -> None:
        """From the chain; raises ``ProofError`` when it is not what was backed up."""
        fill(restoration, self._artifacts, self.job, self._store, self.progress)
        self.progress.step(f"proving {self.name}")
        found = problems(restoration, self._manifest)
        if found:
            raise ProofError(
                f"{self.name} does not restore to what was backed up: {found[0].object}: {found[0].problem}"
                + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""),
                "restore an earlier backup; nothing was changed",
            )
        if self._plan is not None:
            self.progress.step(f"recovering to {self._plan.recovery.target}")
            done = restoration.recover(self._plan.recovery)
            self.recovered = {
                **self._plan.to_json(),
                "timeline": done.timeline or self._plan.recovery.line.timeline,
                "stopped": done.stopped,
                "paused": done.paused,
            }

    def _log(self) -> Sequence[Artifact]:
        return [record.artifact for record in self._plan.records] if self._plan is not None else ()

    def size_bytes(self) -> int:
        """Of the whole chain, and the log after it."""
        return sum(artifact.raw_size_bytes for artifact in [*self._artifacts, *self._log()])

    def needs(self) -> list[str]:
        """The artifacts of the chain, and the log after it."""
        return [artifact.file for artifact in [*self._artifacts, *self._log()]]

    def recovery(self) -> Optional[dict[str, Any]]:
        """The plan of the recovery."""
        return None if self._plan is None else self._plan.to_json()


class _ForeignWork(_Work):
    """A plain file."""

    proven = False

    def __init__(
        self, job: Job, path: str, target: Source, tables: Sequence[str], replace: bool, progress: Progress
    ) -> None:
        super().__init__(job, target, tables, replace, progress)
        self.name = path
        self.notes = (f"unproven: no manifest describes {path!r}",)
        self._artifact = foreign.describe(path)

    def database(self) -> Database:
        """The target."""
        return open_database(self.target)

    def build(self, restoration: Restoration) -> None:
        """From the file; raises ``ProofError`` when the database finds it damaged."""
        with closing(foreign.open_file(self.name)) as file:
            self.progress.step(f"restoring {self.name}")
            with read_foreign(file, self._artifact, self.job.encryption, progress=self.progress) as chunks:
                restoration.receive(self._artifact, chunks)
                for _chunk in chunks:
                    pass
        damage = restoration.check()
        if damage:
            raise ProofError(f"{self.name!r} is damaged: {damage[0]}", "restore another file; nothing was changed")
        if not restoration.prove(Proof(level="rows")).tables:
            raise ProofError(f"{self.name!r} holds no table", "restore another file; nothing was changed")

    def size_bytes(self) -> int:
        """Of the file."""
        return os.path.getsize(self.name)

    def needs(self) -> list[str]:
        """The file."""
        return [self.name]
