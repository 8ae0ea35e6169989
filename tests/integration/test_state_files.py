"""The state of a host that root's playbooks and the account of its schedules share, as the role agent lays it out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from isolation import NOBODY, in_child
from sqlite_lab import job_of, open_folder, run_sql

from dbfleet import log_status_file, parents
from dbfleet.operations.backup import backup
from dbfleet.progress import SILENCE
from dbfleet.state_files import make_folder, open_file
from dbfleet.status import reported, runs_of_host
from dbfleet.stores.sftp.marks import marked

__all__ = ["open_folder"]

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root writes for others")


@pytest.fixture
def state(open_folder: Path) -> Path:
    """``/var/lib/dbfleet`` after the role: root's, and of the account's group."""
    folder = open_folder / "state"
    for path in (folder, *(folder / name for name in ("parents", "locks", "status", "log_archive"))):
        path.mkdir()
        os.chown(path, 0, NOBODY)
        path.chmod(0o750 if path == folder else 0o2770)
    return folder


def take_turns(act: Callable[[], None]) -> None:
    """As root, as the account, and as root once more."""
    act()
    in_child(act, nobody=True)
    act()


def test_a_lock_is_had_by_both(state: Path) -> None:
    def act() -> None:
        with marked("sftp://there", "job", shared=False, wait=1) as marks:
            marks.add(f"write-{os.getpid()}")

    take_turns(act)
    with marked("sftp://there", "job", shared=False, wait=1) as marks:
        assert len(marks.dead) == 2  # of two processes, each of which could leave its own
        marks.forget_dead()


def test_what_one_remembers_the_other_reads_and_replaces(state: Path, open_folder: Path) -> None:
    run_sql(open_folder / "app.db", "CREATE TABLE t (x)")
    job = job_of(open_folder / "app.db", open_folder / "backups")
    manifest = backup(job).manifest
    assert manifest is not None

    def act() -> None:
        parents.remember(job, manifest, b"pages")
        assert parents.recall(job, manifest) == (b"pages", "")
        log_status_file.write("app", {"pid": os.getpid()})
        assert log_status_file.read("app") == {"pid": os.getpid()}

    take_turns(act)

    def read() -> None:
        assert parents.recall(job, manifest) == (b"pages", "")

    in_child(read, nobody=True)


def test_the_account_sees_what_root_runs_and_follows_a_run_that_was_killed(state: Path) -> None:
    def read() -> None:
        assert [run.job for run in runs_of_host()] == ["app"]

    def killed() -> None:
        reported("backup", "app", SILENCE).__enter__()

    with reported("backup", "app", SILENCE):
        in_child(read, nobody=True)
    killed()

    def act() -> None:
        with reported("backup", "app", SILENCE):
            fields = json.loads((state / "status" / "app.backup.json").read_text())
            assert fields["pid"] == os.getpid()

    in_child(act, nobody=True)


def test_where_root_is_alone_it_stays_alone(open_folder: Path) -> None:
    make_folder(str(open_folder / "mine" / "too"))
    os.close(open_file(str(open_folder / "mine" / "file"), os.O_WRONLY))
    assert (open_folder / "mine").stat().st_mode & 0o777 == 0o700
    assert (open_folder / "mine" / "file").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(state: Path) -> None:
    (state / "locks" / "link").symlink_to(state / "elsewhere")
    with pytest.raises(OSError):
        os.close(open_file(str(state / "locks" / "link"), os.O_WRONLY))
    assert not (state / "elsewhere").exists()
