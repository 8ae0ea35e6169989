"""``limits.timeout`` ends a run as a failure that cleans up; ``limits.nice`` makes way for others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from dbfleet import run_limits
from dbfleet.errors import TimeoutExceededError
from dbfleet.model import Limits


def test_a_run_that_takes_too_long_is_ended_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []
    started = time.monotonic()
    with pytest.raises(TimeoutExceededError, match=r"limits\.timeout"), run_limits.applied(Limits(timeout=1)):
        try:
            time.sleep(30)
        finally:
            cleaned.append(True)
    assert cleaned
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_the_same_without_alarms(before: Any) -> None:
    """As on Windows, where only the main thread's next step notices; also where interruptions are ignored."""
    outside = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(TimeoutExceededError, match=r"limits\.timeout"), run_limits._interruption(1):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.01)
        assert signal.getsignal(signal.SIGINT) == before
    finally:
        signal.signal(signal.SIGINT, outside)


def test_an_interruption_that_is_not_ours_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), run_limits._interruption(60):
        raise KeyboardInterrupt


def test_no_alarm_outlives_its_run() -> None:
    with run_limits.applied(Limits(timeout=1)):
        pass
    time.sleep(1.2)


def test_niceness_is_what_the_job_says_and_never_less_than_before() -> None:
    program = (
        "import os; from dbfleet.run_limits import applied; from dbfleet.model import Limits\n"
        "for nice in (7, 3):\n"
        "    with applied(Limits(nice=nice)): print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    package = os.path.dirname(os.path.dirname(run_limits.__file__))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": package},
        check=True,
        capture_output=True,
        text=True,
    )
    least = str(max(7, os.getpriority(os.PRIO_PROCESS, 0)))  # the tests themselves may be told to be nice
    assert done.stdout.split() == [least, least]
