"""The place of a restored SQLite file: what is there, keeping it, and overwriting it.

A target that SQLite can open is overwritten in one transaction of SQLite's own (manual, "Online
Backup API"): programs that have it open see the old content or the new one, and none goes on
writing to a file that is no longer there. Only a target that SQLite cannot open is swapped by
renaming. Either way the replaced database is kept beside it first.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing, suppress
from typing import Callable, Optional

from ...durable import sync
from ...errors import BusyError, CapacityError, SourceError
from ...liveness import lives
from ...units import utc_now
from .connection import SIDE_FILES, connect, sqlite_errors, translate
from .image import copier

LOCK_WAIT = 30.0
STOP_IT = "stop it for the restore (the playbook does), then try again; nothing was changed"
STEP_PAGES = 256
CACHE_KIB = 32 * 1024  # more than the largest pages of one step: none is written before the old state is kept
SQLITE_BUSY, SQLITE_LOCKED = 5, 6  # result codes, named by the sqlite3 module only from Python 3.11 on


def put(built: str, target: str) -> Optional[str]:
    """Put the durable file ``built`` in the place of ``target``; returns where what it replaced is kept."""
    if os.path.isfile(target) and _opens(target):
        return overwrite(built, target)
    return _rename(built, target)


def _rename(built: str, target: str) -> Optional[str]:
    kept = dated(target)
    replaced = os.path.lexists(target)
    if replaced:
        _inherit(target, built)
        _keep_link(target, kept)
    for suffix in SIDE_FILES:  # they belong to what was there before, and SQLite would apply them to ours
        if os.path.lexists(target + suffix):
            os.replace(target + suffix, kept + suffix)
    os.replace(built, target)
    sync(os.path.dirname(target))
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
    sync(target)
    return kept


def keep(copy: Callable[[str], None], target: str, kept: str) -> None:
    """Let ``copy`` make ``kept`` of ``target``, with its owner and mode, durably. Raises ``CapacityError``."""
    partial = partial_name(target, "kept")
    try:
        copy(partial)
        _inherit(target, partial)
        sync(partial)
        os.rename(partial, kept)
        sync(os.path.dirname(kept))
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
            if pid == str(os.getpid()) or not (pid.isdigit() and lives(int(pid))):
                remove_with_side_files(os.path.join(folder, entry))


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
        sync(kept)


def remove_with_side_files(path: str) -> None:
    """Remove a database file and what SQLite keeps beside it."""
    for suffix in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            os.remove(path + suffix)
