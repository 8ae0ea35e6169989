"""Restores of SQLite: nothing good is destroyed by something bad (promise 3), whatever is at the target."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_lab import (
    LEDGER,
    SAMPLE,
    Application,
    Writer,
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

from dbfleet.databases.sqlite import restoration as restorations
from dbfleet.errors import (
    BusyError,
    DamagedError,
    DbfleetError,
    NotFoundError,
    ProofError,
    RefusedError,
    RepositoryError,
    UsageError,
)
from dbfleet.model import Encryption, Job
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
    monkeypatch.setattr(restorations, "LOCK_WAIT", 1.5)
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


# --- single tables ----------------------------------------------------------------------------

SHOP = """
CREATE TABLE customers(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id), note TEXT);
CREATE INDEX orders_by_customer ON orders(customer);
CREATE TABLE log(what); CREATE TRIGGER noted AFTER INSERT ON orders BEGIN INSERT INTO log VALUES(new.id); END;
CREATE TRIGGER gone AFTER DELETE ON orders BEGIN INSERT INTO log VALUES(-old.id); END;
INSERT INTO customers(name) VALUES('a'), ('b'), ('c'); INSERT INTO orders VALUES(1, 1, 'x'), (2, 3, 'y');
CREATE VIRTUAL TABLE notes USING fts5(text); INSERT INTO notes(rowid, text) VALUES(7, 'find me'), (9, 'other');
CREATE TABLE notes_history(x); INSERT INTO notes_history VALUES('an ordinary table');
CREATE TABLE "od""d '; name"("-a b" INTEGER PRIMARY KEY, "c,d"); INSERT INTO "od""d '; name" VALUES(5, 'v');
CREATE TABLE wo(k TEXT PRIMARY KEY, g AS (k || '!')) WITHOUT ROWID; INSERT INTO wo VALUES('k');
CREATE TABLE hidden(v); INSERT INTO hidden(rowid, v) VALUES(12, 'twelve');
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Job, Path]:
    path = make(tmp_path / "shop.db", SHOP, journal_mode="wal")
    job = job_of(path, tmp_path / "backups")
    backup(job)
    return job, path


@pytest.mark.parametrize("table", ["orders", "notes", "od\"d '; name", "wo", "hidden", "customers"])
@pytest.mark.parametrize("state", ["emptied", "dropped", "changed"])
def test_a_table_comes_back_with_its_rows_indexes_and_triggers(table: str, state: str, shop: tuple[Job, Path]) -> None:
    job, path = shop
    expected = content(path)
    name = '"' + table.replace('"', '""') + '"'
    if state == "dropped":
        run_sql(
            path, f"DROP TABLE {name}; DELETE FROM log; INSERT INTO log SELECT id FROM orders"
        ) if table != "orders" else run_sql(path, "DROP TABLE orders")
    elif state == "emptied":
        run_sql(path, f"DELETE FROM {name}; DELETE FROM log WHERE what < 0")
    else:
        column = ask(path, f"SELECT name FROM pragma_table_info('{table.replace(chr(39), chr(39) * 2)}')")[-1][0]
        run_sql(path, "UPDATE {} SET {} = 3".format(name, '"' + column.replace('"', '""') + '"'))
    report = restore(job, "latest", tables=[table], replace=state == "changed")
    assert content(path) == expected
    assert (report.kept is not None) == (state == "changed")
    assert ask(path, "SELECT rowid FROM notes('find')") == [(7,)]
    run_sql(path, "INSERT INTO notes(notes) VALUES('integrity-check'); INSERT INTO orders VALUES(99, 1, '')")
    assert ask(path, "SELECT what FROM log ORDER BY 1 DESC LIMIT 1") == [(99,)], "the trigger is alive"


def test_a_full_text_table_leaves_ordinary_tables_of_a_similar_name_alone(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "UPDATE notes_history SET x = 'newer'; DELETE FROM notes")
    restore(job, "latest", tables=["notes"])
    assert ask(path, "SELECT x FROM notes_history") == [("newer",)]


