"""Roles: what they say of their variables is what they do, and the job check is that of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta/argument_specs.yml").exists())
TASK_FILES = {"main.yml", "preflight.yml", "install.yml", "remove.yml"}
JOB = {"source": {"url": "sqlite:////srv/app.db"}, "repository": {"url": "/backups"}}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_what_the_specification_says(role: str) -> None:
    options = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    said = {name: option["default"] for name, option in options.items()}
    assert load(ROOT / "roles" / role / "defaults/main.yml") == said
    assert all(name.startswith(role + "_") for name in options)


@pytest.mark.parametrize("role", ROLES)
def test_roles_are_a_family(role: str) -> None:
    folder = ROOT / "roles" / role
    assert {path.name for path in (folder / "tasks").iterdir()} >= TASK_FILES
    assert any(path.name.startswith("configure") for path in (folder / "tasks").iterdir())
    assert f"# Role `dbfleet.recovery.{role}`" in (folder / "README.md").read_text(encoding="utf-8")
    tested_by = {
        "db_account": "molecule/databases/molecule.yml",
        "offsite": "tests/integration/test_offsite.py",
    }.get(role, f"molecule/{role}/molecule.yml")
    assert (ROOT / tested_by).exists()


class Checker:
    """The command that checks a job before the role installs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        line = [sys.executable, str(ROOT / "scripts/build_pyz.py"), str(folder / "dbfleet.pyz")]
        subprocess.run(line, check=True)

    def check(self, job: Any, name: str = "app") -> tuple[int, str]:
        """The exit code, and what it says."""
        file = self.folder / ".source.json"
        file.write_text(job if isinstance(job, str) else json.dumps(job), encoding="utf-8")
        file.chmod(0o666)  # Ansible's temporary copy, which is not what gets installed
        line = [sys.executable, str(self.folder / "dbfleet.pyz"), "check", "--name", name, str(file)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        first, *rest = done.stdout.splitlines()
        assert first.split() == ["bad" if rest else "ok", name, str(file)]
        return done.returncode, "\n".join(rest)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    return Checker(tmp_path_factory.mktemp("agent"))


def test_a_job_is_taken_without_touching_anything(checker: Checker) -> None:
    assert checker.check(JOB) == (0, "")
    assert checker.check({**JOB, "name": "app", "limits": {"nice": 5}}) == (0, "")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({**JOB, "retntion": {"keep_last": 3}}, "retntion in app.json is no key of a job"),
        ({**JOB, "name": "other"}, "app.json holds a job named 'other'"),
        ({"repository": {"url": "/backups"}}, "no source is given"),
        ({"source": JOB["source"]}, "no repository is given"),
        ({**JOB, "source": {"url": "oracle://u:secret@h/d"}}, "known database"),
        ({**JOB, "repository": {"url": "ftp://u:secret@h/d"}}, "there is no store for ftp://"),
        ({**JOB, "encryption": {"method": "gpg"}}, "gpg without a key"),
        ('{"source": ', "app.json is not JSON"),
        ("[]", "app.json is not a JSON object"),
    ],
)
def test_what_is_no_job_is_refused_in_one_line_and_a_remedy(checker: Checker, job: Any, said: str) -> None:
    code, message = checker.check(job)
    assert (code, message.count("\n")) == (3, 1)
    assert said in message and "secret" not in message and str(checker.folder) not in message
