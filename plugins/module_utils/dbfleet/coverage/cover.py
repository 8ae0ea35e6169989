"""Which of the databases that were found are protected by which jobs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..config import Layer, job_from_layer, merge, read_mapping
from ..databases.mysql.address import address_of
from ..databases.postgresql.address import read_address
from ..databases.registry import open_database
from ..databases.sqlite.database import SqliteDatabase
from ..errors import DbfleetError
from ..jobfiles import installed_jobs, read_job_file
from ..model import Finding, Job, Source
from ..stores.file import FileStore
from ..stores.registry import open_store
from .found import Found

LOCAL = ("", "localhost", "127.0.0.1", "::1", "localhost.localdomain")
EVERYTHING = "*"


@dataclass(frozen=True)
class Protection:
    """What one job protects: databases of one engine at one of ``places``, all of them where ``names`` holds ``*``."""

    job: str
    engine: str
    names: frozenset[str]
    places: frozenset[str] = frozenset()
    partly: bool = False  # only some of its tables

    def covers(self, found: Found) -> bool:
        """Whether ``found`` is one of them."""
        if self.engine != found.engine:
            return False
        if found.engine == "sqlite":
            return os.path.normcase(found.name) in map(os.path.normcase, self.names)
        return bool(self.places & found.places) and (EVERYTHING in self.names or found.name in self.names)


@dataclass(frozen=True)
class Covered:
    """A database, the jobs that protect all of it, and those that protect some of its tables."""

    found: Found
    jobs: tuple[str, ...]
    partly: tuple[str, ...]


def jobs_of(given: Sequence[Mapping[str, Any]], environ: Mapping[str, str]) -> tuple[list[Job], list[Finding]]:
    """The jobs that were ``given`` and those installed on this host, and what is wrong with some of them."""
    jobs: dict[str, Job] = {}
    problems: list[Finding] = []
    wanted: list[tuple[str, Optional[Mapping[str, Any]]]] = [(str(one.get("name", "?")), one) for one in given]
    wanted += [(name, None) for name in installed_jobs(environ)]
    for name, one in wanted:
        try:
            job = job_from_layer(_layer(name, one, environ))
        except DbfleetError as error:
            problems.append(Finding(f"job {name}", error.message, error.remedy))
            continue
        jobs.setdefault(job.name, job)
    return list(jobs.values()), problems


def _layer(name: str, given: Optional[Mapping[str, Any]], environ: Mapping[str, str]) -> Layer:
    if given is None:
        return read_job_file(name, environ)
    layer = read_mapping({key: value for key, value in given.items() if key != "job"}, where=f"job {name}")
    installed = given.get("job")
    return merge([layer, read_job_file(str(installed), environ)]) if installed else layer


def protections(jobs: Iterable[Job], hosts: Sequence[str] = ()) -> tuple[list[Protection], list[Finding]]:
    """What ``jobs`` protect on this host, which is also known as ``hosts``."""
    local = {*LOCAL, *_names_of_this_host(), *(name.lower() for name in hosts)}
    made: list[Protection] = []
    problems: list[Finding] = []
    for job in jobs:
        if job.source is None:
            continue
        try:
            made += _protection(job, local)
        except DbfleetError as error:
            problems.append(Finding(f"job {job.name}", error.message, error.remedy))
    return made, problems


def _protection(job: Job, local: set[str]) -> list[Protection]:
    source = job.source
    if source is None:
        return []
    database = open_database(source, job.method)
    if isinstance(database, SqliteDatabase):
        return [Protection(job.name, "sqlite", frozenset({database.path}), partly=bool(source.tables))]
    partly = bool(source.tables or source.schemas)
    bare = database.source  # with the scheme alone, and without the password, which is not needed here
    if database.engine == "mysql":
        address = address_of(Source(bare.url))
        places = {f"socket {os.path.realpath(address.socket)}"} if address.socket else {f"port {address.port}"}
        here, named = bool(address.socket) or address.host.lower() in local, address.database
    else:
        given = read_address(Source(bare.url)).parameters
        host, port = given.get("host") or given.get("hostaddr") or "", given.get("port") or "5432"
        places = {f"socket {os.path.realpath(host)}:{port}"} if host.startswith("/") else {f"port {port}"}
        here = host.startswith("/") or host.lower() in local
        named = given.get("dbname") or given.get("user", "")
    if not here:
        return []
    names = {EVERYTHING} if job.method == "physical" else set(source.databases) or {named}
    return [Protection(job.name, database.engine, frozenset(names), frozenset(places), partly)]


def _names_of_this_host() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0]}


def compare(found: Iterable[Found], made: Sequence[Protection]) -> list[Covered]:
    """For each database the jobs that protect it, those without any first."""
    covered = [
        Covered(
            one,
            tuple(sorted({each.job for each in made if each.covers(one) and not each.partly})),
            tuple(sorted({each.job for each in made if each.covers(one) and each.partly})),
        )
        for one in found
    ]
    return sorted(covered, key=lambda one: (bool(one.jobs), one.found.engine, one.found.shown, one.found.name))


def repositories(jobs: Iterable[Job]) -> list[str]:
    """Folders in which jobs keep backups: what is in there is no database to protect."""
    folders = []
    for job in jobs:
        try:
            store = open_store(job.repository.url)
        except DbfleetError:
            continue  # what is wrong with it is told when the job runs
        if isinstance(store, FileStore):
            folders.append(store.root)
    return folders
