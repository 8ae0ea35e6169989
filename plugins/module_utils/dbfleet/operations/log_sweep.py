"""What holds an archive of logs together, whoever writes into it: its lock, and what may go from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from .. import log_records
from ..errors import DbfleetError
from ..log_catalog import LogShelf
from ..log_records import LogRecord
from ..model import Job
from ..stores.base import Store
from .sweep import discard


@contextmanager
def archiving(job: Job, store: Store) -> Iterator[None]:
    """Hold the lock of the job's log archive: one archiver at a time, beside whatever else the job does."""
    with store.lock(f"{job.name}.log", wait=job.limits.lock_wait):
        yield


def sweep_shelf(shelf: LogShelf, spared: Collection[str] = ()) -> None:
    """Remove what a crash left: uploads without an end, files without a record, pieces that others hold.

    Needs the lock of :func:`archiving`. Files without a record that ``spared`` names (in the repository) stay.
    """
    prefix = log_records.folder(shelf.job) + shelf.lineage + "/"
    for entry in shelf.store.leftovers(prefix):
        discard(shelf.store, entry.name)
    for file in shelf.orphans():
        if file not in spared and discard(shelf.store, file):
            shelf.files.pop(file.rpartition("/")[2], None)
    remove_records(shelf, shelf.superseded())


def remove_records(shelf: LogShelf, records: Iterable[LogRecord]) -> None:
    """Remove pieces that nobody needs any more, the record first; what the store keeps does no harm."""
    for record in records:
        try:
            if not (discard(shelf.store, record.file) and discard(shelf.store, record.artifact.file)):
                return
        except DbfleetError:
            return  # the next one tries again
        shelf.forget(record)
