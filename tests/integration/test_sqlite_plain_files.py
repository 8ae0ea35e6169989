"""Plain files that no manifest describes: restored and called unproven, or refused with nothing changed."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from sqlite_lab import (
    LEDGER,
    Application,
    Writer,
    ask,
    check_ledger,
    content,
    job_of,
    make,
    own_state,
    run_sql,
    sample,
    wait_until,
)

from dbfleet.errors import (
    DamagedError,
    DbfleetError,
    NotFoundError,
    RefusedError,
    RepositoryError,
    UsageError,
)
from dbfleet.model import Encryption, Job
from dbfleet.operations.restore import restore

__all__ = ["own_state"]


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
    (folder / "x.sql").write_bytes(text.encode())
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
