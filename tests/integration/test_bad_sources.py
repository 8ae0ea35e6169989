"""Sources that cannot be backed up: each is told in one clear line, and nothing is made or changed (promise 9)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from isolation import in_child
from sqlite_lab import Application, content, job_of, open_folder, own_state, refused, run_sql, sample, stored

from dbfleet.catalog import read_catalog
from dbfleet.errors import (
    DbfleetError,
    NotFoundError,
    SourceError,
)
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store

__all__ = ["open_folder", "own_state"]


@pytest.mark.parametrize("where", ["gone.db", "nowhere/gone.db", "file.db/below.db"])
def test_a_missing_database_is_not_created(where: str, tmp_path: Path) -> None:
    sample(tmp_path / "file.db")
    before = sorted(tmp_path.rglob("*"))
    job = job_of(tmp_path / where, tmp_path / "backups")
    refused(NotFoundError, "does not exist", lambda: backup(job))
    refused(NotFoundError, "does not exist", lambda: backup(job, dry_run=True))
    assert sorted(tmp_path.rglob("*")) == before


NOT_DATABASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "zero bytes": (lambda path: path.touch(), r"empty \(0 bytes\)"),
    "text": (lambda path: path.write_text("hello " * 99), "not an SQLite database"),
    "a few bytes": (lambda path: path.write_bytes(b"SQLite format 3\0"), "not an SQLite database"),
    "noise": (lambda path: path.write_bytes(os.urandom(9000)), "not an SQLite database"),
    "a header and noise": (
        lambda path: path.write_bytes(b"SQLite format 3\0" + os.urandom(9000)),
        "SQLite database|damaged",
    ),
    "a pipe": (os.mkfifo, "not a regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "does not exist"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be examined"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
}


@pytest.mark.parametrize("what", NOT_DATABASES)
def test_what_is_no_database_is_named_and_left_alone(what: str, tmp_path: Path) -> None:
    put, match = NOT_DATABASES[what]
    path = tmp_path / "app.db"
    put(path)
    refused(DbfleetError, match, lambda: backup(job_of(path, tmp_path / "backups")))
    names = [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("app.db")]
    assert names == ["app.db"], "no log, no journal, no database was made"
    assert not (tmp_path / "backups").exists() or stored(tmp_path / "backups") == []


def test_a_truncated_database_is_named(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=3000)
    os.truncate(source, os.path.getsize(source) // 2)
    for method in ("logical", "physical"):
        job = job_of(source, tmp_path / "backups", method=method)
        with pytest.raises(DbfleetError, match="damaged|truncated|malformed"):
            backup(job)
    assert stored(tmp_path / "backups") == []


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_may_not_be_read(mode: str, open_folder: Path) -> None:
    source = sample(open_folder / "app.db", journal_mode=mode)
    source.chmod(0o600)
    job = job_of(source, open_folder / "backups")
    in_child(lambda: refused(SourceError, "cannot be read: Permission denied", lambda: backup(job)), nobody=True)
    assert not (open_folder / "backups").exists()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_may_only_be_read_is_backed_up_or_told(mode: str, open_folder: Path) -> None:
    """WAL mode needs to write the log's index beside the file; SQLite says no, and so do we, clearly."""
    (open_folder / "data").mkdir(mode=0o755)
    source = sample(open_folder / "data" / "app.db", journal_mode=mode)
    source.chmod(0o644)
    job = job_of(source, open_folder / "backups")

    def act() -> None:
        if mode == "delete":
            backup(job)
            assert verify(job, "latest", "restore")[0].ok
        else:
            refused(SourceError, "cannot be", lambda: backup(job))

    in_child(act, nobody=True)
    assert sorted(os.listdir(open_folder / "data")) == ["app.db"]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_on_a_read_only_medium(mode: str, tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode=mode)
    medium = tmp_path / "medium"
    medium.mkdir()

    def act() -> None:
        shutil.copy(source, medium / "app.db")
        subprocess.run(["mount", "-o", "remount,ro", str(medium)], check=True)
        job = job_of(medium / "app.db", tmp_path / "backups")
        manifest = backup(job).manifest
        assert manifest is not None
        assert verify(job, "latest", "restore")[0].ok
        with pytest.raises(DbfleetError):
            restore(job, "latest", replace=True)
        assert content(source) == content_of_read_only(medium / "app.db", tmp_path)

    in_child(act, disk=(str(medium), "size=2m"))


def content_of_read_only(path: Path, tmp_path: Path) -> object:
    copy = tmp_path / "copied from the medium.db"
    shutil.copy(path, copy)
    return content(copy)


def test_a_read_only_mount_of_what_somebody_else_writes_is_no_backup(tmp_path: Path) -> None:
    """The folder of an application, mounted read-only into a sidecar."""
    (tmp_path / "data").mkdir()
    source = sample(tmp_path / "data" / "app.db", journal_mode="wal")
    mount = tmp_path / "mount"
    mount.mkdir()

    def act() -> None:
        subprocess.run(["mount", "--bind", str(source.parent), str(mount)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mount)], check=True)
        job = job_of(mount / "app.db", tmp_path / "backups")
        backup(job)
        writes = _Once(lambda: run_sql(source, "DELETE FROM runs WHERE id % 2 = 0"))
        refused(SourceError, "written while it was read", lambda: backup(job, progress=writes))
        assert len(read_catalog(open_store(job.repository.url), "app").ids) == 1

    (tmp_path / "own").mkdir()
    in_child(act, disk=(str(tmp_path / "own"), "size=1m"))


class _Once:
    """Progress that does something when the first bytes have passed."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._acts = [act]

    def step(self, text: str) -> None:
        pass

    def expect(self, total_bytes: object) -> None:
        pass

    def advance(self, count: int) -> None:
        if self._acts:
            self._acts.pop()()


def test_a_log_that_a_read_only_medium_keeps_from_being_read_is_told(tmp_path: Path) -> None:
    """The newest commits are in the log: without it the backup would be of an older state, in silence."""
    source = sample(tmp_path / "app.db", journal_mode="wal")
    medium = tmp_path / "medium"
    medium.mkdir()
    with Application(source, "PRAGMA wal_autocheckpoint = 0", "DELETE FROM runs"):

        def act() -> None:
            for suffix in ("", "-wal"):
                shutil.copy(f"{source}{suffix}", f"{medium}/app.db{suffix}")
            subprocess.run(["mount", "-o", "remount,ro", str(medium)], check=True)
            job = job_of(medium / "app.db", tmp_path / "backups")
            refused(SourceError, "cannot be", lambda: backup(job))

        in_child(act, disk=(str(medium), "size=4m"))
