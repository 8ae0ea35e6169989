"""Private folders for what exists only while an operation runs, and the end of those that crashed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Callable

from .errors import CapacityError
from .stores.locks import try_lock

SCRATCH_ROOM = "set DBFLEET_SCRATCH to a folder with room"  # the remedy where there is none
PREFIX = "dbfleet-scratch-"
ALIVE = "alive"  # locked by the process that uses the folder
YOUNG = 60.0  # seconds in which a folder may not have its lock yet


def scratch_base() -> str:
    """Where scratch folders go: ``DBFLEET_SCRATCH``, ``TMPDIR``, else a place on a disk rather than in memory."""
    for chosen in (os.environ.get("DBFLEET_SCRATCH"), os.environ.get("TMPDIR")):
        if chosen:
            return os.path.abspath(chosen)
    return "/var/tmp" if os.name == "posix" and os.path.isdir("/var/tmp") else tempfile.gettempdir()


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder of mode 0700 that is gone afterwards; sweeps those of processes that died.

    Raises ``CapacityError`` when it cannot be made.
    """
    base = scratch_base()
    try:
        _sweep(base)
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        alive = mark(folder)
    except OSError as error:
        raise CapacityError(
            f"cannot make a scratch folder in {base!r}: {error.strerror}",
            SCRATCH_ROOM,
        ) from error
    with gone_afterwards(folder, alive):
        yield folder


@contextmanager
def scratch_on_demand() -> Iterator[Callable[[], str]]:
    """What gives a :func:`scratch_folder`, made when it is first asked for, for as long as the context lasts.

    What runs in the folder must end before the context does: enter it first.
    """
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(scratch_folder()))


def mark(folder: str) -> int:
    """The descriptor of the new file in ``folder`` that tells whether its process lives. Raises ``OSError``."""
    return os.open(os.path.join(folder, ALIVE), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


@contextmanager
def gone_afterwards(folder: str, alive: int) -> Iterator[None]:
    """Lock what :func:`mark` gave while the context lasts, then remove ``folder``."""
    try:
        try_lock(alive, False)
        yield
    finally:
        os.close(alive)
        shutil.rmtree(folder, ignore_errors=True)


def is_abandoned(folder: str) -> bool:
    """Whether the process that marked ``folder`` is gone. Raises ``OSError`` where it has no mark, or not for us."""
    alive = os.open(os.path.join(folder, ALIVE), os.O_RDWR)
    try:
        return try_lock(alive, False)
    finally:
        os.close(alive)


def _sweep(base: str) -> None:
    for entry in os.scandir(base):
        if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_dead(entry):
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_dead(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            return False
        return is_abandoned(entry.path)
    except FileNotFoundError:
        return time.time() - found.st_mtime > YOUNG
    except OSError:
        return False
