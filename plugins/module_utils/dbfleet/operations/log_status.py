"""``log-archive status``: how far the log archive reaches, what is missing in it, and how its archiver is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional

from .. import log_status_file
from ..catalog import Catalog, read_catalog
from ..databases.log_formats import log_format_of
from ..databases.logs import Line, LogFormat, ServerState
from ..databases.registry import log_source_of
from ..errors import DbfleetError, NotFoundError
from ..log_catalog import LogShelf
from ..log_records import LogRecord
from ..manifests import finding_json
from ..model import Finding, Job, Manifest
from ..units import parse_duration, show_duration, show_size, to_text, utc_now
from .log_files import choose_shelf, engine_of
from .log_needs import usable
from .lookup import open_repository

SLOT_LIMIT = 10 * 2**30
LATE = 60.0  # seconds behind, at least, that are a finding
SILENT = parse_duration("2m")  # seconds without a word of an archiver that has not said goodbye


@dataclass(frozen=True)
class Reach:
    """From when to when one backup can be restored with the log that follows it; ``line`` is that log."""

    backup: Manifest
    line: Line
    earliest: datetime
    latest: Optional[datetime]
    end: str

    def to_json(self) -> dict[str, Any]:
        """JSON fields."""
        return {
            "id": self.backup.id,
            "earliest": to_text(self.earliest),
            "latest": None if self.latest is None else to_text(self.latest),
            "end": self.end,
            "timeline": self.line.timeline,
            "missing": self.line.missing,
        }


def reach_of(form: LogFormat, shelf: LogShelf, backup: Manifest, timeline: Optional[int] = None) -> Reach:
    """How far the log on ``shelf`` leads on from ``backup``. Raises ``NotFoundError`` where no line of log does."""
    line = form.line(shelf, backup.position, timeline)
    newest = _last_record(shelf, line)
    if newest is None:
        return Reach(backup, line, backup.consistent_at, None, str(backup.position.get("stop_lsn", "")))
    return Reach(backup, line, backup.consistent_at, latest_of(shelf, line), newest.end)


def latest_of(shelf: LogShelf, line: Line) -> Optional[datetime]:
    """The latest moment whose state the log of ``line`` gives.

    Up to when the log was seen to hold nothing more, if it ends with its newest file; else its last commit.
    """
    newest = _last_record(shelf, line)
    if newest is None:
        return None
    if not newest.finished or line.missing is None:
        return max(newest.seen_at, newest.last_time) if newest.last_time else newest.seen_at
    for name in reversed(line.names):
        record = shelf.record(name)
        if record.last_time is not None:
            return record.last_time
    return None


def _last_record(shelf: LogShelf, line: Line) -> Optional[LogRecord]:
    return shelf.record(line.names[-1]) if line.names else None


def reaches(form: LogFormat, shelf: LogShelf, catalog: Catalog, timeline: Optional[int] = None) -> Iterator[Reach]:
    """The reach of every usable backup of the shelf's server that is not known to be bad, the oldest first."""
    bad = catalog.known_bad
    for backup in catalog.manifests.values():
        if backup.id in bad or backup.source.server_identity != shelf.lineage or not usable(form, backup):
            continue
        try:
            yield reach_of(form, shelf, backup, timeline)
        except NotFoundError:
            continue


def status(job: Job) -> dict[str, Any]:
    """``{"log_archive": {…, "findings": […]}}``. Raises ``NotFoundError`` where there is no log archive."""
    form = log_format_of(engine_of(job))
    store = open_repository(job)
    shelf = choose_shelf(job, store, form)
    catalog = read_catalog(store, job.name)
    found = list(reaches(form, shelf, catalog))
    segments = sorted((name for name in shelf.names() if form.kind(name) == "segment"), key=form.sort_key)
    newest = _newest_record(form, shelf)
    server, trouble = _server(job, newest)
    runs = log_status_file.read(job.name)
    findings = [
        *_misfits(shelf),
        *(Finding(name, "it is missing in the log archive", _after_gap(name)) for name in form.gaps(shelf)),
        *trouble,
        *_of_archiver(runs),
        *(_of_server(job, server, runs, _lag(newest, server)) if server is not None else ()),
    ]
    if not found:
        findings.append(
            Finding(
                job.name,
                "no backup of this server can be brought forward by the log",
                f"take {form.begins_with}",
            )
        )
    facts = {
        "lineage": shelf.lineage,
        "repository": store.url,
        "files": len(segments),
        "size_bytes": shelf.size_bytes,
        "first": segments[0] if segments else None,
        "last": newest.name if newest is not None else None,
        "end": newest.end if newest is not None else None,
        "earliest": to_text(found[0].earliest) if found else None,
        "latest": next((to_text(one.latest) for one in reversed(found) if one.latest is not None), None),
        "lag_seconds": _lag(newest, server),
        "lag_bytes": server.behind_bytes if server is not None else None,
        "retained_bytes": server.retained_bytes if server is not None else None,
        "archiver": runs,
        "backups": [one.to_json() for one in found],
        "gaps": form.gaps(shelf),
        "findings": [finding_json(finding) for finding in findings],
    }
    return {"log_archive": facts}


