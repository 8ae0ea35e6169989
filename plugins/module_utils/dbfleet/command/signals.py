"""Signals that end the command: they unwind it, so that uploads abort and locks go."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end. Not an ``Exception``: nothing below takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells report it."""
        return 128 + self.number


@contextmanager
def unwinding() -> Iterator[None]:
    """Raise :class:`Stopped` on the first SIGINT, SIGTERM or SIGHUP.

    Later ones do not disturb the cleaning up. A signal that is ignored from the start (``nohup``)
    stays ignored.
    """
    stopping = False

    def stop(number: int, _frame: Any) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise Stopped(number)

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
