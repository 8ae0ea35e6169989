"""The whole question: which databases of this host does no job protect?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Optional

from ..model import Finding
from .cover import Covered, compare, jobs_of, protections, repositories
from .found import Search, search_mysql, search_postgresql, search_sqlite
from .logins import search_by_logins, search_usual_ports

SQLITE_PATHS = ("/srv", "/opt", "/var/lib", "/var/www")
WINDOWS_SQLITE_PATHS = (r"%ProgramData%", r"%SystemDrive%\srv", r"%SystemDrive%\inetpub")
WINDOWS_SQLITE_EXCLUDE = (r"%ProgramData%\Microsoft", r"%ProgramData%\Package Cache")  # Windows' own
POSTGRESQL_FOLDERS = ("/var/run/postgresql", "/tmp")
MYSQL_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")


@dataclass(frozen=True)
class Scope:
    """Where to look, and for whom. ``None`` stands for the usual places of the system."""

    jobs: Sequence[Mapping[str, Any]] = ()  # besides those that are installed
    hosts: Sequence[str] = ()
    sqlite_paths: Optional[Sequence[str]] = None
    sqlite_exclude: Sequence[str] = ()
    postgresql_folders: Optional[Sequence[str]] = None
    postgresql_user: str = "postgres"
    mysql_sockets: Optional[Sequence[str]] = None
    mysql_user: str = "root"
    ignore: Sequence[str] = ()


@dataclass(frozen=True)
class Survey:
    """What was found: each database with its jobs, those without any first; and what could not be looked into."""

    covered: Sequence[Covered]
    problems: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether everything could be seen, and all of it is protected."""
        return not self.problems and all(one.jobs for one in self.covered)

    def to_json(self) -> dict[str, Any]:
        """``{"protected": […], "unprotected": […], "problems": […]}``, as the module ``coverage_info`` returns them."""
        return {
            "protected": [{**_shown(one), "jobs": list(one.jobs)} for one in self.covered if one.jobs],
            "unprotected": [{**_shown(one), "partly": list(one.partly)} for one in self.covered if not one.jobs],
            "problems": [asdict(one) for one in self.problems],
        }


def survey(scope: Scope, environ: Mapping[str, str]) -> Survey:
    """Look at this host. What fails is among the problems."""
    jobs, wrong_jobs = jobs_of(scope.jobs, environ)
    made, wrong_sources = protections(jobs, scope.hosts)
    search = Search()
    if os.name != "nt":  # servers there have ports only, or sockets without a login of the system's
        user = scope.postgresql_user if os.geteuid() == 0 else None
        search_postgresql(search, _given(scope.postgresql_folders, POSTGRESQL_FOLDERS), user)
        search_mysql(search, _given(scope.mysql_sockets, MYSQL_SOCKETS), scope.mysql_user)
    search_by_logins(search, jobs, made)
    search_usual_ports(search)
    search_sqlite(search, *_sqlite_places(scope, repositories(jobs)))
    found = [one for one in search.found if not any(fnmatchcase(one.name, each) for each in scope.ignore)]
    return Survey(compare(found, made), (*wrong_jobs, *wrong_sources, *search.problems))


def _given(values: Optional[Sequence[str]], usual: Sequence[str]) -> Sequence[str]:
    return usual if values is None else values


def _sqlite_places(scope: Scope, kept: Sequence[str]) -> tuple[list[str], list[str]]:
    """Where to look for SQLite databases, and what to leave out; of the usual places those that are there."""
    if scope.sqlite_paths is not None:
        return list(scope.sqlite_paths), [*scope.sqlite_exclude, *kept]
    windows = os.name == "nt"
    usual = map(os.path.expandvars, WINDOWS_SQLITE_PATHS if windows else SQLITE_PATHS)
    left_out = map(os.path.expandvars, WINDOWS_SQLITE_EXCLUDE if windows else ())
    return [path for path in usual if os.path.isdir(path)], [*scope.sqlite_exclude, *left_out, *kept]


def _shown(one: Covered) -> dict[str, str]:
    return {"engine": one.found.engine, "name": one.found.name, "server": one.found.shown}
