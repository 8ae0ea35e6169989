"""The progress line tells the truth, fits its terminal, and never stops a backup."""

from __future__ import annotations

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.command.progress_line import ProgressLine, progress_text

MIB = 2**20


def test_bytes_rate_and_the_time_that_is_left() -> None:
    text = progress_text("storing a.db.zst", 25 * MIB, 100 * MIB, 5.0, 100)
    assert text == "storing a.db.zst   25 %  25.0 MiB of 100.0 MiB  5.0 MiB/s  15 s left"


def test_without_a_total_nothing_is_invented() -> None:
    assert progress_text("dumping", 25 * MIB, None, 5.0, 100) == "dumping  25.0 MiB  5.0 MiB/s"
    assert progress_text("dumping", 0, 100, 0.0, 100) == "dumping"


def test_more_bytes_than_expected_are_no_percentage() -> None:
    assert "%" not in progress_text("dumping", 200, 100, 5.0, 100)


@given(
    st.text(max_size=300),
    st.integers(0, 2**50),
    st.one_of(st.none(), st.integers(0, 2**50)),
    st.integers(1, 200),
)
def test_the_line_fits_every_terminal(step: str, done: int, total: int | None, width: int) -> None:
    assert len(progress_text(step, done, total, 3.0, width)) <= width


def test_expectations_add_up_until_one_is_unknown() -> None:
    stream = io.StringIO()
    clock = iter(range(1000))
    line = ProgressLine(stream, clock=lambda: float(next(clock)), width=100)
    line.expect(60)
    line.expect(40)
    line.advance(50)
    assert "50 %" in stream.getvalue()
    line.expect(None)
    line.expect(40)
    line.advance(1)
    assert "%" not in stream.getvalue().rpartition("\r")[2]


def test_a_closed_line_is_gone_and_stays_gone() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, width=80)
    line.step("storing")
    line.close()
    assert stream.getvalue().endswith("\r\x1b[K")
    line.step("more")
    assert "more" not in stream.getvalue()


def test_steps_are_lines_of_their_own_and_cannot_be_forged() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, live=False, steps=True)
    line.step("one\ntwo")
    line.advance(5)
    assert stream.getvalue() == "one\\ntwo\n"


def test_quiet_is_silent() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, live=False)
    line.step("one")
    line.expect(5)
    line.advance(5)
    line.close()
    assert stream.getvalue() == ""


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_terminal_that_has_gone_does_not_stop_the_work() -> None:
    line = ProgressLine(Gone(), steps=True, width=80)
    line.step("one")
    line.advance(5)
    line.close()


@pytest.mark.parametrize("threads", [8])
def test_no_byte_is_lost_between_threads(threads: int) -> None:
    stream = io.StringIO()
    clock = iter(range(10**6))
    line = ProgressLine(stream, clock=lambda: float(next(clock)), width=80)

    def work() -> None:
        for _step in range(500):
            line.advance(1)

    workers = [threading.Thread(target=work) for _worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert "3.9 KiB" in stream.getvalue().rpartition("\r")[2]
