"""The command and the wrapper script on Windows: CPython for Windows under Wine (scripts/dev/windows.sh).

Locks, renames over open files and paths behave there as on Windows; schedulers, ACLs and PowerShell do not.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "windows" / "python" / "python.exe"


class Windows:
    """A folder with a PromptPilot in it, and programs that run there as on Windows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "prompt pilot & co's!"
        for name in ("scripts", "build", "data"):
            (self.folder / name).mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "backup_restore.bat", self.folder / "scripts")
        shutil.copy(ROOT / "build" / "dbfleet.pyz", self.folder / "build")
        self.database = self.folder / "data" / "promptpilot.db"
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, title TEXT)")
            database.executemany("INSERT INTO prompts(title) VALUES (?)", [(f"tïtle {i}",) for i in range(500)])
            database.commit()

    def start(self, *argv: str, **environ: str) -> subprocess.Popen[str]:
        names = ("DATABASE_URL", "BACKUP_DIR", "RETENTION_DAYS", "PYTHONPATH", "DISPLAY")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        return subprocess.Popen(
            ["wine", *argv],
            cwd=self.folder,
            env={**kept, "PYTHON": windows_path(PYTHON), "DBFLEET_STATE_DIR": "state", "PYTHONUTF8": "1", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        child = self.start(*argv, **environ)
        out, err = child.communicate(timeout=120)
        return subprocess.CompletedProcess(argv, child.returncode, out.replace("\r\n", "\n"), err)

    def dbfleet(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        usual = {"DATABASE_URL": "sqlite:///data/promptpilot.db", "BACKUP_DIR": "backups"}
        return self.run(str(PYTHON), "build/dbfleet.pyz", *words, **{**usual, **environ})

    def answer(self, *words: str) -> Any:
        done = self.dbfleet(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def script(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.run("cmd", "/c", "scripts\\backup_restore.bat", *words, **environ)

    def change(self, sql: str) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            database.execute(sql)
            database.commit()


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def titles(database: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT id, title FROM prompts ORDER BY id").fetchall()


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows(tmp_path)


def test_a_chain_goes_there_and_back(windows: Windows) -> None:
    first = titles(windows.database)
    full = windows.answer("backup", "--type", "auto", "--proof-level", "content")["backup"]
    windows.change("DELETE FROM prompts WHERE id > 10")
    second = windows.answer("backup", "--type", "auto", "--proof-level", "content")["backup"]
    assert [(one["type"], one["parent"]) for one in (full, second)] == [("full", None), ("incremental", full["id"])]
    results = windows.answer("verify", "all", "--level", "restore")["results"]
    assert [one["ok"] for one in results] == [True, True]
    for backup, expected in ((full, first), (second, titles(windows.database))):
        target = windows.folder / f"{backup['id']}.db"
        assert windows.answer("restore", backup["id"], "--to", target.name)["restored"]["proven"]
        assert titles(target) == expected
    assert [one["state"] for one in windows.answer("list")["backups"]] == ["good", "good"]
    assert windows.answer("prune", "--retention-keep-last", "1")["removed"] == []  # the full one is needed
    log = json.loads(windows.dbfleet("health", "--json").stdout)["audit"]
    assert log["ok"] and log["entries"] >= 12
    data = (windows.folder / "state" / "audit.jsonl").read_bytes()
    assert b"\r" not in data
    (windows.folder / "state" / "audit.jsonl").write_bytes(data.replace(b"\n", b"\r\n"))  # as it once was
    windows.answer("backup")
    log = json.loads(windows.dbfleet("health", "--json").stdout)["audit"]
    assert log["ok"] and log["entries"] >= 14


def test_a_backup_made_there_is_read_here_and_the_other_way_round(windows: Windows) -> None:
    expected = titles(windows.database)
    backup = windows.answer("backup")["backup"]["id"]
    here = ["python3", "build/dbfleet.pyz", "restore", backup, "--to", "here.db", "--repository", "backups"]
    subprocess.run(here, cwd=windows.folder, check=True, capture_output=True)
    assert titles(windows.folder / "here.db") == expected


def test_an_open_database_is_restored_under_its_application(windows: Windows) -> None:
    windows.answer("backup")
    windows.change("DELETE FROM prompts")
    code = (
        "import sqlite3, sys, time\n"
        "c = sqlite3.connect('data/promptpilot.db')\n"
        "print(c.execute('SELECT count(*) FROM prompts').fetchone()[0], flush=True)\n"
        "sys.stdin.readline(); deadline = time.time() + 60\n"
        "while time.time() < deadline and not c.execute('SELECT count(*) FROM prompts').fetchone()[0]: time.sleep(.2)\n"
        "print(c.execute('SELECT count(*) FROM prompts').fetchone()[0], flush=True)\n"
    )
    (windows.folder / "application.py").write_text(code, encoding="utf-8")
    application = windows.start(str(PYTHON), "application.py")
    assert application.stdout is not None
    assert application.stdout.readline().strip() == "0"
    restored = windows.answer("restore", "latest", "--replace")["restored"]
    assert application.communicate(timeout=90)[0].strip() == "500"
    kept = windows.database.with_name(restored["kept"].replace("\\", "/").rpartition("/")[2])
    assert titles(kept) == []


def test_two_runs_at_once_are_told_and_a_dead_one_leaves_no_lock(windows: Windows) -> None:
    windows.answer("backup")
    code = (
        "import sys; sys.path.insert(0, 'build/dbfleet.pyz')\n"
        "from dbfleet.stores.registry import open_store\n"
        "with open_store('backups').lock('promptpilot'):\n"
        "    print('held', flush=True)\n"
        "    import time; time.sleep(120)\n"
    )
    (windows.folder / "holder.py").write_text(code, encoding="utf-8")
    holder = windows.start(str(PYTHON), "holder.py")
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    refused = windows.dbfleet("backup", "--limits-lock-wait", "1s")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "in use" in refused.stderr
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + 60
    while windows.dbfleet("backup", "--limits-lock-wait", "5s").returncode:
        assert time.monotonic() < deadline


def test_bad_input_gets_one_line_and_its_exit_code(windows: Windows) -> None:
    for words, code, said in (
        (("backup", "--source", "sqlite:///data/nowhere.db"), 1, "does not exist"),
        (("backup", "--compresion-level", "3"), 2, "--compression-level"),
        (("restore", "latest"), 1, "make a backup first"),
    ):
        done = windows.dbfleet(*words)
        assert done.returncode == code, done.stderr
        assert said in done.stderr and "Traceback" not in done.stderr
    windows.answer("backup")
    [artifact] = (windows.folder / "backups").glob("*.db.*")
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    found = windows.dbfleet("verify", "latest", "--level", "checksum")
    assert found.returncode == 3 and artifact.name in found.stdout + found.stderr


def test_the_wrapper_script_as_its_users_type_it(windows: Windows) -> None:
    expected = titles(windows.database)
    done = windows.script("backup")
    assert done.returncode == 0, done.stderr
    [artifact] = (windows.folder / "backups").glob("promptpilot_backup_*.sql*")
    assert artifact.name.partition(".")[0] in windows.script("list").stdout
    windows.change("DELETE FROM prompts WHERE id > 3")
    restored = windows.script("restore", f"backups\\{artifact.name}")
    assert restored.returncode == 0, restored.stderr
    assert titles(windows.database) == expected
    pruned = windows.script("backup", RETENTION_DAYS="7")
    assert pruned.returncode == 0 and "0 removed, 0 archived, 2 kept" in pruned.stdout, pruned.stdout + pruned.stderr
    assert windows.script("bakcup").returncode == 2
    assert windows.script("restore", "no such file.sql").returncode == 1
