"""A limit on bytes per second, shared by all streams of one run."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

BURST = 0.25  # seconds' worth of bytes that may pass at once after a pause


class Throttle:
    """A token bucket of ``rate`` bytes per second; ``None`` lets everything pass.

    Streams take before they move bytes; each is told how long to wait behind those before it,
    so that the streams together keep the rate, whatever the size of their chunks.
    """

    def __init__(
        self,
        rate: Optional[int] = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"a rate of {rate} bytes per second would never end")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._booked = float("-inf")  # when the bytes taken so far will have passed

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may have passed."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._booked = max(self._booked, now - BURST) + count / self._rate
            wait = self._booked - now
        if wait > 0:
            self._sleep(wait)


UNLIMITED = Throttle()
