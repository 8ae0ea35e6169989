"""PostgreSQL's own programs: which versions the host has, and what they say when they fail."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ...errors import ToolError
from ..programs import said_of_version

# Where packages put them: Debian, Red Hat (PGDG), source, Homebrew (ARM, Intel), Postgres.app, Windows, FreeBSD.
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "C:\\Program Files\\PostgreSQL\\*\\bin",
)
CLIENTS = ("pg_basebackup", "pg_receivewal", "pg_dump", "pg_dumpall", "pg_restore", "psql")


@dataclass(frozen=True)
class Tool:
    """A program of PostgreSQL and its version."""

    path: str
    version: str

    @property
    def major(self) -> int:
        """``15`` of ``15.18``."""
        found = re.match(r"\d+", self.version)
        return int(found[0]) if found else 0


def find(name: str, *, at_least: int, folder: Optional[str] = None, why: str) -> Tool:
    """The program ``name`` whose major version is nearest to ``at_least`` and not older.

    ``folder`` is source.tools: then nothing else is looked at. Raises ``ToolError`` that says what
    was found instead; ``why`` says who needs that version.
    """
    found = sorted(installed(name, folder), key=lambda tool: tool.major)
    for tool in found:
        if tool.major >= at_least:
            return tool
    package = "postgresql-client" if name in CLIENTS else "postgresql"
    remedy = f"install {package}-{at_least} or newer, or name the folder of its programs in source.tools"
    if found:
        raise ToolError(f"{why}, but the newest {name} here is {found[-1].version} ({found[-1].path})", remedy)
    where = f" in {folder}" if folder else ""
    raise ToolError(f"the command {name} is not installed{where}", remedy)


def installed(name: str, folder: Optional[str] = None) -> list[Tool]:
    """Every version of ``name`` on this host, in the order in which they are looked for."""
    tools = []
    for path in dict.fromkeys(_paths(name, folder)):
        version = _version(path)
        if version:
            tools.append(Tool(path, version))
    return tools


def _paths(name: str, folder: Optional[str]) -> Iterator[str]:
    if folder is not None:
        found = shutil.which(name, path=folder)
        if found:
            yield found
        return
    on_path = shutil.which(name)
    # Debian's wrapper chooses another version by itself, depending on the clusters of the host.
    if on_path and os.path.basename(os.path.realpath(on_path)) != "pg_wrapper":
        yield on_path
    for pattern in PLACES:
        for place in sorted(glob.glob(pattern)):
            found = shutil.which(name, path=place)
            if found:
                yield found
    if on_path:
        yield on_path


def _version(path: str) -> Optional[str]:
    try:
        found = re.search(r"\(PostgreSQL\) (\S+)", said_of_version(path))
    except ToolError:
        return None
    return found[1] if found else None


def reason(words: str) -> str:
    """What a tool said of its failure, without its name and its advice, on one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|ERROR|FATAL)\b", line)] or lines[-1:]
    text = errors[0] if errors else "it gave no reason"
    text = re.sub(r"^\S*?(pg_dump|pg_restore|psql|pg_dumpall|initdb)(:\S*)?: (error|fatal|detail): ", "", text)
    details = [line for line in lines if re.search(r"\b(detail|DETAIL|Command was|Query was)\b", line)][:1]
    return " / ".join([text, *details])[:600]


def options(name: str, values: Sequence[str]) -> list[str]:
    """``--name=value`` for each value, so that a value may begin with a dash."""
    return [f"--{name}={value}" for value in values]
