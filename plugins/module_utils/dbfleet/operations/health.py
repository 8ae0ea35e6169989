"""``health``: can each job be relied on right now? Reads names and records, never the stored data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Optional, Union

from .. import manifests
from ..audit_log import AuditLog, LastRun, read_audit
from ..catalog import Catalog, collector_paused, read_catalog
from ..errors import DbfleetError, NotFoundError, UsageError
from ..model import Finding, Job, Manifest, ProofRecord
from ..run_limits import applied
from ..stores.base import Store
from ..units import parse_free, show_duration, show_size, to_text, utc_now
from ..urls import without_credentials
from . import log_status
from .lookup import open_repository

CLOCKS = timedelta(minutes=10)  # two hosts' clocks may differ by so much


@dataclass(frozen=True)
class JobHealth:
    """What is known of one job; nothing is wrong where there are no ``findings``."""

    job: str
    repository: str = ""
    findings: tuple[Finding, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """``{"job", "repository", "ok", "newest_good", "verified", "room", "last_run", "findings"}``."""
        empty = dict.fromkeys(("newest_good", "verified", "room", "last_run"))
        found = [manifests.finding_json(finding) for finding in self.findings]
        return {
            "job": self.job,
            "repository": self.repository,
            "ok": self.ok,
            **empty,
            **self.facts,
            "findings": found,
        }


@dataclass(frozen=True)
class HostHealth:
    """What is known of several jobs, and of the audit log of this host."""

    jobs: tuple[JobHealth, ...]
    log: AuditLog

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.log.findings and all(job.ok for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """``{"health": [job, …], "audit": {…, "findings"}}``."""
        findings = [manifests.finding_json(finding) for finding in self.log.findings]
        return {"health": [job.to_json() for job in self.jobs], "audit": {**self.log.to_json(), "findings": findings}}


def health_of(jobs: Iterable[tuple[str, Union[Job, DbfleetError]]]) -> HostHealth:
    """The health of jobs, each within its own limits, by name; one that cannot be had is a finding, too."""
    log = read_audit()
    return HostHealth(tuple(_within_limits(name, job, log) for name, job in jobs), log)


def _within_limits(name: str, job: Union[Job, DbfleetError], log: AuditLog) -> JobHealth:
    try:
        if isinstance(job, DbfleetError):
            raise job
        with applied(job.limits):
            return health(job, log)
    except DbfleetError as error:  # it cannot be read, or its time was over
        return JobHealth(name, findings=(Finding(name, error.message, error.remedy),))


def health(job: Job, log: AuditLog, now: Optional[datetime] = None) -> JobHealth:
    """The health of ``job``; ``log`` is the audit log of this host. ``now`` is only given by tests.

    A repository that is not there or cannot be read is a finding like any other.
    """
    examination = _Examination(job, log, now or utc_now())
    try:
        with collector_paused():
            examination.run()
    except DbfleetError as error:
        examination.find(job.name, error.message, error.remedy)
    return JobHealth(job.name, without_credentials(job.repository.url), tuple(examination.findings), examination.facts)


class _Examination:
    """One look at one job."""

    def __init__(self, job: Job, log: AuditLog, now: datetime) -> None:
        self.job = job
        self.log = log
        self.now = now
        self.findings: list[Finding] = []
        self.facts: dict[str, Any] = {}

    def find(self, of: str, problem: str, remedy: str = "") -> None:
        self.findings.append(Finding(of, problem, remedy))

    def run(self) -> None:
        store = open_repository(self.job)
        try:
            catalog = read_catalog(store, self.job.name)
        except NotFoundError:
            self._last_run(None)
            self.find(self.job.name, f"{store.url} is not there: it has no backup", self._take_one())
            return
        newest = catalog.latest_good()
        self._last_run(newest)
        self._age(newest)
        self._verified(catalog)
        self._room(store, newest)
        self.findings += catalog.findings()
        self._log_archive()

    def _log_archive(self) -> None:
        """How far the log archive reaches, where the job has one."""
        try:
            log = log_status.status(self.job)["log_archive"]
        except (NotFoundError, UsageError):
            return
        self.facts["log_archive"] = {key: log[key] for key in ("earliest", "latest", "lag_seconds", "retained_bytes")}
        self.findings += [Finding(**finding) for finding in log["findings"]]

    def _take_one(self) -> str:
        return f"take one: dbfleet backup --job {self.job.name}"

    def _last_run(self, newest: Optional[Manifest]) -> None:
        last = self.log.last_run("backup", self.job)
        if last is None:
            return
        self.facts["last_run"] = last.to_json()
        if last.result == "done" or last.runs or (newest and to_text(newest.finished_at) > last.time):
            return
        self.find(self.job.name, _ended_badly(last), f"see why, and run it again: dbfleet backup --job {self.job.name}")

    def _age(self, newest: Optional[Manifest]) -> None:
        if newest is None:
            self.find(self.job.name, "it has no backup that can be relied on", self._take_one())
            return
        age = self.now - newest.consistent_at
        self.facts["newest_good"] = {
            "id": newest.id,
            "consistent_at": to_text(newest.consistent_at),
            "age_seconds": int(age.total_seconds()),
            "size_bytes": newest.size_bytes,
        }
        if age < -CLOCKS:
            self.find(newest.id, "it was made in the future", "set the clocks of the hosts")
        limit = self.job.health.max_age
        if limit and age.total_seconds() > limit:
            self.find(
                self.job.name,
                f"its newest good backup is {show_duration(age.total_seconds())} old, and health.max_age is "
                f"{show_duration(limit)}",
                f"see whether its schedule runs, or {self._take_one()}",
            )

    def _verified(self, catalog: Catalog) -> None:
        records = list(_proofs(catalog))
        newest = max(records, key=lambda record: record.finished_at, default=None)
        if newest is not None:
            self.facts["verified"] = {
                "backup": newest.backup,
                "level": newest.level,
                "ok": newest.ok,
                "finished_at": to_text(newest.finished_at),
                "age_seconds": int((self.now - newest.finished_at).total_seconds()),
            }
        passed = [record.finished_at for record in records if record.ok]
        made = [manifest.finished_at for manifest in catalog.manifests.values()]
        since = max(passed) if passed else min(made, default=self.now)
        silence = (self.now - since).total_seconds()
        limit = self.job.health.max_unverified
        if not limit or silence <= limit:
            return
        been = f"the last verification that passed is {show_duration(silence)} ago" if passed else "none ever passed"
        self.find(
            self.job.name,
            f"no backup was verified for {show_duration(limit)} (health.max_unverified): {been}",
            f"dbfleet verify latest --level restore --job {self.job.name}",
        )

    def _room(self, store: Store, newest: Optional[Manifest]) -> None:
        room = store.free_bytes()
        if room is None:
            return
        free, total = room
        least_bytes, least_share = parse_free(self.job.limits.min_free)
        kept = max(least_bytes, int(total * least_share))
        needed = kept + (newest.size_bytes if newest else 0)
        self.facts["room"] = {"free_bytes": free, "total_bytes": total, "needed_bytes": needed}
        if free < needed:
            self.find(
                store.url,
                f"{show_size(free)} are free, and one more backup needs {show_size(needed)} with what limits.min_free "
                "keeps",
                "free space there, prune, or lower limits.min_free",
            )


def _proofs(catalog: Catalog) -> Iterable[ProofRecord]:
    for backup in catalog.ids:
        proof = catalog.standing(backup).proof
        if proof is not None:
            yield proof


def _ended_badly(last: LastRun) -> str:
    if last.result == "failed":
        return f"its last backup failed at {last.time} ({last.error or 'no reason is known'})"
    return f"its last backup began at {last.time} and never ended: it was killed, or the host went down"
