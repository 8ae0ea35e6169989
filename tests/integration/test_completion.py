"""What bash offers while one types, asked of bash itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKUP = "app_backup_20250823_103000"
# Stands for the installed command: answers as `dbfleet completion jobs|backups` does, and shows what it was asked.
COMMAND = f"""#!/bin/sh
echo "$*" >>"$0.asked"
case "$2" in
  jobs) echo app; echo billing ;;
  backups) echo {BACKUP} ;;
esac
"""
ASK = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<<"$2"
if [[ $2 == *' ' ]]; then COMP_WORDS+=(''); fi
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
_dbfleet
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def command(tmp_path: Path) -> Path:
    path = tmp_path / "dbfleet"
    path.write_text(COMMAND, encoding="utf-8")
    path.chmod(0o755)
    return path


def offers(command: Path, line: str) -> list[str]:
    script = ROOT / "scripts" / "dbfleet-completion.bash"
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(script), f"{command} {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_verbs(command: Path) -> None:
    assert offers(command, "ver") == ["verify"]
    assert {"backup", "list", "show", "restore", "verify", "prune", "sync"} <= set(offers(command, ""))


def test_options_of_the_verb_and_keys_of_the_job(command: Path) -> None:
    assert offers(command, "restore --rep") == [
        "--replace",
        "--repository",
        "--repository-url",
        "--repository-file-mode",
        "--repository-folder-mode",
        "--repository-identity-file",
        "--repository-known-hosts-file",
        "--repository-password-file",
    ]
    assert offers(command, "backup --repl") == []


def test_values_of_options(command: Path) -> None:
    assert offers(command, "verify --level ") == ["checksum", "structure", "restore"]
    assert offers(command, "backup --compression-method g") == ["gzip"]


def test_jobs_and_backups(command: Path) -> None:
    assert offers(command, "backup --job b") == ["billing"]
    assert offers(command, "restore --job billing app_") == [BACKUP]
    assert offers(command, "verify --repository /b al") == ["all"]
    asked = (command.parent / "dbfleet.asked").read_text(encoding="utf-8").splitlines()
    assert asked == [
        "completion jobs",
        "completion backups --job billing",
        "completion backups --repository /b",
    ]


def test_a_value_is_not_taken_for_the_verb(command: Path) -> None:
    assert offers(command, "--name list ver") == ["verify"]
