"""What a running archiver says of itself: a small file in the host's state folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Optional

from .host import state_dir
from .state_files import replace_file

FOLDER = "log_archive"


def path_of(job: str) -> str:
    """Where the archiver of ``job`` on this host says how it is."""
    return os.path.join(state_dir(), FOLDER, f"{job}.json")


def spool_of(job: str, chosen: Optional[str]) -> str:
    """The private folder for log files on their way."""
    return os.path.abspath(chosen) if chosen else os.path.join(state_dir(), FOLDER, f"{job}.spool")


def write(job: str, facts: Mapping[str, Any]) -> None:
    """Replace what was said before. Raises ``OSError``."""
    replace_file(path_of(job), json.dumps(facts).encode("ascii"))


def read(job: str) -> Optional[dict[str, Any]]:
    """What the archiver on this host said last; ``None`` where there was none."""
    try:
        with open(path_of(job), encoding="utf-8") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
