"""Log archives of MariaDB servers: every event that the server wrote, whatever happens to the archiver."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "binlog_conformance")

from binlog_conformance import (  # noqa: E402
    BinlogConformance,
    BinlogLab,
    position,
    same_as_on_the_server,
    shelf_of,
    wait_until_kept,
)
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql_copies import copied, data_of, everything, job_of, started  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import a_room  # noqa: E402

from dbfleet.errors import SourceError, UsageError  # noqa: E402
from dbfleet.model import Job, LogSettings, ProofPolicy, Source  # noqa: E402
from dbfleet.operations.log_archive import run  # noqa: E402
from dbfleet.operations.log_status import status  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.targets import Target  # noqa: E402

__all__ = ["own_state"]


@pytest.fixture
def source() -> Iterator[Server]:
    server = copied("--binlog-format=ROW")
    yield server
    server.remove()


def log_job(server: Server, repository: Path) -> Job:
    return job_of(server, repository, proof=ProofPolicy("none"), log_archive=LogSettings(max_lag=1))


def write(server: Server, number: int, rows: int = 200) -> None:
    server.script("app", f"CREATE TABLE noise{number} AS SELECT seq, repeat('{number}', 50) AS t FROM seq_1_to_{rows}")


class MariadbLab(BinlogLab):
    server: Server

    def __init__(self, server: Server) -> None:
        self.server = server

    def job(self, repository: Path) -> Job:
        return log_job(self.server, repository)

    def data(self) -> Path:
        return data_of(self.server)

    def write(self, number: int, rows: int = 200) -> None:
        write(self.server, number, rows)


class TestMariadb(BinlogConformance):
    @pytest.fixture
    def lab(self, source: Server) -> BinlogLab:
        return MariadbLab(source)


def test_what_is_kept_brings_a_backup_forward(source: Server, tmp_path: Path) -> None:
    """Every byte that the server wrote; and a restored backup becomes the server as it was at a chosen event."""
    job = log_job(source, tmp_path / "backups")
    with archiver(job):
        write(source, 0)
        source.ask("FLUSH BINARY LOGS")
        manifest = made(job)  # beside the archiver
        write(source, 1)
        source.script("app", "FLUSH BINARY LOGS", "DELETE FROM items WHERE id > 100")
        expected, until = everything(source), position(source)
        source.script("app", "DROP TABLE items")
        wait_until_kept(job, source)
        facts = status(job)["log_archive"]
        assert facts["findings"] == [] and facts["gaps"] == [] and facts["lag_bytes"] == 0
        assert facts["earliest"] < facts["latest"]
        (reach,) = facts["backups"]
        assert reach["id"] == manifest.id and reach["missing"] is None
    with pytest.raises(UsageError, match="knows no lsn"):
        restore(job, "latest", to=str(tmp_path / "data"), target=Target("lsn", "0/1"))
    names = same_as_on_the_server(job, data_of(source), tmp_path)
    assert len(names) == 3 and len(shelf_of(job).names()) == 2
    with a_room() as room:
        restore(job, "latest", to=str(room / "data"))
        with started(room / "data") as restored:
            first = [name.endswith(manifest.position["binlog_file"]) for name in names].index(True)
            logs = [str(tmp_path / name) for name in names[first:]]
            file, _mark, offset = until.partition(":")
            assert logs[-1].endswith(file)
            words = [f"--start-position={manifest.position['binlog_offset']}", f"--stop-position={offset}"]
            events = subprocess.run(["mariadb-binlog", "--no-defaults", *words, *logs], check=True, capture_output=True)
            restored.client(stdin=events.stdout)
            assert everything(restored) == expected


def test_what_cannot_be_archived_is_refused(source: Server, tmp_path: Path) -> None:
    source.script("app", "CREATE USER keeper@localhost", "GRANT BINLOG MONITOR ON *.* TO keeper@localhost")
    url = f"mysql://keeper@localhost/?unix_socket={source.socket}"
    job = log_job(source, tmp_path / "backups")
    poor = Job(job.name, job.repository, Source(url), method="physical", log_archive=job.log_archive)
    stop, told = threading.Event(), []

    def tell(line: str) -> None:
        told.append(line)
        if "REPLICATION" in line:
            stop.set()

    thread = threading.Thread(target=run, args=(poor,), kwargs={"stop": stop, "tell": tell})
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and any("REPLICATION" in line for line in told), told
    source.script("app", "REVOKE BINLOG MONITOR ON *.* FROM keeper@localhost")
    with pytest.raises(SourceError, match="BINLOG MONITOR|privilege"):
        run(poor)
    silent = Server("--skip-log-bin")
    try:
        with pytest.raises(SourceError, match="writes no binary log"):
            run(log_job(silent, tmp_path / "other"))
    finally:
        silent.remove()
