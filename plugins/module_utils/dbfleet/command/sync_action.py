"""What ``dbfleet sync`` does."""

from __future__ import annotations

from ..errors import UsageError
from ..model import Job
from ..progress import Progress
from . import render
from .actions import FINDINGS, Answer
from .jobs import with_name
from .parse import Request


def sync(request: Request, job: Job, progress: Progress) -> Answer:
    """``dbfleet sync``."""
    from ..operations.sync import other_login
    from ..operations.sync import sync as run

    if not request.get("to"):
        raise UsageError("sync needs --to", "give the URL of the other repository")
    dry_run = bool(request.get("dry_run"))
    login = other_login(request.get)
    document = run(with_name(job), request.get("to"), login=login, dry_run=dry_run, progress=progress).to_json()
    facts = document["synced"]
    code = FINDINGS if facts["findings"] else 0
    return Answer(document, lambda style: render.synced(facts, dry_run, style), code)
