"""Running the real Ansible with the collection of this checkout, for tests of modules and playbooks."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
PLAYBOOK = str(Path(PYTHON).parent / "ansible-playbook")


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: its exit code and all of its output."""

    code: int
    output: str

    def good(self) -> Run:
        """This run, which must have succeeded."""
        assert self.code == 0, self.output
        return self


class Ansible:
    """ansible-playbook in ``folder``, with this checkout as an installed collection in ``collections``."""

    def __init__(self, folder: Path, collections: Path) -> None:
        self.folder = folder
        self.environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(folder / ".ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_FORKS": "2",
            "DBFLEET_STATE_DIR": str(folder / "state"),
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "PWD": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def playbook(self, *arguments: str, **environment: str) -> Run:
        """``ansible-playbook ARGUMENTS``, with more ``environment``."""
        done = subprocess.run(
            [PLAYBOOK, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def tasks(
        self,
        tasks: Sequence[Mapping[str, Any]],
        *arguments: str,
        python: Optional[str] = None,
        **environment: str,
    ) -> tuple[Run, dict[str, Any]]:
        """Run ``tasks`` on localhost: the run, and what each task that has ``register`` returned."""
        names = [task["register"] for task in tasks if "register" in task]
        results = self.folder / "results.json"
        results.unlink(missing_ok=True)
        keep = {
            "name": "Keep the results",
            "ansible.builtin.copy": {
                "dest": str(results),
                "content": "{{ dict(names | zip(names | map('extract', vars))) | to_json }}",
            },
            "vars": {"names": names},
            "check_mode": False,
            "diff": False,
        }
        play = {
            "name": "Test",
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": python or sys.executable},
            "tasks": [*tasks, keep],
        }
        (self.folder / "play.yml").write_text(json.dumps([play]))
        run = self.playbook("play.yml", *arguments, **environment)
        return run, json.loads(results.read_text()) if results.exists() else {}


def lay_out(folder: Path) -> Path:
    """Copy what the built collection has of plugins and playbooks; returns the collections path."""
    target = folder / "ansible_collections/dbfleet/recovery"
    for part in ("plugins", "playbooks", "meta"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", target)
    return folder


def make_database(path: Path, rows: int = 100) -> Path:
    """An SQLite database with ``rows`` prompts and one user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    connection.executemany("INSERT INTO prompts (body) VALUES (?)", [(f"prompt {n}",) for n in range(rows)])
    connection.execute("CREATE TABLE users (name TEXT PRIMARY KEY)")
    connection.execute("INSERT INTO users VALUES ('ann')")
    connection.commit()
    connection.close()
    return path


def rows_of(path: Path, table: str = "prompts") -> int:
    """Rows of ``table`` in the database at ``path``."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def interpreters() -> list[str]:
    """Pythons that a managed host may have: this one, and the oldest supported one where it is installed."""
    found = [sys.executable]
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path.home().glob(".pyenv/versions/3.9.*/bin"))]
    for place in places:
        candidate = Path(place) / "python3.9"
        if candidate.exists() and subprocess.run([candidate, "-c", "import sqlite3"], check=False).returncode == 0:
            return [*found, str(candidate)]
    return found
