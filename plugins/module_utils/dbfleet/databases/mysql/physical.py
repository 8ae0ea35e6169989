"""A whole MySQL or MariaDB server, as its physical backups see it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Optional

from ...errors import UsageError
from ...model import Artifact, LogSettings, Source, SourceIdentity
from ..base import Database, Restoration, RestoreRequest, Snapshot, SnapshotRequest
from ..logs import LogSource
from ..place import Place, is_path, place_of, url_of
from .address import Address, address_of, write_option_file
from .binlog_source import BinlogSource
from .commit_view import CommitView
from .copy_tool import HotCopy, copy_tool
from .data_directory import DATA_DIRECTORY, require_here, size_of
from .physical_snapshot import CopyStream, PhysicalSnapshot, begin, current_lsn, read_state, why_full
from .privileges import check_copying, lacks_reading
from .server import Session, Version
from .tools import Tool

WHOLE = "*"  # what the identity calls the database: all of them


class MysqlServer(Database):
    """The server behind ``mysql://…`` as a source; a data directory as a target."""

    engine = "mysql"
    methods = ("physical",)
    _trial = False

    @classmethod
    def url_of_place(cls, path: str) -> str:
        """The data directory ``path``, which need not be there yet."""
        return url_of(cls.engine, path)

    @classmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> MysqlServer:
        """Nowhere: a trial starts a server of its own on the files, whatever server there is for other trials."""
        database = cls(Source("mysql:///", tools=tools))
        database._trial = True
        return database

    @staticmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """The one stream."""
        return [[one] for one in artifacts if one.role == CopyStream.role]

    def _address(self) -> Address:
        return address_of(self.source).at("")

    def increments(self, method: str) -> bool:
        """Always; where a chain cannot go on, the backup is a full one that says why."""
        return method in self.methods

    def check(self) -> None:
        """Refuse what cannot be backed up: another host's server, missing privileges, a tool that does not fit."""
        with Session(self._address()) as session:
            check_copying(session)
            require_here(session)
            self._tool(session.version())

    def size_bytes(self) -> int:
        """Bytes of all files."""
        with Session(self._address()) as session:
            return size_of(require_here(session).path)

    def identity(self) -> SourceIdentity:
        """The server by its own identity."""
        with Session(self._address()) as session:
            return self._identity(session, session.version())

    @staticmethod
    def _identity(session: Session, version: Version) -> SourceIdentity:
        host = session.variable("hostname") or session.address.host
        return SourceIdentity(host, WHOLE, version.shown, session.server_identity())

    def _tool(self, version: Version) -> Tool:
        return copy_tool(
            version, self.source.tools, f"the server is {version.shown} and needs the tool of that version"
        )

    def log_source(self, name: str, settings: LogSettings) -> LogSource:
        """The server's binary log."""
        return BinlogSource(self._address(), name, self.source.tools)

    def restoration(self, request: RestoreRequest) -> AbstractContextManager[Restoration]:
        """Begin a restore to the data directory that the URL names; of single tables to the database that it names."""
        if request.tables and not request.trial:
            if is_path(self.source.url):
                raise UsageError(
                    "single tables go into a database of a living server, and the target is a data directory",
                    "name the database with --to mysql://…, or restore the whole backup",
                )
            from .server_tables import ServerTables  # a backup starts sooner without it

            return ServerTables(address_of(self.source), request, tools=self.source.tools)
        from .physical_restoration import PhysicalRestoration

        place: Optional[Place] = None if self._trial else place_of(self.source.url, DATA_DIRECTORY)
        return PhysicalRestoration(place, request, tools=self.source.tools)

    @contextmanager
    def snapshot(self, request: SnapshotRequest) -> Iterator[Snapshot]:
        """Begin a copy; it is consistent when all of it was pumped."""
        address = self._address()
        notes: list[str] = []
        with Session(address) as session:
            version = session.version()
            identity, tool = self._identity(session, version), self._tool(version)
            here = require_here(session)
            lsn = current_lsn(session)
            unread = lacks_reading(session)
            log_folder = os.path.dirname(session.variable("log_bin_basename") or "")
        since = None
        if request.parent_state is not None:
            reason = why_full(request.parent_state, identity, lsn, here.mark)
            if reason:
                notes.append(f"full: {reason}")
            else:
                since = read_state(request.parent_state).lsn
        if not here.certainly:
            notes.append(
                f"it could not be seen whether the files in {here.path!r} are those of the server that was asked"
            )
        with ExitStack() as stack:
            limits = request.limits
            view = CommitView(
                address,
                version,
                max(1, limits.parallel // 2),
                lock_wait=limits.lock_wait,
                wanted=request.measured,
                unread=unread,
            )
            stack.callback(view.close)
            folder = os.path.join(request.scratch, "copy")
            os.mkdir(folder, 0o700)
            copy = HotCopy(
                tool,
                address,
                write_option_file(request.scratch, address, tool.flavour),
                folder,
                limits.parallel,
                limits.lock_wait,
                since,
            )
            child, stream = begin(copy, view, size_of(here.path))
            stack.callback(child.close)
            yield PhysicalSnapshot(stream, view, copy, identity, mark=here.mark, log_folder=log_folder, notes=notes)
