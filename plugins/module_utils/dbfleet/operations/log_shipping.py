"""Putting log files into the log archive: artifact first, record last, pieces that it holds away after that."""

from __future__ import annotations

import hashlib
from typing import Optional

from .. import log_records
from ..catalog import read_catalog
from ..databases.base import Sink
from ..databases.logs import Extent, LogFormat
from ..errors import DamagedError, NotFoundError, RefusedError, SourceError
from ..log_catalog import LogShelf, read_logs
from ..log_records import LogRecord, Part, Piece
from ..model import Artifact, Job
from ..stores.base import Store
from ..stream.pipeline import read_artifact, store_artifact, stored_name
from ..stream.process import CHUNK
from ..stream.throttle import Throttle
from ..units import utc_now
from .log_sweep import remove_records, sweep_shelf

ROLE = "log"
TAIL = 64 * 1024  # bytes of a growing file that tell whether it is still the same


def open_shelf(job: Job, store: Store, lineage: str) -> LogShelf:
    """What the archive holds of ``lineage``, readable with the job's keys."""
    try:
        shelf = read_logs(store, job.name).get(lineage) or LogShelf(store, job.name, lineage, {})
    except NotFoundError:
        shelf = LogShelf(store, job.name, lineage, {})
    return with_keys(job, store, shelf)


def with_keys(job: Job, store: Store, shelf: LogShelf) -> LogShelf:
    """``shelf``, whose small files can be read now."""

    def read(record: LogRecord) -> bytes:
        with read_artifact(store, record.artifact, job.encryption) as chunks:
            return b"".join(chunks)

    shelf.read_content = read
    return shelf


def require_lineage(job: Job, store: Store, lineage: str) -> None:
    """Refuse the log of another server than the one that the archive is of.

    A new server is accepted where the newest backup of the job is of it, or where there is nothing yet.
    """
    known = [one for one in read_logs(store, job.name) if one != lineage]
    if not known or lineage in read_logs(store, job.name):
        return
    backups = [m for m in read_catalog(store, job.name).manifests.values() if m.source.server_identity]
    if backups and backups[-1].source.server_identity == lineage:
        return
    raise RefusedError(
        f"the log archive of {job.name} in {store.url} is of the server {known[-1]}, and this one is {lineage}",
        "give its job a name of its own; where it replaces the old server, take a backup of it first",
    )


