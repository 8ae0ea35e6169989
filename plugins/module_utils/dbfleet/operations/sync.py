"""``sync``: copy what another repository lacks: offsite copies, archives, physical media.

Nothing is ever removed or replaced there, but for beginnings of log files of which more has come.
The source is only read and needs no lock: a backup that a prune takes away meanwhile fails its
copy before its manifest, and is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from .. import manifests, names
from ..audit import Action, audited
from ..catalog import Catalog, read_catalog
from ..errors import DamagedError, NotFoundError, RefusedError, UsageError
from ..model import Finding, Job, Login, Manifest
from ..progress import SILENCE, Progress
from ..stores.base import Store
from ..stream.throttle import Throttle
from ..urls import without_credentials
from .copying import REMOVE_ONE, Copier, gone_meanwhile, same_place
from .log_copying import LogCopies, copy_logs, plan_copies
from .lookup import open_repository, open_store_at
from .sweep import sweep

AGAIN = "remove it there and sync again"


@dataclass(frozen=True)
class SyncReport:
    """What was copied, or would be: backups, and names of records (proofs and prunes).

    ``present`` counts the backups that were there already; ``findings`` are backups and log files
    that could not be copied, and why.
    """

    to: str
    copied: tuple[Manifest, ...]
    records: tuple[str, ...]
    present: int
    findings: tuple[Finding, ...]
    log: LogCopies = field(default_factory=LogCopies)

    @property
    def size_bytes(self) -> int:
        """Stored bytes of the backups that were copied."""
        return sum(manifest.size_bytes for manifest in self.copied)

    def to_json(self) -> dict[str, Any]:
        """``{"synced": {"to", "copied", "records", "present", "findings", "size_bytes", "log"}}``."""
        return {
            "synced": {
                "to": self.to,
                "copied": [{"id": copy.id, "size_bytes": copy.size_bytes} for copy in self.copied],
                "records": list(self.records),
                "present": self.present,
                "findings": [manifests.finding_json(finding) for finding in self.findings],
                "size_bytes": self.size_bytes,
                "log": self.log.to_json(),
            }
        }


@dataclass
class _Plan:
    """What the target lacks, the oldest first, and what stands in the way of the rest."""

    backups: list[Manifest] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    present: int = 0
    findings: list[Finding] = field(default_factory=list)


def other_login(given: Callable[[str], Optional[str]]) -> Optional[Login]:
    """The login at the other repository; ``given`` tells the options ``to_identity_file`` and so on, if any are."""
    login = Login(*(given(f"to_{name}") for name in Login._fields))
    return login if any(login) else None


def sync(
    job: Job, to: str, *, login: Optional[Login] = None, dry_run: bool = False, progress: Progress = SILENCE
) -> SyncReport:
    """Copy every backup and record of the job that the repository at ``to`` lacks, and the log that they need.

    ``login`` is for the server that keeps it; without one that of the job's own repository is used there, too.
    Raises ``UsageError`` when ``to`` is the job's own repository, ``NotFoundError`` when that is
    not there, ``BusyError`` when another operation at the target does not end in time.
    """
    source, target = open_repository(job), open_store_at(job, to, login)
    shown = without_credentials(to)
    if same_place(source, target):
        raise UsageError(f"{shown} is the repository of job {job.name} itself", "give another one with --to")
    if dry_run:
        here = read_catalog(source, job.name)
        there = _existing(target, job.name)
        plan = _plan(here, there)
        report = SyncReport(shown, tuple(plan.backups), tuple(plan.records), plan.present, tuple(plan.findings))
        return _with_log(report, plan_copies(job, source, target, _needing(here, there, plan.backups)))
    with audited("sync", job) as action:
        here = read_catalog(source, job.name)
        target.prepare()
        with target.lock(job.name, wait=job.limits.lock_wait):
            there = read_catalog(target, job.name)
            swept = sweep(there)
            if swept:
                action.note("swept", files=swept, to=shown)
                there = read_catalog(target, job.name)
            copier = Copier(source, target, job.limits, Throttle(job.limits.bandwidth), progress)
            report = _act(_plan(here, there), copier, here, there, shown, action)
            copies = copy_logs(job, source, target, _needing(here, there, report.copied), copier)
            if copies.files:
                action.note("copied log", files=copies.files, to=shown)
            return _with_log(report, copies)


def _needing(here: Catalog, there: Catalog, copied: Iterable[Manifest]) -> list[Manifest]:
    """The backups whose log is wanted at the target; none, which means all log, where one cannot be read."""
    if here.unreadable or there.unreadable:
        return []
    return [*there.manifests.values(), *copied]


def _with_log(report: SyncReport, copies: LogCopies) -> SyncReport:
    return replace(report, findings=(*report.findings, *copies.findings), log=copies)


def _existing(target: Store, name: str) -> Catalog:
    try:
        return read_catalog(target, name)
    except NotFoundError:  # the first sync creates it
        return Catalog(target, name, {}, set())


def _plan(here: Catalog, there: Catalog) -> _Plan:
    plan = _Plan()
    plan.findings += [
        Finding(backup, f"not copied: {error.message}", error.remedy) for backup, error in here.unreadable.items()
    ]
    going: set[str] = set()
    for manifest in here.manifests.values():
        hindrance = _hindrance(manifest, here, there, going)
        if hindrance is not None:
            plan.findings.append(hindrance)
            continue
        going.add(manifest.id)
        if manifest.id in there.manifests:
            plan.present += 1
            plan.records += _missing_proofs(here, there, manifest.id, plan.findings)
        else:
            plan.backups.append(manifest)
    records = (file for file in here.prune_files - there.prune_files if file.endswith(names.RECORD))
    plan.records += _sound(here.store, records, plan.findings)
    return plan


def _hindrance(manifest: Manifest, here: Catalog, there: Catalog, going: set[str]) -> Optional[Finding]:
    unreadable = there.unreadable.get(manifest.id)
    if unreadable is not None:
        return Finding(manifest.id, f"at the target: {unreadable.message}", AGAIN)
    copy = there.manifests.get(manifest.id)
    if copy is not None and copy.digest != manifest.digest:
        return Finding(manifest.id, "the target has another backup of this name", REMOVE_ONE)
    if copy is not None:
        at_target = there.standing(manifest.id)
        if at_target.damaged:
            return Finding(manifest.id, f"at the target: {at_target.reason}", "remove it there and sync again")
        return None
    standing = here.standing(manifest.id)
    if not standing.counts:
        return Finding(manifest.id, f"not copied: {standing.reason}", "verify it again, or let prune remove it")
    if manifest.parent is not None and manifest.parent not in going:
        return Finding(manifest.id, f"not copied: {manifest.parent} could not be copied", "repair that one")
    return None


def _act(plan: _Plan, copier: Copier, here: Catalog, there: Catalog, shown: str, action: Action) -> SyncReport:
    copied: list[Manifest] = []
    failed: set[str] = set()
    records: list[str] = []
    # Records first: they explain why a backup that comes has no neighbours.
    for file in plan.records:
        try:
            copier.copy_records([file])
            records.append(file)
        except NotFoundError:
            continue  # pruned with its backup since the listing
    for manifest in plan.backups:
        if manifest.parent in failed:
            failed.add(manifest.id)
            plan.findings.append(
                Finding(manifest.id, f"not copied: {manifest.parent} could not be copied", "repair that one")
            )
            continue
        proofs = _missing_proofs(here, there, manifest.id, plan.findings)
        try:
            copier.copy(manifest, proofs, there, "sync")
        except (DamagedError, RefusedError, NotFoundError) as error:
            failed.add(manifest.id)
            if not (isinstance(error, NotFoundError) and gone_meanwhile(here.store, manifest.id)):
                plan.findings.append(Finding(manifest.id, f"not copied: {error.message}", error.remedy))
            continue
        copied.append(manifest)
        records += proofs
        action.backups.append(manifest.id)
        action.note("copied", [manifest.id], to=shown)
    return SyncReport(shown, tuple(copied), tuple(records), plan.present, tuple(plan.findings))


def _missing_proofs(here: Catalog, there: Catalog, backup: str, findings: list[Finding]) -> list[str]:
    present = there.files.get(backup, {})
    return _sound(here.store, [file for file in here.proof_files(backup) if file not in present], findings)


def _sound(store: Store, files: Iterable[str], findings: list[Finding]) -> list[str]:
    """Those of some records that can be read: what is damaged is not spread, but found."""
    sound = []
    for file in sorted(files):
        decode = manifests.decode_proof if names.of_prune(file) is None else manifests.decode_prune
        try:
            decode(store.read(file), file)
        except NotFoundError:
            continue  # pruned since the listing
        except (DamagedError, manifests.NewerSchemaError) as error:
            findings.append(Finding(file, f"not copied: {error.message}", error.remedy))
            continue
        sound.append(file)
    return sound
