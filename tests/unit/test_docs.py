"""The reference page and the completion say what the tables of the command say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dbfleet.command.completion import bash
from dbfleet.command.verbs import VERBS
from dbfleet.config import variable
from dbfleet.keys import KEYS

ROOT = Path(__file__).parents[2]


def test_the_written_pages_are_what_the_tables_say() -> None:
    line = [sys.executable, str(ROOT / "scripts" / "build_docs.py"), "--check"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_every_key_and_every_verb() -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    for key in KEYS:
        assert f"| `{key.path}` | `{key.option}` | `{variable(key)}` |" in page
    for verb in VERBS:
        assert f"## dbfleet {verb.name}" in page


def test_the_completion_is_sound_bash() -> None:
    subprocess.run(["bash", "-n"], input=bash(), text=True, check=True)
