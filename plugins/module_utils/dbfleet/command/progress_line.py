"""What people see of a long operation: one line on a terminal, or a line for each step."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Optional, TextIO

from ..errors import one_line
from ..units import show_duration, show_size

REDRAW_SECONDS = 0.1


class ProgressLine:
    """Keeps one line up to date: the step, bytes of bytes, rate, and the time that is left.

    May be told from several threads. ``live`` draws the line, ``steps`` writes a line for each
    step. :meth:`clear` removes the line, and nothing is drawn after :meth:`close`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        live: bool = True,
        steps: bool = False,
        clock: Callable[[], float] = time.monotonic,
        width: Optional[int] = None,
    ) -> None:
        self._stream, self._live, self._steps, self._clock = stream, live, steps, clock
        self._width = width
        self._lock = threading.Lock()
        self._text = ""
        self._done = 0
        self._total: Optional[int] = 0
        self._began: Optional[float] = None
        self._drawn_at = float("-inf")
        self._drawn = False

    def step(self, text: str) -> None:
        """A new step begins."""
        with self._lock:
            self._text = one_line(text)
            if self._steps:
                self._erase()
                self._write(f"{self._text}\n")
            self._draw(at_once=True)

    def expect(self, total_bytes: Optional[int]) -> None:
        """So many more bytes are to come; after one ``None``, the total stays unknown."""
        with self._lock:
            known = self._total is not None and total_bytes is not None
            self._total = (self._total or 0) + (total_bytes or 0) if known else None

    def advance(self, count: int) -> None:
        """``count`` more bytes have passed."""
        with self._lock:
            if self._began is None:
                self._began = self._clock()
            self._done += count
            self._draw()

    def close(self) -> None:
        """Remove the line for good."""
        with self._lock:
            self._erase()
            self._live = False

    def _draw(self, at_once: bool = False) -> None:
        now = self._clock()
        if not self._live or (not at_once and now - self._drawn_at < REDRAW_SECONDS):
            return
        self._drawn_at = now
        elapsed = now - self._began if self._began is not None else 0.0
        width = (self._width or _columns(self._stream)) - 1
        self._write("\r" + progress_text(self._text, self._done, self._total, elapsed, width) + "\x1b[K")
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone; that is no reason to stop a backup
            self._live = self._steps = False


def progress_text(step: str, done: int, total: Optional[int], elapsed: float, width: int) -> str:
    """The progress line of at most ``width`` columns; the step is shortened in its middle."""
    numbers = ""
    if done:
        numbers = show_size(done)
        if total and done <= total:
            numbers = f"{done * 100 // total:3d} %  {numbers} of {show_size(total)}"
        if elapsed >= 1:
            numbers += f"  {show_size(done / elapsed)}/s"
            if total and done < total:
                numbers += f"  {show_duration((total - done) * elapsed / done)} left"
    room = width - len(numbers) - 2 if numbers else width
    if len(step) > room:
        half = max(room - 1, 0) // 2
        step = step[: max(room - 1, 0) - half] + "…" + step[len(step) - half :] if room > 8 else ""
    return (f"{step}  {numbers}" if step and numbers else step or numbers)[:width]


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
