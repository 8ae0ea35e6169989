"""``verify``: find out what is wrong with backups, at three depths, and leave a record beside each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Optional

from .. import manifests, names
from ..audit import audited
from ..catalog import Catalog, read_catalog
from ..databases.base import Restoration, RestoreRequest
from ..databases.registry import kind_of
from ..errors import DamagedError, NotFoundError, ProofError, ToolError, UsageError
from ..host import host_name
from ..model import Artifact, Finding, Job, Manifest, Proof, ProofRecord
from ..progress import SILENCE, Progress
from ..proof import compare
from ..scratch import scratch_on_demand
from ..standing import LEVELS
from ..stores.base import Store
from ..stream.pipeline import check_stored
from ..stream.process import Command, run
from ..stream.throttle import Throttle
from ..units import utc_now
from .lookup import open_repository
from .rebuild import fill, parts, scratch_database

ELSEWHERE = "get it back from another copy of the repository, or take a new full backup"


@dataclass(frozen=True)
class VerifyResult:
    """What was found of one backup; ``backup`` is the job's name for what concerns the repository as a whole."""

    backup: str
    level: str
    ok: bool
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same words as keys."""
        findings = [manifests.finding_json(finding) for finding in self.findings]
        return {"backup": self.backup, "level": self.level, "ok": self.ok, "findings": findings}


def to_verify(job: Job, which: str) -> list[str]:
    """The ids of the backups that :func:`verify` would look at. Raises ``NotFoundError``."""
    return [manifest.id for manifest in _chosen(read_catalog(open_repository(job), job.name), which)]


def verify(job: Job, which: str, level: str, *, progress: Progress = SILENCE) -> list[VerifyResult]:
    """Verify ``which`` (an id, ``latest`` or ``all``) at ``level`` (checksum, structure, restore).

    Each level includes those before it. ``all`` also examines the repository: gaps, unreadable
    manifests, broken chains. Raises when it cannot be found out: a key or tool that is missing,
    a store that fails.
    """
    if level not in LEVELS:
        raise UsageError(f"{level!r} is not a level of verify", f"choose {', '.join(LEVELS)}")
    store = open_repository(job)
    with audited("verify", job) as action, store.lock(job.name, shared=True, wait=job.limits.lock_wait):
        catalog = read_catalog(store, job.name)
        chosen = _chosen(catalog, which)
        action.backups.extend(manifest.id for manifest in chosen)
        results = [_Verification(job, store, catalog, manifest, level, progress).run() for manifest in chosen]
        if which == "all":
            results += _repository(job, catalog, level, {result.backup for result in results if not result.ok})
        for result in results:
            action.note("sound" if result.ok else "findings", [result.backup], level=level)
        return results


def _chosen(catalog: Catalog, which: str) -> list[Manifest]:
    if not catalog.ids:
        raise NotFoundError(f"{catalog.where} has no backups to verify", "take a backup first")
    if which == "all":
        return list(catalog.manifests.values())
    newest = catalog.newest() if which == "latest" else None
    # the newest one, good or not: a failure must not hide behind the backup before it
    return [newest or catalog.find(which)]


def _repository(job: Job, catalog: Catalog, level: str, told: set[str]) -> list[VerifyResult]:
    findings = tuple(finding for finding in catalog.findings() if finding.object not in told)
    return [VerifyResult(job.name, level, not findings, findings)] if findings else []


class _Verification:
    """One backup at one level."""

    def __init__(
        self, job: Job, store: Store, catalog: Catalog, manifest: Manifest, level: str, progress: Progress
    ) -> None:
        self._job = job
        self._store = store
        self._catalog = catalog
        self._manifest = manifest
        self._level = level
        self._progress = progress
        self._throttle = Throttle(job.limits.bandwidth)
        self._measured: Optional[Proof] = None

    def run(self) -> VerifyResult:
        """Verify, and write the record."""
        started_at = utc_now()
        findings = tuple(self._checksum())
        if not findings and self._level != "checksum":
            findings = tuple(self._structure())
        self._record(started_at, findings)
        return VerifyResult(self._manifest.id, self._level, not findings, findings)

    def _checksum(self) -> list[Finding]:
        """The stored bytes of this backup's own artifacts."""
        found = []
        for artifact in self._manifest.artifacts:
            self._progress.step(f"reading {artifact.file}")
            self._progress.expect(artifact.size_bytes)
            problems = check_stored(self._store, artifact, throttle=self._throttle, progress=self._progress)
            name = artifact.file  # the finding's object, so that it need not begin its problem as well
            found += [Finding(name, one.replace(name, "", 1).lstrip(": "), ELSEWHERE) for one in problems]
        return found

    def _structure(self) -> list[Finding]:
        """Build it in scratch; the database must find it sound, at level ``restore`` also equal."""
        try:
            with self._trial(parts(self._catalog, self._manifest)) as restoration:
                self._progress.step(f"examining {self._manifest.id}")
                findings = self._examine(restoration)
            return findings or self._other_forms()
        except (DamagedError, ProofError) as error:
            return [Finding(self._manifest.id, error.message, error.remedy)]
        except NotFoundError as error:  # an artifact of its chain
            return [Finding(self._manifest.id, error.message, ELSEWHERE)]

    @contextmanager
    def _trial(self, artifacts: Sequence[Artifact]) -> Iterator[Restoration]:
        """What ``artifacts`` build, for as long as the context lasts."""
        database = scratch_database(self._job, self._manifest)
        with scratch_on_demand() as folder, ExitStack() as stack:
            request = RestoreRequest(folder, trial=True, limits=self._job.limits, origin=self._manifest.source)
            restoration = stack.enter_context(database.restoration(request))
            fill(restoration, artifacts, self._job, self._store, self._progress, self._throttle)
            yield restoration

    def _examine(self, restoration: Restoration) -> list[Finding]:
        identity = self._manifest.id
        damage = [Finding(identity, line, ELSEWHERE) for line in restoration.check(thorough=True)]
        if damage:
            return damage
        expected = restoration.scope(self._manifest.proof)
        if self._level != "restore":
            expected = replace(expected, level="none", tables={}, schema_sha256=None, image_sha256=None)
        self._measured = restoration.prove(expected)
        findings = compare(expected, self._measured)
        if self._level == "restore" and self._job.proof.command and not findings:
            findings = self._command(restoration)
        return findings

    def _command(self, restoration: Restoration) -> list[Finding]:
        """The user's own program must find the restored database good."""
        argv = self._job.proof.command
        self._progress.step(f"running {argv[0]}")
        try:
            run(
                Command(
                    tuple(argv),
                    {"DBFLEET_RESTORED": restoration.location(), "DBFLEET_BACKUP": self._manifest.id},
                )
            )
        except ToolError as error:
            return [Finding(self._manifest.id, f"proof.command: {error.message}", "see what the program says")]
        return []

    def _other_forms(self) -> list[Finding]:
        """Every other set of artifacts that is a whole database by itself must build the same one."""
        findings: list[Finding] = []
        if self._manifest.parent:
            return findings
        for form in kind_of(self._manifest).forms(self._manifest.artifacts)[1:]:
            name = ", ".join(artifact.file for artifact in form)
            with self._trial(form) as restoration:
                damage = restoration.check(thorough=True)
                findings += [Finding(name, line, ELSEWHERE) for line in damage]
                if not damage:
                    expected = replace(restoration.scope(self._manifest.proof), image_sha256=None)
                    differing = compare(expected, restoration.prove(expected))
                    findings += [replace(one, object=f"{name}: {one.object}") for one in differing]
        return findings

    def _record(self, started_at: datetime, findings: Sequence[Finding]) -> None:
        finished_at = utc_now()
        record = ProofRecord(
            backup=self._manifest.id,
            manifest_digest=self._manifest.digest,
            level=self._level,
            started_at=started_at,
            finished_at=finished_at,
            ok=not findings,
            findings=tuple(findings),
            measured=self._measured,
            host=host_name(),
        )
        taken = self._catalog.proof_files(self._manifest.id)
        file = names.unused(lambda moment: names.proof_file(self._manifest.id, moment), finished_at, taken)
        self._store.put(file, manifests.encode(record))
