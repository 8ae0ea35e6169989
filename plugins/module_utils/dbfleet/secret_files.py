"""Files that hold a secret in their first line, named by a setting of the job."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Optional

from .errors import KeyMaterialError


def first_line(path: str, setting: str) -> str:
    """The first line of the password file that ``setting`` names; may be empty. Raises ``KeyMaterialError``."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise KeyMaterialError(f"password file {path!r} cannot be read: {reason}", f"check {setting}") from None


def password_in(path: str, setting: str) -> str:
    """As :func:`first_line`, but an empty line is a ``KeyMaterialError`` as well."""
    password = first_line(path, setting)
    if not password:
        raise KeyMaterialError(f"the first line of password file {path!r} is empty", "write the password into it")
    return password


def exposure(paths: Iterable[Optional[str]]) -> Optional[str]:
    """What people should know of secret files: text when others can read one.

    One of root that a group may read, ours if we are not root, is meant so: a service cannot change it then.
    """
    if os.name == "nt":
        return None  # modes say nothing there
    for path in paths:
        if path is None:
            continue
        try:
            found = os.stat(path)
        except OSError:
            continue  # whoever needs it will say that it cannot be read
        given = found.st_uid == 0 and (os.geteuid() == 0 or found.st_gid == os.getegid())
        if stat.S_IMODE(found.st_mode) & (0o037 if given else 0o077):
            return f"{path} can be read by others than its owner: chmod 600 it"
    return None
