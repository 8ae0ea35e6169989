"""``prune``: remove what no rule keeps, move what is old to the archive, sweep what a crash left.

The order is safe against an end at any moment. Copies to the archive are read back first. The
record of what goes is durable before anything goes, and so is an intent that names the files.
Then each backup goes manifest first, those that start from another before that one: what is
still listed is complete, and what is not is swept by the next prune.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Optional

from .. import manifests, names
from ..audit import Action, audited
from ..catalog import Catalog, read_catalog
from ..errors import DbfleetError, NotFoundError
from ..model import Finding, Job, PruneRecord, Removal, Retention
from ..progress import SILENCE, Progress
from ..retention import Candidate, Gone, Kept, Plan, decide, effective
from ..units import utc_now
from ..urls import without_credentials
from .archive import Archived, archive, hand_over_records, is_archive
from .log_prune import RULE, LogPlan, plan_log, remove_log
from .lookup import open_repository
from .sweep import leftovers, sweep

NO_LOG = LogPlan()


@dataclass(frozen=True)
class PruneReport:
    """What a prune did, or would do: every backup is kept, archived or removed.

    ``swept`` are names of leftover files; ``findings`` are backups that should have moved to the
    archive and could not.
    """

    kept: tuple[Kept, ...]
    archived: tuple[Archived, ...]
    removed: tuple[Gone, ...]
    swept: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    log: LogPlan = NO_LOG

    def to_json(self) -> dict[str, Any]:
        """``{"kept", "archived", "removed", "swept", "findings", "log"}``."""
        return {
            "kept": [{"id": kept.id, "reasons": list(kept.reasons)} for kept in self.kept],
            "archived": [{"id": moved.id, "to": moved.to, "reason": moved.reason} for moved in self.archived],
            "removed": [{"id": gone.id, "reason": gone.reason} for gone in self.removed],
            "swept": list(self.swept),
            "findings": [manifests.finding_json(finding) for finding in self.findings],
            "log": self.log.to_json(),
        }


def prune(
    job: Job, *, dry_run: bool = False, now: Optional[datetime] = None, progress: Progress = SILENCE
) -> PruneReport:
    """Prune the job's repository by its retention; ``dry_run`` changes nothing.

    Raises ``UsageError`` for an impossible retention, ``RefusedError`` when time runs backwards
    (and removes nothing), ``BusyError`` when another operation of the job does not end in time.
    """
    effective(job.retention)
    store = open_repository(job)
    if dry_run:
        with store.lock(job.name, shared=True, wait=job.limits.lock_wait):
            catalog = read_catalog(store, job.name)
            plan = _plan(job, catalog, now or utc_now())
            return _report(job, plan, leftovers(catalog), log=_log(job, catalog, plan.kept))
    with audited("prune", job) as action, store.lock(job.name, wait=job.limits.lock_wait):
        catalog = read_catalog(store, job.name)
        moment = now or utc_now()
        plan = _plan(job, catalog, moment)
        swept = sweep(catalog)
        if swept:
            action.note("swept", files=swept)
        return _act(job, catalog, plan, moment, swept, action, progress)


def candidates(catalog: Catalog) -> Iterable[Candidate]:
    """What retention must know of every backup of the catalog."""
    for backup in catalog.ids:
        at = names.id_time(backup)
        manifest = catalog.outline(backup)
        if isinstance(manifest, NotFoundError):  # removed since the listing
            continue
        if isinstance(manifest, DbfleetError):
            yield Candidate(backup, at, None, "unknown", catalog.likely_parent(backup), manifest.message)
        else:
            standing = catalog.standing(backup)
            state = "good" if standing.counts else standing.state
            yield Candidate(backup, at, manifest.finished_at, state, manifest.parent, standing.reason)


def _plan(job: Job, catalog: Catalog, now: datetime) -> Plan:
    retention = job.retention
    if retention.archive_to is not None and is_archive(job, catalog.store):
        retention = _without_archive(retention)  # this repository is the archive: nothing moves
    return decide(candidates(catalog), retention, now)


def _without_archive(retention: Retention) -> Retention:
    return replace(retention, archive_after=None, archive_to=None)


def _act(
    job: Job,
    catalog: Catalog,
    plan: Plan,
    now: datetime,
    swept: list[str],
    action: Action,
    progress: Progress,
) -> PruneReport:
    findings: list[Finding] = []
    moved: list[Gone] = list(plan.archived)
    log = _log(job, catalog, [*plan.kept, *(Kept(gone.id, ()) for gone in plan.archived)])
    if moved or plan.removed or log.going:
        catalog.store.check_removal()
    if moved:
        moved, findings = archive(job, catalog, plan.archived, progress)
    going = [*plan.removed, *moved]  # one that starts from an archived backup is among the first
    if going or log.going:
        _record(job, catalog, going, {gone.id for gone in moved}, log, now)
        if moved:
            hand_over_records(job, catalog.store)
    if going:
        _remove(catalog, going, {gone.id for gone in moved}, now, action, progress)
    if log.going:
        progress.step(f"removing {len(log.going)} log files")
        remove_log(job, catalog, log)
        action.note("removed log", files=len(log.going), rule=RULE)
    stuck = [gone for gone in plan.archived if gone not in moved]
    kept = [*plan.kept, *(Kept(gone.id, (f"{gone.reason}, but it could not be moved",)) for gone in stuck)]
    kept.sort(key=lambda backup: names.sort_key(backup.id), reverse=True)
    return _report(job, Plan(tuple(kept), tuple(moved), plan.removed), swept, findings, log)


def _log(job: Job, catalog: Catalog, kept: Iterable[Kept]) -> LogPlan:
    """The log that can go when only ``kept`` stay."""
    return plan_log(job, catalog, [one.id for one in kept])


def _report(
    job: Job, plan: Plan, swept: Iterable[str], findings: Iterable[Finding] = (), log: LogPlan = NO_LOG
) -> PruneReport:
    to = without_credentials(job.retention.archive_to or "")
    archived = tuple(Archived(gone.id, to, gone.reason) for gone in plan.archived)
    return PruneReport(plan.kept, archived, plan.removed, tuple(swept), tuple(findings), log)


def _record(job: Job, catalog: Catalog, going: list[Gone], moved: set[str], log: LogPlan, now: datetime) -> None:
    """Make the record of what goes durable, linked to the record before it."""
    to = without_credentials(job.retention.archive_to or "")
    removals = tuple(
        Removal(gone.id, catalog.manifest(gone.id).digest, gone.reason, to if gone.id in moved else None)
        for gone in going
    )
    records = catalog.prune_records
    identity = _prune_id(catalog, job.name, now)
    record = PruneRecord(identity, job.name, now, (*removals, *log.removals()), records[-1].digest if records else None)
    catalog.store.put(names.record_file(identity), manifests.encode(record))


def _prune_id(catalog: Catalog, name: str, now: datetime) -> str:
    file = names.unused(lambda at: names.record_file(names.prune_id(name, at)), now, catalog.prune_files)
    return file[: -len(names.RECORD)]


def _remove(
    catalog: Catalog, going: list[Gone], moved: set[str], now: datetime, action: Action, progress: Progress
) -> None:
    store = catalog.store
    files = {gone.id: _files(catalog, gone.id) for gone in going}
    identity = _prune_id(catalog, action.job.name, now)
    intent = manifests.Intent(identity, "prune", now, files)
    store.put(names.intent_file(identity), manifests.encode(intent))
    for gone in going:
        progress.step(f"removing {gone.id}")
        for file in files[gone.id]:
            store.remove(file)
        action.note("archived" if gone.id in moved else "removed", [gone.id], rule=gone.reason)
    store.remove(names.intent_file(identity))


def _files(catalog: Catalog, backup: str) -> tuple[str, ...]:
    """Everything that this project wrote of a backup, the manifest first."""
    artifacts = (artifact.file for artifact in catalog.manifest(backup).artifacts)
    return (names.manifest_file(backup), *artifacts, *sorted(catalog.proof_files(backup)))
