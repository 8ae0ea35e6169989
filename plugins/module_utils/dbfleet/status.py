"""What runs on this host right now: one small file for each run, which others can read meanwhile.

``status/JOB.VERB.json`` in the state folder is replaced as a whole, at most twice a second, and
goes when the run ends. All of it is done as well as it can be: no run ever fails because nobody
can be told of it. A run that was killed leaves its file, which names a process that is gone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, Optional

from .errors import one_line
from .host import state_dir
from .liveness import born, lives
from .progress import Progress
from .state_files import replace_file
from .units import show_duration, show_size, to_text, utc_now

FOLDER = "status"
EVERY = 0.5  # seconds between two writes
WINDOW = 10.0  # seconds over which the rate is taken
QUIET = 60  # seconds without a byte that are worth a word
LARGEST = 64 * 1024  # bytes: what is larger was not written here


class Run(NamedTuple):
    """What is known of one run. ``runs`` is whether its process is still there."""

    verb: str
    job: str
    runs: bool
    step: str
    done_bytes: int
    total_bytes: Optional[int]
    bytes_per_second: Optional[int]
    started_at: str
    updated_at: str
    pid: int

    def to_json(self) -> dict[str, Any]:
        """The same words as keys; ``total_bytes`` and ``bytes_per_second`` are ``None`` while nobody knows."""
        return self._asdict()


@contextmanager
def reported(verb: str, job: str, progress: Progress) -> Iterator[Progress]:
    """``progress``, also kept in a file for as long as the context lasts."""
    report = _Report(verb, job, progress)
    report.write()
    try:
        yield report
    finally:
        report.close()


def runs_of_host(job: Optional[str] = None) -> list[Run]:
    """The runs that this user's state folder tells of (of ``job``), the oldest first."""
    folder = os.path.join(state_dir(), FOLDER)
    try:
        files = sorted(file for file in os.listdir(folder) if file.endswith(".json"))
    except OSError:
        return []
    found = [run for run in (_read(os.path.join(folder, file)) for file in files) if run is not None]
    return sorted((run for run in found if job in (None, run.job)), key=lambda run: run.started_at)


def with_text(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What :meth:`Run.to_json` says of each, and ``text`` for people."""
    now = utc_now()
    return [{**run.to_json(), "text": run_text(run, now)} for run in runs]


def run_text(run: Run, now: datetime) -> str:
    """How far a run is: its step, bytes of bytes, rate, what is left, and since when nothing moved."""
    numbers = [run.step]
    if run.done_bytes:
        told = show_size(run.done_bytes)
        if run.total_bytes and run.done_bytes <= run.total_bytes:
            told = f"{run.done_bytes * 100 // run.total_bytes} %, {told} of {show_size(run.total_bytes)}"
        numbers.append(told)
    if not run.runs:
        return ", ".join([*numbers, f"last seen {run.updated_at}"])
    if run.bytes_per_second:
        numbers.append(f"{show_size(run.bytes_per_second)}/s")
        if run.total_bytes and run.done_bytes < run.total_bytes:
            numbers.append(f"{show_duration((run.total_bytes - run.done_bytes) / run.bytes_per_second)} left")
    numbers.append(f"for {show_duration(_since(run.started_at, now))}")
    quiet = _since(run.updated_at, now)
    if quiet >= QUIET:
        numbers.append(f"nothing moved for {show_duration(quiet)}")
    return ", ".join(numbers)


def _since(moment: str, now: datetime) -> float:
    try:
        return max(0.0, (now - datetime.fromisoformat(moment.replace("Z", "+00:00"))).total_seconds())
    except ValueError:
        return 0.0


def _read(path: str) -> Optional[Run]:
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), encoding="utf-8") as file:
            fields = json.loads(file.read(LARGEST))
        pid, mark = int(fields.pop("pid")), fields.pop("born")
        return Run(runs=lives(pid) and mark in (None, born(pid)), pid=pid, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # just gone, or nobody's


class _Report:
    """Progress that is passed on and written down; may be told from several threads."""

    def __init__(self, verb: str, job: str, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = progress
        self._clock = clock
        self._lock = threading.Lock()
        self._fields: dict[str, Any] = {
            "verb": verb,
            "job": job,
            "step": "starting",
            "done_bytes": 0,
            "total_bytes": None,
            "bytes_per_second": None,
            "started_at": to_text(utc_now().replace(microsecond=0)),
            "pid": os.getpid(),
            "born": born(os.getpid()),
        }
        self._expected: Optional[int] = 0
        self._path = os.path.join(state_dir(), FOLDER, f"{job}.{verb}.json")
        self._written = float("-inf")
        self._marks: list[tuple[float, int]] = []
        self._open = True

    def step(self, text: str) -> None:
        """A new step begins."""
        self._inner.step(text)
        with self._lock:
            self._fields["step"] = one_line(text)
            self._write_sometimes()

    def expect(self, total_bytes: Optional[int]) -> None:
        """So many more bytes are to come; after one ``None``, the total stays unknown."""
        self._inner.expect(total_bytes)
        with self._lock:
            known = self._expected is not None and total_bytes is not None
            self._expected = (self._expected or 0) + (total_bytes or 0) if known else None
            self._fields["total_bytes"] = self._expected

    def advance(self, count: int) -> None:
        """``count`` more bytes have passed."""
        self._inner.advance(count)
        with self._lock:
            self._fields["done_bytes"] += count
            self._write_sometimes()

    def write(self) -> None:
        """Write what is known now."""
        with self._lock:
            self._write(self._clock())

    def close(self) -> None:
        """Take the file away."""
        with self._lock:
            self._open = False
            try:
                os.unlink(self._path)
            except OSError:
                pass

    def _write_sometimes(self) -> None:
        now = self._clock()
        if now - self._written >= EVERY:
            self._write(now)

    def _write(self, now: float) -> None:
        if not self._open:
            return
        self._written = now
        self._measure(now)
        self._fields["updated_at"] = to_text(utc_now().replace(microsecond=0))
        try:
            replace_file(self._path, json.dumps(self._fields).encode("ascii"))
        except OSError:  # whoever wants to know will not; that is no reason to stop
            self._open = os.name == "nt"  # where a reader is in the way for a moment

    def _measure(self, now: float) -> None:
        done = self._fields["done_bytes"]
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW:
            del self._marks[0]
        since, before = self._marks[0]
        if done and now - since >= max(EVERY, 0.1):
            self._fields["bytes_per_second"] = int((done - before) / (now - since))
