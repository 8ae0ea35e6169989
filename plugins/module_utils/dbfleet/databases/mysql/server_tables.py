"""Single tables out of a physical backup into a living database, by way of a private server on its files."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Optional

from ...errors import NotFoundError, ProofError, UsageError
from ...model import Artifact, Proof, ProofPolicy
from ...proof import compare
from ...stream.process import Filter
from ..base import Restoration, RestoreRequest, TakenOver
from ..logs import Recovered, Recovery
from .address import FORMS, Address
from .measure import measure
from .objects import read_objects
from .physical_restoration import PhysicalRestoration
from .restoration import MysqlRestoration
from .server import SYSTEM, Session, quoted
from .streams import dump_of_tables
from .tools import tools_for


class ServerTables(Restoration):
    """See :class:`Restoration`. The backup is prepared, and a server started on it, in the request's folder.

    The tables are those of its database that has the target's name; of its only database where none has.
    """

    def __init__(self, target: Address, request: RestoreRequest, *, tools: Optional[str]) -> None:
        self._target = target
        self._request = request
        self._tools = tools
        self._files = PhysicalRestoration(None, replace(request, tables=()), tools=tools)
        self._tables = MysqlRestoration(target, replace(request, recovers=False), tools)
        self._stack = ExitStack()
        self._checked = threading.Event()
        self._recovered: Optional[Recovered] = None

    def __enter__(self) -> ServerTables:
        if not self._target.database:
            raise UsageError(f"the target {self._target.shown!r} names no database", FORMS)
        self._stack.enter_context(self._files)
        try:
            self._stack.enter_context(self._tables)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.__exit__(None, None, None)

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """The next backup of the chain, all of which is needed."""
        self._files.receive(artifact, chunks)

    def check(self, *, thorough: bool = False) -> list[str]:
        """What a server finds in the files that it is started on. The server lives as long as the calling thread."""
        try:
            return self._files.check(thorough=True)
        finally:
            self._checked.set()

    def scope(self, proof: Proof) -> Proof:
        """All of it: the server is there to be asked."""
        return self._files.scope(proof)

    def prove(self, against: Proof) -> Proof:
        """The checksums of the stream, and the rows of every table that the backup tells."""
        self._checked.wait()  # it starts the server, and goes on beside this
        return self._files.prove(against)

    def recover(self, recovery: Recovery) -> Recovered:
        """Bring the whole server forward; the tables come out of what it is then."""
        self._recovered = self._files.recover(recovery)
        return self._recovered

    def location(self) -> str:
        """The URL of the private server."""
        return self._files.location()

    def replaces(self) -> bool:
        """Whether rows may be."""
        return self._tables.replaces()

    def take_over(self) -> TakenOver:
        """Copy the tables beside the target's, compare them, and move them to their place: all of them or none."""
        server = self._files.server_address()
        tables = self._request.tables
        with Session(server) as session:
            database = self._database(session)
            there = {table.name for table in read_objects(session, database).tables}
            version = session.version()
        missing = [name for name in tables if name not in there]
        if missing:
            raise NotFoundError(
                f"database {database!r} of the backup has no table {missing[0]!r}",
                "see the backup's tables with: dbfleet show",
            )
        own = tools_for(version, server, self._request.folder(), self._tools)
        with Filter(dump_of_tables(own, database, tables)) as dump:
            dump.close_input()
            self._tables.receive(Artifact("the tables of the backup", "sql", 0, "", 0, ""), dump.chunks())
        self._compare(server, database)
        taken = self._tables.take_over()
        return replace(taken, notes=(*(self._recovered.notes if self._recovered else ()), *taken.notes))

    def _compare(self, server: Address, database: str) -> None:
        """Raises ``ProofError`` where a table that was copied holds something else than in the backup."""
        with Session(server.at(database)) as session:
            wanted = [one for one in read_objects(session, database).tables if one.name in self._request.tables]
            policy = ProofPolicy("content")
            expected = measure([session], {database: wanted}, policy, None, {database: None})
        found = compare(expected, replace(self._tables.prove(expected), schema_sha256=None))
        if found:
            raise ProofError(
                f"{found[0].object} does not come out of the backup as it is there: {found[0].problem}",
                "restore another backup; nothing was changed",
            )

    def _database(self, session: Session) -> str:
        """Which database of the server is meant."""
        names = [
            str(name) for (name,) in session.rows("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
        ]
        own = [name for name in names if name.lower() not in SYSTEM]
        wanted = self._target.database
        if wanted in own or len(own) == 1:
            return wanted if wanted in own else own[0]
        raise NotFoundError(
            f"the backup's server has no database {wanted!r}: it has {', '.join(map(quoted, own)) or 'none'}",
            "restore into a database that is called as one of them, or the whole backup with --to FOLDER",
        )
