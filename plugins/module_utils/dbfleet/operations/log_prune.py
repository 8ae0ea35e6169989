"""The part of ``prune`` that removes log: exactly what no kept backup needs to be brought forward to now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..catalog import Catalog
from ..databases.log_formats import log_format_of
from ..errors import BusyError, DbfleetError, NotFoundError
from ..log_catalog import LogShelf, read_logs
from ..log_records import LogRecord
from ..model import Job, Manifest, Removal
from .log_needs import needless
from .log_sweep import sweep_shelf

RULE = "no kept backup needs this log"


@dataclass(frozen=True)
class LogPlan:
    """Records of log files that can go, the oldest first."""

    going: tuple[LogRecord, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Stored bytes of what goes."""
        return sum(record.artifact.size_bytes for record in self.going)

    def removals(self) -> tuple[Removal, ...]:
        """For the prune's record."""
        return tuple(Removal(record.file, record.digest, RULE) for record in self.going)

    def to_json(self) -> dict[str, int]:
        """How many files go, and their stored bytes."""
        return {"files": len(self.going), "size_bytes": self.size_bytes}


def plan_log(job: Job, catalog: Catalog, kept: Collection[str]) -> LogPlan:
    """What can go when the backups ``kept`` stay.

    Nothing goes while a manifest cannot be read, or where no usable backup of the newest server stays.
    """
    try:
        shelves = read_logs(catalog.store, job.name)
    except NotFoundError:
        return LogPlan()
    if not shelves or catalog.unreadable:
        return LogPlan()
    backups = [catalog.manifests[one] for one in kept if one in catalog.manifests]
    return LogPlan(tuple(record for shelf in shelves.values() for record in _needless(shelf, backups)))


def _needless(shelf: LogShelf, backups: list[Manifest]) -> list[LogRecord]:
    found = []
    for name in [*shelf.names(), *shelf.unfinished()]:
        try:
            found.extend(shelf.pieces(name))
        except DbfleetError:
            return []  # what cannot be read is not judged
    if not found:
        return []
    form = log_format_of(found[0].engine)
    going = needless(form, shelf, backups)
    return sorted((one for one in found if one.name in going), key=lambda record: form.sort_key(record.name))


def remove_log(job: Job, catalog: Catalog, plan: LogPlan) -> None:
    """Remove what was planned, each record before its artifact; then sweep, unless an archiver runs that does it."""
    store = catalog.store
    for record in plan.going:
        store.remove(record.file)
        store.remove(record.artifact.file)
    try:
        with store.lock(f"{job.name}.log"):
            for shelf in read_logs(store, job.name).values():
                sweep_shelf(shelf)
    except BusyError:
        return
