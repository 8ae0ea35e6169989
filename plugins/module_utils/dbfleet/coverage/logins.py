"""Servers that are known by a port of this host: asked with the logins of jobs, or told of where there is none."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from ..databases.mysql.address import DEFAULT_PORT as MYSQL_PORT
from ..databases.mysql.address import address_of
from ..databases.mysql.server import Session
from ..databases.postgresql.address import read_address
from ..databases.postgresql.connection import maintenance
from ..errors import DbfleetError
from ..model import Finding, Job
from .cover import Protection
from .found import OURS, Found, Search

POSTGRESQL_PORT = 5432
USUAL_PORTS = {"postgresql": POSTGRESQL_PORT, "mysql": MYSQL_PORT}
SERVERS = {"postgresql": "PostgreSQL", "mysql": "MySQL or MariaDB"}
KNOCK = 2.0  # seconds


def search_by_logins(search: Search, jobs: Iterable[Job], made: Sequence[Protection]) -> None:
    """Databases of the servers that ``jobs`` reach by a port of this host, where no socket led to them.

    Only those that the login of the job may see. ``made``: what the jobs protect here.
    """
    by_name = {job.name: job for job in jobs}
    failed: dict[tuple[str, frozenset[str]], tuple[str, DbfleetError]] = {}
    for one in made:
        if one.engine not in USUAL_PORTS or search.knows(one.engine, one.places):
            continue
        shown = f"{SERVERS[one.engine]}, {', '.join(sorted(one.places))}"
        try:
            names = _databases(one.engine, by_name[one.job])
        except DbfleetError as error:
            failed.setdefault((one.engine, one.places), (shown, error))
            continue
        search.found += [Found(one.engine, name, one.places, shown) for name in names if not OURS.fullmatch(name)]
        search.asked.update((one.engine, place) for place in one.places)
    for (engine, places), (shown, failure) in failed.items():
        if not search.knows(engine, places):  # by the login of another job
            search.failed(shown, failure)
            search.asked.update((engine, place) for place in places)


def _databases(engine: str, job: Job) -> list[str]:
    source = job.source
    if source is None:
        return []
    if engine == "mysql":
        with Session(address_of(source).at("")) as session:
            return session.databases()
    with maintenance(read_address(source)) as connection:
        return [name for name in connection.databases() if name != "postgres"]


def search_usual_ports(search: Search) -> None:
    """Where something listens on the usual port of a server and nothing else led to one: that nobody knows of it."""
    for engine, port in USUAL_PORTS.items():
        if any(asked == engine for asked, _place in search.asked) or not _listens(port):
            continue
        search.problems.append(
            Finding(
                f"port {port}",
                f"something listens there, as {SERVERS[engine]} does, and nothing leads into it",
                "give it a job with a login, or name the place of its socket",
            )
        )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), KNOCK).close()
    except OSError:
        return False
    return True