def _newest_record(form: LogFormat, shelf: LogShelf) -> Optional[LogRecord]:
    names = [name for name in {*shelf.names(), *shelf.unfinished()} if form.kind(name) == "segment"]
    return shelf.record(max(names, key=form.sort_key)) if names else None


def _lag(newest: Optional[LogRecord], server: Optional[ServerState]) -> Optional[float]:
    """Seconds since the log was last seen to hold no more than the archive; 0 where the server has no more."""
    if newest is None or server is None:
        return None
    if not server.behind_bytes:
        return 0.0
    return round(max(timedelta(0), utc_now() - newest.seen_at).total_seconds(), 1)


def _server(job: Job, newest: Optional[LogRecord]) -> tuple[Optional[ServerState], list[Finding]]:
    if job.source is None:
        return None, []
    try:
        source = log_source_of(job.source, job.name, job.log_archive)
        return source.state(newest.end if newest is not None else None), []
    except DbfleetError as error:
        return None, [Finding("server", error.message, error.remedy)]


def _of_server(
    job: Job, server: ServerState, runs: Optional[dict[str, Any]], lag: Optional[float]
) -> Iterator[Finding]:
    """Findings of the server; what only an archiver needs is asked where one ran on this host."""
    if runs is not None and server.retained_bytes is None:
        yield Finding("server", "it keeps no log for the archiver", "start it: dbfleet log-archive run makes its slot")
    if runs is not None and lag is not None and lag > max(LATE, 6 * job.log_archive.max_lag):
        yield Finding(
            "archive",
            f"it is {show_duration(lag)} behind the server, and log_archive.max_lag is "
            f"{show_duration(job.log_archive.max_lag)}",
            "see what the archiver says of itself",
        )
    for problem in server.problems:
        yield Finding("server", problem, "start the archiver, and take a backup if log was lost")
    limit = job.log_archive.slot_limit or SLOT_LIMIT
    if server.retained_bytes is not None and server.retained_bytes > limit:
        yield Finding(
            "server",
            f"it keeps {show_size(server.retained_bytes)} of log for the archiver, more than log_archive.slot_limit "
            f"({show_size(limit)})",
            "see why the archiver does not fetch it, or drop the slot before the server's disk is full",
        )


def _of_archiver(runs: Optional[dict[str, Any]]) -> Iterator[Finding]:
    """Findings of the archiver of this host, where one ran."""
    if runs is None:
        return
    for error in runs.get("errors", ()):
        yield Finding("archiver", str(error.get("message")), str(error.get("remedy", "")))
    if runs.get("state") == "stopped":
        yield Finding("archiver", f"it was stopped at {runs.get('at')}", "start it: dbfleet log-archive run")
        return
    try:
        heard = datetime.fromisoformat(str(runs.get("at")).replace("Z", "+00:00"))
    except ValueError:
        return
    silent = (utc_now() - heard).total_seconds()
    if silent > SILENT:
        yield Finding(
            "archiver", f"it was not heard of for {show_duration(silent)}", "start it: dbfleet log-archive run"
        )


def _misfits(shelf: LogShelf) -> Iterator[Finding]:
    """Log files whose artifact is missing or of another size."""
    for name in sorted([*shelf.names(), *shelf.unfinished()]):
        try:
            pieces = shelf.pieces(name)
        except DbfleetError as error:
            yield Finding(name, error.message, error.remedy)
            continue
        for record in pieces:
            if problem := shelf.misfit(record):
                yield Finding(name, f"{record.artifact.file} {problem}", _after_gap(name))


def _after_gap(name: str) -> str:
    return f"push {name} if a server still has it; else take a backup: what lies behind cannot be reached"
