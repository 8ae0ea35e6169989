"""``log-archive push`` and ``fetch``: single log files, for a server's own archive and restore commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

from ..audit import audited
from ..catalog import read_catalog
from ..databases.log_formats import log_format_of
from ..databases.logs import LogFormat
from ..databases.registry import log_source_of
from ..errors import CapacityError, NotFoundError, UsageError
from ..log_catalog import LogShelf, read_logs
from ..log_records import LogRecord
from ..model import Job
from ..stores.base import Store
from ..stream import compression as compressions
from ..stream import encryption as encryptions
from ..stream.pipeline import read_artifact
from .log_shipping import Shipper, require_lineage, with_keys
from .log_sweep import archiving
from .lookup import open_repository

UNFINISHED = ".partial"  # what a server calls the last file of a timeline that it left
ZEROS = bytes(64 * 1024)


def push(job: Job, path: str) -> dict[str, Any]:
    """Keep one log file; the same file once more is no error.

    Raises ``RefusedError`` for other bytes under a name that is taken and for another server's log,
    ``UsageError`` for what is no log file, and what the store raises.
    """
    form = log_format_of(engine_of(job))
    given = os.path.basename(path)
    finished = not given.endswith(UNFINISHED)
    name = given if finished else given[: -len(UNFINISHED)]
    if form.kind(name) is None:
        raise UsageError(f"{given!r} is no file of a log of {form.engine}", "give the path that the server gives as %p")
    if not os.path.isfile(path):
        raise NotFoundError(f"there is no log file {path!r}", "give the path that the server gives as %p")
    compressions.check(job.compression)
    encryptions.check(job.encryption)
    store = open_repository(job)
    with audited("log-archive push", job):
        store.prepare()
        with archiving(job, store):
            lineage = form.examine(name, path, finished=finished).lineage or _lineage(job, store)
            require_lineage(job, store, lineage)
            record = Shipper(job, store, form, lineage).ship(name, path, finished=finished)
    return {"pushed": {"name": given, "lineage": lineage, "stored": record is not None}}


def fetch(job: Job, name: str, path: str) -> dict[str, Any]:
    """Write the log file ``name`` to ``path``, whole or not at all.

    Raises ``NotFoundError`` where the archive does not have it.
    """
    form = log_format_of(engine_of(job))
    if form.kind(name) is None:
        raise NotFoundError(
            f"{name!r} is no file of a log of {form.engine}", "give the name that the server gives as %f"
        )
    store = open_repository(job)
    shelf = choose_shelf(job, store, form, name)
    last = write_file(job, shelf, name, path)
    return {"fetched": {"name": name, "finished": last.finished, "size_bytes": os.path.getsize(path)}}


def write_file(job: Job, shelf: LogShelf, name: str, path: str) -> LogRecord:
    """Write what is kept of the file ``name`` to ``path``, as large as its server expects it; the record that tells.

    Raises ``DamagedError``, ``NotFoundError`` and what the store raises; then ``path`` is as it was.
    """

    def write(pieces: Sequence[LogRecord]) -> LogRecord:
        _write_pieces(job, shelf.store, pieces, path)
        return pieces[-1]

    return shelf.from_pieces(name, write)


def _write_pieces(job: Job, store: Store, pieces: Sequence[LogRecord], path: str) -> None:
    temporary = f"{path}.dbfleet"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(temporary, flags, 0o600), "wb", buffering=0) as file:
            for record in pieces:
                with read_artifact(store, record.artifact, job.encryption) as chunks:
                    for data in chunks:
                        file.write(data)
            left = pieces[-1].whole_bytes - file.tell()
            while left > 0:
                left -= file.write(ZEROS[:left])
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise CapacityError(f"{path!r} cannot be written: {error.strerror}", "free space there") from error
    except BaseException:
        _remove(temporary)
        raise


def choose_shelf(job: Job, store: Store, form: LogFormat, name: Optional[str] = None) -> LogShelf:
    """The log archive of the job: of the server that its newest backup is of, where there are several.

    Raises ``NotFoundError`` where there is none.
    """
    shelves = read_logs(store, job.name)
    if name is not None and len(shelves) > 1:
        having = {key: shelf for key, shelf in shelves.items() if name in shelf.names() or name in shelf.unfinished()}
        shelves = having or shelves
    if not shelves:
        raise NotFoundError(f"job {job.name} in {store.url} has no log archive", "begin one: dbfleet log-archive run")
    lineage = next(iter(shelves))
    if len(shelves) > 1:
        newest = _newest_identity(job, store)
        lineage = newest if newest in shelves else sorted(shelves)[-1]
    return with_keys(job, store, shelves[lineage])


def _newest_identity(job: Job, store: Store) -> Optional[str]:
    known = [m.source.server_identity for m in read_catalog(store, job.name).manifests.values()]
    return next((one for one in reversed(known) if one), None)


def _lineage(job: Job, store: Store) -> str:
    """Whose log a file belongs to that does not say it."""
    known = list(read_logs(store, job.name))
    if len(known) == 1:
        return known[0]
    if job.source is None:
        raise UsageError("the file does not say whose log it belongs to", "give the source of the job")
    return log_source_of(job.source, job.name, job.log_archive).origin().lineage


def engine_of(job: Job) -> str:
    """The engine whose files are meant: the source's, else PostgreSQL, whose servers call these commands."""
    if job.source is None:
        return "postgresql"
    from ..databases.registry import open_database

    return open_database(job.source, "physical").engine


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # it was not made
