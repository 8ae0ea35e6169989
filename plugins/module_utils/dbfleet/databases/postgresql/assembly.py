"""Making one data directory of the unpacked backups of a chain, with PostgreSQL's own programs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from typing import Callable, Optional

from ...errors import DamagedError, DbfleetError, ToolError
from ...stream.process import Command, last_lines, run
from ..tool_faults import ROOM, host_fault_of
from .backup_manifest import FILE, read_manifest
from .tools import Tool, find

LINKS_SINCE = 18
MAP = "tablespace_map"
MAPPED = re.compile(r"^(\d+) ((?:[^\\\n]|\\[\s\S])*)", re.MULTILINE)
SIGNALS = ("standby.signal", "recovery.signal")


Elsewhere = Callable[[str, str], Optional[str]]


def _nowhere_else(_oid: str, _place: str) -> Optional[str]:
    return None


class Assembly:
    """Backups are unpacked into the folders of its links, in order; :meth:`finish` makes ``data`` of them.

    ``elsewhere`` is asked, with a tablespace's number and its folder on the source, for the folder in which
    that one is to be built, which is on the file system where it will be; otherwise it is built in ``root``.
    """

    def __init__(self, root: str, tools: Optional[str], elsewhere: Elsewhere = _nowhere_else) -> None:
        self.root = root
        self.data = os.path.join(root, "data")
        self.spaces: dict[str, str] = {}  # the numbers of the tablespaces, and where each one was built
        self.image_sha256 = ""
        self.was_standby = False
        self._tools = tools
        self._elsewhere = elsewhere
        self._rooms: dict[str, str] = {}
        self._links: list[str] = []

    def add_link(self) -> str:
        """A new folder for the base tar of the next backup of the chain."""
        folder = os.path.join(self.root, str(len(self._links)))
        os.mkdir(folder, 0o700)
        self._links.append(folder)
        self.spaces = {}
        return folder

    def add_tablespace(self, oid: str) -> str:
        """A new folder for a tablespace of the newest link, which the data directory points to."""
        link = self._links[-1]
        if oid not in self._rooms:
            place = read_map(os.path.join(link, MAP)).get(oid, "")
            room = self._elsewhere(oid, place) or os.path.join(self.root, f"tablespace-{oid}")
            os.makedirs(room, mode=0o700, exist_ok=True)
            self._rooms[oid] = room
        folder = self._unpacked(link, oid)
        os.mkdir(folder, 0o700)
        os.symlink(folder, os.path.join(link, "pg_tblspc", oid))
        self.spaces[oid] = os.path.join(self._rooms[oid], "data")
        return folder

    def _unpacked(self, link: str, oid: str) -> str:
        return os.path.join(self._rooms[oid], os.path.basename(link))

    @property
    def major(self) -> int:
        """The version of the server whose files they are."""
        path = os.path.join(
            self._links[0] if self._links and os.path.isdir(self._links[0]) else self.data, "PG_VERSION"
        )
        try:
            with open(path, encoding="ascii") as file:
                return int(file.readline().split(".")[0])
        except (OSError, ValueError) as error:
            raise DamagedError("the base backup says no version of PostgreSQL", "restore another backup") from error

    def tool(self, name: str) -> Tool:
        """A program of exactly the version of the files."""
        major = self.major
        why = f"the backup is of PostgreSQL {major} and needs {name} of that version"
        tool = find(name, at_least=major, folder=self._tools, why=why)
        if tool.major != major:
            raise ToolError(
                f"{why}, but the nearest {name} here is {tool.version} ({tool.path})",
                f"install postgresql-{major}, or name the folder of its programs in source.tools",
            )
        return tool

    def control(self) -> dict[str, int]:
        """The numbers of the cluster's control file, by the names that ``pg_controldata`` gives them."""
        said = run(Command((self.tool("pg_controldata").path, self.data))).stdout.decode("utf-8", "replace")
        return {name: int(value) for name, value in re.findall(r"^([^:]+):\s+(\d+)$", said, re.MULTILINE)}

    def finish(self) -> None:
        """Check every link by the server's own manifest, and join them. Raises ``DamagedError``."""
        if not self._links:
            raise DamagedError("no base backup was restored", "begin the restore again")
        verify = self.tool("pg_verifybackup")
        joins = self.tool("pg_combinebackup") if len(self._links) > 1 else None
        for link in self._links:
            _verify(verify, link)
        with open(os.path.join(self._links[-1], FILE), "rb") as file:
            self.image_sha256 = read_manifest(file.read()).sha256
        for link in self._links:
            _remove(os.path.join(link, MAP))  # it names folders of the source; the links are made anew
        if joins is None:
            os.rename(self._links[0], self.data)
            for oid, built in self.spaces.items():
                os.rename(self._unpacked(self._links[0], oid), built)
        else:
            self._join(joins)
            _verify(verify, self.data)
        self.point_to(self.spaces)
        for signal in SIGNALS:
            self.was_standby |= _remove(os.path.join(self.data, signal))

    def _join(self, tool: Tool) -> None:
        options = ["--link"] if tool.major >= LINKS_SINCE else []  # the links of the chain are removed afterwards
        for oid, built in self.spaces.items():
            pair = (path.replace("=", "\\=") for path in (self._unpacked(self._links[-1], oid), built))
            options.append(f"--tablespace-mapping={'='.join(pair)}")
        run(
            Command(
                (
                    tool.path,
                    f"--output={self.data}",
                    "--no-sync",
                    "--manifest-checksums=SHA256",
                    *options,
                    *self._links,
                ),
                explain=_joining,
            )
        )
        for link in self._links:
            shutil.rmtree(link)
            for oid in self._rooms:
                shutil.rmtree(self._unpacked(link, oid), ignore_errors=True)

    def point_to(self, places: Mapping[str, str]) -> None:
        """Let the data directory's tablespaces be in ``places``, by their numbers."""
        for oid, place in places.items():
            link = os.path.join(self.data, "pg_tblspc", oid)
            _remove(link)
            os.symlink(place, link)


def read_map(path: str) -> dict[str, str]:
    """The numbers of tablespaces and their folders on the source, as the server wrote them into the base tar.

    A line end or backslash in a folder's name is behind a backslash (src/backend/access/transam/xlog.c).
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    return {oid: re.sub(r"\\(.)", r"\1", place, flags=re.DOTALL) for oid, place in MAPPED.findall(text)}


def _remove(path: str) -> bool:
    try:
        os.remove(path)
    except FileNotFoundError:
        return False
    return True


def _verify(tool: Tool, folder: str) -> None:
    def explain(code: int, words: str) -> DbfleetError:
        fault = host_fault_of("pg_verifybackup", words, code=code, said=last_lines(words))
        if fault is not None:
            return fault
        lines = [re.sub(r"^pg_verifybackup: (error: )?", "", line.strip()) for line in words.splitlines()]
        found = [line for line in lines if line] or ["it gave no reason"]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return DamagedError(f"pg_verifybackup: {found[0]}{more}", "restore another backup")

    run(Command((tool.path, "--quiet", folder), explain=explain))


def _joining(code: int, words: str) -> DbfleetError:
    lines = [line for line in words.splitlines() if "error:" in line] or words.splitlines()[-1:] or ["no reason"]
    said = lines[0].replace("pg_combinebackup: error: ", "")
    room = f"{ROOM}, or restore elsewhere with --to"
    fault = host_fault_of("pg_combinebackup", words, code=code, said=said, room=room)
    if fault is not None:
        return fault
    return DamagedError(f"pg_combinebackup failed with exit status {code}: {said}", "restore another backup")
