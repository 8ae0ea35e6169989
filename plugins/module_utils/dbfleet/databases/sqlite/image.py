"""The bytes of one consistent state of a database file, read without stopping its writers.

WAL mode: a read transaction pins a commit. From then on no checkpoint can change a page of the
file that is not also in the log, nor start the log anew, so the pinned state is the file with
the log's frames laid over it, and nobody waits (SQLite manual, "Write-Ahead Logging", 2.2).

Rollback mode: a shared lock keeps the file as it is, but writers cannot commit while it is held
(manual, "File Locking", 3.0), so the file is copied under the lock and read from the copy. Where
there is no room for a copy it is read under the lock. The note says which it was.

POSIX drops all of a process's locks on a file when any descriptor of it is closed (fcntl(2)), so
every descriptor here is opened before the lock is taken and closed after it is gone.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Callable, Optional

from ...errors import DamagedError, SourceError
from ...stream.process import LARGEST
from ...units import show_duration
from .connection import SIDE_FILES, connect, how_to_read, sqlite_errors
from .wal import FRAME, IndexState, frame_offset, overlay, read_index

PIN_ATTEMPTS = 200
LOCK_BYTE = 0x40000000  # SQLite never uses the page that holds this byte (manual, "Database File Format", 1.4)
CLONE = 0x40049409  # ioctl FICLONE of Linux: share the extents instead of copying them


@dataclass
class Image:
    """A readable state: the file, its page size and count, and the frames laid over it."""

    file: BinaryIO
    page_size: int
    page_count: int
    log: Optional[BinaryIO] = None
    newest_frame: Optional[array[int]] = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the database file that this image is."""
        return self.page_size * self.page_count

    def chunks(self) -> Iterator[bytes]:
        """The image from its first byte to its last, in pieces of whole pages of about 2 MiB."""
        per_chunk = max(1, LARGEST // self.page_size)
        lock_page = LOCK_BYTE // self.page_size + 1
        for first in range(1, self.page_count + 1, per_chunk):
            count = min(per_chunk, self.page_count + 1 - first)
            if first <= lock_page < first + count:
                yield self._with_lock_page(first, count, lock_page)
            else:
                yield self._pages(first, count)

    def _with_lock_page(self, first: int, count: int, lock_page: int) -> bytes:
        before = self._pages(first, lock_page - first) if lock_page > first else b""
        after = self._pages(lock_page + 1, first + count - 1 - lock_page) if lock_page < first + count - 1 else b""
        return before + bytes(self.page_size) + after

    def _pages(self, first: int, count: int) -> bytes:
        size = self.page_size
        self.file.seek((first - 1) * size)
        found = self.file.read(count * size)
        frames = self.newest_frame[first : first + count] if self.newest_frame is not None else None
        if len(found) == count * size and not (frames and any(frames)):
            return found
        data = bytearray(count * size)
        data[: len(found)] = found
        if frames is not None and self.log is not None:
            for position, frame in enumerate(frames):
                if frame:
                    self.log.seek(frame_offset(frame, size) + FRAME.size)
                    data[position * size : (position + 1) * size] = self.log.read(size)
        if len(found) < len(data):
            missing = next((p for p in range(len(found) // size, count) if frames is None or not frames[p]), None)
            if missing is not None:
                raise SourceError(
                    f"the database file ends before page {first + missing} of {self.page_count}",
                    "it was truncated: restore the newest good backup",
                )
        return bytes(data)


@dataclass
class Pinned:
    """One consistent state: its image, and connections that all read exactly it."""

    path: str
    image: Image
    connections: Sequence[sqlite3.Connection]
    journal_mode: str
    note: str


@contextmanager
def pin(path: str, *, readers: int, wait: float, scratch: str) -> Iterator[Pinned]:
    """Hold the state of ``path`` with ``readers`` connections on it.

    ``scratch`` is a private folder for the copy that rollback mode may want.
    """
    opening = how_to_read(path, wait=wait)
    before: list[object] = []
    with ExitStack() as files, ExitStack() as locks:  # locks are left first
        if opening.immutable:
            before = _traces(path)
            image, connections = _open_still(path, readers, files, locks)
            pinned = Pinned(path, image, connections, opening.journal_mode, "read-only medium: read without a lock")
        else:
            opened = [connect(path, wait=wait, mode=opening.mode) for _reader in range(readers)]
            for connection in opened:
                locks.callback(connection.close)
            locks.callback(_end, opened)
            make = _pin_log if opening.journal_mode == "wal" else _pin_file
            pinned = make(path, opening.journal_mode, opened, scratch, files, locks)
        try:
            yield pinned
        finally:
            if opening.immutable and _traces(path) != before:  # it is read-only here, but somebody else writes it
                raise SourceError(
                    f"database {path!r} was written while it was read from a read-only mount",
                    "in WAL mode, give this host or container a writable mount of the folder",
                )


def _traces(path: str) -> list[object]:
    """What changes in the file system when ``path`` is written."""
    found: list[object] = []
    for file in (path, *(path + suffix for suffix in SIDE_FILES)):
        try:
            status = os.stat(file)
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


# --- WAL mode ---------------------------------------------------------------------------------


def _pin_log(
    path: str,
    journal_mode: str,
    connections: Sequence[sqlite3.Connection],
    scratch: str,
    files: ExitStack,
    locks: ExitStack,
) -> Pinned:
    _begin(path, connections)  # makes sure that log and index exist and are recovered
    _end(connections)
    file = _open_raw(path, files)
    log = _open_raw(path + "-wal", files)
    index = _open_raw(path + "-shm", files)
    for _attempt in range(PIN_ATTEMPTS):
        before = read_index(index)
        _begin(path, connections)
        state = read_index(index)
        if before is not None and state is not None and before.commit == state.commit:
            image = _image_of_commit(path, file, log, state, connections[0])
            return Pinned(
                path,
                image,
                connections,
                journal_mode,
                "WAL mode: read beside the writers, none of them waited",
            )
        _end(connections)
    return _pin_copy_of_log(path, connections, scratch, files, locks)


def _image_of_commit(
    path: str, file: BinaryIO, log: BinaryIO, state: IndexState, connection: sqlite3.Connection
) -> Image:
    page_size, page_count = _dimensions(path, connection)
    if state.backfilled >= state.frames:  # the file holds all of it, and cannot change while it is pinned
        return Image(file, page_size, page_count)
    if (state.page_size, state.pages) != (page_size, page_count):
        raise DamagedError(
            f"the log of {path!r} speaks of {state.pages} pages of {state.page_size} bytes, "
            f"the database of {page_count} pages of {page_size}"
        )
    return Image(file, page_size, page_count, log, overlay(log, state))


def _pin_copy_of_log(
    path: str, connections: Sequence[sqlite3.Connection], scratch: str, files: ExitStack, locks: ExitStack
) -> Pinned:
    """Where commits follow each other too fast to catch the moment: SQLite copies the state itself."""
    copy = os.path.join(scratch, "snapshot.db")
    with sqlite_errors(path):
        target = sqlite3.connect(copy)
        try:
            connections[0].backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
    image, copies = _open_still(copy, len(connections), files, locks)
    return Pinned(path, image, copies, "wal", "WAL mode: SQLite copied the state first, no writer waited")


# --- rollback mode ----------------------------------------------------------------------------


def _pin_file(
    path: str,
    journal_mode: str,
    connections: Sequence[sqlite3.Connection],
    scratch: str,
    files: ExitStack,
    locks: ExitStack,
) -> Pinned:
    file = _open_raw(path, files)
    alone = connections[:1]  # a second lock of ours could wait for a writer that waits for the first
    _begin(path, alone)
    begun = time.monotonic()
    image = Image(file, *_dimensions(path, connections[0]))
    mode = f"rollback mode ({journal_mode})"
    if shutil.disk_usage(scratch).free < image.size_bytes * 1.05:
        note = f"{mode}: read under a shared lock, since {scratch!r} has no room for a copy; writers could not commit"
        return Pinned(path, image, alone, journal_mode, note)
    copy = os.path.join(scratch, "snapshot.db")
    how = _copy_image(image, copy)
    _end(alone)
    held = show_duration(time.monotonic() - begun)
    copied, copies = _open_still(copy, len(connections), files, locks)
    note = f"{mode}: {how} under a shared lock held {held}, the only time writers could not commit"
    return Pinned(path, copied, copies, journal_mode, note)


def _copy_image(image: Image, copy: str) -> str:
    """Copy ``image`` to the new file ``copy``: its extents where the file system shares them, else its bytes."""
    with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb") as target:
        if image.newest_frame is None and _clone(image.file, target):
            return "cloned"
        for chunk in image.chunks():
            target.write(chunk)
    return "copied"


def _clone(source: BinaryIO, target: BinaryIO) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target.fileno(), CLONE, source.fileno())
    except (ImportError, OSError):
        return False
    return True


# --- a writer's own copy ----------------------------------------------------------------------


@contextmanager
def copier(path: str) -> Iterator[Callable[[str], None]]:
    """A function that copies the last commit of ``path`` to a new file.

    It is called while the caller's connection holds the write lock of ``path``; that connection
    must have ended its transaction before this context is left.
    """
    with ExitStack() as files:

        def copy(to: str) -> None:
            file = _open_raw(path, files)
            log = _open_raw(path + "-wal", files) if os.path.exists(path + "-wal") else None
            index = _open_raw(path + "-shm", files) if os.path.exists(path + "-shm") else None
            state = read_index(index) if index else None
            if log and not state and os.fstat(log.fileno()).st_size:
                raise SourceError(f"the log of {path!r} has no index, though it is locked", "restart the application")
            if log and state and state.backfilled < state.frames:
                image = Image(file, state.page_size, state.pages, log, overlay(log, state))
            else:
                page_size = int.from_bytes(file.read(18)[16:18], "big")
                page_size = 65536 if page_size == 1 else page_size
                image = Image(file, page_size, os.fstat(file.fileno()).st_size // page_size)
            _copy_image(image, to)

        yield copy


# --- small parts ------------------------------------------------------------------------------


def _open_raw(path: str, files: ExitStack) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by the stack, when no lock is left
    files.callback(file.close)
    return file


def _open_still(
    path: str, readers: int, files: ExitStack, locks: ExitStack
) -> tuple[Image, Sequence[sqlite3.Connection]]:
    """A file that nobody writes: connections that take no lock on it."""
    file = _open_raw(path, files)
    connections = [connect(path, wait=0, immutable=True) for _reader in range(readers)]
    for connection in connections:
        locks.callback(connection.close)
    return Image(file, *_dimensions(path, connections[0])), connections


def _dimensions(path: str, connection: sqlite3.Connection) -> tuple[int, int]:
    with sqlite_errors(path):
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (page_count,) = connection.execute("PRAGMA page_count").fetchone()
    return page_size, page_count


def _begin(path: str, connections: Sequence[sqlite3.Connection]) -> None:
    with sqlite_errors(path):
        for connection in connections:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _end(connections: Sequence[sqlite3.Connection]) -> None:
    for connection in connections:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
