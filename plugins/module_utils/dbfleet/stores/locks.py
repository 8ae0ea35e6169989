"""Locks on files that the operating system frees when their holder dies.

POSIX: ``flock(2)``. Windows: ``LockFileEx`` on a byte far behind the text, so that others can
read who holds it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator

from ..errors import BusyError

POLL = 0.1  # seconds between two attempts
LOCKED_BYTE = 1 << 30
LONGEST_NOTE = 1000


@contextlib.contextmanager
def hold(descriptor: int, name: str, *, shared: bool, wait: float, writable: bool) -> Iterator[None]:
    """Hold the lock on an open file; ``name`` is for people.

    Tries for ``wait`` seconds, then raises ``BusyError`` that says who has it. ``OSError`` means
    that the file system has no locks. The holder leaves a note in the file, which is only for
    that message.
    """
    deadline = time.monotonic() + wait
    while not try_lock(descriptor, shared):
        if time.monotonic() >= deadline:
            raise BusyError(
                f"{name} is in use by {_holder(descriptor)}", "wait for it to end, or raise limits.lock_wait"
            )
        time.sleep(POLL)
    if writable:
        _write_note(descriptor, note_of(shared))
    try:
        yield
    finally:
        if writable:
            _write_note(descriptor, b"")


if sys.platform == "win32":

    def try_lock(descriptor: int, shared: bool) -> bool:
        """Take the lock if it is free."""
        import ctypes
        import msvcrt
        from ctypes import wintypes

        class Overlapped(ctypes.Structure):
            _fields_ = [
                ("Internal", ctypes.c_size_t),
                ("InternalHigh", ctypes.c_size_t),
                ("Offset", wintypes.DWORD),
                ("OffsetHigh", wintypes.DWORD),
                ("hEvent", wintypes.HANDLE),
            ]

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        at_once, exclusive, violation = 1, 2, 33
        place = Overlapped(Offset=LOCKED_BYTE)
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(descriptor))
        flags = at_once | (0 if shared else exclusive)
        if kernel.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(place)):
            return True
        code = ctypes.get_last_error()
        if code == violation:
            return False
        raise ctypes.WinError(code)

else:

    def try_lock(descriptor: int, shared: bool) -> bool:
        """Take the lock if it is free."""
        import fcntl

        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True


def note_of(shared: bool) -> bytes:
    """Who we are: process, host, and the verb if the command line begins with one. Nothing else of it."""
    import socket

    words = [os.path.basename(sys.argv[0])] if sys.argv and sys.argv[0] else []
    words += [word for word in sys.argv[1:2] if re.fullmatch(r"[a-z]{1,20}", word)]
    note = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(words), "shared": shared}
    return json.dumps(note).encode("utf-8")


def _write_note(descriptor: int, note: bytes) -> None:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, note)
    except OSError:
        pass  # a full disk must not keep prune from the lock; the note is only for a message


def describe(note: bytes) -> str:
    """The holder that a note names, for a message."""
    try:
        fields = json.loads(note)
        command = f" ({fields['command']})" if fields["command"] else ""
        return f"process {int(fields['pid'])}{command} on {fields['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return describe(os.read(descriptor, LONGEST_NOTE))
    except OSError:
        return describe(b"")
