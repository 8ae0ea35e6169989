"""The job that a command line is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ..config import job_from_layer, merge, name_from_url, read_environment
from ..errors import NotFoundError, UsageError
from ..model import Job
from ..urls import without_credentials
from .parse import Request


def job_of(request: Request, environ: Mapping[str, str]) -> Job:
    """The job of a request: options, environment, job file, defaults, strongest first.

    Raises ``UsageError`` and ``NotFoundError`` that say what to give. The name may be empty for
    verbs that only look at a repository.
    """
    layers = [request.layer, read_environment(environ)]
    if request.get("job"):
        from ..jobfiles import read_job_file

        layers.append(read_job_file(request.get("job"), environ))
    layer = merge(layers)
    named = re.fullmatch(r"(?:.*[/\\])?([a-z0-9_-]+)_backup_\d{8}_\d{6}(\..*)?", request.argument or "")
    if named and "name" not in layer and not name_from_url(layer.get("source.url", "")):
        layer["name"] = named[1]
    if "repository.url" not in layer:
        from ..jobfiles import installed_jobs

        jobs = ", ".join(installed_jobs(environ))
        or_job = f", or --job with one of {jobs}" if jobs else ""
        raise UsageError("no repository is given", f"give --repository or set BACKUP_DIR{or_job}")
    return job_from_layer(layer, name_needed=request.verb is not None and request.verb.name_needed)


def names_there(job: Job) -> list[str]:
    """The names of the jobs whose backups the repository holds.

    Raises ``NotFoundError`` for a repository that is not there.
    """
    from ..names import of_backup
    from ..operations.lookup import open_repository

    owned = (of_backup(entry.name) for entry in open_repository(job).entries())
    return sorted({each.job for each in owned if each is not None})


def with_name(job: Job) -> Job:
    """``job``, if it has a name, or with the only one that the repository knows."""
    if job.name:
        return job
    names = names_there(job)
    if not names:
        raise NotFoundError(
            f"{without_credentials(job.repository.url)} holds no backups", "check --repository, or take a backup"
        )
    if len(names) > 1:
        raise UsageError(
            f"{without_credentials(job.repository.url)} holds backups of {', '.join(names)}", "give --name"
        )
    return replace(job, name=names[0])
