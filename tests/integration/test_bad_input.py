"""Bad input and faults: each gives one clear line with a remedy, and nothing good is lost (promises 1, 2, 3 and 9)."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from isolation import heeding, in_child
from sqlite_lab import ask, content, job_of, make, open_folder, own_state, refused, run_sql, sample, stored, wait_until

from dbfleet import units
from dbfleet.catalog import read_catalog
from dbfleet.cli import main
from dbfleet.errors import (
    BusyError,
    CapacityError,
    DbfleetError,
    NotFoundError,
    RefusedError,
    RepositoryError,
)
from dbfleet.model import Limits, Retention
from dbfleet.operations import backup as backup_module
from dbfleet.operations.backup import backup
from dbfleet.operations.prune import prune
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store

__all__ = ["open_folder", "own_state"]


# --- repositories -----------------------------------------------------------------------------


def test_a_missing_repository_is_told_to_those_who_read_and_made_by_backup(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    job = job_of(source, tmp_path / "new" / "backups")
    for act in (
        lambda: restore(job, "latest", replace=True),
        lambda: verify(job, "all", "checksum"),
        lambda: prune(job),
        lambda: prune(job, dry_run=True),
    ):
        refused(NotFoundError, "does not exist", act)
    assert not (tmp_path / "new").exists()
    backup(job)
    assert stat.S_IMODE(os.stat(tmp_path / "new" / "backups").st_mode) == 0o700


def test_a_repository_that_is_a_file(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    (tmp_path / "backups").write_text("notes")
    refused(RepositoryError, "backups", lambda: backup(job_of(source, tmp_path / "backups")))
    assert (tmp_path / "backups").read_text() == "notes"


def test_a_repository_that_may_not_be_written(open_folder: Path) -> None:
    source = sample(open_folder / "app.db")
    source.chmod(0o666)
    job = job_of(source, open_folder / "backups")
    backup(job)
    (open_folder / "backups").chmod(0o755)
    before = stored(open_folder / "backups")

    def act() -> None:
        os.environ["DBFLEET_STATE_DIR"] = str(open_folder / "state of another user")
        refused(RepositoryError, "written: Permission denied", lambda: backup(job))

    in_child(act, nobody=True)
    assert stored(open_folder / "backups") == before


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_repository_that_fills_at_every_stage(mode: str, tmp_path: Path) -> None:
    """Each size of disk stops the backup a little later; it fails whole, or it is whole."""
    source = sample(tmp_path / "app.db", rows=900, journal_mode=mode)
    job = job_of(source, tmp_path / "backups", type="auto")
    (tmp_path / "backups").mkdir()
    log = tmp_path / "outcomes"

    def act() -> None:
        try:
            first = backup(job).manifest
            outcome = "whole"
            assert first is not None
        except CapacityError as error:
            assert "\n" not in str(error) and "room" in error.remedy
            assert stored(tmp_path / "backups") == []
            outcome = "full"
        except DbfleetError as error:
            raise AssertionError(f"{type(error)}: {error}") from error
        if outcome == "whole":
            fill = Path(tmp_path / "backups" / "filler")
            try:
                with open(fill, "wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        continue
            except OSError:
                pass
            with pytest.raises(CapacityError):
                backup(job)
            fill.unlink(missing_ok=True)
            assert all(result.ok for result in verify(job, "all", "restore"))
            assert len(read_catalog(open_store(job.repository.url), "app").ids) == 1
            run_sql(source, "UPDATE prompts SET score = score + 1 WHERE id = 3")
        with open(log, "a") as file:
            file.write(outcome + "\n")

    for size in range(4, 330, 12):
        in_child(act, disk=(str(tmp_path / "backups"), f"size={size}k"))
    for inodes in range(2, 9):
        in_child(act, disk=(str(tmp_path / "backups"), f"size=4m,nr_inodes={inodes}"))
    outcomes = log.read_text().split()
    assert outcomes.count("full") > 15 and outcomes.count("whole") > 1


def test_min_free_is_kept_free(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    (tmp_path / "backups").mkdir()
    job = job_of(source, tmp_path / "backups", limits=Limits(min_free="90%"))

    def act() -> None:
        (tmp_path / "backups" / "other").write_bytes(bytes(500_000))
        refused(CapacityError, "min_free keeps", lambda: backup(job))
        assert stored(tmp_path / "backups") == ["other"]

    in_child(act, disk=(str(tmp_path / "backups"), "size=1m"))


# --- targets and scratch ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_target_disk_that_fills_at_every_stage_keeps_the_old_database(mode: str, tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=900)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    old = sample(tmp_path / "old.db", rows=400, journal_mode=mode)
    expected = {"old": content(old), "new": content(source)}
    disk = tmp_path / "disk"
    disk.mkdir()
    log = tmp_path / "outcomes"

    def act() -> None:
        target = disk / "app.db"
        shutil.copy(old, target)
        try:
            report = restore(job, "latest", to=str(target), replace=True)
            outcome = "new"
            assert report.kept is not None and content_elsewhere(Path(report.kept), tmp_path) == expected["old"]
        except CapacityError as error:
            assert "\n" not in str(error)
            outcome = "old"
        except DbfleetError as error:
            raise AssertionError(f"{type(error)}: {error}") from error
        assert content_elsewhere(target, tmp_path) == expected[outcome]
        if outcome == "old":
            assert {path.name for path in disk.iterdir()} <= {"app.db", "app.db-wal", "app.db-shm", "app.db-journal"}
        with open(log, "a") as file:
            file.write(outcome + "\n")

    for size in range(120, 1000, 40):
        in_child(act, disk=(str(disk), f"size={size}k"))
    outcomes = log.read_text().split()
    assert outcomes.count("old") > 4 and outcomes.count("new") > 1, outcomes


def content_elsewhere(path: Path, tmp_path: Path) -> object:
    """The content as the next program sees it, read from a copy with its side files: its disk is full."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    for suffix in ("", "-wal", "-journal"):
        if os.path.exists(f"{path}{suffix}"):
            shutil.copy(f"{path}{suffix}", f"{folder}/copy.db{suffix}")
    assert ask(folder / "copy.db", "PRAGMA integrity_check") == [("ok",)]
    return content(folder / "copy.db")


