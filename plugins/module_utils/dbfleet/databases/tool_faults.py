"""What a tool or server that failed says of the host, and not of the files it was given."""

from __future__ import annotations

import re
import signal
from typing import Optional

from ..errors import CapacityError, DbfleetError, ToolError
from ..host_faults import MORE_MEMORY
from ..stream.process import show_exit

# As the C library and InnoDB say it, with Linux's numbers.
NO_ROOM = re.compile(
    r"No space left|Disk quota exceeded|bytes should have been written|\b(?:error|errcode):? (?:number )?28\b",
    re.IGNORECASE,
)
NO_MEMORY = re.compile(r"Cannot allocate memory|out of memory|\b(?:error|errcode):? (?:number )?12\b", re.IGNORECASE)
NO_RIGHT = re.compile(
    r"Permission denied|Operation not permitted|\b(?:error|errcode):? (?:number )?13\b", re.IGNORECASE
)
KILLED = [sign for number in (signal.SIGINT, signal.SIGTERM, 9) for sign in (-number, 128 + number)]  # by a shell, too
ROOM = "free space there"
RIGHTS = "see what keeps it from that place: modes, AppArmor (aa-status), SELinux; or set DBFLEET_SCRATCH to another"


def lacks_room(words: str) -> bool:
    """Whether ``words`` say that a file system is full."""
    return NO_ROOM.search(words) is not None


def host_fault_of(
    what: str, words: str, *, code: Optional[int] = None, said: Optional[str] = None, room: str = ROOM
) -> Optional[DbfleetError]:
    """What a program that ended with ``code`` and ``words`` tells of the host; ``None`` where it is nothing.

    ``said`` is what to repeat of its words, ``room`` the remedy where there was none. What is returned is never a
    ``DamagedError``: nothing is known of what the program read.
    """
    said = words if said is None else said
    if lacks_room(words):
        return CapacityError(f"{what}: {said}", room)
    if NO_MEMORY.search(words):
        return CapacityError(f"{what}: {said}", MORE_MEMORY)
    if NO_RIGHT.search(words):
        return ToolError(f"{what}: {said}", RIGHTS)
    if code in KILLED:
        return ToolError(
            f"{what} was killed ({show_exit(code)})", "see whether memory ran out (dmesg), and start again"
        )
    return None
