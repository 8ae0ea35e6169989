"""The part of ``sync`` that copies log: what the backups of the other repository need to be brought forward.

An archiver may write into the source meanwhile: a piece that a longer one took the place of is looked
for again. Files without a record stay at the target where a record will come: what an
interrupted copy brought is read there, and not brought again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Optional

from .. import log_records, manifests
from ..databases.log_formats import log_format_of
from ..databases.logs import LogFormat
from ..errors import BusyError, DamagedError, DbfleetError, NotFoundError, RefusedError, UsageError
from ..log_catalog import LogShelf, read_logs
from ..log_records import LogRecord
from ..model import Finding, Job, Manifest
from ..stores.base import Store
from .copying import REMOVE_ONE, Copier
from .log_needs import needless
from .log_sweep import archiving, remove_records, sweep_shelf

ROUNDS = 3  # how often what changed meanwhile is looked for again
AGAIN = "remove it there with its record, and sync again"
TROUBLE = (DamagedError, manifests.NewerSchemaError, NotFoundError)  # of one file: the others go on


@dataclass
class LogCopies:
    """Log files that were copied, or would be, their stored bytes, and how many were there already."""

    files: int = 0
    size_bytes: int = 0
    present: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, int]:
        """``{"files", "size_bytes", "present"}``."""
        return {"files": self.files, "size_bytes": self.size_bytes, "present": self.present}


@dataclass
class _Plan:
    """What the shelf ``there`` lacks of another one, the oldest first."""

    there: LogShelf
    going: list[LogRecord] = field(default_factory=list)
    present: int = 0
    findings: list[Finding] = field(default_factory=list)


def plan_copies(job: Job, source: Store, target: Store, backups: Collection[Manifest]) -> LogCopies:
    """What :func:`copy_logs` would do."""
    copies = LogCopies()
    for plan in _plans(job, source, target, backups):
        copies.files += len(plan.going)
        copies.size_bytes += sum(record.artifact.size_bytes for record in plan.going)
        copies.present += plan.present
        copies.findings += plan.findings
    return copies


def copy_logs(job: Job, source: Store, target: Store, backups: Collection[Manifest], copier: Copier) -> LogCopies:
    """Copy the log that ``backups``, those of the target, need; all of it where that cannot be told.

    What cannot be copied is a finding, and the rest goes on. Raises what the target's storage raises.
    """
    copies = LogCopies()
    if not read_logs(source, job.name):
        return copies
    try:
        with archiving(job, target):
            for turn in range(ROUNDS):
                plans = list(_plans(job, source, target, backups))
                copier.check_room(sum(record.artifact.size_bytes for plan in plans for record in plan.going))
                copies.findings = [finding for plan in plans for finding in plan.findings]
                if turn == 0:
                    copies.present = sum(plan.present for plan in plans)
                settled = [_copy_all(plan, source, copier, copies) for plan in plans]
                if all(settled):
                    break
    except BusyError as error:
        copies.findings.append(Finding(log_records.folder(job.name), f"not copied: {error.message}", error.remedy))
    return copies


# --- what to copy ------------------------------------------------------------------------------


def _plans(job: Job, source: Store, target: Store, backups: Collection[Manifest]) -> Iterator[_Plan]:
    try:
        shelves = read_logs(target, job.name)
    except NotFoundError:
        shelves = {}
    for lineage, here in sorted(read_logs(source, job.name).items()):
        yield _plan(here, shelves.get(lineage) or LogShelf(target, job.name, lineage, {}), backups)


def _plan(here: LogShelf, there: LogShelf, backups: Collection[Manifest]) -> _Plan:
    plan = _Plan(there)
    form = _format(here, plan.findings)
    if form is None or not _is_same_log(form, here, there, plan.findings):
        return plan
    left_out = needless(form, here, backups)
    for name in sorted({*here.names(), *here.unfinished()} - left_out, key=form.sort_key):
        try:
            if _is_there(here, there, name):
                plan.present += 1
            else:
                plan.going += [record for record in here.pieces(name) if not there.holds(record)]
        except RefusedError as error:
            plan.findings.append(Finding(name, error.message, error.remedy))
        except TROUBLE as error:
            if name in {*here.names(), *here.unfinished()}:
                plan.findings.append(_not_copied(name, error))
    return plan


def _format(here: LogShelf, findings: list[Finding]) -> Optional[LogFormat]:
    """The format of a shelf, as the first record says that can be read."""
    for name in [*here.names(), *here.unfinished()]:
        try:
            return log_format_of(here.record(name).engine)
        except UsageError as error:
            findings.append(_not_copied(name, error))
            return None
        except TROUBLE:
            continue
    findings.append(Finding(here.lineage, "not copied: no record of this log can be read", "see its storage"))
    return None


def _is_same_log(form: LogFormat, here: LogShelf, there: LogShelf, findings: list[Finding]) -> bool:
    """Whether both shelves are of one archive: each record carries the digest of the one before."""
    common = [name for name in set(here.names()) & set(there.names()) if form.kind(name) == "segment"]
    for name in sorted(common, key=form.sort_key, reverse=True):
        try:
            if here.record(name).digest == there.record(name).digest:
                return True
        except TROUBLE:
            continue
        findings.append(Finding(name, "not copied: the target has another log archive of this server", REMOVE_ONE))
        return False
    return True


def _is_there(here: LogShelf, there: LogShelf, name: str) -> bool:
    """Whether the target has as much of a file; ``RefusedError`` where what it has is not whole."""
    length = here.length(name)
    if name not in there.names():
        if length is None or name not in there.unfinished():
            return False
        kept = there.length(name)
        if kept is not None and kept < length:
            return False
    try:
        records = there.pieces(name) if not _looks_alike(here, there, name) else []
    except (DamagedError, manifests.NewerSchemaError) as error:
        raise RefusedError(f"at the target: {error.message}", AGAIN) from error
    for record in records:
        if problem := there.misfit(record):
            raise RefusedError(f"at the target: {record.artifact.file} {problem}", AGAIN)
    return True


def _looks_alike(here: LogShelf, there: LogShelf, name: str) -> bool:
    """Whether both listings show the same files of a name, which spares reading a record of each."""
    return here.sizes(name) == there.sizes(name) != {}


def _not_copied(name: str, error: DbfleetError) -> Finding:
    return Finding(name, f"not copied: {error.message}", error.remedy)


# --- copying -----------------------------------------------------------------------------------


def _copy_all(plan: _Plan, source: Store, copier: Copier, copies: LogCopies) -> bool:
    """Carry ``plan`` out; false where something was not in its place any more and should be looked for."""
    there = plan.there
    sweep_shelf(there, spared={record.artifact.file for record in plan.going})
    settled = True
    for record in plan.going:
        try:
            copier.copy_log(record, there=record.artifact.file.rpartition("/")[2] in there.files)
        except TROUBLE as error:
            if isinstance(error, NotFoundError) and _gone(source, record):
                settled = False
            else:
                copies.findings.append(_not_copied(record.name, error))
            continue
        except RefusedError as error:
            copies.findings.append(_not_copied(record.name, error))
            continue
        there.put(record)
        copies.files += 1
        copies.size_bytes += record.artifact.size_bytes
        remove_records(there, there.superseded(record.name))
    return settled


def _gone(store: Store, record: LogRecord) -> bool:
    """Whether a longer piece, the finished file or a prune took the record away since it was read."""
    try:
        store.read(record.file)
    except NotFoundError:
        return True
    return False
