"""Building a restored SQLite file beside its target, and putting it in the target's place.

A target that SQLite can open is overwritten in one transaction of SQLite's own (manual, "Online
Backup API"): programs that have it open see the old content or the new one, and none goes on
writing to a file that is no longer there. Only a target that SQLite cannot open is swapped by
renaming. Either way the replaced database is kept beside it first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Callable, Optional

from ...errors import (
    BusyError,
    CapacityError,
    DamagedError,
    NotFoundError,
    RefusedError,
    RepositoryError,
    SourceError,
)
from ...model import Artifact, Proof, ProofPolicy
from ...units import utc_now
from ..base import Restoration
from .connection import MAGIC, SIDE_FILES, connect, sqlite_errors, translate
from .image import copier
from .load import load
from .measure import measure
from .soundness import examine, stand_in_collations
from .wal import replay

LOCK_WAIT = 30.0
STOP_IT = "stop it for the restore (the playbook does), then try again; nothing was changed"
STEP_PAGES = 256
FLUSH_BYTES = 128 * 2**20
CACHE_KIB = 32 * 1024  # more than the largest pages of one step: none is written before the old state is kept


class SqliteRestoration(Restoration):
    """A restore to ``path``, or into the folder ``scratch``."""

    def __init__(self, path: str, *, replace: bool, scratch: Optional[str] = None) -> None:
        self._target = path
        self._replace = replace
        self._scratch = scratch
        self._building = ""
        self._flushing: Optional[threading.Thread] = None

    def __enter__(self) -> SqliteRestoration:
        if self._scratch is not None:
            self._building = os.path.join(self._scratch, "restored.db")
        else:
            self._check_target()
            self._building = partial_name(self._target)
            sweep(self._target)
        try:
            os.close(os.open(self._building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise RepositoryError(
                f"cannot write in {os.path.dirname(self._building)!r}: {error.strerror}",
                "create the folder, or run as a user who may write it",
            ) from error
        return self

    def __exit__(self, *exc: object) -> None:
        if self._building:
            _remove_with_side_files(self._building)

    def _check_target(self) -> None:
        if not os.path.isdir(os.path.dirname(self._target)):
            raise NotFoundError(
                f"the folder of the target {self._target!r} does not exist",
                "create it, or restore elsewhere with --to",
            )
        if os.path.isdir(self._target):
            raise RefusedError(f"the target {self._target!r} is a directory", "name a file with --to")
        if occupied(self._target) and not self._replace:
            raise RefusedError(
                f"the target {self._target!r} is not empty",
                "restore to a new path with --to, or over it with --replace (it is kept beside under a dated name)",
            )

    def location(self) -> str:
        """The file that was built."""
        return self._building

    def replaces(self) -> bool:
        """Whether a database is at the target."""
        return self._scratch is None and occupied(self._target)

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """The image, an increment on it, or SQL."""
        try:
            if artifact.role == "db":
                self._write(chunks)
                self._require_database(artifact.file)
            elif artifact.role == "pages":
                self._apply(chunks)
            else:
                load(chunks, self._building, artifact.file)
        except OSError as error:
            raise CapacityError(
                f"cannot write {self._building!r}: {error.strerror}",
                "free space there, or restore elsewhere with --to",
            ) from error

    def _write(self, chunks: Iterable[bytes]) -> None:
        """Write the image; the disk works meanwhile, so that little is left when it must be durable."""
        unflushed = 0
        with open(self._building, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                unflushed += len(chunk)
                if unflushed > FLUSH_BYTES:
                    self._flush_beside()
                    unflushed = 0
        self._flush_beside()

    def _flush_beside(self) -> None:
        if self._flushing is None or not self._flushing.is_alive():
            self._flushing = threading.Thread(target=_flush_quietly, args=(self._building,), daemon=True)
            self._flushing.start()

    def _require_database(self, file: str) -> None:
        with open(self._building, "rb") as built:
            if built.read(16) != MAGIC:
                raise DamagedError(f"{file!r} is not an SQLite database", "restore another backup")

    def _apply(self, chunks: Iterable[bytes]) -> None:
        with open(self._building, "r+b") as file:
            size = int.from_bytes(file.read(18)[16:18], "big")
            size = 65536 if size == 1 else size
            for page, data, commit_pages in replay(chunks, size):
                file.seek((page - 1) * size)
                file.write(data)
                if commit_pages:
                    file.truncate(commit_pages * size)

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """``quick_check``, or thoroughly ``integrity_check``; both read every page."""
        connection = self._open()
        try:
            with sqlite_errors(self._building):
                return list(examine(connection, thorough=thorough).damage)
        except SourceError as error:
            return [error.message]
        finally:
            connection.close()

    def prove(self, against: Proof) -> Proof:
        """Measure the file that was built as ``against`` was measured."""
        policy = ProofPolicy(level=against.level, queries=tuple(query.sql for query in against.queries))
        connection = self._open()
        try:
            stand_in_collations(connection)
            measured = measure(connection, self._building, policy)
        finally:
            connection.close()
        if against.image_sha256 is None:
            return measured
        return Proof(measured.level, measured.tables, measured.schema_sha256, measured.queries, self._image_digest())

    def _open(self) -> sqlite3.Connection:
        return connect(self._building, wait=0, immutable=True)

    def _image_digest(self) -> str:
        digest = hashlib.sha256()
        with open(self._building, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    # --- taking over --------------------------------------------------------------------------

    def take_over(self) -> Optional[str]:
        """Overwrite a live database in one transaction, or rename into place; returns where the old one is."""
        if self._flushing is not None:
            self._flushing.join()
        _flush(self._building)
        if os.path.isfile(self._target) and _opens(self._target):
            return overwrite(self._building, self._target)
        return self._rename()

    def _rename(self) -> Optional[str]:
        kept = dated(self._target)
        replaced = os.path.lexists(self._target)
        if replaced:
            _inherit(self._target, self._building)
            _keep_link(self._target, kept)
        for suffix in SIDE_FILES:  # they belong to what was there before, and SQLite would apply them to ours
            if os.path.lexists(self._target + suffix):
                os.replace(self._target + suffix, kept + suffix)
        os.replace(self._building, self._target)
        _flush(os.path.dirname(self._target))
        return kept if replaced else None


def overwrite(built: str, target: str) -> Optional[str]:
    """Make ``target`` hold what ``built`` holds, in one transaction; keep what it held beside it.

    The copy is made when the transaction has the write lock and before it has written, so not one
    commit of the application falls between the two. Returns where it is; ``None`` if nothing was there.
    """
    kept: Optional[str] = None
    deadline = time.monotonic() + LOCK_WAIT
    step = _first_step(built)
    with copier(target) as copy, closing(connect(built, wait=0, immutable=True)) as source:
        connection = connect(target, wait=LOCK_WAIT, mode="rw")

        def stepped(status: int, _remaining: int, _total: int) -> None:
            nonlocal kept
            if status in (SQLITE_BUSY, SQLITE_LOCKED):
                if time.monotonic() > deadline:
                    raise BusyError("")
            elif kept is None and os.path.getsize(target):
                kept = dated(target)
                keep(copy, target, kept)

        try:
            with sqlite_errors(target):
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                _same_page_size(source, connection, target)
                connection.execute("PRAGMA busy_timeout = 1000")
                source.backup(connection, pages=step, progress=stepped, sleep=0.1)
                with suppress(sqlite3.Error):  # best effort: readers may still hold the log
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (BusyError, CapacityError, SourceError) as error:
            connection.close()  # rolls back, so there is nothing to be kept: unlike where a signal ended us
            if kept is not None:
                with suppress(FileNotFoundError):
                    os.remove(kept)
            if isinstance(error, BusyError):
                raise BusyError(f"the application holds a lock on {target!r}", STOP_IT) from error
            raise
        finally:
            connection.close()
    _flush(target)
    return kept


def keep(copy: Callable[[str], None], target: str, kept: str) -> None:
    """Let ``copy`` make ``kept`` of ``target``, with its owner and mode, durably. Raises ``CapacityError``."""
    partial = partial_name(target, "kept")
    try:
        copy(partial)
        _inherit(target, partial)
        _flush(partial)
        os.rename(partial, kept)
        _flush(os.path.dirname(kept))
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.remove(partial)
        if not isinstance(error, OSError):
            raise
        raise CapacityError(
            f"cannot keep what is at {target!r} as {kept!r}: {error.strerror}",
            "free space there: nothing is replaced that is not kept; nothing was changed",
        ) from error


def _first_step(built: str) -> int:
    """How many pages to copy at a time so that the first step is not the last one."""
    connection = connect(built, wait=0, mode="rw")
    try:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if pages < 2:  # a database without objects: give it a free page
            connection.execute("CREATE TABLE growth(x)")
            connection.execute("DROP TABLE growth")
            pages = 2
    finally:
        connection.close()
    return max(1, min(STEP_PAGES, int(pages) // 2))


SQLITE_BUSY, SQLITE_LOCKED = 5, 6  # result codes, named by the sqlite3 module only from Python 3.11 on


def _same_page_size(source: sqlite3.Connection, target_connection: sqlite3.Connection, target: str) -> None:
    """A log cannot change its page size (manual, "Online Backup API"): leave WAL mode where they differ."""
    sizes = [c.execute("PRAGMA page_size").fetchone()[0] for c in (source, target_connection)]
    (mode,) = target_connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal" and sizes[0] != sizes[1]:
        try:
            target_connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise BusyError(f"{target!r} has pages of another size and is in use", STOP_IT) from error


def occupied(path: str) -> bool:
    """Whether a restore would replace something at ``path``: an empty file or database is nothing."""
    if not os.path.lexists(path):
        return False
    if not os.path.isfile(path) or not os.path.getsize(path):
        return not os.path.isfile(path)
    try:
        connection = connect(path, wait=1)
        try:
            return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        finally:
            connection.close()
    except (sqlite3.Error, SourceError, BusyError):
        return True


def _opens(path: str) -> bool:
    """Whether SQLite can still work with ``path``: locked is fine, damaged or foreign is not."""
    try:
        connection = connect(path, wait=1, mode="rw")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return isinstance(translate(error, path), BusyError)
    except SourceError:
        return False
    return True


def dated(path: str) -> str:
    """A free name beside ``path`` that says when it was replaced: ``app.db.replaced-20250823T103000Z``."""
    base = f"{path}.replaced-{utc_now():%Y%m%dT%H%M%SZ}"
    name, number = base, 1
    while os.path.lexists(name):
        number += 1
        name = f"{base}-{number}"
    return name


def partial_name(target: str, what: str = "built") -> str:
    """Where ``what`` of a restore to ``target`` is until it is complete: hidden beside it."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.dbfleet-{os.getpid()}.{what}.partial")


