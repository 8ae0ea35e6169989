"""Reading the audit log: is every entry still what it was, and how did the last actions end?

The log is read line by line, so that one of many years needs no memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, Optional

from .audit import FILE
from .host import state_dir
from .liveness import lives
from .model import Finding, Job
from .urls import without_credentials

ENDS = ("begun", "done", "failed")  # what an entry says of the whole action
LONGEST_LINE = 1 << 20


class LastRun(NamedTuple):
    """The newest entry about a whole action: when, and ``begun``, ``done`` or ``failed`` with the kind of error."""

    time: str
    result: str
    error: Optional[str] = None
    pid: int = 0

    @property
    def runs(self) -> bool:
        """Whether it began, has not ended, and its process is still there."""
        return self.result == "begun" and lives(self.pid)

    def to_json(self) -> dict[str, Any]:
        """``{"time", "result", "error"}``; ``result`` is also ``running`` or ``killed``."""
        result = self.result if self.result != "begun" else "running" if self.runs else "killed"
        return {"time": self.time, "result": result, "error": self.error}


@dataclass
class AuditLog:
    """What the log of this host says. ``last`` is by verb, job and repository."""

    path: str
    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    last: dict[tuple[str, str, str], LastRun] = field(default_factory=dict)

    def last_run(self, verb: str, job: Job) -> Optional[LastRun]:
        """How the newest run of ``verb`` for ``job`` ended; ``None`` when this log knows of none."""
        return self.last.get((verb, job.name, without_credentials(job.repository.url)))

    def to_json(self) -> dict[str, Any]:
        """``{"path", "entries", "ok"}``; the findings are told with all others."""
        return {"path": self.path, "entries": self.entries, "ok": not self.findings}


def read_audit() -> AuditLog:
    """The audit log of this host and user; a log that is not there yet is empty."""
    log = AuditLog(os.path.join(state_dir(), FILE))
    try:
        with open(log.path, "rb") as file:
            _read(log, iter(lambda: file.readline(LONGEST_LINE), b""))
    except FileNotFoundError:
        pass
    except OSError as error:
        log.findings.append(
            Finding(log.path, f"the audit log cannot be read: {error.strerror}", "run as a user who may read it")
        )
    return log


def _read(log: AuditLog, lines: Iterator[bytes]) -> None:
    before: Optional[bytes] = None
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is not None:
            log.entries += 1
            expected = None if before is None else sha256(before).hexdigest()
            if before is not None and entry.get("previous") != expected:
                log.findings.append(
                    Finding(
                        f"{log.path} line {number}",
                        "an entry before it was altered or removed",
                        "find out who wrote there, and compare with a copy of the log",
                    )
                )
            _remember(log, entry)
        before = line.rstrip(b"\r\n")


def _entry(line: bytes) -> Optional[dict[str, Any]]:
    try:
        entry = json.loads(line)
    except ValueError:  # cut off by a crash; the entry after it carries its digest all the same
        return None
    return entry if isinstance(entry, dict) else None


def _remember(log: AuditLog, entry: dict[str, Any]) -> None:
    result = entry.get("result")
    if result not in ENDS:
        return
    key = (str(entry.get("verb")), str(entry.get("job")), str(entry.get("repository")))
    pid = entry.get("pid")
    error = entry.get("error")
    log.last[key] = LastRun(
        str(entry.get("time")), result, None if error is None else str(error), pid if isinstance(pid, int) else 0
    )
