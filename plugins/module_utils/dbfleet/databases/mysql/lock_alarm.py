"""An end to waiting for a lock, for a tool that knows none: xtrabackup waits for a year while others wait for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Optional

from ...errors import BusyError, DbfleetError
from ...stream.process import Filter
from .address import Address
from .gate import who_is_in_the_way
from .server import Session

ASIDE = re.compile("log scanned up to")  # another thread of the tool says it meanwhile


class LockAlarm:
    """Ends the tool when nothing comes after a line that ``waits`` describes within ``wait`` seconds.

    ``ours`` are the connections of this backup, which are not in its way.
    """

    def __init__(self, address: Address, wait: int, waits: Optional[re.Pattern[str]], ours: Sequence[Session]) -> None:
        self.error: Optional[DbfleetError] = None  # why the tool was ended, if it was
        self._address = address
        self._wait = max(1, wait)
        self._waits = waits
        self._ours = ours
        self._child: Optional[Filter] = None
        self._timer: Optional[threading.Timer] = None

    def watch(self, child: Filter) -> None:
        """The tool that is heard."""
        self._child = child

    def tell(self, line: str) -> None:
        """The next line that the tool says."""
        if self._timer is not None and not ASIDE.search(line):
            self.cancel()
        if self._waits is not None and self._waits.search(line):
            self._timer = threading.Timer(self._wait, self._ring)
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        """It waits no more. Never raises."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        try:
            with Session(self._address) as session:
                self.error = who_is_in_the_way(session, self._wait, [one.number for one in self._ours])
        except DbfleetError:
            self.error = BusyError(f"{self._address.place()}: no lock within {self._wait} s", "raise limits.lock_wait")
        if self._child is not None:
            self._child.kill()
