"""Names of stored objects: relative, with ``/``, and the same on every operating system."""

from __future__ import annotations

import re

from ..errors import UsageError

PARTIAL = ".partial"
LOCK = ".lock"
LONGEST = 255 - len("." + PARTIAL)  # bytes of one part, so that its temporary name fits as well

# What Windows cannot store, or takes for something else (learn.microsoft.com, "Naming Files").
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]')


def check_name(name: str) -> str:
    """``name``, if it may be stored. Raises ``UsageError``.

    Refused are absolute names, ``.`` and ``..``, empty parts, parts that begin with a dot (those
    are ours: temporary objects and locks), and what some operating system cannot store.
    """
    for part in name.split("/"):
        trouble = _trouble(part)
        if trouble:
            raise UsageError(f"{name!r} cannot be the name of a stored object: {trouble}")
    return name


def partial_name(name: str) -> str:
    """The temporary name of ``name``: ``folder/.file.partial``."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}.{last}{PARTIAL}"


def final_name(partial: str) -> str:
    """The name that :func:`partial_name` made a temporary one of; empty if it was not that."""
    folder, slash, last = partial.rpartition("/")
    if not (last.startswith(".") and last.endswith(PARTIAL) and len(last) > len(PARTIAL) + 1):
        return ""
    return folder + slash + last[1 : -len(PARTIAL)]


def _trouble(part: str) -> str:
    if not part:
        return "a part of it is empty"
    if part.startswith("."):
        return "a part of it begins with a dot"
    if part[-1] in ". ":
        return "a part of it ends with a dot or a space"
    if FORBIDDEN.search(part):
        return "it has a character that not every system can store"
    if DEVICES.fullmatch(part):
        return "it is the name of a device"
    try:
        length = len(part.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return "it is too long" if length > LONGEST else ""
