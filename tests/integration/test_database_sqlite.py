"""SQLite as a database among others, and what its journal modes, locks and logs ask of a backup."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("conformance_databases", "conformance_jobs")

import sqlite_lab  # noqa: E402
from conformance_databases import DatabaseConformance, DatabaseLab, artifact_of  # noqa: E402
from conformance_jobs import made  # noqa: E402
from sqlite_lab import (  # noqa: E402
    LEDGER,
    Application,
    ask,
    by_hand,
    check_ledger,
    connect,
    content,
    job_of,
    make,
    own_state,
    run_sql,
    sample,
    writer,
)

from dbfleet.databases.sqlite import image  # noqa: E402
from dbfleet.databases.sqlite.connection import path_of, url_of  # noqa: E402
from dbfleet.errors import BusyError, ProofError, SourceError  # noqa: E402
from dbfleet.model import Job, ProofPolicy, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

ITEMS = (
    LEDGER
    + """
CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER);
CREATE TABLE others(id INTEGER PRIMARY KEY, name TEXT);
CREATE INDEX items_by_name ON items(name);
CREATE VIEW named AS SELECT name FROM items WHERE name <> '';
CREATE TRIGGER items_cut AFTER INSERT ON items BEGIN UPDATE items SET name = trim(new.name) WHERE id = new.id; END;
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
INSERT INTO items SELECT i, 'name ' || i, i * i FROM n;
INSERT INTO others SELECT id, name FROM items WHERE id < 20;
"""
)


class SqliteLab(DatabaseLab):
    def __init__(self, folder: Path, journal_mode: str) -> None:
        self._folder = folder
        self._journal_mode = journal_mode
        self._count = 0

    def create(self) -> Source:
        source = self.nowhere()
        make(path_of(source.url), ITEMS, journal_mode=self._journal_mode)
        return source

    def nowhere(self) -> Source:
        self._count += 1
        return Source(url_of(str(self._folder / f"database {self._count}.db")))

    def kept(self, place: str) -> Source:
        return Source(url_of(place))

    def ask(self, source: Source, sql: str) -> list[tuple[Any, ...]]:
        return ask(path_of(source.url), sql)

    def content(self, source: Source) -> Any:
        return content(path_of(source.url))

    def writing(self, source: Source) -> AbstractContextManager[Any]:
        return writer(Path(path_of(source.url)), pause=0.002)

    def check_ledger(self, source: Source) -> int:
        return check_ledger(Path(path_of(source.url)))


class TestWriteAheadLog(DatabaseConformance):
    @pytest.fixture
    def lab(self, tmp_path: Path) -> DatabaseLab:
        return SqliteLab(tmp_path, "wal")


class TestRollbackJournal(DatabaseConformance):
    @pytest.fixture
    def lab(self, tmp_path: Path) -> DatabaseLab:
        return SqliteLab(tmp_path, "delete")


# --- writers ----------------------------------------------------------------------------------


@pytest.fixture(params=["wal", "delete", "truncate", "persist"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make(tmp_path / "app.db", LEDGER, journal_mode=request.param)


def test_writers_at_full_speed_in_every_journal_mode(ledger: Path, tmp_path: Path) -> None:
    """Every artifact of every backup is one commit, and no commit of the writers is lost or refused."""
    job = replace(job_of(ledger, tmp_path / "backups"), limits=replace(sqlite_lab.QUICK, lock_wait=30))
    with writer(ledger) as one:
        manifests = [made(job) for _run in range(5)]
        assert not one.ended
    assert check_ledger(ledger) in (one.last, one.last + 1)
    for number, manifest in enumerate(manifests):
        states = {
            check_ledger(by_hand(manifest, tmp_path / "backups", tmp_path / f"{number} {sql}", sql=sql))
            for sql in (False, True)
        }
        assert len(states) == 1
        assert manifest.notes[-1].startswith(("WAL mode: ", "rollback mode ("))


def test_a_writer_in_wal_mode_never_waits_for_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample(tmp_path / "app.db", journal_mode="wal")
    with Application(source, "PRAGMA busy_timeout = 0") as application:
        backup(job_of(source, tmp_path / "backups"), progress=_Each(lambda: application.ask(INSERT)))
        assert application.ask("SELECT count(*) > 2 FROM prompts WHERE title GLOB 'while*'") == "[(1,)]"
    assert verify(job_of(source, tmp_path / "backups"), "latest", "restore")[0].ok


def test_a_writer_in_rollback_mode_waits_for_the_copy_only(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", journal_mode="delete")
    answers = []
    with Application(source, "PRAGMA busy_timeout = 0") as application:
        manifest = made_with(job_of(source, tmp_path / "backups"), lambda: answers.append(application.ask(INSERT)))
    assert answers and answers[-1] == "[]", "it could not write while the copy was read"
    assert "shared lock held" in manifest.notes[-1]


def test_without_room_for_a_copy_it_reads_under_the_lock_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sample(tmp_path / "app.db", journal_mode="delete")
    usage = image.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(image.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    job = job_of(source, tmp_path / "backups")
    answers = []
    with Application(source, "PRAGMA busy_timeout = 0") as application:
        manifest = made_with(job, lambda: answers.append(application.ask(INSERT)))
        assert application.ask(INSERT) == "[]", "the lock is gone"
    assert any("locked" in answer for answer in answers)
    assert "no room for a copy" in manifest.notes[-1]
    assert verify(job, "latest", "restore")[0].ok


INSERT = "INSERT INTO prompts(title) VALUES('while ' || hex(randomblob(9)))"


class _Each:
    """Progress that does something at every step and chunk."""

    def __init__(self, act: Any) -> None:
        self._act = act
        self._lock = threading.Lock()

    def step(self, text: str) -> None:
        with self._lock:
            self._act()

    def expect(self, total_bytes: object) -> None:
        pass

    def advance(self, count: int) -> None:
        with self._lock:
            self._act()


def made_with(job: Job, act: Any) -> Any:
    manifest = backup(job, progress=_Each(act)).manifest
    assert manifest is not None
    return manifest


def test_checkpoints_and_vacuums_during_a_backup(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=3000, journal_mode="wal")
    job = job_of(source, tmp_path / "backups", type="auto")
    actions = ["PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM runs WHERE id % 5 = 0", "VACUUM", INSERT, "ANALYZE"]
    with Application(source, "PRAGMA busy_timeout = 0", "PRAGMA wal_autocheckpoint = 3") as application:
        for _round in range(4):
            turn = iter(actions * 20)
            made_with(job, lambda turn=turn: application.ask(next(turn, INSERT)))
    assert all(result.ok for result in verify(job, "all", "restore"))


def test_where_commits_are_too_fast_to_pin_sqlite_copies_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sample(tmp_path / "app.db", journal_mode="wal")
    monkeypatch.setattr(image, "PIN_ATTEMPTS", 0)
    job = job_of(source, tmp_path / "backups")
    with Application(source):
        manifest = made(job)
    assert "SQLite copied the state" in manifest.notes[-1]
    assert content(by_hand(manifest, tmp_path / "backups", tmp_path / "hand")) == content(source)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_what_a_crash_of_the_application_left_behind(mode: str, tmp_path: Path) -> None:
    """A log that was never checked in counts; a transaction that never committed does not."""
    source = make(tmp_path / "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1)", journal_mode=mode)
    application = Application(source, "PRAGMA cache_size = 1", "INSERT INTO t VALUES(2)", "BEGIN")
    application.ask(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<3000) INSERT INTO t SELECT i FROM n"
    )
    application.kill()
    assert os.path.getsize(f"{source}-{'wal' if mode == 'wal' else 'journal'}")
    job = job_of(source, tmp_path / "backups")
    manifest = made(job)
    assert ask(by_hand(manifest, tmp_path / "backups", tmp_path / "hand"), "SELECT a FROM t") == [(1,), (2,)]
    assert verify(job, "latest", "restore")[0].ok


def test_an_exclusive_lock_is_told_after_lock_wait(tmp_path: Path) -> None:
    for number, statements in enumerate(
        [
            ["PRAGMA journal_mode = delete", "BEGIN EXCLUSIVE"],
            ["PRAGMA journal_mode = wal", "PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO total VALUES(1, 1)"],
        ]
    ):
        source = make(tmp_path / f"{number}.db", LEDGER)
        job = job_of(source, tmp_path / "backups")
        with Application(source, *statements):
            begun = time.monotonic()
            with pytest.raises(BusyError, match="locked by another process") as caught:
                backup(job)
            assert 0.9 < time.monotonic() - begun < 15
            assert "lock_wait" in caught.value.remedy
        made(job)


# --- increments -------------------------------------------------------------------------------


def test_an_increment_holds_only_what_changed(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=5000, journal_mode="wal")
    job = job_of(source, tmp_path / "backups", type="auto")
    full = made(job)
    run_sql(source, "UPDATE prompts SET score = 0 WHERE id = 17")
    step = made(job)
    assert [artifact.role for artifact in step.artifacts] == ["pages"]
    assert step.raw_size_bytes < artifact_of(full, "db").raw_size_bytes / 20


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_chain_by_hand_and_byte_for_byte(mode: str, tmp_path: Path) -> None:
    """Growth, shrinking by VACUUM, a change of nothing, a new schema: each state comes back as the same file."""
    source = sample(tmp_path / "app.db", journal_mode=mode, auto_vacuum=1)
    job = job_of(source, tmp_path / "backups", type="auto")
    changes = [
        "SELECT 1",
        "CREATE TABLE more AS SELECT * FROM runs; ANALYZE",
        "DELETE FROM more; DROP TABLE more",
        "DELETE FROM runs; VACUUM",
        "PRAGMA user_version = 9",
    ]
    for number, change in enumerate(changes):
        made(job)
        run_sql(source, change)
        manifest = made(job)
        assert manifest.type == "incremental"
        expected = content(source)
        with closing(connect(source)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert content(by_hand(manifest, tmp_path / "backups", tmp_path / f"hand {number}")) == expected
        restore(job, "latest", to=str(tmp_path / f"{number}.db"))
        assert content(tmp_path / f"{number}.db") == expected
        assert (tmp_path / f"{number}.db").read_bytes() == source.read_bytes()


def test_another_page_size_begins_a_new_chain(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    job = job_of(source, tmp_path / "backups", type="auto")
    made(job)
    run_sql(source, "PRAGMA page_size = 8192; VACUUM")
    manifest = made(job)
    assert manifest.type == "full"
    assert any("page size changed from 4096 to 8192" in note for note in manifest.notes)
    assert made(job).type == "incremental"
    assert all(result.ok for result in verify(job, "all", "restore"))


def test_a_state_that_cannot_be_remembered_costs_only_the_next_increment(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    job = job_of(source, tmp_path / "backups", type="auto")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "parents").write_text("a file where a folder should be")
    made(job)
    manifest = made(job)
    assert manifest.type == "full"
    assert any("does not remember" in note for note in manifest.notes)
    assert "state not kept" in (tmp_path / "state" / "audit.jsonl").read_text()


# --- proofs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["none", "rows", "content"])
def test_each_level_measures_what_it_says(level: str, tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db")
    proof = made(job_of(source, tmp_path / "backups", proof=ProofPolicy(level=level))).proof
    assert (proof.level, bool(proof.tables), bool(proof.schema_sha256)) == (level, level != "none", level != "none")
    assert all(bool(table.digest) == (level == "content") for table in proof.tables.values())
    assert verify(job_of(source, tmp_path / "backups"), "latest", "restore")[0].ok


def test_broken_references_are_compared_too(tmp_path: Path) -> None:
    sql = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id));"
    sql += "INSERT INTO p VALUES(1); INSERT INTO c VALUES(1);"
    source = make(tmp_path / "app.db", sql)
    job = job_of(source, tmp_path / "backups", proof=ProofPolicy(level="rows"))
    before = made(job).proof
    run_sql(source, "UPDATE c SET p = 2")
    from dbfleet.proof import compare

    assert [finding.object for finding in compare(before, made(job).proof)] == [
        "query SELECT * FROM pragma_foreign_key_check ORDER BY 1, 2, 3, 4"
    ]


def test_broken_references_are_told_in_one_order(tmp_path: Path) -> None:
    """The .sql makes tables in another order than they have in the source."""
    tables = "".join(
        f"CREATE VIEW v{i} AS SELECT 1; CREATE TABLE t{i}(x REFERENCES nowhere{i}(y)); INSERT INTO t{i} VALUES({i});"
        for i in range(40)
    )
    source = make(tmp_path / "app.db", tables)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    assert verify(job, "latest", "restore")[0].ok


def test_a_dump_with_other_rows_than_the_source_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbfleet.databases.sqlite import dump

    source = sample(tmp_path / "app.db")
    real = dump.batches

    def lossy(connection: sqlite3.Connection, query: str) -> Iterator[list[Any]]:
        for rows in real(connection, query):
            yield rows[:-1] if len(rows) > 3 else rows

    monkeypatch.setattr(dump, "batches", lossy)
    with pytest.raises(ProofError, match="does not carry every row of table"):
        backup(job_of(source, tmp_path / "backups", proof=ProofPolicy(level="rows")))
    assert not [path for path in (tmp_path / "backups").iterdir() if "backup" in path.name]


def test_corrupt_pages_are_no_backup(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=2000)
    good = source.read_bytes()
    refused = 0
    for page in range(1, len(good) // 4096, 9):
        data = bytearray(good)
        data[page * 4096 : page * 4096 + 200] = os.urandom(200)
        source.write_bytes(data)
        with closing(connect(source)) as connection:
            try:
                sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            except sqlite3.DatabaseError:
                sound = False
        if sound:
            continue  # what was hit is not used
        with pytest.raises((ProofError, SourceError)) as caught:
            backup(job_of(source, tmp_path / "backups"))
        assert "damaged" in caught.value.message or "not carry" in caught.value.message
        refused += 1
    assert refused > 3
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [".app.lock"]


# --- memory -----------------------------------------------------------------------------------

# VmHWM and not ru_maxrss, which a child inherits from the process that starts it.
MEASURED = """
import sys
from dbfleet.model import *
from dbfleet.operations.{verb} import {verb}
from sqlite_lab import job_of
job = job_of(sys.argv[1], sys.argv[2])
{call}
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""


def test_memory_does_not_grow_with_the_database(tmp_path: Path) -> None:
    """Backup, restore over a live database and verify stay below 100 MiB with 160 MiB of data."""
    source = make(tmp_path / "app.db", "CREATE TABLE t(a INTEGER PRIMARY KEY, b)", journal_mode="wal")
    with closing(connect(source)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        noise = os.urandom(20_000)
        connection.executemany("INSERT INTO t VALUES(?, ?)", ((i, noise) for i in range(8000)))
        connection.execute("COMMIT")
    calls = {
        "backup": "backup(job)",
        "restore": "restore(job, 'latest', replace=True)",
        "verify": "assert verify(job, 'latest', 'restore')[0].ok",
    }
    paths = [str(Path(__file__).parents[2] / "plugins" / "module_utils"), str(Path(__file__).parent)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with Application(source, "SELECT count(*) FROM t"):
        for verb, call in calls.items():
            code = MEASURED.format(verb=verb, call=call)
            line = [sys.executable, "-c", code, str(source), str(tmp_path / "backups")]
            done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert int(done.stdout) < 100 * 1024, verb
    assert ask(source, "SELECT count(*), sum(length(b)) FROM t") == [(8000, 160_000_000)]
