"""Log archives of MariaDB servers: every event that the server wrote, whatever happens to the archiver."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies")

from conformance_jobs import made  # noqa: E402
from log_archivers import archiver, archiver_command  # noqa: E402
from mysql_copies import copied, data_of, everything, job_of, started, wait_until  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import a_room  # noqa: E402

from dbfleet.databases.mysql.binlog_format import name_of  # noqa: E402
from dbfleet.errors import SourceError, UsageError  # noqa: E402
from dbfleet.log_catalog import LogShelf, read_logs  # noqa: E402
from dbfleet.model import Job, LogSettings, ProofPolicy, Source  # noqa: E402
from dbfleet.operations.log_archive import run  # noqa: E402
from dbfleet.operations.log_files import fetch  # noqa: E402
from dbfleet.operations.log_status import status  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.sync import sync  # noqa: E402
from dbfleet.stores.registry import open_store  # noqa: E402
from dbfleet.targets import Target  # noqa: E402

__all__ = ["own_state"]

IN_USE = 4 + 17  # the byte of a file's head that says that the server still writes it; it is sent as if it did not


@pytest.fixture
def source() -> Iterator[Server]:
    server = copied("--binlog-format=ROW")
    yield server
    server.remove()


def log_job(server: Server, repository: Path) -> Job:
    return job_of(server, repository, proof=ProofPolicy("none"), log_archive=LogSettings(max_lag=1))


def shelf_of(job: Job) -> LogShelf:
    (shelf,) = read_logs(open_store(job.repository.url), job.name).values()
    return shelf


def position(server: Server) -> str:
    ((file, offset, *_rest),) = server.ask("SHOW MASTER STATUS")
    return f"{file}:{offset}"


def kept_up_to(job: Job) -> str:
    if not os.path.isdir(os.path.join(job.repository.url, "app_log")):
        return ""
    for shelf in read_logs(open_store(job.repository.url), job.name).values():
        names = sorted({*shelf.names(), *shelf.unfinished()}, key=name_of)
        if names:
            return shelf.record(names[-1]).end
    return ""


def wait_until_kept(job: Job, server: Server) -> None:
    wait_until(lambda: kept_up_to(job) == position(server), 90)


def same_as_on_the_server(job: Job, server: Server, folder: Path) -> list[str]:
    """Compare what the archive gives back with the files that the server has; their names in the archive."""
    shelf = shelf_of(job)
    compared = []
    for name in sorted({*shelf.names(), *shelf.unfinished()}, key=name_of):
        path = data_of(server) / name_of(name).on_server  # type: ignore[union-attr]
        fetch(job, name, str(folder / name))
        given = bytearray((folder / name).read_bytes())
        if not path.exists():
            continue
        written = bytearray(path.read_bytes())
        written[IN_USE] = given[IN_USE] = 0
        if given == written[: len(given)]:
            compared.append(name)
            assert name not in shelf.names() or given == written
    return compared


def write(server: Server, number: int, rows: int = 200) -> None:
    server.script("app", f"CREATE TABLE noise{number} AS SELECT seq, repeat('{number}', 50) AS t FROM seq_1_to_{rows}")


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
    names = same_as_on_the_server(job, source, tmp_path)
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


def test_a_copy_of_the_archive_is_the_same(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    with archiver(job):
        made(job)
        write(source, 0)
        source.ask("FLUSH BINARY LOGS")
        write(source, 1)
        wait_until_kept(job, source)
    offsite = tmp_path / "offsite"
    report = sync(job, str(offsite))
    assert report.findings == () and report.log.files == 2
    here, there = (
        {path.name: path.read_bytes() for path in (repository / "app_log").rglob("*") if path.is_file()}
        for repository in (tmp_path / "backups", offsite)
    )
    assert here == there
    copy = status(log_job(source, offsite))["log_archive"]
    original = status(job)["log_archive"]
    assert {**copy, "repository": ""} == {**original, "repository": ""}


def test_an_archiver_that_is_killed_goes_on_without_a_gap(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    for turn in range(3):
        process = archiver_command(job, tmp_path / "state")
        if turn:
            wait_until(lambda: source.ask("SELECT 1 FROM information_schema.processlist WHERE command = 'Binlog Dump'"))
        for number in range(turn):
            write(source, 10 * turn + number)
            source.ask("FLUSH BINARY LOGS")
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = archiver_command(job, tmp_path / "state")
    wait_until((tmp_path / "backups" / "app_log").is_dir)
    wait_until_kept(job, source)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert len(same_as_on_the_server(job, source, tmp_path)) == 4
    assert shelf_of(job).orphans() == [] and list(shelf_of(job).superseded()) == []


def test_a_server_that_dies_and_comes_back_leaves_no_gap(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    with archiver(job):
        write(source, 0)
        wait_until_kept(job, source)
        source.kill()
        source.start()
        write(source, 1)
        wait_until_kept(job, source)
    assert len(same_as_on_the_server(job, source, tmp_path)) == 2


def test_numbers_that_begin_anew_are_kept_beside_the_old_ones(source: Server, tmp_path: Path) -> None:
    """RESET MASTER while the archiver runs, and while it is away."""
    job = log_job(source, tmp_path / "backups")
    with archiver(job) as told:
        write(source, 0)
        source.ask("FLUSH BINARY LOGS")
        made(job)
        wait_until_kept(job, source)
        wait_for_another_second(source)
        source.ask("RESET MASTER")
        write(source, 1)
        wait_until_kept(job, source)
        assert any("began anew" in line for line in told)
        assert len(status(job)["log_archive"]["backups"]) == 1  # up to where the old numbers ended
    wait_for_another_second(source)
    source.ask("RESET MASTER")
    write(source, 2, rows=300)
    made(job)
    with archiver(job) as told:
        wait_until_kept(job, source)
        assert any("began anew" in line for line in told)
        facts = status(job)["log_archive"]
        assert facts["findings"] == [] and facts["gaps"] == []
        assert [one["end"] == position(source) for one in facts["backups"]] == [False, True]
    names = [name_of(name) for name in {*shelf_of(job).names(), *shelf_of(job).unfinished()}]
    assert len({name.epoch for name in names if name}) == 3


def wait_for_another_second(server: Server) -> None:
    """The numbers of a log are told apart by the second in which they began."""
    ((now,),) = server.ask("SELECT unix_timestamp()")
    wait_until(lambda: server.ask("SELECT unix_timestamp()") > [(now + 1,)])


def test_log_that_was_purged_is_a_gap_that_is_told(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    made(job)
    with archiver(job):
        write(source, 0)
        source.ask("FLUSH BINARY LOGS")
        wait_until_kept(job, source)
    for number in (1, 2, 3):
        write(source, number)
        source.ask("FLUSH BINARY LOGS")
    source.ask("PURGE BINARY LOGS TO 'binlog.000005'")
    with archiver(job) as told:
        wait_until_kept(job, source)
        assert any("has removed binlog.000003" in line for line in told)
        facts = status(job)["log_archive"]
    (gap,) = facts["gaps"]
    assert gap.endswith("-binlog.000003") and any(gap == one["object"] for one in facts["findings"])
    assert facts["backups"][0]["missing"] == gap


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
