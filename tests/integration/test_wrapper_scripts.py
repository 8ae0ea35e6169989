"""``scripts/backup_restore.sh`` as PromptPilot's users type it; the .bat says the same in its own words."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Checkout:
    """A copy of the script in a folder with a difficult name, beside the source or a zipapp."""

    def __init__(self, folder: Path, *, kind: str) -> None:
        self.folder = folder / "prompt pilot & co's $(x)"
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "backup_restore.sh", self.folder / "scripts")
        package = ROOT / "plugins" / "module_utils"
        if kind == "source":
            shutil.copytree(package, self.folder / "plugins" / "module_utils")
        else:
            place = self.folder / ("build" if kind == "build" else "scripts")
            build = [sys.executable, str(ROOT / "scripts" / "build_pyz.py"), str(place / "dbfleet.pyz")]
            subprocess.run(build, check=True)
        self.database = self.folder / "data" / "promptpilot.db"
        self.database.parent.mkdir()
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY)")
            database.execute("INSERT INTO prompts VALUES (1)")
            database.commit()

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        names = ("DATABASE_URL", "BACKUP_DIR", "RETENTION_DAYS", "PYTHONPATH")
        kept = {
            name: value for name, value in os.environ.items() if name not in names and not name.startswith("DBFLEET_")
        }
        state = {"DBFLEET_STATE_DIR": str(self.folder / "state"), "PYTHON": sys.executable}
        return subprocess.run(
            ["./scripts/backup_restore.sh", *words],
            cwd=self.folder,
            env={**kept, **state, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def count(self, database: Path) -> int:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute("SELECT count(*) FROM prompts").fetchone()[0]

    def add_a_prompt(self) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("INSERT INTO prompts DEFAULT VALUES")
            database.commit()


@pytest.mark.parametrize("kind", ["source", "build", "beside"])
def test_backup_list_restore(tmp_path: Path, kind: str) -> None:
    checkout = Checkout(tmp_path, kind=kind)
    done = checkout.run("backup")
    assert done.returncode == 0, done.stderr
    [artifact] = (checkout.folder / "backups").glob("promptpilot_backup_*.sql*")
    listed = checkout.run("list")
    assert artifact.name.partition(".")[0] in listed.stdout
    checkout.add_a_prompt()
    restored = checkout.run("restore", f"backups/{artifact.name}")
    assert restored.returncode == 0, restored.stderr
    assert checkout.count(checkout.database) == 1
    [kept] = [path for path in checkout.database.parent.iterdir() if path != checkout.database]
    assert checkout.count(kept) == 2  # what was replaced is kept beside


def test_a_dump_of_the_old_scripts_is_restored(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, kind="source")
    (checkout.folder / "backups").mkdir()
    dump = checkout.folder / "backups" / "promptpilot_backup_20250823_103000.sql"
    dump.write_text("CREATE TABLE prompts (id);\nINSERT INTO prompts VALUES (7), (8);\n", encoding="utf-8")
    assert dump.name in checkout.run("list").stdout
    restored = checkout.run("restore", f"backups/{dump.name}")
    assert restored.returncode == 0, restored.stderr
    assert "unproven" in restored.stdout
    assert checkout.count(checkout.database) == 2


def test_environment_and_options_are_handed_on(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, kind="source")
    other = checkout.folder / "other's.db"
    shutil.copy(checkout.database, other)
    environ = {"DATABASE_URL": "sqlite:///other's.db", "BACKUP_DIR": "./my backups"}
    done = checkout.run("backup", "--compression-method", "gzip", **environ)
    assert done.returncode == 0, done.stderr
    assert list((checkout.folder / "my backups").glob("promptpilot_backup_*.gz"))
    assert not (checkout.folder / "backups").exists()


def test_retention_days_prune_after_a_good_backup_only(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, kind="source")
    assert "kept" not in checkout.run("backup").stdout
    done = checkout.run("backup", RETENTION_DAYS="7")
    assert done.returncode == 0, done.stderr
    assert "0 removed, 0 archived, 2 kept" in done.stdout
    assert checkout.run("backup", RETENTION_DAYS="soon").returncode == 2
    checkout.database.unlink()
    failed = checkout.run("backup", RETENTION_DAYS="7")
    assert failed.returncode == 1
    assert "removed" not in failed.stdout


def test_wrong_words_and_a_missing_program(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, kind="beside")
    for words in ((), ("bakcup",), ("restore",)):
        done = checkout.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage:" in done.stderr
    assert "usage:" in checkout.run("--help").stdout
    assert checkout.run("restore", "no such file.sql").returncode == 1
    (checkout.folder / "scripts" / "dbfleet.pyz").unlink()
    done = checkout.run("list")
    assert done.returncode == 2
    assert "remedy: build it" in done.stderr


def test_the_batch_file_is_safe_to_check_out_anywhere() -> None:
    """cmd.exe misses labels in files without carriage returns, so there are none; & and ! are data."""
    text = (ROOT / "scripts" / "backup_restore.bat").read_bytes().decode("ascii")
    lines = [line for line in text.splitlines() if not line.startswith("rem")]
    assert "\r" not in text
    assert not any(line.startswith(":") or "goto" in line or "call " in line for line in lines)
    assert "setlocal DisableDelayedExpansion" in lines
    assert "exit /b" not in lines  # without a code, some cmd.exe answer 0
    assert all('"%~dp0' in line for line in lines if "%~dp0" in line and "echo" not in line and "set " not in line)
