"""Log archives of PostgreSQL: every byte that the server wrote, whatever happens to the archiver."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from isolation import in_child
from log_archivers import archiver, shelf_of
from postgresql_clusters import cluster
from postgresql_logs import (
    KEEPS,
    SMALL,
    archiver_process,
    log_job,
    switched,
    wait_until_kept,
    wal_of,
    write_log,
)
from postgresql_server import Server, ask, own_state, wait_until

from dbfleet import log_status_file
from dbfleet.audit_log import AuditLog
from dbfleet.errors import BusyError, DamagedError, NotFoundError, RefusedError, UsageError
from dbfleet.model import Compression, Encryption, Job, Repository, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.health import health
from dbfleet.operations.log_archive import run
from dbfleet.operations.log_files import fetch, push
from dbfleet.operations.log_status import status

__all__ = ["own_state"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    with cluster(settings=KEEPS, initdb=SMALL) as server:
        yield server


def same_as_on_the_server(job: Job, server: Server, folder: Path) -> int:
    """Compare what the archive gives back with the files of the server; how many were finished."""
    shelf = shelf_of(job)
    names = [name for name in {*shelf.names(), *shelf.unfinished()} if len(name) == 24]
    for name in names:
        fetch(job, name, str(folder / name))
        given, written = (folder / name).read_bytes(), (wal_of(server) / name).read_bytes()
        kept = shelf.record(name).artifact.raw_size_bytes
        assert len(given) == len(written) and given[:kept] == written[:kept], name
        assert not given[kept:].strip(b"\0")
    assert sorted(names) == [f"{int(min(names), 16) + step:024X}" for step in range(len(names))], "a gap"
    return len([name for name in names if name in shelf.names()])


def test_what_is_kept_is_what_the_server_wrote(source: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("something long enough\n")
    job = log_job(source, tmp_path / "backups", encryption=Encryption("gpg", passphrase_file=str(secret)))
    with archiver(job) as told:
        wait_until(lambda: any("made the replication slot" in line for line in told))
        write_log(source, 0)
        first = switched(source)
        write_log(source, 1)
        wait_until_kept(job, source)
        backup(job)  # beside the archiver
        wait_until_kept(job, source)
        facts = status(job)["log_archive"]
        assert facts["findings"] == [] and facts["gaps"] == [] and facts["archiver"]["state"] == "running"
        assert facts["earliest"] < facts["latest"]
        wait_until(lambda: status(job)["log_archive"]["lag_bytes"] == 0, 60)  # the server writes by itself now and then
        with pytest.raises(BusyError):
            run(replace(job, limits=replace(job.limits, lock_wait=0)))
    assert first in shelf_of(job).names()
    assert same_as_on_the_server(job, source, tmp_path) >= 2
    assert [finding["object"] for finding in status(job)["log_archive"]["findings"]] == ["archiver"]
    told = [f"{finding.object}: {finding.problem}" for finding in health(job, AuditLog("none")).findings]
    assert any(line.startswith("archiver: it was stopped at") for line in told), told
    assert len(os.listdir(log_status_file.spool_of("app", None))) <= 3  # the newest file, and the receiver's lock
    drop_slot(source)


def drop_slot(server: Server) -> None:
    def drop() -> bool:
        ask(server.source(), "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid > 0")
        ask(
            server.source(),
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE active_pid IS NULL",
        )
        return not ask(server.source(), "SELECT 1 FROM pg_replication_slots")

    wait_until(drop)


def test_an_archiver_that_is_killed_goes_on_without_a_gap(source: Server, tmp_path: Path) -> None:
    """At several moments: as soon as it runs, while files finish, while it stores; its receiver outlives it."""
    job = log_job(source, tmp_path / "backups")
    for turn in range(4):
        process = archiver_process(job, tmp_path / "state")
        if turn:
            wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
        for number in range(turn):
            write_log(source, 10 * turn + number)
            switched(source)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = archiver_process(job, tmp_path / "state")
    wait_until((tmp_path / "backups" / "app_log").is_dir, 60)
    wait_until_kept(job, source)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert same_as_on_the_server(job, source, tmp_path) >= 6
    assert shelf_of(job).orphans() == [] and list(shelf_of(job).superseded()) == []
    assert not list((tmp_path / "backups").rglob(".*.partial"))
    drop_slot(source)


def test_a_slot_that_was_dropped_is_made_again(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    with archiver(job) as told:
        wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"))
        write_log(source, 50)
        wait_until_kept(job, source)
        drop_slot(source)
        write_log(source, 51)
        switched(source)
        wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
        wait_until_kept(job, source)
    assert len([line for line in told if "made the replication slot" in line]) == 2, told
    same_as_on_the_server(job, source, tmp_path)
    drop_slot(source)


def test_a_store_that_is_away_for_a_while_gets_everything_later(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    with archiver(job) as told:
        wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"))
        write_log(source, 60)
        wait_until_kept(job, source)
        (tmp_path / "backups" / "app_log").rename(tmp_path / "away")
        (tmp_path / "backups" / "app_log").write_text("in the way")
        write_log(source, 61)
        switched(source)
        wait_until(lambda: any("app_log" in line for line in told), 60)
        facts = log_status_file.read("app")
        write_log(source, 62)
        (tmp_path / "backups" / "app_log").unlink()
        (tmp_path / "away").rename(tmp_path / "backups" / "app_log")
        wait_until_kept(job, source)
    assert facts is not None
    same_as_on_the_server(job, source, tmp_path)
    drop_slot(source)


def test_log_that_the_server_no_longer_has_is_a_gap_that_is_told(tmp_path: Path) -> None:
    with cluster(settings="max_wal_size = 2MB\nmin_wal_size = 2MB\n", initdb=SMALL) as server:
        job = log_job(server, tmp_path / "backups")
        with archiver(job):
            wait_until(lambda: ask(server.source(), "SELECT 1 FROM pg_replication_slots WHERE active"))
            backup(job)
            write_log(server, 0)
            wait_until_kept(job, server)
        before = status(job)["log_archive"]
        drop_slot(server)
        for number in range(1, 4):
            write_log(server, number)
            switched(server)
        ask(server.source(), "CHECKPOINT")
        with archiver(job) as told:
            wait_until(lambda: any("a gap in the log" in line for line in told), 60)
            write_log(server, 5)
            wait_until_kept(job, server)
            facts = status(job)["log_archive"]
            assert len(facts["gaps"]) == 1
            assert any("missing in the log archive" in finding["problem"] for finding in facts["findings"])
            (reach,) = facts["backups"]
            assert reach["missing"] == facts["gaps"][0] and reach["latest"] <= before["latest"]
            backup(job)
            wait_until_kept(job, server)
            facts = status(job)["log_archive"]
            assert [one["missing"] for one in facts["backups"]] == [facts["gaps"][0], None]


def test_pushing_and_fetching_single_files(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    write_log(source, 70)
    name = switched(source)
    path = wal_of(source) / name
    assert push(job, str(path))["pushed"]["stored"] is True
    assert push(job, str(path))["pushed"]["stored"] is False  # the same once more is no error
    fetch(job, name, str(tmp_path / name))
    assert (tmp_path / name).read_bytes() == path.read_bytes()
    history = tmp_path / "00000002.history"
    history.write_text("1\t0/3000000\tno recovery target specified\n")
    push(job, str(history))
    fetch(job, history.name, str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == history.read_bytes()

    other = tmp_path / "other" / name
    other.parent.mkdir()
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    other.write_bytes(content)
    with pytest.raises(RefusedError, match="with other content"):
        push(job, str(other))
    foreign = int.from_bytes(content[24:32], "little") + 1
    content[24:32] = foreign.to_bytes(8, "little")
    other.write_bytes(content)
    with pytest.raises(RefusedError, match=f"this one is {foreign}"):
        push(job, str(other))
    wrong = tmp_path / "other" / f"{int(name, 16) + 1:024X}"
    shutil.copy(path, wrong)
    with pytest.raises(DamagedError, match=f"holds the segment {name}"):
        push(job, str(wrong))
    for bad, error in ((tmp_path / "secret", UsageError), (tmp_path / ("F" * 24), NotFoundError)):
        with pytest.raises(error):
            push(job, str(bad))
    with pytest.raises(NotFoundError):
        fetch(job, "000000010000000F00000000", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_another_server_is_refused_until_a_backup_of_it_is_there(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    push(job, str(wal_of(source) / switched(source)))
    with cluster(initdb=SMALL) as other:
        theirs = log_job(other, tmp_path / "backups")
        with pytest.raises(RefusedError, match="is of the server"):
            run(theirs)
        backup(theirs)
        with archiver(theirs):
            wait_until(lambda: len(list((tmp_path / "backups" / "app_log").iterdir())) == 2, 60)


def test_a_damaged_file_is_found_and_not_given_out(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    name = switched(source)
    push(job, str(wal_of(source) / name))
    (artifact,) = (tmp_path / "backups" / "app_log").rglob("*.zst")
    content = artifact.read_bytes()
    artifact.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(DamagedError, match=name):
        fetch(job, name, str(tmp_path / "out"))
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith("out")) == []
    artifact.write_bytes(content[:-1])
    problems = [finding["problem"] for finding in status(job)["log_archive"]["findings"]]
    assert any(f"{artifact.name} has {len(content) - 1} bytes" in problem for problem in problems), problems
    (record,) = (tmp_path / "backups" / "app_log").rglob("*.json")
    record.write_bytes(record.read_bytes().replace(b"segment", b"sogment"))
    with pytest.raises(DamagedError, match="do not match its digest"):
        fetch(job, name, str(tmp_path / "out"))


def test_a_database_without_a_log_archive_says_so(tmp_path: Path) -> None:
    job = Job("app", Repository(str(tmp_path / "backups")), Source(f"sqlite:///{tmp_path}/app.db"))
    with pytest.raises(UsageError, match="no log archive"):
        run(job)
    with pytest.raises(UsageError, match="keeps no log of sqlite"):
        status(job)


def test_a_store_that_is_full_gets_everything_when_there_is_room(source: Server, tmp_path: Path) -> None:
    """The rest of the log waits in the spool; nothing that was half written is listed."""
    job = log_job(source, tmp_path / "backups", compression=Compression("none"))
    (tmp_path / "backups").mkdir()

    def fill() -> None:
        filler = tmp_path / "backups" / "filler"
        with archiver(job) as told:
            wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
            wait_until_kept(job, source)
            filler.write_bytes(bytes(os.statvfs(tmp_path / "backups").f_bavail * 4096 - 2 * 2**20))
            for number in range(3):
                write_log(source, 80 + number)
                switched(source)
            wait_until(lambda: any("No space left" in line for line in told), 60)
            same_as_on_the_server(job, source, tmp_path)
            filler.unlink()
            wait_until_kept(job, source)
        same_as_on_the_server(job, source, tmp_path)

    in_child(fill, disk=(str(tmp_path / "backups"), "size=32m"))
    drop_slot(source)
