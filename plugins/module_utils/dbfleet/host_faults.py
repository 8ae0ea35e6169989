"""What the host itself refuses: files too large or too many, no room, no memory, no more processes.

It may happen at any line, so only the doors ask, for what nothing below has explained better.
"""

from __future__ import annotations

import errno
from typing import Optional

from .errors import CapacityError, DbfleetError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
LARGER_FILES = "choose a file system that takes larger files (FAT takes 4 GiB), or raise the limit: ulimit -f"
MORE_FILES = "raise the limit: ulimit -n, or LimitNOFILE= of its service"
MORE_MEMORY = "raise the limit (ulimit -v, MemoryMax= of its service), or choose fewer compression.threads"
MORE_PROCESSES = "raise the limit: ulimit -u (TasksMax= of its service), or that of memory: ulimit -v"


def fault_of(error: BaseException) -> Optional[DbfleetError]:
    """What a door tells of ``error``; ``None`` where it is a fault of our own."""
    return error if isinstance(error, DbfleetError) else host_fault(error)


def host_fault(error: BaseException) -> Optional[CapacityError]:
    """``error`` in our words, if it says that the host had no more of something."""
    code = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if code in NO_ROOM:
        return CapacityError(f"no room left: {_said(error)}", "free space on that file system")
    if code == errno.EFBIG:
        return CapacityError(f"a file grew too large: {_said(error)}", LARGER_FILES)
    if code in (errno.EMFILE, errno.ENFILE):
        return CapacityError(f"no more files can be opened: {_said(error)}", MORE_FILES)
    if code == errno.EAGAIN or "can't start new thread" in str(error):
        return CapacityError(f"no more processes can be started: {_said(error)}", MORE_PROCESSES)
    if code == errno.ENOMEM or isinstance(error, MemoryError) or "not enough memory" in str(error):
        return CapacityError(f"there is not enough memory: {_said(error)}", MORE_MEMORY)
    return None


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
