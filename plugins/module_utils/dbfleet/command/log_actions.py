"""What ``dbfleet log-archive`` does, and what it tells people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import DbfleetError, NotFoundError, one_line
from ..model import Job
from ..progress import Progress
from ..units import show_size
from .actions import FINDINGS, Answer
from .parse import Request
from .render import document, findings
from .style import Style, counted, pairs, table

STOPS_RECOVERY = 200  # PostgreSQL ends a recovery at exit codes above 125, and takes others for the end of the log


def run(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive run``."""
    from ..operations.log_archive import run as archive

    answer = archive(job, tell=_tell, progress=progress)
    return Answer(answer, lambda style: document(answer["stopped"]))


def _tell(text: str) -> None:
    """What the keeper of a service's journal must see, whether there is a terminal or not."""
    sys.stderr.write(f"dbfleet: {one_line(text)}\n")
    sys.stderr.flush()


def push(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive push FILE``; says nothing, because a server calls it."""
    from ..operations.log_files import push as keep

    answer = keep(job, request.more[0])
    return Answer(answer, lambda style: [])


def fetch(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive fetch NAME FILE``: what it could not find out must not look like the end of the log."""
    from ..operations.log_files import fetch as get

    try:
        answer = get(job, *request.more)
    except NotFoundError:
        raise
    except DbfleetError as error:
        error.exit_code = STOPS_RECOVERY
        raise
    return Answer(answer, lambda style: [])


def status(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive status``."""
    from ..operations.log_status import status as look

    answer = look(job)
    facts = answer["log_archive"]
    return Answer(answer, lambda style: _told(facts, style), FINDINGS if facts["findings"] else 0)


def _told(facts: Mapping[str, Any], style: Style) -> list[str]:
    lag = facts["lag_seconds"]
    archiver = facts["archiver"] or {}
    behind = "" if facts["lag_bytes"] is None else f", {show_size(facts['lag_bytes'])}"
    lines = pairs(
        [
            ("server", facts["lineage"]),
            ("kept", f"{counted(facts['files'], 'file')}, {show_size(facts['size_bytes'])}"),
            ("earliest", facts["earliest"] or "nothing can be restored with it yet"),
            ("latest", facts["latest"] or ""),
            ("end", facts["end"] or ""),
            ("behind", "" if lag is None else f"{lag} s{behind}"),
            ("server keeps", "" if facts["retained_bytes"] is None else show_size(facts["retained_bytes"])),
            ("archiver", f"{archiver.get('state')}, {archiver.get('at')}" if archiver else "not on this host"),
        ]
    )
    rows = [(one["id"], one["earliest"], one["latest"] or "-", one["missing"] or "-") for one in facts["backups"]]
    if rows:
        lines += ["", *table(("BACKUP", "FROM", "TO", "MISSING"), rows, style)]
    told = findings(facts["findings"])
    return [one_line(line) if not line.startswith(" ") else line for line in [*lines, *([""] if told else []), *told]]


def find(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet log-archive find``."""
    from ..databases.logs import Wanted
    from ..operations.log_search import find as search
    from ..targets import read_time

    kinds = frozenset(kind.lower() for kind in request.get("kind") or ())
    wanted = Wanted(kinds, request.get("table"), request.get("text"))
    since, until = (read_time(text)[0] if (text := request.get(name)) else None for name in ("since", "until"))
    answer = search(job, wanted, since=since, until=until)
    return Answer(answer, lambda style: _found(answer))


def _found(answer: Mapping[str, Any]) -> list[str]:
    lines = []
    for one in answer["found"]:
        name = one["transaction"]
        lines += pairs(
            [
                ("transaction", f"{name or 'without a GTID'} at {one['position']}, {one['time']}"),
                *(("changes", change) for change in one["changes"]),
                *(("statement", text) for text in one["statements"]),
                ("just before it", f"--target-position {one['position']}"),
            ]
        )
        lines.append("")
    if not lines:
        return ["the log archive has no such transaction"]
    if answer["more"]:
        lines += [f"{answer['more']} earlier ones are not shown: give --until, or ask for less"]
    return [one_line(line) for line in lines]


ACTIONS: Mapping[str, Callable[[Request, Job, Progress], Answer]] = {
    "run": run,
    "push": push,
    "fetch": fetch,
    "status": status,
    "find": find,
}
