"""What a log archive of any MySQL or MariaDB server survives: one suite for both flavours."""

from __future__ import annotations

import abc
import os
import signal
from pathlib import Path

import pytest
from conformance_jobs import made
from log_archivers import archiver, archiver_command, shelf_of
from mysql_server import AnyServer
from waiting import wait_until

from dbfleet.databases.mysql.binlog_format import name_of
from dbfleet.log_catalog import read_logs
from dbfleet.model import Job
from dbfleet.operations.log_files import fetch
from dbfleet.operations.log_status import status
from dbfleet.operations.sync import sync
from dbfleet.stores.registry import open_store

IN_USE = 4 + 17  # the byte of a file's head that says that the server still writes it; it is sent as if it did not


def position(server: AnyServer) -> str:
    ((file, offset, *_rest),) = server.ask(server.log_status)
    return f"{file}:{offset}"


def kept_up_to(job: Job) -> str:
    if not os.path.isdir(os.path.join(job.repository.url, "app_log")):
        return ""
    for shelf in read_logs(open_store(job.repository.url), job.name).values():
        names = sorted({*shelf.names(), *shelf.unfinished()}, key=name_of)
        if names:
            return shelf.record(names[-1]).end
    return ""


def wait_until_kept(job: Job, server: AnyServer) -> None:
    wait_until(lambda: kept_up_to(job) == position(server), 90)


def same_as_on_the_server(job: Job, data: Path, folder: Path) -> list[str]:
    """Compare what the archive gives back with the files that the server has; their names in the archive."""
    shelf = shelf_of(job)
    compared = []
    for name in sorted({*shelf.names(), *shelf.unfinished()}, key=name_of):
        path = data / name_of(name).on_server  # type: ignore[union-attr]
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


def wait_for_another_second(server: AnyServer) -> None:
    """The numbers of a log are told apart by the second in which they began."""
    ((now,),) = server.ask("SELECT unix_timestamp()")
    wait_until(lambda: server.ask("SELECT unix_timestamp()") > [(now + 1,)])


class BinlogLab(abc.ABC):
    """A server of one flavour, whose database ``app`` may be written to."""

    server: AnyServer

    @abc.abstractmethod
    def job(self, repository: Path) -> Job:
        """A job whose backups the log can be applied to, and whose archiver looks every second."""

    @abc.abstractmethod
    def data(self) -> Path:
        """Where the server's log is."""

    @abc.abstractmethod
    def write(self, number: int, rows: int = 200) -> None:
        """Write ``rows`` rows, to a table of that number."""


class BinlogConformance:
    """Every event that the server wrote, whatever happens to the archiver and the server; what is lost is told."""

    @pytest.fixture
    def lab(self) -> BinlogLab:
        raise NotImplementedError

    def test_a_copy_of_the_archive_is_the_same(self, lab: BinlogLab, tmp_path: Path) -> None:
        source, job = lab.server, lab.job(tmp_path / "backups")
        with archiver(job):
            made(job)
            lab.write(0)
            source.ask("FLUSH BINARY LOGS")
            lab.write(1)
            wait_until_kept(job, source)
        offsite = tmp_path / "offsite"
        report = sync(job, str(offsite))
        assert report.findings == () and report.log.files == 2
        here, there = (
            {path.name: path.read_bytes() for path in (repository / "app_log").rglob("*") if path.is_file()}
            for repository in (tmp_path / "backups", offsite)
        )
        assert here == there
        copy = status(lab.job(offsite))["log_archive"]
        original = status(job)["log_archive"]
        assert {**copy, "repository": ""} == {**original, "repository": ""}

    def test_an_archiver_that_is_killed_goes_on_without_a_gap(self, lab: BinlogLab, tmp_path: Path) -> None:
        source, job = lab.server, lab.job(tmp_path / "backups")
        for turn in range(3):
            process = archiver_command(job, tmp_path / "state")
            if turn:
                wait_until(
                    lambda: source.ask("SELECT 1 FROM information_schema.processlist WHERE command = 'Binlog Dump'")
                )
            for number in range(turn):
                lab.write(10 * turn + number)
                source.ask("FLUSH BINARY LOGS")
            process.send_signal(signal.SIGKILL)
            process.wait()
        process = archiver_command(job, tmp_path / "state")
        wait_until((tmp_path / "backups" / "app_log").is_dir)
        wait_until_kept(job, source)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert len(same_as_on_the_server(job, lab.data(), tmp_path)) == 4
        assert shelf_of(job).orphans() == [] and list(shelf_of(job).superseded()) == []

    def test_a_server_that_dies_and_comes_back_leaves_no_gap(self, lab: BinlogLab, tmp_path: Path) -> None:
        source, job = lab.server, lab.job(tmp_path / "backups")
        with archiver(job):
            lab.write(0)
            wait_until_kept(job, source)
            source.kill()
            source.start()
            lab.write(1)
            wait_until_kept(job, source)
        assert len(same_as_on_the_server(job, lab.data(), tmp_path)) == 2

    def test_numbers_that_begin_anew_are_kept_beside_the_old_ones(self, lab: BinlogLab, tmp_path: Path) -> None:
        """RESET MASTER while the archiver runs, and while it is away."""
        source, job = lab.server, lab.job(tmp_path / "backups")
        with archiver(job) as told:
            lab.write(0)
            source.ask("FLUSH BINARY LOGS")
            made(job)
            wait_until_kept(job, source)
            wait_for_another_second(source)
            source.ask(source.log_reset)
            lab.write(1)
            wait_until_kept(job, source)
            assert any("began anew" in line for line in told)
            assert len(status(job)["log_archive"]["backups"]) == 1  # up to where the old numbers ended
        wait_for_another_second(source)
        source.ask(source.log_reset)
        lab.write(2, rows=300)
        made(job)
        with archiver(job) as told:
            wait_until_kept(job, source)
            assert any("began anew" in line for line in told)
            facts = status(job)["log_archive"]
            assert facts["findings"] == [] and facts["gaps"] == []
            assert [one["end"] == position(source) for one in facts["backups"]] == [False, True]
        names = [name_of(name) for name in {*shelf_of(job).names(), *shelf_of(job).unfinished()}]
        assert len({name.epoch for name in names if name}) == 3

    def test_log_that_was_purged_is_a_gap_that_is_told(self, lab: BinlogLab, tmp_path: Path) -> None:
        source, job = lab.server, lab.job(tmp_path / "backups")
        made(job)
        with archiver(job):
            lab.write(0)
            source.ask("FLUSH BINARY LOGS")
            wait_until_kept(job, source)
        for number in (1, 2, 3):
            lab.write(number)
            source.ask("FLUSH BINARY LOGS")
        source.ask("PURGE BINARY LOGS TO 'binlog.000005'")
        with archiver(job) as told:
            wait_until_kept(job, source)
            assert any("has removed binlog.000003" in line for line in told)
            facts = status(job)["log_archive"]
        (gap,) = facts["gaps"]
        assert gap.endswith("-binlog.000003") and any(gap == one["object"] for one in facts["findings"])
        assert facts["backups"][0]["missing"] == gap
