"""Files in the state folder of this host, where root and the account that runs jobs take turns.

A playbook runs as root, a schedule as an account of its own. What root makes there, the account must be able to
lock, read and replace as well: it gets the group of its folder, with the rights of its owner. The account's own files
need nothing, because root may do everything.
"""

from __future__ import annotations

import os
from typing import Union

from .stores.ownership import open_or_create

NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
SHARED_FILE, SHARED_FOLDER = 0o660, 0o770  # modes of what root makes for the group


def make_folder(path: str) -> None:
    """Make ``path`` and what it lies in, where they are not there yet. Raises ``OSError``."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    _share(path, parent)


def open_file(path: str, flags: int) -> int:
    """A descriptor of ``path``, which is made where it is not there. Raises ``OSError``."""
    return open_or_create(path, flags | NO_LINKS, 0o600, _share)


def replace_file(path: str, content: bytes, *, flush: bool = False) -> None:
    """Put ``content`` in the place of ``path`` as a whole; with ``flush``, on the disk before. Raises ``OSError``."""
    make_folder(os.path.dirname(path))
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(open_file(new, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(content)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        try:
            os.unlink(new)
        except OSError:
            pass  # it was not made
        raise


def _share(made: Union[int, str], folder: str) -> None:
    """Let the group of ``folder`` do with ``made``, a descriptor or a new folder, what we can, where we are root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    group = os.stat(folder).st_gid
    if group == 0:
        return
    if isinstance(made, int):
        os.fchown(made, -1, group)
        os.fchmod(made, SHARED_FILE)
    else:
        os.chown(made, -1, group, follow_symlinks=False)
        os.chmod(made, SHARED_FOLDER)
