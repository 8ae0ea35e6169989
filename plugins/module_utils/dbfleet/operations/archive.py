"""Moving old backups to the archive: the first half, which copies and reads back.

The archive is a repository like any other. What it holds is pruned by a job of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import names
from ..catalog import Catalog, read_catalog
from ..chain import resolve
from ..errors import DamagedError, RefusedError
from ..model import Finding, Job
from ..progress import SILENCE, Progress
from ..retention import Gone
from ..stores.base import Store
from ..stream.throttle import Throttle
from .copying import REMOVE_ONE, Copier, same_place
from .lookup import open_store_at
from .sweep import sweep


@dataclass(frozen=True)
class Archived:
    """A backup that was moved ``to`` the archive, or would be, and why."""

    id: str
    to: str
    reason: str


def open_archive(job: Job) -> Store:
    """The store of ``retention.archive_to``."""
    return open_store_at(job, job.retention.archive_to or "")


def is_archive(job: Job, store: Store) -> bool:
    """Whether ``store`` is the job's archive itself."""
    return same_place(store, open_archive(job))


def archive(job: Job, catalog: Catalog, going: Sequence[Gone], progress: Progress) -> tuple[list[Gone], list[Finding]]:
    """Copy the backups ``going`` (children first) to the archive and read every copy back.

    Returns those that may go now, and what hinders the others: a chain moves whole or stays.
    Raises ``RepositoryError`` when the archive cannot be written.
    """
    target = open_archive(job)
    target.prepare()
    stuck: set[str] = set()
    findings = []
    with target.lock(job.name, wait=job.limits.lock_wait):
        there = read_catalog(target, job.name)
        if sweep(there):
            there = read_catalog(target, job.name)
        copier = Copier(catalog.store, target, job.limits, Throttle(job.limits.bandwidth), progress)
        for gone in reversed(going):
            root = resolve(catalog.manifests, gone.id)[0].id
            if root in stuck:
                continue
            try:
                _copy(catalog, there, copier, gone.id)
            except (DamagedError, RefusedError) as error:
                stuck.add(root)
                findings.append(Finding(gone.id, f"it stays: {error.message}", error.remedy))
    moved = [gone for gone in going if resolve(catalog.manifests, gone.id)[0].id not in stuck]
    return moved, findings


def _copy(catalog: Catalog, there: Catalog, copier: Copier, backup: str) -> None:
    manifest = catalog.manifest(backup)
    present = there.files.get(backup, {})
    proofs = [file for file in catalog.proof_files(backup) if file not in present]
    if names.manifest_file(backup) not in present:
        copier.copy(manifest, proofs, there, "archive")
        return
    if there.manifest(backup).digest != manifest.digest:
        raise RefusedError(f"{there.store.url} has another backup named {backup}", REMOVE_ONE)
    copier.check(manifest)  # copied earlier, perhaps long ago: what is removed here must be good there
    copier.copy_records(proofs)


def hand_over_records(job: Job, source: Store) -> None:
    """Bring every prune record to the archive: they explain there why its backups have no neighbours."""
    target = open_archive(job)
    with target.lock(job.name, wait=job.limits.lock_wait):
        there = read_catalog(target, job.name)
        missing = [
            file
            for file in sorted(read_catalog(source, job.name).prune_files - there.prune_files)
            if file.endswith(names.RECORD)
        ]
        Copier(source, target, job.limits, Throttle(), SILENCE).copy_records(missing)