class Shipper:
    """Ships the files of one lineage. Needs the lock of :func:`archiving`."""

    def __init__(self, job: Job, store: Store, form: LogFormat, lineage: str) -> None:
        self._job = job
        self._store = store
        self._format = form
        self._throttle = Throttle(job.limits.bandwidth)
        self.shelf = open_shelf(job, store, lineage)
        sweep_shelf(self.shelf)

    def newest(self) -> Optional[str]:
        """The newest finished file of the archive."""
        segments = [name for name in self.shelf.names() if self._format.kind(name) == "segment"]
        return max(segments, key=self._format.sort_key, default=None)

    def ship(self, name: str, path: str, *, finished: bool) -> Optional[LogRecord]:
        """Keep the file at ``path`` under ``name``; ``None`` where it is kept already, as it is.

        Raises ``RefusedError`` for another server's log, or other bytes under a name that is taken,
        ``DamagedError`` for what is no log, and what the store raises.
        """
        seen_at = utc_now()
        extent = self._format.examine(name, path, finished=finished)
        if extent.lineage and extent.lineage != self.shelf.lineage:
            raise RefusedError(
                f"{name} is of the server {extent.lineage}, and this log archive is of {self.shelf.lineage}",
                "archive the log of each server under a job of its own",
            )
        if name in self.shelf.names():
            if finished:
                self._require_same(name, path)
            return None
        piece = None if finished else self._piece(name, path, extent.used_bytes)
        if not finished and piece is None:
            return None
        artifact = self._store_file(name, path, extent, piece)
        previous = self.newest()
        record = log_records.seal(
            LogRecord(
                job=self._job.name,
                engine=self._format.engine,
                lineage=self.shelf.lineage,
                name=name,
                kind=self._format.kind(name) or "segment",
                finished=finished,
                start=extent.start,
                end=extent.end,
                seen_at=seen_at,
                artifact=artifact,
                timeline=extent.timeline,
                first_time=extent.first_time,
                last_time=extent.last_time,
                whole_bytes=extent.whole_bytes if extent.whole_bytes != artifact.raw_size_bytes else 0,
                details=extent.details,
                previous=self.shelf.record(previous).digest if previous is not None else None,
                part=None if piece is None else Part(piece.first, _tail_sha256(path, piece.end)),
            )
        )
        self._store.put(record.file, log_records.encode(record))
        self.shelf.put(record)
        remove_records(self.shelf, self.shelf.superseded(name))
        return record

    def _piece(self, name: str, path: str, used: int) -> Optional[Piece]:
        """What of a growing file with ``used`` bytes is stored now; ``None`` where all of it is kept.

        That is what is new, and together with it the pieces before that are not twice as long: each one that stays
        is, so there are never many, and a piece grows by half at least whenever its bytes are stored anew.
        """
        try:
            kept = self.shelf.pieces(name) if name in self.shelf.unfinished() else []
        except (DamagedError, NotFoundError):
            kept = []
        pieces = [record.piece for record in kept if record.piece is not None]
        first = pieces[-1].end if pieces else 0
        if used <= first:
            return None
        if kept and not _goes_on(kept[-1], path):
            return Piece(0, used)
        for piece in reversed(pieces):
            if piece.length >= 2 * (used - first):
                break
            first = piece.first
        return Piece(first, used)

    def _require_same(self, name: str, path: str) -> None:
        record = self.shelf.record(name)
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                digest.update(data)
        if digest.hexdigest() != record.artifact.raw_sha256:
            raise RefusedError(
                f"{name} is in the log archive already, with other content",
                "two servers write the same log (an old primary still runs, or a restored copy archives here): "
                "stop one of them, or give its job a name of its own",
            )

    def _store_file(self, name: str, path: str, extent: Extent, piece: Optional[Piece]) -> Artifact:
        base = log_records.base_name(self._job.name, self.shelf.lineage, name, piece)
        first, end = piece or (0, extent.used_bytes)

        def pump(sink: Sink) -> None:
            left = end - first
            with open(path, "rb", buffering=0) as file:
                file.seek(first)
                while left > 0:
                    data = file.read(min(CHUNK, left))
                    if not data:
                        raise SourceError(f"{path!r} became shorter while it was read", "see who changed it")
                    left -= len(data)
                    sink.write(data)

        staged = store_artifact(
            pump,
            self._store,
            self._free(base),
            ROLE,
            self._job.compression,
            self._job.encryption,
            throttle=self._throttle,
            threads=1,
        )
        try:
            staged.commit()
        except BaseException:
            staged.abort()
            raise
        return staged.artifact

    def _free(self, base: str) -> str:
        """A name that is not taken: a store that keeps everything also keeps what a crash left."""
        number, free = 0, base
        while stored_name(free, self._job.compression, self._job.encryption).rpartition("/")[2] in self.shelf.files:
            number += 1
            free = f"{base}.again-{number}"
        return free


def _goes_on(record: LogRecord, path: str) -> bool:
    """Whether the file at ``path`` is the one that ``record`` is of, grown on: a server may have begun it anew."""
    if record.part is None or record.piece is None:
        return False
    return _tail_sha256(path, record.piece.end) == record.part.tail_sha256


def _tail_sha256(path: str, end: int) -> str:
    """The digest of the last bytes of the file at ``path`` before the byte ``end``."""
    with open(path, "rb", buffering=0) as file:
        file.seek(max(0, end - TAIL))
        return hashlib.sha256(file.read(min(TAIL, end))).hexdigest()
