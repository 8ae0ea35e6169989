"""The jobs that are installed on this host: ``/etc/dbfleet/jobs.d/NAME.json``.

``DBFLEET_CONFIG_DIR`` stands for ``/etc/dbfleet``. A job file can name programs to run, so one
that somebody else could have written is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, Union

from .config import Layer, check_name, job_from_layer, merge, read_mapping
from .errors import DbfleetError, NotFoundError, UsageError
from .model import Job


def jobs_folder(environ: Mapping[str, str]) -> str:
    """The folder of the job files."""
    base = environ.get("DBFLEET_CONFIG_DIR")
    if not base and os.name == "nt":
        base = os.path.join(environ.get("ProgramData") or "C:\\ProgramData", "dbfleet")
    return os.path.join(base or "/etc/dbfleet", "jobs.d")


def installed_jobs(environ: Mapping[str, str]) -> list[str]:
    """Names of the installed jobs, sorted; empty where there is no folder."""
    try:
        files = os.listdir(jobs_folder(environ))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(file[:-5] for file in files if file.endswith(".json") and not file.startswith("."))


def some_installed_jobs(environ: Mapping[str, str]) -> list[str]:
    """Names of the installed jobs. Raises ``UsageError`` where there are none."""
    found = installed_jobs(environ)
    if not found:
        raise UsageError(
            f"no job is installed on this host: {jobs_folder(environ)} has none", "install one, or name its repository"
        )
    return found


def read_job_file(name: str, environ: Mapping[str, str]) -> Layer:
    """The checked values of the installed job ``name``.

    Raises ``NotFoundError`` when there is none, ``UsageError`` when the file is not JSON, not a
    job, of another name, or writable by others than its owner.
    """
    check_name(name, called="job")
    path = os.path.join(jobs_folder(environ), name + ".json")
    return _layer(path, name, _read(path, name, environ))


def read_new_job(path: str, name: str) -> Layer:
    """As :func:`read_job_file`, of a file that is yet to be installed as ``name``; anybody may own it."""
    check_name(name, called="name")
    try:
        with open(path, "rb") as file:
            return _layer(name + ".json", name, file.read())
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", "name a job file, or an installed job") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "run as a user who may read it") from None


def every_job(
    stronger: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Union[Job, DbfleetError]]]:
    """Every installed job by name, or why it cannot be had; ``stronger`` is over what its file says.

    Raises ``UsageError`` where there are none.
    """
    for name in some_installed_jobs(environ):
        try:
            yield name, job_from_layer(merge([stronger, read_job_file(name, environ)]))
        except DbfleetError as error:
            yield name, error


def _layer(where: str, name: str, data: bytes) -> Layer:
    layer = read_mapping(_parse(where, data), where=where)
    if layer.setdefault("name", name) != name:
        raise UsageError(f"{where} holds a job named {layer['name']!r}", f"rename the file, or set name to {name}")
    return layer


def _read(path: str, name: str, environ: Mapping[str, str]) -> bytes:
    try:
        with open(path, "rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            return file.read()
    except FileNotFoundError:
        there = ", ".join(installed_jobs(environ)) or "none"
        raise NotFoundError(f"no job {name!r} is installed: {path} is missing", f"installed: {there}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "run as its owner or as root") from None


def _check_owner(path: str, status: os.stat_result) -> None:
    if os.name == "nt":
        return  # its mode says nothing there; access lists are the administrator's
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{path} can be written by others than its owner", f"chmod go-w {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{path} belongs to another user (uid {status.st_uid})", f"chown root {path}")


def _parse(path: str, data: bytes) -> Mapping[str, Any]:
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            names = [name for name, _value in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"{twice!r} stands twice in {path}", "keep one of the two")
        return mapping

    try:
        mapping = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is not JSON: {error}", "correct the file") from None
    if not isinstance(mapping, dict):
        raise UsageError(f"{path} is not a JSON object", "write {} with the keys of a job")
    return mapping
