"""``format: directory``: ``pg_dump`` writes several tables at a time into a folder, which becomes one tar meanwhile.

Such a folder can only be read when it is complete, so no stream comes out of the tool. But each table is a file of
its own, which is written once: when it is closed, it is passed on and removed, long before the last one begins.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Optional

from ...errors import CapacityError
from ...stream.process import CHUNK, Command, Filter
from ...units import show_size
from ..base import Sink
from .snapshot import SUFFIXES, ToolStream
from .tarball import BLOCK, header_of

ROWS = re.compile(r"(?:blob_)?\d+\.dat")  # written by one process, once; other files may be opened again
PAUSE = 0.05  # seconds between two looks at what is finished
PATIENCE = 10.0  # seconds that the tool has to end its workers


class DirectoryStream(ToolStream):
    """A tar of the folder that ``command`` writes, which names ``folder``: the tool makes it."""

    def __init__(self, command: Command, folder: str, stem: str, database: Optional[str], size_bytes: int) -> None:
        role, suffix = SUFFIXES["directory"]
        super().__init__(command, role, stem + suffix, database, size_bytes)
        self._folder = folder
        self._most = size_bytes

    def pump(self, sink: Sink) -> None:
        """Pass each file on when it is finished. Raises ``CapacityError`` where not even all of them had room."""
        require_room(os.path.dirname(self._folder), self._most)
        with Filter(self._command) as child:
            self._child = child
            try:
                if self._ended:
                    child.kill()
                child.close_input()
                while child.is_running():
                    for name in list(self._finished(child.pid)):
                        self._pass_on(name, sink)
                    time.sleep(PAUSE)
                for _data in child.chunks():  # it says nothing there; its words and exit status are judged
                    pass
            finally:
                _end(child)
        for name in sorted(os.listdir(self._folder)):
            self._pass_on(name, sink)
        sink.write(bytes(2 * BLOCK))

    def interrupt(self) -> None:
        """End the tool and its workers."""
        self._ended = True
        if self._child is not None:
            _end(self._child)

    def _finished(self, pid: int) -> Iterator[str]:
        """Files that hold something, and that nobody has open: what is in them can only be all."""
        try:
            names = [entry.name for entry in os.scandir(self._folder) if ROWS.fullmatch(entry.name)]
            filled = [name for name in names if os.path.getsize(os.path.join(self._folder, name))]
        except FileNotFoundError:  # the tool has not made it yet
            return
        if not filled:
            return
        opened = open_files(pid)
        if opened is not None:
            yield from (name for name in filled if os.path.join(self._folder, name) not in opened)

    def _pass_on(self, name: str, sink: Sink) -> None:
        path = os.path.join(self._folder, name)
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            sink.write(header_of(name, size))
            while True:
                data = file.read(CHUNK)
                if not data:
                    break
                sink.write(data)
        sink.write(bytes(-size % BLOCK))
        os.remove(path)


def _end(child: Filter) -> None:
    """End the tool, which ends its workers itself when it is asked to (src/bin/pg_dump/parallel.c)."""
    deadline = time.monotonic() + PATIENCE
    with suppress(OSError):
        if child.is_running():
            os.kill(child.pid, signal.SIGTERM)
    while child.is_running() and time.monotonic() < deadline:
        time.sleep(PAUSE)
    child.kill()


def open_files(pid: int) -> Optional[Collection[str]]:
    """What a process and all that it started have open; ``None`` where the system does not tell (Linux does)."""
    found: set[str] = set()
    processes = [str(pid)]
    try:
        for process in processes:
            with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
                processes.extend(file.read().split())
            for entry in os.scandir(f"/proc/{process}/fd"):
                with suppress(FileNotFoundError):  # it was closed in this moment
                    found.add(os.readlink(entry.path))
    except OSError:
        return None
    return found


def require_room(folder: str, most: int) -> None:
    """Refuse where the whole dump, not compressed, has no room: a slow repository lets it pile up."""
    free = shutil.disk_usage(folder).free
    if free < most:
        raise CapacityError(
            f"format directory needs up to {show_size(most)} in {folder!r}, which has {show_size(free)} free",
            "set DBFLEET_SCRATCH to a folder with room, or choose the format custom, which needs none",
        )
