"""SQLite databases for tests, and what they hold, told without the code under test."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dbfleet.databases.sqlite.connection import url_of
from dbfleet.errors import DbfleetError
from dbfleet.model import Job, Limits, Manifest, ProofPolicy, Repository, Source

QUICK = Limits(lock_wait=1, min_free="0")


def job_of(path: Path | str, repository: Path | str, **changed: Any) -> Job:
    """A job that measures the whole content and gives up on locks after a second."""
    fields: dict[str, Any] = {"proof": ProofPolicy(level="content"), "limits": QUICK, **changed}
    return Job("app", Repository(str(repository)), Source(url_of(str(path))), **fields)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and scratch of this test only; what is left in scratch afterwards is a failure."""
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DBFLEET_SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no test here cuts the power


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user can write, with state and scratch in it; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="dbfleet-test-"))
    folder.chmod(0o777)
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("DBFLEET_SCRATCH", str(folder))
    yield folder
    shutil.rmtree(folder)


def refused(kind: type[DbfleetError], match: str, act: Callable[[], object]) -> None:
    """``act`` fails with one line of that kind, and a remedy."""
    with pytest.raises(kind, match=match) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def stored(repository: Path) -> list[str]:
    """Everything in a repository but its lock."""
    return sorted(path.name for path in repository.iterdir() if not path.name.endswith(".lock"))


def known(sql: str) -> str:
    """``sql``, unless the SQLite of this Python is too old for it: then the test is skipped."""
    for word, since in (("STRICT", (3, 37)), ("DROP COLUMN", (3, 35))):
        if word in sql and sqlite3.sqlite_version_info < since:
            pytest.skip(f"SQLite {sqlite3.sqlite_version} knows no {word}")
    return sql


def make(path: Path | str, sql: str = "", **pragmas: object) -> Path:
    """A new database in which ``pragmas``, then ``sql`` were run."""
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}").fetchall()
        connection.executescript(known(sql))
        if not pragmas and not sql:
            connection.execute("VACUUM")
    return Path(path)


