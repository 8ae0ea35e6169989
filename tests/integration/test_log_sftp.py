"""Log archives on an SFTP server: killed archivers, a server that goes and comes, an account that may only add."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from log_archivers import archiver, shelf_of
from postgresql_clusters import cluster, content, started
from postgresql_logs import KEEPS, SMALL, archiver_process, log_job, wait_until_kept, write_log
from postgresql_server import Server, ask, own_state, wait_until
from rooms import room
from sftp_server import SftpServer
from sftp_server import server as sftp_server

from dbfleet.model import Job, Repository
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.targets import target_of

__all__ = ["own_state", "room"]


def here(server: SftpServer, source: Server, path: str) -> Job:
    """The same repository, seen as the folder that it is at the server."""
    return log_job(source, server.root / path)


@pytest.mark.parametrize("key", ["full", "append_only"])
def test_log_goes_on_and_brings_back_a_moment(key: str, room: Path, tmp_path: Path) -> None:
    with sftp_server() as server, cluster(settings=KEEPS, initdb=SMALL) as source:
        local = here(server, source, "repository")
        job = replace(local, repository=Repository(server.url(), **server.access(key)))
        options = ["--repository-identity-file", job.repository.identity_file or ""]
        options += ["--repository-known-hosts-file", job.repository.known_hosts_file or ""]
        process = archiver_process(job, tmp_path / "state", *options)
        wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
        backup(job)
        write_log(source, 0)
        wait_until_kept(local, source)
        write_log(source, 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with archiver(replace(job, limits=replace(job.limits, lock_wait=90))) as told:
            wait_until_kept(local, source)
            server.stop()
            write_log(source, 2)
            wait_until(lambda: len(told) > 0, 30)
            server.start()
            wait_until_kept(local, source)
            ask(source.source("app"), "UPDATE items SET amount = amount + 1")
            expected = content(source, source.source("app"))
            ask(source.source(), "SELECT pg_sleep(0.05)")
            ((moment,),) = ask(source.source(), "SELECT clock_timestamp()::text")
            ask(source.source("app"), "UPDATE items SET amount = 0")
            wait_until_kept(local, source)
        superseded = list(shelf_of(local).superseded())
        assert bool(superseded) == (key == "append_only")
        restore(job, "latest", to=str(room / "data"), target=target_of(time=moment))
        with started(source, room / "data") as restored:
            assert content(source, restored) == expected
