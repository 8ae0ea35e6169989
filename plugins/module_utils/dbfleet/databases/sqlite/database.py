"""SQLite, as the engine sees a database."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Optional, Union

from ...host import host_name
from ...model import Source, SourceIdentity
from ...units import utc_now
from ..base import CopiedTables, Database, Restoration, Snapshot, SnapshotRequest
from .connection import check_file, path_of
from .image import Pinned, pin
from .pages import ImageStream, IncrementStream, PageMap
from .restoration import SqliteRestoration
from .snapshot import DumpStream, SqliteSnapshot
from .tables import copy_tables


class SqliteDatabase(Database):
    """The database file behind ``sqlite:///…``."""

    engine = "sqlite"
    restore_roles = ("db", "pages", "sql")

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.path = os.path.realpath(path_of(source.url))

    @classmethod
    def scratch(cls) -> SqliteDatabase:
        """A file name that nothing reads: scratch folders bring their own."""
        return cls(Source("sqlite:///scratch.db"))

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
            sql = DumpStream(pinned.connections[-1], self.path) if wants_sql else None
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

    def restoration(self, *, replace: bool, scratch: Optional[str] = None) -> AbstractContextManager[Restoration]:
        """Begin a restore to this path, or into ``scratch``."""
        return SqliteRestoration(self.path, replace=replace, scratch=scratch)

    def restore_tables(self, built: str, tables: Sequence[str], *, replace: bool) -> CopiedTables:
        """Copy ``tables`` with their indexes, triggers and rows into this database."""
        return copy_tables(built, self.path, tables, replace=replace)