def test_a_table_that_does_not_fit_on_the_targets_disk(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=900)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    old = sample(tmp_path / "old.db", rows=900)
    run_sql(old, "DELETE FROM runs WHERE id > 5; VACUUM")
    expected = content(old)
    disk = tmp_path / "disk"
    disk.mkdir()

    def act() -> None:
        shutil.copy(old, disk / "app.db")
        with pytest.raises(CapacityError):
            restore(job, "latest", to=str(disk / "app.db"), tables=["runs"], replace=True)
        assert content_elsewhere(disk / "app.db", tmp_path) == expected
        assert not list(disk.glob("*.replaced-*")) and not list(disk.glob(".*"))

    for size in (110, 150, 190, 230):
        in_child(act, disk=(str(disk), f"size={size}k"))


def test_scratch_that_is_missing_or_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample(tmp_path / "app.db", rows=900, journal_mode="delete")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    disk = tmp_path / "small"
    disk.mkdir()

    def act() -> None:
        manifest = backup(job).manifest
        assert manifest is not None and "no room for a copy" in manifest.notes[-1]
        with pytest.raises(CapacityError, match="small"):
            verify(job, "latest", "structure")

    monkeypatch.setenv("DBFLEET_SCRATCH", str(disk))
    in_child(act, disk=(str(disk), "size=64k"))
    monkeypatch.setenv("DBFLEET_SCRATCH", str(tmp_path / "nowhere"))
    refused(CapacityError, "nowhere", lambda: verify(job, "latest", "structure"))


def test_without_an_audit_log_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample(tmp_path / "app.db")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "file" / "state"))
    refused(DbfleetError, "audit log", lambda: backup(job_of(source, tmp_path / "backups")))
    assert not (tmp_path / "backups").exists()


# --- time and company -------------------------------------------------------------------------


