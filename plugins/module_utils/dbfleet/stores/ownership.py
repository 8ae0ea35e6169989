"""What root writes into somebody else's repository is theirs: their schedule goes on with it.

Only what this process has just created is given away, by its descriptor where there is one: a file that was
there before may be anything.
"""

from __future__ import annotations

import os
from typing import Callable, Union


def give_to_owner(created: Union[int, str], folder: str) -> None:
    """Give ``created``, a descriptor or a new folder, the owner and group of ``folder``, where we are root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = os.stat(folder)
    if (owner.st_uid, owner.st_gid) == (0, 0):
        return
    if isinstance(created, int):
        os.fchown(created, owner.st_uid, owner.st_gid)
    else:
        os.chown(created, owner.st_uid, owner.st_gid, follow_symlinks=False)


def open_or_create(path: str, flags: int, mode: int, give: Callable[[int, str], None] = give_to_owner) -> int:
    """A descriptor of ``path``; where it is not there it is created, and ``give`` gets it and its folder."""
    while True:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            try:
                return os.open(path, flags)
            except FileNotFoundError:
                continue  # it went in this moment
        try:
            give(descriptor, os.path.dirname(path))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
