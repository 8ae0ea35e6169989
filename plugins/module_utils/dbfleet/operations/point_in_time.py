"""Planning a restore to a moment: which backup, which log, and whether the target can be reached at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional

from ..catalog import Catalog
from ..databases.log_formats import log_format_of
from ..databases.logs import LogFormat, Recovery
from ..errors import RefusedError, UsageError
from ..log_catalog import LogShelf
from ..log_records import LogRecord
from ..model import Job, Manifest
from ..stores.base import Store
from ..targets import Target
from ..units import to_text, utc_now
from .log_files import choose_shelf, engine_of, write_file
from .log_needs import usable
from .log_status import Reach, reach_of, reaches

ANY = "latest"  # the word for a backup that leaves the choice to us


@dataclass(frozen=True)
class Plan:
    """The backup to begin with, and the log that leads from it to the target."""

    backup: Manifest
    recovery: Recovery
    records: tuple[LogRecord, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON fields for people and programs."""
        line = self.recovery.line
        return {
            "target": str(self.recovery.target),
            "timeline": line.timeline,
            "log_files": len({record.name for record in self.records}),
            "log_from": line.names[0] if line.names else None,
            "log_to": self.records[-1].name if self.records else None,
            "log_bytes": sum(record.artifact.size_bytes for record in self.records),
        }


def plan(job: Job, store: Store, catalog: Catalog, wanted: str, target: Target) -> Plan:
    """How ``target`` is reached from the backup ``wanted``, or for ``latest`` from the one that is nearest to it.

    Raises ``RefusedError`` that says what can be reached, where the target cannot.
    """
    form = log_format_of(engine_of(job))
    shelf = choose_shelf(job, store, form)
    if wanted == ANY:
        candidates = list(reaches(form, shelf, catalog, target.timeline))
    else:
        backup = catalog.find(wanted)
        if not usable(form, backup):
            raise UsageError(
                f"no log can be applied to {backup.id}", f"name another backup: log begins with {form.begins_with}"
            )
        candidates = [reach_of(form, shelf, backup, target.timeline)]
    for reach in reversed(candidates):
        form.require(target, reach.backup)
        if _is_within(form, shelf, reach, target):
            return _plan(job, store, form, shelf, reach, target)
    raise RefusedError(f"{target} cannot be reached{_why(target)}", _what_can(form, candidates, target))


def _plan(job: Job, store: Store, form: LogFormat, shelf: LogShelf, reach: Reach, target: Target) -> Plan:
    records = tuple(_until(shelf, reach, target))
    for record in records:
        if shelf.misfit(record):
            raise RefusedError(
                f"{target} cannot be reached: {record.artifact.file} is missing or has another size",
                "push it again, or restore to a moment before it",
            )

    def fetch(name: str, path: str) -> None:
        write_file(job, shelf, name, path)

    may_end = target.moment is not None and reach.latest is not None and target.moment <= reach.latest
    notes = list(target.notes)
    if target.kind in form.searched:
        notes.append("whether this transaction is in the log is found out while it is applied")
    recovery = Recovery(target, reach.line, reach.backup.position, fetch, may_end)
    return Plan(reach.backup, recovery, records, tuple(notes))


def _until(shelf: LogShelf, reach: Reach, target: Target) -> Iterator[LogRecord]:
    """The log files up to the one that holds the target, where their times tell; those in pieces piece by piece."""
    for name in reach.line.names:
        pieces = shelf.pieces(name)
        yield from pieces
        begun = pieces[-1].first_time
        if target.moment is not None and begun is not None and begun > target.moment:
            return


def _is_within(form: LogFormat, shelf: LogShelf, reach: Reach, target: Target) -> bool:
    if target.kind == "time" and target.moment is not None:
        return reach.earliest <= target.moment and reach.latest is not None and target.moment <= reach.latest
    return form.holds(shelf, reach.backup.position, reach.line, reach.end, target)


def _why(target: Target) -> str:
    if target.moment is not None and target.moment > utc_now():
        return ": it is in the future"
    if target.kind == "end":
        return " without a gap"
    return ""


def _what_can(form: LogFormat, candidates: list[Reach], target: Target) -> str:
    if not candidates:
        return f"no backup is followed by log: take {form.begins_with} while the archiver runs"
    told = [_span(reach.earliest, reach.latest, reach) for reach in candidates[-3:]]
    more = f" (and {len(candidates) - 3} earlier backups)" if len(candidates) > 3 else ""
    latest = max((reach.latest for reach in candidates if reach.latest is not None), default=None)
    beyond = target.moment is not None and latest is not None and latest < target.moment
    end = "; the end of the log is the time latest" if beyond else ""
    return f"what can be reached: {'; '.join(told)}{more}{end}"


def _span(earliest: datetime, latest: Optional[datetime], reach: Reach) -> str:
    gap = f", where {reach.line.missing} is missing" if reach.line.missing else ""
    until = f"to {to_text(latest)} (position {reach.end})" if latest is not None else "no further"
    return f"from {to_text(earliest)} {until} with {reach.backup.id}{gap}"
