"""SQLite, as the engine sees a database."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Optional, Union

from ...host import host_name
from ...model import Artifact, Source, SourceIdentity
from ...units import utc_now
from ..base import Database, Restoration, RestoreRequest, Snapshot, SnapshotRequest
from .connection import check_file, path_of, url_of
from .image import Pinned, pin
from .pages import ImageStream, IncrementStream, PageMap
from .snapshot import DumpStream, SqliteSnapshot

ROLES = ("db", "pages", "sql")  # of artifacts, the best for a restore first


class SqliteDatabase(Database):
    """The database file behind ``sqlite:///…``."""

    engine = "sqlite"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.path = os.path.realpath(path_of(source.url))

    @classmethod
    def url_of_place(cls, path: str) -> str:
        """The database in the file ``path``, which need not be there yet."""
        return url_of(path)

    @classmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> SqliteDatabase:
        """A file name that nothing reads: a trial is a file in its folder, and needs no server."""
        return cls(Source("sqlite:///scratch.db"))

    @staticmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """The image, an increment, the SQL: each is a whole database, or a whole step of a chain."""
        return [[one] for role in ROLES for one in artifacts if one.role == role]

    def increments(self, method: str) -> bool:
        """Always: what it takes is pages."""
        return True

    def check(self) -> None:
        """Refuse a source that cannot be backed up, before anything is written."""
        check_file(self.path)

    def size_bytes(self) -> int:
        """Bytes that a full backup reads, about."""
        return os.path.getsize(self.path)

    @contextmanager
    def snapshot(self, request: SnapshotRequest) -> Iterator[Snapshot]:
        """Pin the present state; see :mod:`.image` for what that asks of writers."""
        with pin(self.path, readers=2, wait=request.limits.lock_wait, scratch=request.scratch) as pinned:
            consistent_at = utc_now()
            notes: list[str] = []
            pages = self._pages(pinned, request, notes)
            wants_sql = request.method == "logical" and isinstance(pages, ImageStream)
            alone = len(pinned.connections) == 1
            sql = DumpStream(pinned.connections[-1], self.path, shared=alone) if wants_sql else None
            yield SqliteSnapshot(pinned, self.identity(), consistent_at, pages, sql, notes)

    @staticmethod
    def _pages(pinned: Pinned, request: SnapshotRequest, notes: list[str]) -> Union[ImageStream, IncrementStream]:
        if request.parent_state is not None:
            parent = PageMap.from_bytes(request.parent_state)
            if parent.page_size == pinned.image.page_size:
                return IncrementStream(pinned.image, parent)
            notes.append(f"full: the page size changed from {parent.page_size} to {pinned.image.page_size} bytes")
        return ImageStream(pinned.image, request.keep_state)

    def identity(self) -> SourceIdentity:
        """The file by its host and path: SQLite gives a database no identity of its own."""
        host = host_name()
        place = hashlib.sha256(f"{host}:{self.path}".encode("utf-8", "surrogateescape")).hexdigest()
        return SourceIdentity(host, self.path, sqlite3.sqlite_version, place[:32])

    def restoration(self, request: RestoreRequest) -> AbstractContextManager[Restoration]:
        """Begin a restore to this path."""
        from .restoration import SqliteRestoration  # a backup starts sooner without it

        return SqliteRestoration(self.path, request)
