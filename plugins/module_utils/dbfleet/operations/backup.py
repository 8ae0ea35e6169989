"""``backup``: pin a state of the source, stream its artifacts, prove them, commit them together."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Optional

from .. import manifests, names, parents
from ..audit import audited
from ..catalog import Catalog, read_catalog
from ..chain import decide_type, resolve
from ..config import check_for_backup
from ..databases.base import ArtifactStream, Database, Snapshot, SnapshotRequest
from ..databases.registry import open_database
from ..errors import CapacityError, DbfleetError, UsageError
from ..model import Job, Manifest
from ..progress import SILENCE, Progress
from ..scratch import scratch_folder
from ..stores.base import Store
from ..stream import compression as compressions
from ..stream import encryption as encryptions
from ..stream.pipeline import StagedArtifact, store_artifact
from ..stream.throttle import Throttle
from ..units import parse_free, show_size, utc_now
from ..version import VERSION
from .lookup import open_repository
from .sweep import discard, sweep


@dataclass(frozen=True)
class BackupReport:
    """What a backup made, or in a dry run what it would make."""

    manifest: Optional[Manifest] = None
    plan: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """``{"backup": manifest, "size_bytes", "raw_size_bytes", "duration_seconds"}``, or ``{"plan": …}``."""
        if self.manifest is None:
            return {"plan": self.plan}
        sizes = {name: getattr(self.manifest, name) for name in ("size_bytes", "raw_size_bytes", "duration_seconds")}
        return {"backup": manifests.to_json(self.manifest), **sizes}


@dataclass(frozen=True)
class Plan:
    """What the next backup will be."""

    id: str
    parent: Optional[Manifest]
    parent_state: Optional[bytes]
    notes: tuple[str, ...]


def backup(job: Job, *, dry_run: bool = False, progress: Progress = SILENCE) -> BackupReport:
    """Take one backup of ``job.source``; a dry run only says what it would be.

    Raises ``SourceError``, ``BusyError``, ``RepositoryError``, ``CapacityError``, ``ToolError``,
    ``KeyMaterialError``, ``ProofError``; then nothing of it is left in the repository.
    """
    database = open_database(check_for_backup(job), job.method)
    check_fits(job, database)
    database.check()
    compressions.check(job.compression)
    encryptions.check(job.encryption)
    store = open_repository(job)
    if dry_run:
        return BackupReport(plan=_dry_plan(job, database, store))
    with audited("backup", job) as action, ExitStack() as stack:
        store.prepare()
        stack.enter_context(store.lock(job.name, wait=job.limits.lock_wait))
        catalog = read_catalog(store, job.name)
        swept = sweep(catalog)
        if swept:
            action.note("swept", files=swept)
            catalog = read_catalog(store, job.name)
        plan = make_plan(job, database, catalog, utc_now())
        action.backups.append(plan.id)
        require_room(job, store)
        scratch = stack.enter_context(scratch_folder())
        manifest, state = _Run(job, store, catalog, plan, progress).take(database, scratch)
        if state is not None:
            try:
                parents.remember(job, manifest, state)
            except OSError as error:  # the backup is good; the next one will be full, and say why
                action.note("state not kept", [manifest.id], reason=error.strerror)
        return BackupReport(manifest=manifest)


def check_fits(job: Job, database: Database) -> None:
    """Refuse what this kind of database cannot do."""
    if job.method not in database.methods:
        raise UsageError(
            f"method: {database.engine} has no {job.method} backup",
            f"set method to {' or '.join(database.methods)}",
        )
    if job.format is not None and job.format not in database.formats:
        raise UsageError(
            f"format: {database.engine} has no format {job.format}",
            f"choose {', '.join(database.formats)}" if database.formats else "leave it out",
        )
    for choice in ("databases", "schemas", "exclude_schemas", "tables", "exclude_tables"):
        if getattr(job.source, choice) and choice not in database.choices:
            raise UsageError(f"source.{choice}: a backup of {database.engine} is always whole", "leave it out")
    if job.type == "incremental" and not database.increments(job.method):
        raise UsageError(
            f"type: a {job.method} backup of {database.engine} cannot be incremental", "set type to full or auto"
        )


# --- deciding ---------------------------------------------------------------------------------


def make_plan(job: Job, database: Database, catalog: Catalog, now: datetime) -> Plan:
    """The id and the parent of the backup that begins ``now``."""
    identity = names.unused(lambda moment: names.backup_id(job.name, moment), now, catalog.files)
    notes = [note for note in (encryptions.warning(job.encryption), *catalog.store.notes()) if note]
    if catalog.ids and names.id_time(catalog.ids[-1]) > now:
        notes.append(f"the clock of this host is behind the newest backup, {catalog.ids[-1]}")
    if job.type == "full" or not database.increments(job.method):
        return Plan(identity, None, None, tuple(notes))
    source = database.identity()
    known_bad = catalog.known_bad

    def decide(state_missing: Optional[str]) -> tuple[Optional[Manifest], str]:
        return decide_type(
            job,
            catalog.manifests,
            engine=database.engine,
            identity=source,
            known_bad=known_bad,
            state_missing=state_missing,
        )

    parent, reason = decide(None)
    state = None
    if parent is not None:
        state, missing = parents.recall(job, parent)
        if state is None:
            parent, reason = decide(missing)
    return Plan(identity, parent, state, (*notes, reason) if reason else tuple(notes))


def _dry_plan(job: Job, database: Database, store: Store) -> dict[str, Any]:
    try:
        catalog = read_catalog(store, job.name)
    except DbfleetError as error:
        if error.kind != "not_found":
            raise
        catalog = Catalog(store, job.name, {}, set())
    plan = make_plan(job, database, catalog, utc_now())
    return {
        "id": plan.id,
        "engine": database.engine,
        "method": job.method,
        "type": "incremental" if plan.parent else "full",
        "parent": plan.parent.id if plan.parent else None,
        "source_size_bytes": database.size_bytes(),
        "repository": job.repository.url,
        "notes": list(plan.notes),
    }


def require_room(job: Job, store: Store) -> None:
    """Refuse to go below ``limits.min_free`` on the repository."""
    room = store.free_bytes()
    if room is None:
        return
    free, total = room
    least_bytes, least_share = parse_free(job.limits.min_free)
    least = max(least_bytes, int(total * least_share))
    if free < least:
        raise CapacityError(
            f"{store.url} has {show_size(free)} free, and limits.min_free keeps {show_size(least)}",
            "free space there, prune, or lower limits.min_free",
        )


# --- doing ------------------------------------------------------------------------------------


class _Run:
    """One backup on its way: everything it wrote is undone unless it was committed."""

    def __init__(self, job: Job, store: Store, catalog: Catalog, plan: Plan, progress: Progress) -> None:
        self.job = job
        self.store = store
        self.catalog = catalog
        self.plan = plan
        self.progress = progress
        self.started_at = utc_now()
        self.throttle = Throttle(job.limits.bandwidth)

    def take(self, database: Database, scratch: str) -> tuple[Manifest, Optional[bytes]]:
        """Stream, prove and commit; returns the manifest, and the state that the next incremental needs."""
        intent = manifests.Intent(self.plan.id, "backup", self.started_at, {self.plan.id: None})
        self.store.put(names.intent_file(self.plan.id), manifests.encode(intent))
        staged: list[StagedArtifact] = []
        try:
            request = SnapshotRequest(
                method=self.job.method,
                limits=self.job.limits,
                scratch=scratch,
                format=self.job.format,
                parent_state=self.plan.parent_state,
                keep_state=self.job.type != "full",
                measured=self.job.proof.level != "none" or bool(self.job.proof.queries),
            )
            self.progress.step(f"reading {database.engine} {self.job.name}")
            with database.snapshot(request) as snapshot:
                proof = _Parallel(self, snapshot, staged).run()
                state = snapshot.state()
                manifest = self._manifest(database, snapshot, proof, staged)
            require_room(self.job, self.store)
            self.progress.step(f"committing {manifest.id}")
            for artifact in staged:
                artifact.commit()
            self.store.put(names.manifest_file(manifest.id), manifests.encode(manifest))
        except BaseException:
            self._undo(staged)
            raise
        discard(self.store, names.intent_file(self.plan.id))
        return manifest, state

    def _undo(self, staged: Sequence[StagedArtifact]) -> None:
        """Leave nothing; what a failing store keeps all the same is named by the intent, for prune to sweep."""
        for artifact in staged:
            artifact.abort()
        try:
            if names.manifest_file(self.plan.id) in {entry.name for entry in self.store.entries(self.plan.id)}:
                return  # it was committed: the failure came after
            for artifact in staged:
                self.store.remove(artifact.artifact.file)
            self.store.remove(names.intent_file(self.plan.id))
        except DbfleetError:
            pass  # the failure that is on its way up is the one to tell

    def _manifest(
        self, database: Database, snapshot: Snapshot, proof: Any, staged: Sequence[StagedArtifact]
    ) -> Manifest:
        parent = self.plan.parent if snapshot.type == "incremental" else None
        artifacts = tuple(one.artifact for one in staged)
        stored = [(one, encryptions.decode_command(one.file, one.compression, one.encryption)) for one in artifacts]
        planned = [note for note in self.plan.notes if parent or not note.startswith("incremental:")]
        chain = resolve(self.catalog.manifests, parent.id) if parent else ()
        manifest = Manifest(
            id=self.plan.id,
            name=self.job.name,
            engine=database.engine,
            method=self.job.method,
            type=snapshot.type,
            parent=parent.id if parent else None,
            previous=self.catalog.previous_digest(),
            source=snapshot.identity,
            started_at=self.started_at,
            consistent_at=snapshot.consistent_at,
            finished_at=utc_now(),
            position=snapshot.position,
            artifacts=artifacts,
            proof=proof,
            tools={"dbfleet": VERSION, **snapshot.tools},
            restore_with=snapshot.restore_with(chain, stored),
            notes=(*planned, *snapshot.notes),
        )
        return manifests.seal(manifest)


class _Parallel:
    """The pumps of one snapshot and its proof, side by side; the first failure ends them all."""

    def __init__(self, run: _Run, snapshot: Snapshot, staged: list[StagedArtifact]) -> None:
        self._run = run
        self._snapshot = snapshot
        self._staged = staged
        self._stored: dict[int, StagedArtifact] = {}
        self._stop = threading.Event()
        count = len(snapshot.artifacts)
        self._pumps = count if snapshot.together else run.job.limits.parallel
        self._threads = _threads_each(run.job, 1 if snapshot.together else count)  # of a stream one is busy at a time

    def run(self) -> Any:
        """Pump everything and measure; returns the proof."""
        snapshot, progress = self._snapshot, _Stoppable(self._run.progress, self._stop)
        with ThreadPoolExecutor(max_workers=self._pumps + 1) as pool:
            try:
                proof = pool.submit(snapshot.prove, self._run.job.proof)
                pumps = [
                    pool.submit(self._store, place, stream, progress) for place, stream in enumerate(snapshot.artifacts)
                ]
                _join([*pumps, proof])
            except BaseException:
                self._stop.set()
                snapshot.interrupt()
                raise
            finally:
                pool.shutdown(wait=True)
                self._staged.extend(self._stored[place] for place in sorted(self._stored))
        return snapshot.compare(proof.result())

    def _store(self, place: int, stream: ArtifactStream, progress: Progress) -> None:
        run = self._run
        progress.expect(stream.size_hint)
        staged = store_artifact(
            stream.pump,
            run.store,
            run.plan.id + stream.suffix,
            stream.role,
            run.job.compression,
            run.job.encryption,
            throttle=run.throttle,
            progress=progress,
            threads=self._threads,
        )
        self._stored[place] = replace(staged, artifact=replace(staged.artifact, database=stream.database))


def _threads_each(job: Job, streams: int) -> int:
    """Compression threads for each of ``streams`` that run side by side."""
    if job.compression.threads:
        return job.compression.threads
    side_by_side = max(1, min(streams, job.limits.parallel))
    return max(1, (os.cpu_count() or 1) // side_by_side)


def _join(futures: Sequence[Future[Any]]) -> None:
    done, _running = wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:  # in the order they were started, so that the artifacts' errors come first
        if future in done:
            future.result()


class _Stopped(Exception):
    """Raised in a pump whose run has already failed elsewhere."""


class _Stoppable:
    """Progress that ends the pumps of a run that has failed."""

    def __init__(self, progress: Progress, stop: threading.Event) -> None:
        self._progress = progress
        self._stop = stop

    def step(self, text: str) -> None:
        """Pass the step on."""
        self._progress.step(text)

    def expect(self, total_bytes: Optional[int]) -> None:
        """Pass the expectation on."""
        self._progress.expect(total_bytes)

    def advance(self, count: int) -> None:
        """Pass the bytes on, unless the run has failed."""
        if self._stop.is_set():
            raise _Stopped
        self._progress.advance(count)
