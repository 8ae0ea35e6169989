"""What each verb does: one call of an operation, and its answer in both forms.

Operations are imported where a verb needs them, so that a listing does not load a restore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Union

from ..errors import UsageError
from ..model import Job
from ..progress import Progress
from ..urls import without_credentials
from .jobs import with_name
from .parse import Request
from .style import Style

FINDINGS = 3  # exit code: a check found a problem


class Answer(NamedTuple):
    """What a verb answers: the JSON document (or what makes it), the lines for people, the exit code."""

    document: Union[Mapping[str, Any], Callable[[], Mapping[str, Any]]]
    lines: Callable[[Style], list[str]]
    exit_code: int = 0


def backup(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet backup``."""
    from ..operations.backup import backup as run
    from . import render

    report = run(job, dry_run=bool(request.get("dry_run")), progress=progress)
    if report.manifest is None:
        return Answer(report.to_json(), lambda style: render.plan(report.plan))
    manifest = report.manifest
    return Answer(report.to_json(), lambda style: render.backup(manifest))


def list_(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet list``; without a name, the backups of every job in the repository."""
    from .listing import every_row, told

    rows = every_row(job)
    return Answer(
        lambda: {"backups": [row.to_json() for row in rows]},
        lambda style: told(rows, without_credentials(job.repository.url), style),
    )


def show(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet show``."""
    from ..operations.lookup import find
    from . import render

    found = find(with_name(job), str(request.argument))
    document = found.to_json()
    if found.manifest is None:
        return Answer({"backup": document}, lambda style: render.document(document))
    manifest = found.manifest
    return Answer({"backup": document}, lambda style: render.show(manifest, found.state, found.reason, style))


def restore(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet restore``."""
    if job.source is None and not request.get("to"):
        raise UsageError(
            "there is no database to restore to", "give --to URL, or the source with --source or DATABASE_URL"
        )
    from ..operations.restore import restore as run
    from ..targets import target_of
    from . import render
    from .pairs import read_pairs

    report = run(
        with_name(job),
        str(request.argument),
        to=request.get("to"),
        tables=tuple(request.get("table") or ()),
        replace=bool(request.get("replace")),
        target=target_of(
            time=request.get("target_time"),
            lsn=request.get("target_lsn"),
            xid=request.get("target_xid"),
            name=request.get("target_name"),
            position=request.get("target_position"),
            gtid=request.get("target_gtid"),
            inclusive=not request.get("target_exclusive"),
            action=request.get("target_action") or "promote",
            timeline=request.get("target_timeline"),
        ),
        tablespaces=read_pairs("--tablespace-map", request.get("tablespace_map") or ()),
        dry_run=bool(request.get("dry_run")),
        progress=progress,
    )
    document = report.to_json()
    if "plan" in document:
        return Answer(document, lambda style: render.plan(document["plan"]))
    return Answer(document, lambda style: render.restored(document["restored"]))


def verify(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet verify``."""
    from ..operations.verify import to_verify
    from ..operations.verify import verify as run
    from . import render

    job, wanted = with_name(job), str(request.argument)
    if request.get("dry_run"):
        ids = to_verify(job, wanted)
        return Answer({"would_verify": ids}, lambda style: [f"would check {one}" for one in ids])
    results = run(job, wanted, str(request.get("level")), progress=progress)
    document = {"results": [result.to_json() for result in results]}
    code = 0 if all(result.ok for result in results) else FINDINGS
    return Answer(document, lambda style: render.verified(results, style), code)


def prune(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet prune``."""
    from ..operations.prune import prune as run
    from . import render

    dry_run = bool(request.get("dry_run"))
    document = run(job, dry_run=dry_run, progress=progress).to_json()
    return Answer(document, lambda style: render.pruned(document, dry_run, style))


def sync(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet sync``."""
    from . import sync_action

    return sync_action.sync(request, job, progress)


def log_archive(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive``."""
    from . import log_actions

    action = log_actions.ACTIONS[str(request.argument)]
    given = [name for name in ("kind", "table", "text", "since", "until") if request.get(name)]
    if given and action is not log_actions.find:
        raise UsageError(f"--{given[0]} is for log-archive find", "leave it out")
    return action(request, job, progress)


ACTIONS: Mapping[str, Callable[[Request, Job, Progress], Answer]] = {
    "backup": backup,
    "list": list_,
    "show": show,
    "restore": restore,
    "verify": verify,
    "prune": prune,
    "sync": sync,
    "log-archive": log_archive,
}