def test_rows_that_are_there_are_overwritten_only_with_replace_and_then_kept(shop: tuple[Job, Path]) -> None:
    job, path = shop
    os.chmod(path, 0o640)
    run_sql(path, "UPDATE orders SET note = 'newer'; INSERT INTO customers(name) VALUES('d')")
    before = content(path)
    with pytest.raises(RefusedError, match="already has rows"):
        restore(job, "latest", tables=["orders"])
    assert content(path) == before
    report = restore(job, "latest", tables=["orders", "customers"], replace=True)
    assert ask(path, "SELECT note FROM orders") == [("x",), ("y",)]
    assert report.rows == 5
    assert report.kept is not None and content(report.kept) == before
    assert stat.S_IMODE(os.stat(report.kept).st_mode) == 0o640
    run_sql(path, "INSERT INTO customers(name) VALUES('e')")
    assert ask(path, "SELECT max(id) FROM customers") == [(5,)], "no number is given twice"


def test_a_table_whose_references_would_break_is_refused_whole(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "DELETE FROM orders WHERE id = 2; DELETE FROM customers WHERE id = 3; DELETE FROM log")
    before = content(path)
    with pytest.raises(ProofError, match="row 2 of table 'orders' would refer to a row of 'customers'") as caught:
        restore(job, "latest", tables=["orders"], replace=True)
    assert "--table customers" in caught.value.remedy
    assert content(path) == before
    assert not list(path.parent.glob("*.replaced-*"))
    restore(job, "latest", tables=["orders", "customers"], replace=True)
    assert ask(path, "PRAGMA foreign_key_check") == []


def test_references_that_were_broken_before_do_not_stop_a_restore(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "CREATE TABLE bad(c REFERENCES customers(id)); INSERT INTO bad VALUES(77); DELETE FROM hidden")
    restore(job, "latest", tables=["hidden"])
    assert ask(path, "SELECT rowid, v FROM hidden") == [(12, "twelve")]