def test_a_clock_set_back_neither_overwrites_nor_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample(tmp_path / "app.db")
    job = job_of(source, tmp_path / "backups", retention=Retention(keep_last=1))
    now = units.utc_now()
    first, second = (backup(job).manifest for _run in range(2))
    assert first is not None and second is not None and first.id < second.id, "one second, two backups, two names"
    monkeypatch.setattr(backup_module, "utc_now", lambda: now - timedelta(days=3))
    run_sql(source, "DELETE FROM runs")
    late = backup(job).manifest
    assert late is not None
    assert any("clock of this host is behind the newest backup" in note for note in late.notes)
    refused(RefusedError, "clock|time", lambda: prune(job, now=now - timedelta(days=3)))
    assert len(read_catalog(open_store(job.repository.url), "app").ids) == 3
    assert all(result.ok for result in verify(job, "all", "restore"))


def test_readers_share_and_writers_wait_their_turn(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    job = replace(job_of(source, tmp_path / "backups"), limits=Limits(lock_wait=0, min_free="0"))
    backup(job)
    store = open_store(job.repository.url)
    with store.lock("app", shared=True):
        verify(job, "latest", "checksum")
        restore(job, "latest", to=str(tmp_path / "new.db"))
        for act in (lambda: backup(job), lambda: prune(job)):
            refused(BusyError, "app is in use by", act)
    with store.lock("app"):
        for act in (
            lambda: verify(job, "latest", "checksum"),
            lambda: restore(job, "latest", to=str(tmp_path / "2.db")),
        ):
            refused(BusyError, "app is in use by", act)
    assert not (tmp_path / "2.db").exists()
    backup(replace(job, name="other"))


def test_two_restores_to_one_target(tmp_path: Path) -> None:
    """Each keeps what it replaced: the old one, and what the other had made of it."""
    source = sample(tmp_path / "app.db", rows=900, journal_mode="wal")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    expected = content(source)
    run_sql(source, "DELETE FROM runs")
    line = [sys.executable, "-m", "dbfleet", "restore", "latest", "--replace", "--name", "app"]
    line += ["--repository", str(tmp_path / "backups"), "--source", f"sqlite:///{source}"]
    runs = [subprocess.Popen(line, env=command_environ(), stderr=subprocess.PIPE, text=True) for _run in range(2)]
    for run in runs:
        _output, words = run.communicate()
        assert run.returncode == 0, words
    assert content(source) == expected
    kept = sorted(tmp_path.glob("app.db.replaced-*"))
    assert len(kept) == 2
    assert sorted(ask(path, "SELECT count(*) FROM runs")[0][0] for path in kept) == [0, 900]


def command_environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins" / "module_utils")}


# --- the command: interrupted, and its words ---------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    source = make(
        tmp_path / "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(9000000))", journal_mode="wal"
    )
    line = [sys.executable, "-m", "dbfleet", "backup", "--name", "app", "--source", f"sqlite:///{source}"]
    line += ["--repository", str(tmp_path / "backups"), "--limits-bandwidth", "1M"]
    with heeding(number):
        run = subprocess.Popen(line, env=command_environ(), stderr=subprocess.PIPE, text=True)
    with run:
        wait_until(lambda: list((tmp_path / "backups").glob(".app_backup_*")))
        time.sleep(0.2)
        run.send_signal(number)
        _output, words = run.communicate(timeout=20)
    assert run.returncode == 128 + number
    assert words.startswith("dbfleet: stopped by SIG")
    assert stored(tmp_path / "backups") == []


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("sqlite:///{tmp}/gone.db", 1, "does not exist"),
        ("sqlite:///{tmp}", 1, "is a directory"),
        ("sqlite://", 2, "names no SQLite file"),
        ("sqlite:///:memory:", 2, "in memory"),
        ("oracle://x/y", 2, "known database"),
    ],
)
def test_the_command_says_it_in_one_line_and_a_remedy(
    source: str,
    code: int,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DBFLEET_SCRATCH")
    url = source.format(tmp=tmp_path)
    assert main(["backup", "--name", "app", "--source", url, "--repository", str(tmp_path / "backups")]) == code
    told = capsys.readouterr()
    assert told.out == ""
    first, second = told.err.splitlines()
    assert first.startswith("dbfleet: ") and words in first
    assert second.startswith("  remedy: ")
