"""Locks where no operating system sees all who want them: leases in a folder of the server.

Whoever wants the lock first puts a claim there, then looks who else has one. A claim is there
before its owner looks, so of two at once at least one sees the other: the server need only
create, list and rename. Two that still ask are put in order by their names. A claim is renewed
while it is held, and counts as dead when, by the server's own clock, it was not for too long.

Nothing is ever removed, so that an account that may only add can lock as well: a claim that ends
gets an idle name, and the next one uses it again.
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Callable, Optional

from ...errors import BusyError, DbfleetError, NotFoundError
from ..locks import describe, note_of
from .marks import Marks
from .packets import (
    CREATE,
    DATA,
    EXCLUSIVE,
    FOR_READING,
    FOR_WRITING,
    NO_SUCH_FILE,
    READ,
    WRITE,
    StatusError,
    data_of,
    number,
    offset,
    text,
)
from .protocol import Protocol

RENEW_EVERY = 10.0  # seconds
DEAD_AFTER = 60.0  # seconds on the server's clock without a renewal
LOOK_AGAIN = 0.1  # seconds between two looks at a claim that still asks
NOTE_SIZE = 512  # bytes, always: a claim is written over without being cut

EXCLUSIVE_CLAIM, SHARED_CLAIM, IDLE = "write-", "read-", "idle-"


class Lease:
    """One claim to one lock, from :meth:`take` to :meth:`release`."""

    def __init__(
        self, line: Callable[[], Protocol], folder: str, name: str, *, shared: bool, modes: tuple[int, int]
    ) -> None:
        self.name = name
        self.shared = shared
        self._line = line
        self._folder = folder
        self._file_mode, self._folder_mode = modes
        self._token = secrets.token_hex(8)
        self._file = (SHARED_CLAIM if shared else EXCLUSIVE_CLAIM) + self._token
        self._note = b""
        self._lost = False
        self._renewed = (0.0, 0.0)
        self._end = threading.Event()
        self._renewal: Optional[threading.Thread] = None

    def take(self, wait: float, marks: Marks) -> None:
        """Hold the lock, or raise ``BusyError`` after ``wait`` seconds; ``StatusError`` when the server refuses."""
        deadline = time.monotonic() + wait
        while True:
            hindrance = self._try(marks)
            if not hindrance:
                break
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"{self.name} is in use by {hindrance}", "wait for it to end, or raise limits.lock_wait"
                )
            time.sleep(min(random.uniform(0.2, 0.6), max(deadline - time.monotonic(), 0.0)))
        self._renewal = threading.Thread(target=self._keep_renewing, name=f"lease-{self.name}", daemon=True)
        self._renewal.start()

    def check(self) -> None:
        """Make sure that the lock is still held. Raises ``BusyError`` when another run took it over."""
        age = max(time.monotonic() - self._renewed[0], abs(time.time() - self._renewed[1]))
        if not self._lost and age > 2 * RENEW_EVERY:  # this host slept, or the line was slow
            self.renew()
        if self._lost or self._line().lstat(self._path(self._file)) is None:
            raise BusyError(
                f"the lock of {self.name} was lost: this run gave no sign of life for {DEAD_AFTER:g} seconds, "
                "and another one took it over",
                "nothing was committed; start it again",
            )

    def renew(self) -> None:
        """Say that the holder lives. A claim that has gone from its name is lost."""
        try:
            self._write(self._file, self._note)
            self._renewed = (time.monotonic(), time.time())
        except StatusError as error:
            self._lost = self._lost or error.code == NO_SUCH_FILE

    def release(self, marks: Marks) -> None:
        """Give the lock up. Never raises: what cannot be told to the server ends by itself."""
        self._end.set()
        if self._renewal is not None:
            self._renewal.join(RENEW_EVERY)
        with contextlib.suppress(DbfleetError, StatusError):
            self._set_idle(self._file)
            marks.remove(self._file)

    # --- asking ---

    def _try(self, marks: Marks) -> str:
        """Claim once; empty when the lock is held now, and else who stands in the way."""
        self._note = self._padded(held=False)
        marks.add(self._file)
        self._publish()
        try:
            while True:
                rivals = self._rivals(marks)
                if not rivals:
                    self._note = self._padded(held=True)
                    self._write(self._file, self._note)
                    self._renewed = (time.monotonic(), time.time())
                    return ""
                hindrance = self._hindrance(rivals)
                if hindrance:
                    break
                time.sleep(LOOK_AGAIN)
                self._write(self._file, self._note)
        except BaseException:
            self.release(marks)
            raise
        self._set_idle(self._file)
        marks.remove(self._file)
        return hindrance

    def _publish(self) -> None:
        """Put the claim into the folder: an idle one with a new name, or a new one."""
        line = self._line()
        for file in self._idle():
            try:
                self._write(file, self._note)  # before it is a claim, so that it is never an old one
                line.move(self._path(file), self._path(self._file))
                return
            except StatusError:
                continue  # another run was faster, or it belongs to another account
        handle = line.open(self._path(self._file), FOR_WRITING | CREATE | EXCLUSIVE, self._file_mode)
        line.done(line.ask(WRITE, text(handle), offset(0), text(self._note)))
        line.close_handle(handle)

    def _idle(self) -> Sequence[str]:
        line = self._line()
        try:
            return [file for file, _found in line.folder(self._folder) if file.startswith(IDLE)]
        except StatusError as error:
            if error.code != NO_SUCH_FILE:
                raise
        try:
            line.mkdir(self._folder, self._folder_mode)
        except StatusError as error:
            if error.code == NO_SUCH_FILE:
                raise NotFoundError(
                    f"the repository on {line.where} does not exist", "correct repository.url, or make a backup first"
                ) from error
            if line.lstat(self._folder) is None:
                raise
        return []

    def _rivals(self, marks: Marks) -> Sequence[str]:
        """Living claims that cannot stand beside this one; dead ones are put away."""
        there = dict(self._line().folder(self._folder))
        mine = there.pop(self._file, None)
        if mine is None:
            raise BusyError(f"another run took the claim to {self.name} for a dead one", "start it again")
        rivals = []
        for file, found in there.items():
            if not file.startswith((EXCLUSIVE_CLAIM, SHARED_CLAIM)):
                continue
            if file in marks.dead or abs(mine.modified - found.modified) > DEAD_AFTER:
                with contextlib.suppress(StatusError):  # another run was faster
                    self._set_idle(file)
            elif not self.shared or file.startswith(EXCLUSIVE_CLAIM):
                rivals.append(file)
        marks.forget_dead()
        return rivals

    def _hindrance(self, rivals: Iterable[str]) -> str:
        """Who holds the lock, or asked for it and goes first; empty when it must still be seen."""
        for file in rivals:
            note = self._read(file)
            if note is None:
                continue  # it has just gone
            first = file.partition("-")[2] < self._token
            if first or _is_held(note):
                return describe(note)
        return ""

    # --- files of the folder ---

    def _path(self, file: str) -> str:
        return f"{self._folder}/{file}"

    def _padded(self, *, held: bool) -> bytes:
        note = json.dumps({**json.loads(note_of(self.shared)), "held": held}).encode("utf-8")
        return note[:NOTE_SIZE].ljust(NOTE_SIZE)

    def _write(self, file: str, note: bytes) -> None:
        line = self._line()
        handle = line.open(self._path(file), FOR_WRITING)
        try:
            line.done(line.ask(WRITE, text(handle), offset(0), text(note)))
        finally:
            line.release(handle)

    def _read(self, file: str) -> Optional[bytes]:
        line = self._line()
        try:
            handle = line.open(self._path(file), FOR_READING)
        except StatusError as error:
            return None if error.code == NO_SUCH_FILE else b""
        try:
            return bytes(data_of(line.wait(line.ask(READ, text(handle), offset(0), number(NOTE_SIZE)), DATA)))
        except StatusError:
            return b""
        finally:
            line.release(handle)

    def _set_idle(self, file: str) -> None:
        self._line().move(self._path(file), self._path(IDLE + secrets.token_hex(8)))

    def _keep_renewing(self) -> None:
        while not self._end.wait(RENEW_EVERY) and not self._lost:
            with contextlib.suppress(DbfleetError):  # the line is down: perhaps not the next time
                self.renew()


def _is_held(note: bytes) -> bool:
    try:
        return bool(json.loads(note)["held"])
    except (ValueError, KeyError, TypeError):
        return True  # what cannot be read is not taken for free
