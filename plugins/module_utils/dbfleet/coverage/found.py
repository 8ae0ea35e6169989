"""Databases that are on this host: servers by their sockets, SQLite databases by what their files begin with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable, Optional

from ..databases.mysql.address import Address as MysqlAddress
from ..databases.mysql.server import Session
from ..databases.postgresql.address import Address as PostgresqlAddress
from ..databases.postgresql.address import import_driver
from ..databases.postgresql.connection import connect
from ..databases.postgresql.side import CONTENT
from ..errors import DbfleetError, UsageError
from ..model import Finding

SQLITE_MAGIC = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, 1.2
# What a restore builds beside its target, and what it keeps of what it replaced.
OURS = re.compile(
    r".*_before_restore_\d{8}_\d{6}(_\d+)?|.*\.replaced-\d{8}T\d{6}Z(-\d+)?"
    r"|dbfleet_restore_[0-9a-f]{12}|.*_dbfleet_[0-9a-f]{8}",
    re.DOTALL,
)
POSTGRESQL_SOCKET = re.compile(r"\.s\.PGSQL\.(\d+)")
# Where PostgreSQL's clusters are: that of one which is stopped has no socket.
CLUSTERS = ("/var/lib/postgresql", "/var/lib/pgsql")
VIRTUAL = ("proc", "sys", "dev", "run")


@dataclass(frozen=True)
class Found:
    """One database: ``engine``, its ``name`` (an SQLite database's path) and the ``places`` by which jobs name it."""

    engine: str
    name: str
    places: frozenset[str] = frozenset()
    shown: str = ""  # the server, for people


@dataclass
class Search:
    """What was found, and where nothing could be seen. ``asked``: engines and places of servers, seen into or not."""

    found: list[Found] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def knows(self, engine: str, places: Iterable[str]) -> bool:
        """Whether one of ``places`` of a server was asked already."""
        return any((engine, place) in self.asked for place in places)

    def failed(self, what: str, error: DbfleetError) -> None:
        """Note what could not be looked into."""
        self.problems.append(Finding(what, error.message, error.remedy))


def search_postgresql(search: Search, folders: Sequence[str], user: Optional[str]) -> None:
    """Databases of every cluster with a socket in ``folders``, asked as the account ``user`` of this host."""
    seen: set[str] = set()
    for folder in folders:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for match in filter(None, map(POSTGRESQL_SOCKET.fullmatch, names)):
            socket = os.path.realpath(os.path.join(folder, match[0]))
            if socket in seen:
                continue
            seen.add(socket)
            search.asked.update(("postgresql", place) for place in _places(folder, match[1]))
            try:
                search.found += _of_cluster(folder, match[1], user)
            except DbfleetError as error:
                search.failed(f"PostgreSQL at {folder}, port {match[1]}", error)
    for data in _stopped_clusters():
        search.problems.append(Finding(data, "this cluster of PostgreSQL does not run", "start it, or remove it"))


def _places(folder: str, port: str) -> frozenset[str]:
    return frozenset({f"port {port}", f"socket {os.path.realpath(folder)}:{port}"})


def _of_cluster(folder: str, port: str, user: Optional[str]) -> Iterator[Found]:
    from ..accounts.acting import acting_as  # not on Windows

    import_driver()
    address = PostgresqlAddress({"host": folder, "port": port, "dbname": "postgres"})
    with acting_as(user):
        connection = connect(address)
    with connection:
        names = connection.databases()
    places = _places(folder, port)
    for name in names:
        if name == "postgres":
            with acting_as(user):
                main = connect(address)
            with main:
                if not main.value(CONTENT):
                    continue
        if not OURS.fullmatch(name):
            yield Found("postgresql", name, places, f"PostgreSQL, port {port}")


def _stopped_clusters() -> Iterator[str]:
    """Data folders of clusters without a postmaster."""
    for root in CLUSTERS:
        for folder, folders, files in os.walk(root):
            if "PG_VERSION" in files and "global" in folders:
                if "postmaster.pid" not in files:
                    yield folder
                folders.clear()
            elif folder.count("/") - root.count("/") >= 3:
                folders.clear()


def search_mysql(search: Search, sockets: Sequence[str], user: str) -> None:
    """Databases of every server with one of the ``sockets``, asked as its account ``user``."""
    seen: set[str] = set()
    for socket in map(os.path.realpath, sockets):
        if socket in seen or not os.path.exists(socket):
            continue
        seen.add(socket)
        search.asked.add(("mysql", f"socket {socket}"))
        try:
            with Session(MysqlAddress(socket=socket, user=user)) as session:
                flavour, port = session.version().shown.partition(" ")[0], session.variable("port")
                names = session.databases()
        except DbfleetError as error:
            search.failed(f"MySQL or MariaDB at {socket}", error)
            continue
        places = frozenset({f"port {port}", f"socket {socket}"})
        search.asked.add(("mysql", f"port {port}"))
        shown = f"{flavour}, port {port}" if port != "0" else f"{flavour}, {socket}"
        search.found += [Found("mysql", name, places, shown) for name in names if not OURS.fullmatch(name)]


def search_sqlite(search: Search, paths: Sequence[str], left_out: Sequence[str]) -> None:
    """Files under ``paths`` that are SQLite databases, but for those under ``left_out``. Links are not followed."""
    outside = {os.path.realpath(path) for path in left_out}
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        search.problems.append(Finding(str(error.filename), f"it cannot be read: {error.strerror}"))

    for top in map(os.path.realpath, paths):
        if not os.path.exists(top):
            search.failed(top, UsageError("it is not there", "correct the paths of the search"))
            continue
        files: Iterator[str] = iter([top]) if os.path.isfile(top) else _files(top, outside, unreadable)
        for path in files:
            if path not in seen and not OURS.fullmatch(os.path.basename(path)) and _is_sqlite(path, unreadable):
                seen.add(path)
                search.found.append(Found("sqlite", path))


def _files(top: str, outside: set[str], unreadable: Callable[[OSError], None]) -> Iterator[str]:
    for folder, folders, files in os.walk(top, onerror=unreadable):
        if folder == "/":
            folders[:] = [name for name in folders if name not in VIRTUAL]
        folders[:] = sorted(name for name in folders if os.path.join(folder, name) not in outside)
        if folder not in outside:
            yield from (os.path.join(folder, name) for name in sorted(files))


def _is_sqlite(path: str, unreadable: Callable[[OSError], None]) -> bool:
    try:
        if not os.path.isfile(path) or os.path.islink(path):
            return False
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return os.read(descriptor, len(SQLITE_MAGIC)) == SQLITE_MAGIC
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return False  # it went meanwhile
    except OSError as error:
        unreadable(error)
        return False
