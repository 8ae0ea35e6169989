"""``limits.bandwidth`` holds for all streams of a run together, whatever their chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.stream.throttle import BURST, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 5)), min_size=1, max_size=50),
)
def test_no_interval_passes_more_than_rate_and_burst(rate: int, takes: list[tuple[int, float]]) -> None:
    clock = Clock()
    throttle = Throttle(rate, clock=clock.read, sleep=clock.sleep)
    begin, passed = clock.now, 0
    for count, pause in takes:
        throttle.take(count)
        passed += count
        assert passed <= rate * (clock.now - begin + BURST) * (1 + 1e-9) + 1
        clock.now += pause


def test_a_busy_stream_reaches_the_rate() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock=clock.read, sleep=clock.sleep)
    for _piece in range(100):
        throttle.take(100)
    assert 9.5 <= clock.now - 100 <= 10


def test_a_pause_is_not_saved_up() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock=clock.read, sleep=clock.sleep)
    throttle.take(1)
    clock.now += 3600
    throttle.take(1000)
    assert clock.slept == pytest.approx(1 - BURST)


def test_without_a_rate_nobody_waits() -> None:
    clock = Clock()
    Throttle(None, clock=clock.read, sleep=clock.sleep).take(10**12)
    assert clock.slept == 0


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_that_would_never_end_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="never end"):
        Throttle(rate)
