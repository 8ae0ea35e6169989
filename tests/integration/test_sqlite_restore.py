"""Restores of SQLite: nothing good is destroyed by something bad (promise 3), whatever is at the target."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlite_lab import (
    LEDGER,
    SAMPLE,
    Application,
    ask,
    check_ledger,
    connect,
    content,
    job_of,
    make,
    own_state,
    run_sql,
    sample,
    wait_until,
    writer,
)

from dbfleet.databases.sqlite import target as targets
from dbfleet.databases.sqlite.soundness import Soundness
from dbfleet.errors import (
    BusyError,
    NotFoundError,
    ProofError,
    RefusedError,
    UsageError,
)
from dbfleet.model import Job, ProofPolicy
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state"]


@pytest.fixture(params=["wal", "delete"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    return sample(tmp_path / "live" / "app.db", journal_mode=request.param)


@pytest.fixture
def job(source: Path, tmp_path: Path) -> Job:
    made = job_of(source, tmp_path / "backups")
    backup(made)
    return made


def beside(path: Path) -> list[str]:
    """What a restore left in the folder besides the database and its own log."""
    ours = (path.name, path.name + "-wal", path.name + "-shm")
    return sorted(entry.name for entry in path.parent.iterdir() if entry.name not in ours)


# --- over a living database -------------------------------------------------------------------


def test_programs_that_have_it_open_see_the_restored_data_and_go_on(job: Job, source: Path) -> None:
    expected = content(source)
    with Application(source) as application:
        application.ask("DELETE FROM runs WHERE id > 3")
        before = application.ask("SELECT count(*) FROM runs")
        report = restore(job, "latest", replace=True)
        assert (before, application.ask("SELECT count(*) FROM runs")) == ("[(3,)]", "[(300,)]")
        assert content(source) == expected
        assert application.ask("INSERT INTO prompts(title) VALUES('after')") == "[]"
        assert ask(source, "SELECT count(*) FROM prompts WHERE title = 'after'") == [(1,)]
    assert report.kept is not None
    assert ask(report.kept, "SELECT count(*) FROM runs") == [(3,)]
    assert ask(source, "PRAGMA integrity_check") == ask(report.kept, "PRAGMA integrity_check") == [("ok",)]
    assert beside(source) == [os.path.basename(report.kept)]


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("attempt", range(3))
def test_not_one_commit_is_lost_between_the_kept_copy_and_the_swap(mode: str, attempt: int, tmp_path: Path) -> None:
    """The writer says each number only after its commit: all of them are in the kept copy or after it."""
    source = make(tmp_path / "app.db", LEDGER, journal_mode=mode)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    with writer(source) as one:
        wait_until(lambda: one.last > 20 * (attempt + 1))
        report = restore(job, "latest", replace=True)
        assert not one.ended
        seen = one.last
        wait_until(lambda: one.last > seen + 5)
    assert report.kept is not None
    kept = check_ledger(Path(report.kept))
    after = check_ledger(source)
    ((first,),) = ask(source, "SELECT min(number) FROM ledger")
    assert first == kept + 1, "the first commit after the restore follows the last one of the kept copy"
    assert after in (one.last, one.last + 1)


def test_a_reader_in_the_middle_of_a_transaction_keeps_its_state(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode="wal")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    run_sql(source, "DELETE FROM runs")
    with Application(source, "BEGIN", "SELECT count(*) FROM runs") as reader:
        restore(job, "latest", replace=True)
        assert reader.ask("SELECT count(*) FROM runs") == "[(0,)]"
        reader.ask("COMMIT")
        assert reader.ask("SELECT count(*) FROM runs") == "[(300,)]"


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_an_application_that_does_not_let_go_is_told_and_nothing_changes(
    lock: str, job: Job, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "LOCK_WAIT", 1.5)
    run_sql(source, "DELETE FROM runs")
    with Application(source, lock) as application:
        with pytest.raises(BusyError) as caught:
            restore(job, "latest", replace=True)
        assert "nothing was changed" in str(caught.value)
        application.ask("COMMIT")
    assert ask(source, "SELECT count(*) FROM runs") == [(0,)]
    assert beside(source) == []


def test_a_reader_in_rollback_mode_delays_the_restore_until_it_ends(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode="delete")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    run_sql(source, "DELETE FROM runs")
    with Application(source, "BEGIN", "SELECT count(*) FROM runs") as reader:
        timer = threading.Timer(1.0, reader.ask, ["COMMIT"])
        timer.start()
        restore(job, "latest", replace=True)
        timer.join()
    assert ask(source, "SELECT count(*) FROM runs") == [(300,)]


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("sizes", [(4096, 8192), (8192, 512), (1024, 65536)])
def test_a_target_with_pages_of_another_size(mode: str, sizes: tuple[int, int], tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", page_size=sizes[0], journal_mode=mode)
    target = make(tmp_path / "target.db", SAMPLE.format(rows=9), page_size=sizes[1], journal_mode=mode)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    before = content(target)
    with Application(target):
        report = restore(job, "latest", to=str(target), replace=True)
    assert content(target) == content(source)
    assert report.kept is not None and content(report.kept) == before
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("modes", [("wal", "delete"), ("delete", "wal"), ("wal", "wal")])
def test_between_journal_modes(modes: tuple[str, str], tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode=modes[0])
    target = make(tmp_path / "target.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1)", journal_mode=modes[1])
    job = job_of(source, tmp_path / "backups")
    backup(job)
    with Application(target, "SELECT * FROM t") as application:
        restore(job, "latest", to=str(target), replace=True)
        assert application.ask("SELECT count(*) FROM prompts") == "[(300,)]"
        assert application.ask("DELETE FROM runs") == "[]"
    assert ask(target, "SELECT count(*) FROM runs") == [(0,)]
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("what", ["no file", "0 bytes", "no objects", "no objects, in use"])
def test_a_target_that_holds_nothing_needs_no_replace(what: str, tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode="wal")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    target = tmp_path / "new" / "target.db"
    target.parent.mkdir()
    if what == "0 bytes":
        target.touch()
    elif what != "no file":
        make(target, journal_mode="wal")
    if what.endswith("in use"):
        with Application(target, "SELECT * FROM sqlite_master") as application:
            restore(job, "latest", to=str(target))
            assert application.ask("INSERT INTO prompts(title) VALUES('seen by all')") == "[]"
        assert ask(target, "SELECT count(*) FROM prompts WHERE title = 'seen by all'") == [(1,)]
        run_sql(target, "DELETE FROM prompts WHERE title = 'seen by all'")
    else:
        restore(job, "latest", to=str(target))
    ids = "SELECT id, title FROM prompts"
    assert ask(target, ids) == ask(source, ids)


def test_owner_and_mode_stay(job: Job, source: Path, tmp_path: Path) -> None:
    os.chmod(source, 0o640)
    if os.geteuid() == 0:
        os.chown(source, 65534, 65534)
    before = os.stat(source)
    report = restore(job, "latest", replace=True)
    assert report.kept is not None
    damaged = sample(tmp_path / "live" / "damaged.db")
    os.chmod(damaged, 0o604)
    damaged.write_bytes(b"no database")
    restore(job, "latest", to=str(damaged), replace=True)
    for path, mode in ((source, 0o640), (Path(report.kept), 0o640), (damaged, 0o604)):
        assert stat.S_IMODE(os.stat(path).st_mode) == mode
    for path in (source, Path(report.kept)):
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (before.st_uid, before.st_gid)
    restore(job, "latest", to=str(tmp_path / "fresh.db"))
    assert stat.S_IMODE(os.stat(tmp_path / "fresh.db").st_mode) == 0o600


def test_through_a_symbolic_link_the_database_behind_it_is_restored(job: Job, source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(source)
    run_sql(source, "DELETE FROM runs")
    restore(job, "latest", to=str(link), replace=True)
    assert link.is_symlink()
    assert ask(source, "SELECT count(*) FROM runs") == [(300,)]


# --- damaged, foreign and stale ---------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "header only", "truncated", "zeros in page 1", "random"])
def test_a_target_that_is_no_database_is_kept_and_replaced(damage: str, job: Job, source: Path) -> None:
    expected = content(source)
    with closing(connect(source)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = source.read_bytes()
    bad = {
        "text": b"this was a database once",
        "header only": good[:100],
        "truncated": good[: len(good) // 2],
        "zeros in page 1": good[:16] + bytes(4080) + good[4096:],
        "random": os.urandom(9000),
    }[damage]
    source.write_bytes(bad)
    with pytest.raises(RefusedError):
        restore(job, "latest")
    report = restore(job, "latest", replace=True)
    assert content(source) == expected
    assert report.kept is not None
    assert Path(report.kept).read_bytes() == bad


@pytest.mark.parametrize("target", ["gone", "damaged", "0 bytes"])
def test_stale_side_files_do_not_reach_the_restored_database(target: str, tmp_path: Path) -> None:
    """A log and a journal of an older database at the same place: SQLite would apply them to the new file."""
    source = sample(tmp_path / "app.db", journal_mode="wal")
    job = job_of(source, tmp_path / "backups")
    with Application(
        source, "UPDATE prompts SET title = 'stale ' || id", "PRAGMA wal_autocheckpoint = 0"
    ) as application:
        application.ask("UPDATE prompts SET body = 'stale'")
        log = Path(f"{source}-wal").read_bytes()
        index = Path(f"{source}-shm").read_bytes()
    assert len(log) > 4096
    run_sql(source, "UPDATE prompts SET body = 'fresh'")
    backup(job)
    expected = content(source)
    new = tmp_path / "new" / "app.db"
    new.parent.mkdir()
    if target != "gone":
        new.write_bytes(b"" if target == "0 bytes" else b"damaged")
    Path(f"{new}-wal").write_bytes(log)
    Path(f"{new}-shm").write_bytes(index)
    Path(f"{new}-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + os.urandom(5000))
    report = restore(job, "latest", to=str(new), replace=True)
    assert content(new) == expected
    assert report.kept or target != "damaged"


def test_a_hot_journal_is_rolled_back_into_the_kept_copy(tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES('committed')", journal_mode="delete")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    run_sql(source, "INSERT INTO t VALUES('later')")
    application = Application(source, "PRAGMA cache_size = 1", "BEGIN")
    application.ask(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i FROM n"
    )
    application.kill()
    assert os.path.getsize(f"{source}-journal")
    report = restore(job, "latest", replace=True)
    assert ask(source, "SELECT a FROM t") == [("committed",)]
    assert report.kept is not None
    assert ask(report.kept, "SELECT a FROM t") == [("committed",), ("later",)]


def test_several_restores_keep_every_one_they_replaced(job: Job, source: Path) -> None:
    kept = []
    for number in range(3):
        run_sql(source, f"PRAGMA user_version = {number + 1}")
        report = restore(job, "latest", replace=True)
        assert report.kept is not None
        kept.append(ask(report.kept, "PRAGMA user_version")[0][0])
    assert kept == [1, 2, 3]
    assert len(beside(source)) == 3


def test_a_leftover_of_a_dead_restore_is_swept_whatever_its_number(job: Job, source: Path) -> None:
    line = [sys.executable, "-c", "import os; print(os.getpid())"]
    dead = subprocess.run(line, capture_output=True, text=True, check=True)
    for number in (os.getpid(), int(dead.stdout)):
        (source.parent / f".app.db.dbfleet-{number}.built.partial").write_bytes(b"half")
    living = source.parent / ".app.db.dbfleet-1.kept.partial"
    living.write_bytes(b"of process 1, which lives")
    restore(job, "latest", replace=True)
    assert [name for name in beside(source) if name.startswith(".")] == [living.name]


def test_a_folder_and_a_missing_folder_are_no_targets(job: Job, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is a directory"):
        restore(job, "latest", to=str(tmp_path), replace=True)
    with pytest.raises(NotFoundError, match="folder of the target"):
        restore(job, "latest", to=str(tmp_path / "nowhere" / "x.db"))
    assert not (tmp_path / "nowhere").exists()


def test_another_kind_of_database_is_no_target(job: Job) -> None:
    with pytest.raises(UsageError):
        restore(job, "latest", to="oracle://host/x")


# --- what is examined again -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "examined"),
    [
        ({}, False),  # byte for byte the image that was found sound
        ({"proof": ProofPolicy(level="none")}, True),  # nobody looked at it then
        ({"type": "auto"}, True),  # an increment is applied by us
    ],
)
def test_only_an_image_that_was_found_sound_is_not_examined_again(
    changes: dict[str, Any], examined: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job_of(source, tmp_path / "backups"), **changes)
    backup(job)
    with Application(source) as application:
        application.ask("DELETE FROM runs WHERE id > 3")
    backup(job)
    damage = Soundness(("page 7 is never used",), ())
    monkeypatch.setattr("dbfleet.databases.sqlite.restoration.examine", lambda *_, **__: damage)
    target = f"sqlite:///{tmp_path}/restored.db"
    if examined:
        with pytest.raises(ProofError, match="page 7 is never used"):
            restore(job, "latest", to=target)
    else:
        assert restore(job, "latest", to=target).proven