def connect(path: Path | str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(os.fspath(path), isolation_level=None, **options)


def run_sql(path: Path | str, sql: str) -> None:
    with closing(connect(path)) as connection:
        connection.executescript(known(sql))


def ask(path: Path | str, sql: str) -> list[tuple[Any, ...]]:
    with closing(connect(path)) as connection:
        return connection.execute(sql).fetchall()


SAMPLE = """
CREATE TABLE prompts(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL UNIQUE, body TEXT, score REAL);
CREATE TABLE runs(id INTEGER PRIMARY KEY, prompt INTEGER REFERENCES prompts(id) ON DELETE CASCADE, output BLOB);
CREATE INDEX runs_by_prompt ON runs(prompt);
CREATE VIEW latest AS SELECT prompt, max(id) AS run FROM runs GROUP BY prompt;
CREATE TRIGGER cut AFTER INSERT ON prompts BEGIN UPDATE prompts SET title = trim(title) WHERE id = new.id; END;
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO prompts(title, body, score) SELECT 'prompt ' || i, printf('%.*c', i % 90, 'x') || i, i / 7.0 FROM n;
INSERT INTO runs(prompt, output) SELECT id, randomblob(id % 200) FROM prompts;
"""


def sample(path: Path | str, rows: int = 300, **pragmas: object) -> Path:
    """An ordinary application's database."""
    return make(path, SAMPLE.format(rows=rows), **pragmas)


# --- what a database holds --------------------------------------------------------------------


def content(path: Path | str) -> dict[str, Any]:
    """Schema, header and every value with its type and its very bytes, hidden rowids included."""
    with closing(connect(path)) as connection:
        connection.text_factory = bytes
        items = connection.execute("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master").fetchall()
        found: dict[str, Any] = {
            "schema": sorted(repr(item[:4]) for item in items),
            "encoding": connection.execute("PRAGMA encoding").fetchone(),
            "user_version": connection.execute("PRAGMA user_version").fetchone(),
            "application_id": connection.execute("PRAGMA application_id").fetchone(),
        }
        for kind, name, _table, _sql, root in items:
            if kind == b"table" and root:
                found[name.decode()] = _rows(connection, '"' + name.decode().replace('"', '""') + '"')
    return found


def _rows(connection: sqlite3.Connection, name: str) -> list[str]:
    connection.text_factory = bytes.decode
    columns = [row[1].lower() for row in connection.execute(f"PRAGMA table_xinfo({name})")]
    connection.text_factory = lambda data: ("text", data)
    for rowid in ("rowid", "_rowid_", "oid", None):
        if rowid in columns:
            continue
        try:
            rows = connection.execute(f"SELECT {rowid + ', ' if rowid else ''}* FROM {name}").fetchall()
            break
        except sqlite3.OperationalError:  # WITHOUT ROWID
            continue
    return sorted(repr([_exact(value) for value in row]) for row in rows)


def _exact(value: Any) -> Any:
    return ("real", struct.pack(">d", value).hex()) if isinstance(value, float) else value


# --- restoring by hand ------------------------------------------------------------------------


def by_hand(manifest: Manifest, repository: Path, folder: Path, *, sql: bool = False, **environ: str) -> Path:
    """Run the manifest's own commands in a shell, in ``folder``, with none of this project's code."""
    folder.mkdir()
    for file in repository.iterdir():
        if not file.name.startswith("."):
            shutil.copy(file, folder / file.name)
    remark = "# or, from the SQL: "
    commands = [line[len(remark) :] for line in manifest.restore_with if line.startswith(remark)]
    if not sql:
        commands = [line for line in manifest.restore_with if not line.startswith("#")]
    assert commands
    done = subprocess.run(
        ["/bin/sh", "-e"],
        input="\n".join(commands),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (commands, done.stderr)
    return folder / "restored.db"


# --- other processes --------------------------------------------------------------------------

WRITER = """
import os, sqlite3, sys, time
path, start, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connection = sqlite3.connect(path, isolation_level=None, timeout=60)
number = start
while True:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("INSERT INTO ledger VALUES(?, ?)", (number, os.urandom(300)))
        connection.execute("UPDATE total SET count = count + 1, last = ?", (number,))
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "no such table" in str(error): # the restored database has another schema: this is its end
            sys.exit(3)
        raise
    os.write(1, b"%d\\n" % number)  # said only after the commit
    number += 1
    time.sleep(pause)
"""
LEDGER = """
CREATE TABLE ledger(number INTEGER PRIMARY KEY, noise BLOB);
CREATE TABLE total(count INTEGER, last INTEGER);
INSERT INTO total VALUES(0, 0);
"""


class Writer:
    """A process that commits numbered rows to a ledger; ``last`` is the last number it said after a commit."""

    def __init__(self, path: Path, pause: float) -> None:
        command = [sys.executable, "-c", WRITER, str(path), "1", str(pause)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.last = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_until(lambda: self.last)

    @property
    def ended(self) -> bool:
        """Whether the writer gave up."""
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self.last = int(line)


@contextmanager
def writer(path: Path, *, pause: float = 0.0) -> Iterator[Writer]:
    """A :class:`Writer` that is killed in the end."""
    one = Writer(path, pause)
    try:
        yield one
    finally:
        one.kill()


def check_ledger(path: Path) -> int:
    """A ledger without gaps whose total agrees: one commit's state, not a mixture. Returns the last number."""
    ((rows, last, first, count, told),) = ask(
        path,
        "SELECT count(number), coalesce(max(number), 0), coalesce(min(number), 1), total.count, total.last "
        "FROM total LEFT JOIN ledger",
    )
    assert rows == last - first + 1 == count, (rows, last, first, count)
    assert told == last
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    return int(last)


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(connection.execute(line).fetchall(), flush=True)
    except sqlite3.Error as error:
        print("error", error, flush=True)
"""


class Application:
    """Another process that has the database open, and answers SQL."""

    def __init__(self, path: Path, *statements: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), *statements],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def ask(self, sql: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(sql.replace("\n", " ") + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        """As a crash does: no log is checked in, no journal rolled back."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def wait_until(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def flip(path: Path, offset: int, mask: int = 0x01) -> None:
    """Change bits of one byte in place, whatever the mode of the file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
