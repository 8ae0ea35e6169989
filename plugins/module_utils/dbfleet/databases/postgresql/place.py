"""Data directories of PostgreSQL: who owns them, and whether a server is running on one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Optional

from ...liveness import lives
from ..place import Kind


def _server_on(path: str) -> Optional[str]:
    """The process that runs on ``path``, as its lock file tells it."""
    try:
        with open(os.path.join(path, "postmaster.pid"), encoding="ascii", errors="replace") as file:
            number = abs(int(file.readline()))
    except FileNotFoundError:
        return None
    except ValueError:
        number = 0
    return None if number and not _runs(number, path) else f"process {number}"


def _runs(number: int, path: str) -> bool:
    """Whether process ``number`` is a server on ``path``: another one may have got its number since."""
    if not lives(number):
        return False
    if sys.platform.startswith("linux"):
        with suppress(OSError):  # a server's working directory is its data directory
            return os.path.samefile(f"/proc/{number}/cwd", path)
    return True


POSTGRESQL = Kind("postgresql", "postgres", _server_on)
