"""The databases' own programs: what they say of their version."""

from __future__ import annotations

import os
from functools import lru_cache

from ..stream.process import Command, run

# A client of MySQL must not read a site's files or guess a login for this.
QUIET = {"MYSQL_TEST_LOGIN_FILE": os.devnull}
PATIENCE = 30.0  # seconds


def said_of_version(path: str) -> str:
    """What the program at ``path`` prints for ``--version``. It is asked once, unless it is replaced meanwhile.

    Raises ``ToolError`` where it cannot be run.
    """
    return _said(path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)


@lru_cache(maxsize=64)
def _said(path: str, _changed_at: int) -> str:
    ended = run(Command((path, "--version"), QUIET), timeout=PATIENCE)
    return ended.stdout.decode("utf-8", "replace") + ended.stderr
