"""The receiver of a log archive: one tool that writes into the spool, and none beside it.

The tool holds a lock of the spool open. So one that outlived its archiver (which was killed) is
recognised, and ended before another one begins.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Optional

from ..databases.logs import LogSource
from ..errors import BusyError, ToolError
from ..stores.locks import POLL, try_lock
from ..stream.process import Filter

LOCK = ".receiver.lock"
PATIENCE = 30.0  # seconds in which a receiver that was told to end must be gone


class Receiver:
    """Starts, watches and ends the tool of ``source``."""

    def __init__(self, source: LogSource, spool: str, scratch: str) -> None:
        self._source = source
        self._spool = spool
        self._scratch = scratch
        self._child: Optional[Filter] = None
        self._lock: Optional[int] = None
        self._started = 0.0

    def is_running(self) -> bool:
        """Whether the tool runs."""
        return self._child is not None and self._child.is_running()

    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Start the tool, after an older one has ended. Raises what keeps it from starting."""
        self.stop()
        lock = os.open(os.path.join(self._spool, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _end_holder(lock)
            command = self._source.receiver(self._spool, self._scratch)
            self._child = Filter(replace(command, inherited=(lock,)))
            self._child.close_input()
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(self._child.pid).encode("ascii"), 0)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # the tool holds it from now on
        self._started = time.monotonic()

    def judge(self) -> None:
        """Raise why the tool ended by itself, once; nothing where it did not run."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.wait()
        finally:
            child.close()
        raise ToolError(f"{child.command.tool} ended", "it is started again")

    def stop(self) -> None:
        """End the tool. Never raises."""
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _end_holder(lock: int) -> None:
    """Take the lock; a receiver that an archiver left behind is ended for it."""
    deadline = time.monotonic() + PATIENCE
    while not try_lock(lock, False):
        number = os.pread(lock, 20, 0)
        if number.isdigit():  # nobody but that process holds the lock
            try:
                os.kill(int(number), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        if time.monotonic() > deadline:
            raise BusyError("another receiver writes into the spool", "end it, or name another log_archive.spool")
        time.sleep(POLL)
