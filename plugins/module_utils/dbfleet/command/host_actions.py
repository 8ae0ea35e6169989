"""What the verbs do that are about the jobs of a host, not about one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

from ..errors import DbfleetError
from ..model import Job
from .actions import FINDINGS, Answer
from .jobs import job_of, with_name
from .parse import Request


def health(request: Request, environ: Mapping[str, str]) -> Answer:
    """``dbfleet health``: of the job that is named, or of every installed one."""
    from ..operations.health import health_of
    from . import host_render

    found = health_of(_wanted(request, environ))
    return Answer(found.to_json(), lambda style: host_render.health(found, style), 0 if found.ok else FINDINGS)


def check(request: Request, environ: Mapping[str, str]) -> Answer:
    """``dbfleet check``: of the job or the file that is named, or of every installed job."""
    from ..jobfiles import some_installed_jobs
    from . import host_render

    argument = str(request.argument)
    if request.get("job"):
        names = [str(request.get("job"))]
    elif argument == "all":
        names = some_installed_jobs(environ)
    else:
        names = [argument]
    results = [_checked(name, request, environ) for name in names]
    code = 0 if all(result["ok"] for result in results) else FINDINGS
    return Answer({"jobs": results}, lambda style: host_render.checked(results, style), code)


def status(request: Request, environ: Mapping[str, str]) -> Answer:
    """``dbfleet status``."""
    from ..status import runs_of_host, with_text
    from . import host_render

    runs = runs_of_host(request.get("job") or request.layer.get("name"))
    return Answer(lambda: {"runs": with_text(runs)}, lambda style: host_render.status(runs, style))


def coverage(request: Request, environ: Mapping[str, str]) -> Answer:
    """``dbfleet coverage``: the jobs of the host, and those that the request holds."""
    from ..coverage.survey import Scope, survey
    from . import host_render

    scope = Scope(
        jobs=request.jobs,
        hosts=request.get("host") or (),
        sqlite_paths=request.get("sqlite_path"),
        sqlite_exclude=request.get("sqlite_exclude") or (),
        postgresql_folders=request.get("postgresql_folder"),
        postgresql_user=str(request.get("postgresql_user")),
        mysql_sockets=request.get("mysql_socket"),
        mysql_user=str(request.get("mysql_user")),
        ignore=request.get("ignore") or (),
    )
    found = survey(scope, environ)
    return Answer(found.to_json(), lambda style: host_render.coverage(found, style), 0 if found.ok else FINDINGS)


def _wanted(request: Request, environ: Mapping[str, str]) -> Iterator[tuple[str, Union[Job, DbfleetError]]]:
    """The job that the request or the environment describes, else every installed one."""
    from ..config import merge, read_environment
    from ..jobfiles import every_job

    above = merge([request.layer, read_environment(environ)])
    if request.get("job") or "repository.url" in above:
        job = with_name(job_of(request, environ))
        yield job.name, job
    else:
        yield from every_job(above, environ)


def _checked(name: str, request: Request, environ: Mapping[str, str]) -> dict[str, Any]:
    from ..config import merge
    from ..jobfiles import jobs_folder, read_job_file, read_new_job
    from ..operations.check import check as examine

    is_file = name.endswith(".json") or "/" in name or os.sep in name
    path = name if is_file else os.path.join(jobs_folder(environ), name + ".json")
    if is_file:
        name = request.layer.get("name") or os.path.basename(path)[: -len(".json")]
    error = None
    try:
        layer = read_new_job(path, name) if is_file else read_job_file(name, environ)
        examine(merge([request.layer, layer]))
    except DbfleetError as found:
        error = found.to_json()
    return {"job": name, "file": path, "ok": error is None, "error": error}


HOST_ACTIONS: Mapping[str, Callable[[Request, Mapping[str, str]], Answer]] = {
    "check": check,
    "coverage": coverage,
    "health": health,
    "status": status,
}