def sweep(target: str) -> None:
    """Remove what restores to ``target`` of processes that no longer live left behind."""
    folder, name = os.path.split(target)
    for entry in os.listdir(folder):
        if entry.startswith(f".{name}.dbfleet-") and entry.endswith(".partial"):
            pid = entry[len(f".{name}.dbfleet-") :].partition(".")[0]
            # Our own number is that of one who died: containers give the same to everybody.
            if pid == str(os.getpid()) or not (pid.isdigit() and _lives(int(pid))):
                _remove_with_side_files(os.path.join(folder, entry))


def _inherit(old: str, new: str) -> None:
    """Give ``new`` the mode and, where we may, the owner of ``old``."""
    found = os.stat(old)
    os.chmod(new, stat.S_IMODE(found.st_mode))
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(new, found.st_uid, found.st_gid)


def _keep_link(path: str, kept: str) -> None:
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
        _flush(kept)


def _flush_quietly(path: str) -> None:
    with suppress(OSError):  # it is gone, or the flush before taking over will tell
        _flush(path)


def _flush(path: str) -> None:
    """Make ``path``, a file or a folder, durable."""
    if os.path.isdir(path) and os.name == "nt":
        return  # Windows flushes names with their files
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True


def _remove_with_side_files(path: str) -> None:
    for suffix in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            os.remove(path + suffix)
