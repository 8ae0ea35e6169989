"""Log archives of PostgreSQL servers for tests: archivers in threads and processes, and what they have kept."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from log_archivers import archiver_command
from postgresql_clusters import data_of, job_of
from postgresql_server import Server, ask, wait_until

from dbfleet.databases.postgresql.backup_manifest import read_lsn
from dbfleet.log_catalog import read_logs
from dbfleet.model import Job, LogSettings
from dbfleet.stores.registry import open_store

KEEPS = "wal_keep_size = 1GB\nmax_wal_size = 1GB\n"  # so that tests can compare what was kept with what was written


SMALL = ("--wal-segsize=1",)  # log files of 1 MiB


def log_job(server: Server, repository: Path, **changed: Any) -> Job:
    """A physical job whose log is at most a second behind."""
    return job_of(server, repository, log_archive=LogSettings(max_lag=1), **changed)


def switched(server: Server) -> str:
    """The segment that the server has just finished."""
    ((after,),) = ask(server.source(), "SELECT pg_switch_wal()")
    last = read_lsn(after) - 1  # from 17 on the first byte of a segment belongs to it
    ((name,),) = ask(server.source(), f"SELECT pg_walfile_name('{last >> 32:X}/{last & 0xFFFFFFFF:X}')")
    return str(name)


def archiver_process(job: Job, state: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command itself, to be killed."""
    assert job.source is not None and job.source.tools is not None
    more = ["--source-tools", job.source.tools, "--limits-timeout", "1s"]  # no limit of a service
    return archiver_command(job, state, *more, *options)


def kept_up_to(job: Job) -> int:
    """The position up to which the archive has log; 0 where it has none."""
    shelves = list(read_logs(open_store(job.repository.url), job.name).values())
    names = [name for shelf in shelves for name in {*shelf.names(), *shelf.unfinished()} if len(name) == 24]
    return read_lsn(shelves[0].record(max(names, key=lambda name: name[8:])).end) if names else 0


def position(server: Server) -> int:
    """Up to where the server has written its log."""
    ((lsn,),) = ask(server.source(), "SELECT pg_current_wal_flush_lsn()::text")
    return read_lsn(lsn)


def wait_until_kept(job: Job, server: Server) -> None:
    """Until everything that the server has committed by now is in the archive.

    The end of what is kept is that of the last bytes which are not zero, so it may lie a little before the
    server's: a message longer than that, which says nothing, follows the last commit. Its own commit waits for the
    disk, which the servers of the tests do not ask of any other.
    """
    ask(server.source(), "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', repeat('x', 200))")
    wanted = position(server) - 64
    wait_until(lambda: kept_up_to(job) >= wanted, 60)


def wal_of(server: Server) -> Path:
    return data_of(server) / "pg_wal"


def write_log(server: Server, number: int, rows: int = 5000) -> None:
    """A few MiB of log in a table of its own."""
    ask(
        server.source("app"),
        f"CREATE TABLE noise{number} AS SELECT i, md5(i::text) || repeat('{number}', 100) AS t "
        f"FROM generate_series(1, {rows}) i",
    )