@pytest.mark.parametrize(
    ("change", "table", "match"),
    [
        ("ALTER TABLE orders ADD COLUMN more", "orders", "other columns than the backup's: more"),
        ("ALTER TABLE orders DROP COLUMN note", "orders", "other columns than the backup's: note"),
        ("DROP TABLE notes; CREATE VIRTUAL TABLE notes USING fts5(text, more)", "notes", "made otherwise"),
        ("DROP TABLE hidden; CREATE VIEW hidden AS SELECT 1", "hidden", "is a view"),
        ("SELECT 1", "nowhere", "no table 'nowhere'"),
        ("SELECT 1", "sqlite_sequence", "no table 'sqlite_sequence'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(change: str, table: str, match: str, shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, change)
    before = content(path)
    with pytest.raises((RefusedError, NotFoundError), match=match):
        restore(job, "latest", tables=[table], replace=True)
    assert content(path) == before


def test_tables_go_into_a_database_in_use(shop: tuple[Job, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    job, path = shop
    monkeypatch.setattr("dbfleet.databases.sqlite.tables.LOCK_WAIT", 1.0)
    with Application(path, "SELECT 1 FROM orders") as application:
        application.ask("DELETE FROM orders")
        restore(job, "latest", tables=["orders"])
        assert application.ask("SELECT count(*) FROM orders") == "[(2,)]"
        application.ask("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            restore(job, "latest", tables=["orders"], replace=True)


def test_tables_need_a_database_to_go_to(shop: tuple[Job, Path], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        restore(shop[0], "latest", to=str(tmp_path / "new.db"), tables=["orders"])
    assert not (tmp_path / "new.db").exists()


# --- plain files ------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, Job]:
    """An empty folder for files that no manifest describes, beside a job that has no backups."""
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder, job_of(tmp_path / "target.db", tmp_path / "backups")


def shell_dump(path: Path) -> bytes:
    return subprocess.run(["sqlite3", str(path), ".dump"], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "suffix", [".sql", ".SQL", ".sql.gz", ".sql.zst", ".db", ".sqlite", ".sqlite3", ".db.gz", ".db.zst"]
)
def test_plain_files_of_other_tools_are_restored_and_called_unproven(
    suffix: str, plain: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = plain
    source = sample(tmp_path / "app.db")
    data = source.read_bytes() if suffix.startswith((".db", ".sqlite")) else shell_dump(source)
    if suffix.endswith(".gz"):
        data = gzip.compress(data)
    elif suffix.endswith(".zst"):
        data = subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
    file = folder / f"it's 20250823{suffix}"
    file.write_bytes(data)
    report = restore(job, str(file))
    assert not report.proven
    assert "unproven" in report.notes[0]
    questions = ["SELECT * FROM prompts", "SELECT * FROM runs", "SELECT type, name FROM sqlite_master ORDER BY 1, 2"]
    for question in questions:
        assert ask(tmp_path / "target.db", question) == ask(source, question)
    with pytest.raises(RefusedError):
        restore(job, str(file))
    assert restore(job, str(file), replace=True).kept


def test_an_encrypted_plain_file(plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    source = sample(tmp_path / "app.db")
    (tmp_path / "secret").write_text("open sesame\n")
    os.chmod(tmp_path / "secret", 0o600)
    command = ["gpg", "--batch", "--symmetric", "--pinentry-mode", "loopback", "--passphrase", "open sesame"]
    file = folder / "old.db.gz.gpg"
    subprocess.run(
        [*command, "--s2k-count", "1024", "--homedir", str(folder), "-o", str(file)],
        input=gzip.compress(source.read_bytes()),
        check=True,
        capture_output=True,
    )
    keyed = job_of(
        tmp_path / "target.db", "backups", encryption=Encryption("gpg", passphrase_file=str(tmp_path / "secret"))
    )
    restore(keyed, str(file))
    assert content(tmp_path / "target.db") == content(source)
    (tmp_path / "secret").write_text("wrong\n")
    with pytest.raises(DbfleetError) as caught:
        restore(keyed, str(file), replace=True)
    assert caught.value.kind == "key"


BAD_FILES = {
    "attach": ("x.sql", b"CREATE TABLE t(a); ATTACH 'TARGET' AS o; CREATE TABLE o.stolen(a);", "open another file"),
    "attach inside a trigger text": ("x.sql", b"CREATE TABLE t(a);\nATTACH DATABASE 'TARGET' AS o;\n", "another file"),
    "vacuum into": ("x.sql", b"CREATE TABLE t(a); VACUUM INTO 'TARGET';", "open another file"),
    "load_extension": ("x.sql", b"CREATE TABLE t(a); SELECT load_extension('/tmp/x.so');", "not authorized"),
    "a dump that says it failed": (
        "x.sql",
        b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES(1);\nROLLBACK; -- due to errors\n",
        "failed",
    ),
    "a dump of nothing": ("x.sql", b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n", "holds no table"),
    "cut off": ("x.sql", b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES('abc", "in the middle"),
    "cut off between statements": ("x.sql", b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\n", "cut off"),
    "not SQL": ("x.sql", b"this is no SQL;", "statement 1"),
    "not text": ("x.sql", b"CREATE TABLE t(a);\xff\xfe;", "not UTF-8"),
    "a NUL": ("x.sql", b"CREATE TABLE t(a);\0;", "NUL"),
    "another database's dump": ("x.sql", b"-- PostgreSQL database dump\nSET statement_timeout = 0;\n", "statement 1"),
    "empty": ("x.sql", b"", "0 bytes"),
    "an empty gzip": ("x.sql.gz", gzip.compress(b""), "holds no table"),
    "a cut gzip": ("x.sql.gz", gzip.compress(b"CREATE TABLE t(a);" * 99)[:-9], ""),
    "not a database": ("x.db", b"SQLite format 4\0" + bytes(5000), "not an SQLite database"),
    "a damaged database": ("x.db", None, "damaged"),
    "an unknown suffix": ("x.tar", b"x", "says what it is"),
    "no suffix": ("x", b"x", "says what it is"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_plain_files_change_nothing(what: str, plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    target = sample(tmp_path / "target.db")
    before = content(target)
    name, data, match = BAD_FILES[what]
    if data is None:
        damaged = bytearray(sample(tmp_path / "whole.db", rows=900).read_bytes())
        damaged[8192:40960] = os.urandom(32768)
        data = bytes(damaged)
    (folder / name).write_bytes(data.replace(b"TARGET", str(folder / "written").encode()))
    with pytest.raises(DbfleetError) as caught:
        restore(job, str(folder / name), replace=True)
    assert match in str(caught.value)
    assert caught.value.kind != "failed"
    assert content(target) == before
    assert [path.name for path in folder.iterdir()] == [name]
    assert not list(tmp_path.glob(".*partial*")) and not list(tmp_path.glob("*.replaced-*"))


def test_a_plain_file_that_is_not_there(plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    (tmp_path / "backups").mkdir()
    with pytest.raises(NotFoundError):
        restore(job, str(folder / "x.sql"))
    (folder / "folder.sql").mkdir()
    with pytest.raises((RepositoryError, UsageError)):
        restore(job, str(folder / "folder.sql"))
    assert not (tmp_path / "target.db").exists()


def test_a_plain_database_with_a_log_beside_it_is_refused(plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    source = sample(tmp_path / "app.db", journal_mode="wal")
    with Application(source, "DELETE FROM runs WHERE id > 1"):
        for suffix in ("", "-wal"):
            shutil.copy(f"{source}{suffix}", f"{folder}/copy.db{suffix}")
    with pytest.raises(RefusedError, match="newest commits"):
        restore(job, str(folder / "copy.db"))
    assert not (tmp_path / "target.db").exists()


def test_a_table_of_a_plain_file(plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    target = sample(tmp_path / "target.db")
    (folder / "old.sql").write_bytes(shell_dump(target))
    run_sql(target, "DROP TABLE runs; UPDATE prompts SET title = 'new ' || id")
    report = restore(job, str(folder / "old.sql"), tables=["runs"])
    assert (report.proven, report.rows) == (False, 300)
    assert ask(target, "SELECT count(*) FROM prompts WHERE title GLOB 'new*'") == [(300,)]


def test_statements_may_share_a_line_and_hold_anything(plain: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = plain
    text = (
        "\ufeff-- a comment; with a semicolon\r\nCREATE TABLE t(a); INSERT INTO t VALUES('x;''y'); /* ; */ "
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT ';'; END; INSERT INTO t VALUES('\r\n--');\n\n;;"
    )
    (folder / "x.sql").write_text(text, newline="")
    restore(job, str(folder / "x.sql"))
    assert ask(tmp_path / "target.db", "SELECT a FROM t") == [("x;'y",), ("\r\n--",)]


def test_a_damaged_file_is_named_with_its_kind(plain: tuple[Path, Job]) -> None:
    folder, job = plain
    (folder / "x.sql.zst").write_bytes(b"\x28\xb5\x2f\xfd" + os.urandom(50))
    with pytest.raises(DamagedError, match=r"x\.sql\.zst"):
        restore(job, str(folder / "x.sql.zst"))


def test_the_lab_really_writes(tmp_path: Path) -> None:
    """A writer that never wrote would make the tests of commits pass."""
    source = make(tmp_path / "app.db", LEDGER)
    one = Writer(source, 0)
    wait_until(lambda: one.last > 3)
    one.kill()
    assert check_ledger(source) in (one.last, one.last + 1)
    assert sqlite3.sqlite_version
