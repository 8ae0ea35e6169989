"""The audit log: who did what to which backup, and how it ended.

One JSON line per entry in ``audit.jsonl`` of the host's state folder, mode 0600, only ever
appended to, flushed to disk. ``previous`` is the SHA-256 of the line before, so that a removed
or altered line shows. An action is recorded before it begins: what cannot be recorded is not done.
The digest is without the line's end, which on Windows was CR LF once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Optional

from .errors import DbfleetError
from .host import host_name, state_dir, user_name
from .model import Job
from .state_files import NO_LINKS
from .units import to_text, utc_now
from .urls import without_credentials

FILE = "audit.jsonl"
TAIL = 64 * 1024  # bytes read at a time to find the last line
LOCK_OFFSET = 2**30  # Windows locks bytes: one far behind the end


class AuditError(DbfleetError):
    """The audit log cannot be written, so nothing may be done."""

    kind = "audit"


class Action:
    """One action under way; :func:`audited` makes it and records how it ends."""

    def __init__(self, verb: str, job: Job) -> None:
        self.verb = verb
        self.job = job
        self.backups: list[str] = []  # what the last entry names
        self.run = f"{time.time_ns():x}-{os.getpid():x}"

    def note(self, result: str, backups: Iterable[str] = (), **details: Any) -> None:
        """Append one entry to the log. Raises ``AuditError`` when that fails."""
        entry = {
            "time": to_text(utc_now()),
            "run": self.run,
            "verb": self.verb,
            "result": result,
            "job": self.job.name,
            "repository": without_credentials(self.job.repository.url),
            "backups": list(backups),
            **details,
            "user": user_name(),
            "sudo_user": os.environ.get("SUDO_USER"),
            "host": host_name(),
            "pid": os.getpid(),
        }
        _append(os.path.join(state_dir(), FILE), entry)


@contextmanager
def audited(verb: str, job: Job, backups: Iterable[str] = ()) -> Iterator[Action]:
    """Record that ``verb`` begins, and whether it was ``done`` or ``failed``, with the kind of error.

    Raises ``AuditError`` before anything is done when the log cannot be written.
    """
    action = Action(verb, job)
    action.backups.extend(backups)
    action.note("begun", action.backups)
    try:
        yield action
    except BaseException as error:
        kind = error.kind if isinstance(error, DbfleetError) else type(error).__name__
        try:
            action.note("failed", action.backups, error=kind)
        except AuditError as unwritten:
            if not isinstance(error, DbfleetError):
                raise unwritten from error
            error.remedy = f"{error.remedy} (this failure is not in the audit log: {unwritten.message})".strip()
        raise
    action.note("done", action.backups)


def _append(path: str, entry: dict[str, Any]) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_LINKS, 0o600)
        try:
            _lock(descriptor)
            last = _last_line(descriptor)
            entry["previous"] = None if last is None else sha256(last.rstrip(b"\r\n")).hexdigest()
            line = json.dumps(entry).encode("ascii") + b"\n"
            if last is not None and not last.endswith(b"\n"):
                line = b"\n" + line  # the entry before was cut off by a crash
            if os.write(descriptor, line) != len(line):
                raise AuditError(f"the audit log {path} took only a part of an entry", "free some room there")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be written: {error.strerror or error}",
            "make its folder writable for this user, or set DBFLEET_STATE_DIR to one that is",
        ) from error


def _lock(descriptor: int) -> None:
    """Wait for the other writers; the lock goes when the file is closed."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _last_line(descriptor: int) -> Optional[bytes]:
    """The bytes of the last line, with its line end if it has one; ``None`` in an empty file."""
    start = os.lseek(descriptor, 0, os.SEEK_END)
    tail = b""
    while start > 0 and b"\n" not in tail[:-1]:
        step = min(TAIL, start)
        start -= step
        os.lseek(descriptor, start, os.SEEK_SET)
        tail = os.read(descriptor, step) + tail
    return tail[tail[:-1].rfind(b"\n") + 1 :] if tail else None
