"""Bringing what was written to the disk itself, so that it outlives a loss of power."""

from __future__ import annotations

import errno
import os
import sys


def sync_file(descriptor: int) -> None:
    """Every byte to the disk itself; macOS needs F_FULLFSYNC for that (fsync(2) there)."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass  # not on this file system: fsync is what there is
    os.fsync(descriptor)


def sync_folder(path: str) -> None:
    """The names in ``path`` to disk. Windows cannot, and some network file systems need not."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sync(path: str) -> None:
    """A file or a folder."""
    if os.path.isdir(path):
        sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
