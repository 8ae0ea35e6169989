"""MySQL and MariaDB, as the engine sees a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Optional

from ...errors import UsageError
from ...model import Artifact, Source, SourceIdentity
from ..base import Database, Restoration, RestoreRequest, Snapshot, SnapshotRequest
from .address import FORMS, Address, address_of
from .by_hand import ordered
from .choice import Choice
from .objects import read_objects
from .privileges import check_privileges
from .server import Session
from .snapshot import open_snapshot
from .tools import check_tools, tools_for

PARTS = ("schema", "data", "raw", "objects", "events", "users")


class MysqlDatabase(Database):
    """The database behind ``mysql://…`` or ``mariadb://…``."""

    engine = "mysql"
    methods = ("logical",)
    choices = ("databases", "tables", "exclude_tables")

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._own_server = not source.url
        self.address = address_of(source) if source.url else Address()
        self.choice = Choice(source.databases, source.tables, source.exclude_tables)

    @classmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> MysqlDatabase:
        """On the server at ``place``, or on one that is started for the trial."""
        return cls(replace(place or Source(""), tools=tools))

    @staticmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """All artifacts together are the one form; a plain file of SQL is a form of its own."""
        parts = ordered([one for one in artifacts if one.role in PARTS])
        return ([parts] if parts else []) + [[one] for one in artifacts if one.role == "sql"]

    def increments(self, method: str) -> bool:
        """Not by a dump."""
        return False

    def _named(self) -> Address:
        if not self.address.database and not self.choice.databases:
            raise UsageError(f"source.url {self.address.shown!r} names no database", FORMS)
        return self.address

    def check(self) -> None:
        """Refuse a database that is not there, an account that may not read all of it, and tools that do not fit."""
        with Session(self._named()) as session:
            version = session.version()
            check_tools(version, self.source.tools)
            for name in self.choice.names(session, self.address.database):
                check_privileges(session, version, name, routines=self.choice.whole)

    def identity(self) -> SourceIdentity:
        """The server by its own identity, and the database's name."""
        with Session(self._named()) as session:
            return self._identity(session)

    def _identity(self, session: Session) -> SourceIdentity:
        host = session.variable("hostname") or self.address.host
        names = ", ".join(self.choice.databases) or self.address.database
        return SourceIdentity(host, names, session.version().shown, session.server_identity())

    def size_bytes(self) -> int:
        """Bytes of the tables' rows, as the server estimates them."""
        with Session(self._named()) as session:
            names = self.choice.names(session, self.address.database)
            return sum(read_objects(session, name).size_bytes for name in names)

    @contextmanager
    def snapshot(self, request: SnapshotRequest) -> Iterator[Snapshot]:
        """Take the snapshot that the dump tools and the proof share; see :mod:`.gate` for what it asks of writers."""
        with Session(self._named()) as session:
            version = session.version()
            identity = self._identity(session)
            names = self.choice.names(session, self.address.database)
        tools = tools_for(version, self.address, request.scratch, self.source.tools)
        with open_snapshot(self.address, identity, version, tools, names, request.limits, self.choice) as snapshot:
            yield snapshot

    @contextmanager
    def restoration(self, request: RestoreRequest) -> Iterator[Restoration]:
        """Begin a restore to this database; in a trial, beside it or on a server of its own."""
        from .restoration import MysqlRestoration  # a backup starts sooner without it

        address = None if self._own_server else self.address
        with MysqlRestoration(address, request, self.source.tools) as restoration:
            yield restoration
