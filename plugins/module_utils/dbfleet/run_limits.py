"""What a run may take of the host: ``limits.nice`` and ``limits.timeout``, applied by a door.

A door applies them around one operation, because a process has one niceness and one alarm.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import TimeoutExceededError
from .model import Limits
from .units import show_duration


@contextmanager
def applied(limits: Limits) -> Iterator[None]:
    """Run the body at the niceness and within the time that ``limits`` say, in the main thread.

    Raises ``TimeoutExceededError`` out of whatever the body is doing, so that uploads abort and
    locks go as in any other failure. Niceness stays for the rest of the process (an ordinary
    user cannot take it back), is inherited by every tool, and has no meaning on Windows.
    """
    if limits.nice is not None and hasattr(os, "setpriority"):
        # Never less nice than the process was started, for example by systemd's Nice=.
        os.setpriority(os.PRIO_PROCESS, 0, max(limits.nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if limits.timeout is None:
        yield
    elif hasattr(signal, "setitimer"):
        with _alarm(limits.timeout):
            yield
    else:
        with _interruption(limits.timeout):
            yield


def _exceeded(seconds: int) -> TimeoutExceededError:
    return TimeoutExceededError(
        f"the run took longer than limits.timeout allows ({show_duration(seconds)})",
        "raise limits.timeout, or find out what was slow with --verbose",
    )


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _exceeded(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _interruption(seconds: int) -> Iterator[None]:
    """The same where there are no alarms (Windows): interrupts the main thread as Ctrl-C does."""
    import _thread
    import threading

    late = threading.Event()

    def interrupt() -> None:
        late.set()
        _thread.interrupt_main()

    before = signal.getsignal(signal.SIGINT)
    if not callable(before):  # ignored, as for what a shell starts in the background: then nothing would interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if late.is_set():
            raise _exceeded(seconds) from None
        raise
    finally:
        timer.cancel()
        if not callable(before):
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
