"""Whether a process that a record names still runs on this host."""

from __future__ import annotations

import os
import sys
from typing import Optional


def lives(pid: int) -> bool:
    """Whether a process has the number ``pid``: perhaps another one by now, see :func:`born`."""
    if pid <= 0:
        return False
    if sys.platform == "win32":  # os.kill would send it a signal there, whatever the number
        import ctypes

        limited, exit_code = 0x1000, ctypes.c_ulong()
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(limited, False, pid)
        if not handle:
            return False
        asked = kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(exit_code))
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return bool(asked) and exit_code.value == 259  # STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def born(pid: int) -> Optional[str]:
    """What tells the process ``pid`` from others of that number: its start, in ticks since the boot.

    ``None`` where the system does not say (proc(5) is Linux's).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except (OSError, IndexError):
        return None
