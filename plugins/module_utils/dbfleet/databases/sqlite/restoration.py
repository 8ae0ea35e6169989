"""Building a restored SQLite file, beside its target or in a folder of its own, and proving it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

from ...durable import sync
from ...errors import CapacityError, DamagedError, NotFoundError, RefusedError, RepositoryError, SourceError
from ...model import Artifact, Proof, ProofPolicy
from ..base import Restoration, RestoreRequest, TakenOver
from .connection import MAGIC, check_file, connect, sqlite_errors
from .load import load
from .measure import counted, measure
from .soundness import examine, stand_in_collations
from .tables import copy_tables
from .target import occupied, partial_name, put, remove_with_side_files, sweep
from .wal import replay

FLUSH_BYTES = 32 * 2**20


class SqliteRestoration(Restoration):
    """A restore to ``path``; for a trial, and for single tables, built in the request's folder."""

    def __init__(self, path: str, request: RestoreRequest) -> None:
        self._target = path
        self._request = request
        self._building = ""
        self._roles: set[str] = set()
        self._flushing: Optional[threading.Thread] = None

    def __enter__(self) -> SqliteRestoration:
        if self._request.tables and not self._request.trial:
            check_file(self._target)
        if self._request.tables or self._request.trial:
            self._building = os.path.join(self._request.folder(), "restored.db")
        else:
            self._check_target()
            self._building = partial_name(self._target)
            sweep(self._target)
        try:
            os.close(os.open(self._building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise RepositoryError(
                f"cannot write in {os.path.dirname(self._building)!r}: {error.strerror}",
                "create the folder, or run as a user who may write it",
            ) from error
        return self

    def __exit__(self, *exc: object) -> None:
        if self._building:
            remove_with_side_files(self._building)

    def _check_target(self) -> None:
        if not os.path.isdir(os.path.dirname(self._target)):
            raise NotFoundError(
                f"the folder of the target {self._target!r} does not exist",
                "create it, or restore elsewhere with --to",
            )
        if os.path.isdir(self._target):
            raise RefusedError(f"the target {self._target!r} is a directory", "name a file with --to")
        if occupied(self._target) and not self._request.replace:
            raise RefusedError(
                f"the target {self._target!r} is not empty",
                "restore to a new path with --to, or over it with --replace (it is kept beside under a dated name)",
            )

    def location(self) -> str:
        """The file that was built."""
        return self._building

    def replaces(self) -> bool:
        """Whether a database is at the target, and rows of it may go."""
        if self._request.tables:
            return self._request.replace
        return not self._request.trial and occupied(self._target)

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """The image, an increment on it, or SQL."""
        self._roles.add(artifact.role)
        try:
            if artifact.role == "db":
                self._write(chunks)
                self._require_database(artifact.file)
            elif artifact.role == "pages":
                self._apply(chunks)
            else:
                load(chunks, self._building, artifact.file)
        except OSError as error:
            raise CapacityError(
                f"cannot write {self._building!r}: {error.strerror}",
                "free space there, or restore elsewhere with --to",
            ) from error

    def _write(self, chunks: Iterable[bytes]) -> None:
        """Write the image; the disk works meanwhile, so that little is left when it must be durable."""
        unflushed = 0
        with open(self._building, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                unflushed += len(chunk)
                if unflushed > FLUSH_BYTES:
                    self._flush_beside()
                    unflushed = 0
        self._flush_beside()

    def _flush_beside(self) -> None:
        if self._flushing is None or not self._flushing.is_alive():
            self._flushing = threading.Thread(target=_flush_quietly, args=(self._building,), daemon=True)
            self._flushing.start()

    def _require_database(self, file: str) -> None:
        with open(self._building, "rb") as built:
            if built.read(16) != MAGIC:
                raise DamagedError(f"{file!r} is not an SQLite database", "restore another backup")

    def _apply(self, chunks: Iterable[bytes]) -> None:
        with open(self._building, "r+b") as file:
            size = int.from_bytes(file.read(18)[16:18], "big")
            size = 65536 if size == 1 else size
            for page, data, commit_pages in replay(chunks, size):
                file.seek((page - 1) * size)
                file.write(data)
                if commit_pages:
                    file.truncate(commit_pages * size)

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """``quick_check``, or thoroughly ``integrity_check``; both read every page.

        An image is byte for byte what was sound: its digest was compared on the way in.
        """
        if self._is_what_was_proven() and not thorough:
            return []
        connection = self._open()
        try:
            with sqlite_errors(self._building):
                return list(examine(connection, thorough=thorough).damage)
        except SourceError as error:
            return [error.message]
        finally:
            connection.close()

    def prove(self, against: Proof) -> Proof:
        """Measure the file that was built as ``against`` was measured.

        Of an image only rows, schema and the job's own queries are: that its bytes are the same says the rest.
        """
        policy = ProofPolicy(level=against.level, queries=tuple(query.sql for query in against.queries))
        connection = self._open()
        try:
            stand_in_collations(connection)
            if self._is_what_was_proven() and against.image_sha256 is None:
                return counted(connection, self._building, against)
            measured = measure(connection, self._building, policy)
        finally:
            connection.close()
        if against.image_sha256 is None:
            return measured
        return Proof(measured.level, measured.tables, measured.schema_sha256, measured.queries, self._image_digest())

    def _is_what_was_proven(self) -> bool:
        """Whether an image was built, which the way in has compared with the state that was found sound."""
        return self._request.sound and self._roles == {"db"}

    def _open(self) -> sqlite3.Connection:
        return connect(self._building, wait=0, immutable=True)

    def _image_digest(self) -> str:
        digest = hashlib.sha256()
        with open(self._building, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    # --- taking over --------------------------------------------------------------------------

    def take_over(self) -> TakenOver:
        """Put it in the target's place, or copy the wanted tables into the target."""
        if self._request.tables:
            return copy_tables(self._building, self._target, self._request.tables, replace=self._request.replace)
        if self._flushing is not None:
            self._flushing.join()
        sync(self._building)
        return TakenOver(put(self._building, self._target))


def _flush_quietly(path: str) -> None:
    with suppress(OSError):  # it is gone, or the flush before taking over will tell
        sync(path)
