"""``log-archive run``: a receiver fills the spool, finished files and the growing one go to the repository.

The receiver and the shipping fail and recover apart from each other: while the store cannot be
written the spool takes the log, while the server is away what is in the spool is stored.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from typing import Any, Callable, Optional

from .. import log_status_file
from ..audit import audited
from ..config import check_for_backup
from ..databases.logs import LogLostError, LogSource, SpoolFile
from ..databases.registry import log_source_of
from ..errors import BusyError, CapacityError, DbfleetError, KeyMaterialError, RefusedError, UsageError
from ..model import Job
from ..progress import SILENCE, Progress
from ..scratch import scratch_folder
from ..stores.base import Store
from ..stream import compression as compressions
from ..stream import encryption as encryptions
from ..units import to_text, utc_now
from .log_receiver import Receiver
from .log_shipping import Shipper, require_lineage
from .log_sweep import archiving
from .lookup import open_repository

POLL = 0.5  # seconds between two looks at the spool
SETTLED = 1_000_000_000  # nanoseconds after which a file that changes shows it by its time, on any file system
HEARTBEAT = 5.0  # seconds between two words about itself, at most
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until the next attempt after a failure
LASTING = (UsageError, RefusedError, KeyMaterialError)  # waiting cures none of these


class Backoff:
    """When to try again after failures: later each time, at most every minute."""

    def __init__(self) -> None:
        self._wait = 0.0
        self._until = 0.0
        self.error: Optional[DbfleetError] = None

    def is_due(self) -> bool:
        """Whether to try now."""
        return time.monotonic() >= self._until

    def failed(self, error: DbfleetError) -> None:
        """It failed once more."""
        self.error = error
        self._wait = min(LONGEST_WAIT, self._wait * 2) or SHORTEST_WAIT
        self._until = time.monotonic() + self._wait

    def runs(self) -> None:
        """It seems to work; a failure that comes soon still counts on."""
        self.error = None

    def worked(self) -> None:
        """It works."""
        self.error = None
        self._wait = self._until = 0.0


def run(
    job: Job,
    *,
    stop: Optional[threading.Event] = None,
    tell: Callable[[str], None] = lambda text: None,
    progress: Progress = SILENCE,
) -> dict[str, Any]:
    """Archive the log of ``job.source`` until a signal (or ``stop``) ends it; returns what it did.

    ``tell`` is given what people should know of: troubles, and what was done about them.

    Raises ``BusyError`` while another archiver of the job runs, and whatever makes archiving
    impossible at its start; later failures are retried.
    """
    if os.name == "nt":
        raise UsageError(
            "on Windows no log archive is kept running",
            "run it on a host with Linux or macOS that reaches the server, or let PostgreSQL push its log",
        )
    source = log_source_of(check_for_backup(job), job.name, job.log_archive)
    compressions.check(job.compression)
    encryptions.check(job.encryption)
    store = open_repository(job)
    with audited("log-archive", job) as action, ExitStack() as stack:
        notes = source.check()
        origin = source.origin()
        store.prepare()
        stack.enter_context(archiving(job, store))
        require_lineage(job, store, origin.lineage)
        scratch = stack.enter_context(scratch_folder())
        archiver = Archiver(job, source, store, origin.lineage, scratch, progress)
        archiver.tell = tell
        archiver.on_note = lambda text: action.note("noted", reason=text)
        stack.callback(archiver.close)
        for note in notes:
            tell(note)
        try:
            archiver.run(stop or threading.Event())
        except KeyboardInterrupt:  # SIGTERM: what is in the spool is stored, then it is over
            archiver.finish()
        return {"stopped": archiver.facts("stopped")}


class Archiver:
    """One archiver at work."""

    def __init__(
        self, job: Job, source: LogSource, store: Store, lineage: str, scratch: str, progress: Progress
    ) -> None:
        self._job = job
        self._source = source
        self._progress = progress
        self._spool = log_status_file.spool_of(job.name, job.log_archive.spool)
        _make_spool(self._spool)
        self._shipper = Shipper(job, store, source.format, lineage)
        self._receiver = Receiver(source, self._spool, scratch)
        self._receiving, self._shipping = Backoff(), Backoff()
        self._begun = utc_now()
        self._shipped_files = 0
        self._shipped_bytes = 0
        self._end: Optional[str] = None
        self._kept: set[str] = set()  # finished files of the spool that are known to be stored
        self._seen: dict[str, tuple[int, int]] = {}  # what growing files were when they were stored
        self._skip = False  # begin where the server is: what comes next is lost
        self._last_growing = 0.0
        self._last_words = 0.0
        self.notes: list[str] = []
        self.on_note: Callable[[str], None] = lambda text: None
        self.tell: Callable[[str], None] = lambda text: None

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``. Raises what no waiting cures."""
        while not stop.is_set():
            self._receive()
            self._ship(now=False)
            self._say("running")
            stop.wait(POLL)
        self.finish()

    def finish(self) -> None:
        """End the receiver, store what it has written, and say so."""
        self._receiver.stop()
        try:
            self._ship_all(now=True)
        except DbfleetError as error:
            self._shipping.failed(error)  # it stays in the spool, for the next one
        self._say("stopped", at_once=True)

    def close(self) -> None:
        """End the receiver. Never raises."""
        self._receiver.stop()

    # --- receiving ----------------------------------------------------------------------------

    def _receive(self) -> None:
        """Have a receiver that runs; raises what no waiting cures."""
        if self._receiver.is_running():
            if self._receiver.age() > LONGEST_WAIT:
                self._receiving.worked()
            elif self._receiver.age() > HEARTBEAT:
                self._receiving.runs()
            return
        try:
            self._receiver.judge()
        except LogLostError as error:
            self._start_over(error)
        except DbfleetError as error:
            self._trouble(self._receiving, error)
        if not self._receiving.is_due():
            return
        try:
            last = None if self._skip else self._shipper.newest()
            details = self._shipper.shelf.details(last) if last is not None else {}
            for note in self._source.prepare(self._spool, last, details):
                self._note(note)
            self._receiver.start()
        except LASTING:
            raise
        except LogLostError as error:
            self._start_over(error)
        except DbfleetError as error:
            self._trouble(self._receiving, error)

    def _start_over(self, error: DbfleetError) -> None:
        """Begin behind a gap, once everything before it is stored."""
        self._trouble(self._receiving, error)
        try:
            self._ship_all(now=True)
        except DbfleetError as failure:
            self._trouble(self._shipping, failure)
            return
        try:
            self._source.start_over()
        except DbfleetError as failure:
            self._trouble(self._receiving, failure)
            return
        for file in self._source.spooled(self._spool):
            os.remove(file.path)
        self._skip = True
        self._note(f"a gap in the log: {error.message}")

    # --- shipping -----------------------------------------------------------------------------

    def _ship(self, *, now: bool) -> None:
        if not self._shipping.is_due():
            return
        try:
            self._ship_all(now=now)
            self._shipping.worked()
        except (*LASTING, BusyError):  # a store's lock that was lost while it was away is not ours any more
            raise
        except (DbfleetError, OSError) as error:
            self._trouble(self._shipping, _told(error, self._spool))

    def _ship_all(self, *, now: bool) -> None:
        """Store every finished file; the growing one too, when it is its turn or it is ``now``."""
        files = self._source.spooled(self._spool)
        due = now or time.monotonic() - self._last_growing >= self._job.log_archive.max_lag
        for place, file in enumerate(files):
            is_last = place == len(files) - 1
            if file.finished or not is_last:
                self._keep(file)
                if not is_last:
                    _remove(file)
                    self._kept.discard(file.name)
            elif due:
                self._last_growing = time.monotonic()
                self._keep(file)

    def _keep(self, file: SpoolFile) -> None:
        if file.placeholder or file.name in self._kept:
            return
        try:
            found = os.stat(file.path)
            looks = (found.st_mtime_ns, found.st_size)
            if not file.finished and self._seen.get(file.name) == looks:
                return
            record = self._shipper.ship(file.name, file.path, finished=file.finished)
        except FileNotFoundError:
            return  # finished, and renamed, in this moment: the next look finds it
        if file.finished:
            self._kept.add(file.name)
            self._seen.pop(file.name, None)
        elif time.time_ns() - found.st_mtime_ns > SETTLED:
            self._seen[file.name] = looks
        if record is not None:
            self._shipped_files += record.finished
            self._shipped_bytes += record.artifact.size_bytes
            self._end = record.end or self._end
            if record.finished:
                self._progress.step(f"stored {record.name}")

    # --- telling ------------------------------------------------------------------------------

    def facts(self, state: str) -> dict[str, Any]:
        """What it says of itself."""
        errors = [one.error for one in (self._receiving, self._shipping) if one.error is not None]
        return {
            "state": "retrying" if errors and state == "running" else state,
            "errors": [error.to_json() for error in errors],
            "pid": os.getpid(),
            "started_at": to_text(self._begun),
            "at": to_text(utc_now()),
            "lineage": self._shipper.shelf.lineage,
            "end": self._end,
            "stored_files": self._shipped_files,
            "stored_bytes": self._shipped_bytes,
            "spool_files": len(self._source.spooled(self._spool)),
            "notes": self.notes[-10:],
        }

    def _say(self, state: str, *, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._last_words < HEARTBEAT:
            return
        self._last_words = time.monotonic()
        try:
            log_status_file.write(self._job.name, self.facts(state))
        except OSError:
            pass  # the log goes on; status then says that it was not heard of for long

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.on_note(text)
        self.tell(text)

    def _trouble(self, backoff: Backoff, error: DbfleetError) -> None:
        if backoff.error is None or backoff.error.message != error.message:
            self.tell(f"{error.message} ({error.remedy})" if error.remedy else error.message)
        backoff.failed(error)
        self._last_words = 0.0


def _make_spool(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
    except OSError as error:
        raise CapacityError(
            f"the spool {path!r} cannot be made: {error.strerror}", "name another folder in log_archive.spool"
        ) from error


def _remove(file: SpoolFile) -> None:
    try:
        os.remove(file.path)
    except FileNotFoundError:
        pass


def _told(error: Exception, spool: str) -> DbfleetError:
    if isinstance(error, DbfleetError):
        return error
    return CapacityError(f"the spool {spool!r} cannot be read: {error}", "see who changed its permissions")
