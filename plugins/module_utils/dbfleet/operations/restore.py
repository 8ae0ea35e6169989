"""``restore``: build beside, prove, then take over; or copy single tables into a living database."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from typing import Any, Optional

from ..audit import audited
from ..catalog import Catalog, read_catalog
from ..databases.base import Database
from ..databases.registry import open_database, url_of_file
from ..errors import DbfleetError, NotFoundError, ProofError, UsageError
from ..model import Artifact, Job, Manifest, Proof, Source
from ..progress import SILENCE, Progress
from ..scratch import scratch_folder
from ..stores.base import Store
from ..stream.pipeline import read_foreign
from ..urls import without_credentials
from . import foreign
from .lookup import open_repository
from .rebuild import database_for, fill, parts, problems, scratch_database


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did, or in a dry run what it would do."""

    backup: str
    to: str
    proven: bool
    tables: Sequence[str] = ()
    rows: Optional[int] = None
    kept: Optional[str] = None
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
    dry_run: bool = False,
    progress: Progress = SILENCE,
) -> RestoreReport:
    """Restore ``backup`` (an id, ``latest``, an artifact, or a plain file that no manifest describes).

    ``to`` is a URL or a path; without it the job's source is the target. ``replace`` allows what
    is there to be overwritten (it is kept beside). With ``tables`` only these are copied into
    the target. Raises before anything is changed unless the restore is complete and proven.
    """
    target = _target(job, to)
    store = open_repository(job)
    with ExitStack() as stack:
        known = _known(store, job, backup)
        if known is None:
            work: _Work = _ForeignWork(job, backup, target, tables, replace, progress)
        else:
            stack.enter_context(store.lock(job.name, shared=True, wait=job.limits.lock_wait))
            work = _BackupWork(job, store, known[0], known[1], target, tables, replace, progress)
        if dry_run:
            return work.plan()
        action = stack.enter_context(audited("restore", job, [work.name]))
        report = work.run()
        action.note("restored", [work.name], to=without_credentials(report.to), kept=report.kept, tables=list(tables))
        return report


def _target(job: Job, to: Optional[str]) -> Source:
    if to is None:
        if job.source is None:
            raise UsageError("there is no target to restore to", "give --to, or the source of the job")
        return job.source
    if "://" not in to:
        return Source(url_of_file(to))
    return Source(to, job.source.password_file if job.source else None)


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
    notes: tuple[str, ...] = ()

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

    def build(self, restoration: Any) -> None:
        """Fill ``restoration`` and prove it."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """Raw bytes that are read."""
        raise NotImplementedError

    def run(self) -> RestoreReport:
        """Build, prove, take over."""
        report = self._copy_tables() if self.tables else self._whole()
        return with_changes(
            report, size_bytes=self.size_bytes(), duration_seconds=round(time.monotonic() - self.begun, 3)
        )

    def _whole(self) -> RestoreReport:
        with self.database().restoration(replace=self.replace) as restoration:
            self.build(restoration)
            self.progress.step("taking over")
            kept = restoration.take_over()
        return RestoreReport(self.name, without_credentials(self.target.url), self.proven, kept=kept, notes=self.notes)

    def _copy_tables(self) -> RestoreReport:
        target = self.database()
        target.check()
        with scratch_folder() as scratch, target.restoration(replace=False, scratch=scratch) as restoration:
            self.build(restoration)
            self.progress.step(f"copying {', '.join(self.tables)}")
            copied = target.restore_tables(restoration.location(), self.tables, replace=self.replace)
        rows = sum(copied.rows.values())
        return RestoreReport(
            self.name, without_credentials(self.target.url), self.proven, self.tables, rows, copied.kept, self.notes
        )

    def plan(self) -> RestoreReport:
        """What :meth:`run` would do; refuses what it would refuse at once."""
        database = self.database()
        if self.tables:
            database.check()
            replaces = self.replace
        else:
            with database.restoration(replace=self.replace) as restoration:
                replaces = restoration.replaces()
        plan = {
            "backup": self.name,
            "to": without_credentials(self.target.url),
            "tables": list(self.tables),
            "replaces": replaces,
            "proven": self.proven,
            "size_bytes": self.size_bytes(),
            "needs": self.needs(),
            "notes": list(self.notes),
        }
        return RestoreReport(self.name, without_credentials(self.target.url), self.proven, plan=plan)

    def needs(self) -> list[str]:
        """The files that are read."""
        raise NotImplementedError


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
    ) -> None:
        super().__init__(job, target, tables, replace, progress)
        self.name = manifest.id
        self.proven = manifest.proof.level != "none"
        self._store = store
        self._manifest = manifest
        self._artifacts = parts(catalog, manifest, scratch_database(manifest))
        standing = catalog.standing(manifest.id)
        if standing.state == "bad":
            self.notes = (f"{manifest.id} is known to be bad: {standing.reason}",)
        if not self.proven:
            self.notes += ("unproven: this backup was taken with proof.level none",)

    def database(self) -> Database:
        """The target, which must be of the backup's kind."""
        return database_for(self.target, self._manifest)

    def build(self, restoration: Any) -> None:
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

    def size_bytes(self) -> int:
        """Of the whole chain."""
        return sum(artifact.raw_size_bytes for artifact in self._artifacts)

    def needs(self) -> list[str]:
        """The artifacts of the chain."""
        return [artifact.file for artifact in self._artifacts]


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

    def build(self, restoration: Any) -> None:
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
