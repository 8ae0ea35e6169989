"""Building a restored database beside its target, on the target's server, and examining it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Optional

from ...errors import NotFoundError, RefusedError, UsageError
from ...model import Artifact, Proof, ProofPolicy
from ..base import Restoration, RestoreRequest, TakenOver
from ..logs import Recovered, Recovery
from . import indexes
from .address import FORMS, Address
from .forward import events_off, forward_server, require_own_server
from .load import load_rows, run_client
from .measure import hash_of, measure
from .objects import Table, digest_of, read_definitions, read_objects
from .server import Session, Version, flavour_of, quoted
from .side import Side
from .tables import copy_tables, require_room
from .takeover import Built, is_empty, take_over_whole
from .tools import Tool, Tools, find_log_reader, tools_for
from .trial import TrialServer

SAVED = ("objects", "events")  # run once more in the target's place


@dataclass
class Build:
    """One database on its way: where it is built, and what is still to be run when it has its place."""

    target: str
    side: Side
    saved: dict[str, str]
    foreign: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)


class MysqlRestoration(Restoration):
    """A restore to the database at ``address``; in a trial without an address, on a server of its own."""

    _reader: Tool  # of the log, where it is to be applied

    def __init__(self, address: Optional[Address], request: RestoreRequest, tools_folder: Optional[str]) -> None:
        self._given = address
        self._request = request
        self._tools_folder = tools_folder
        self._stack = ExitStack()
        self._builds: dict[Optional[str], Build] = {}
        self._users: Optional[str] = None
        self._taken: Optional[TakenOver] = None

    def __enter__(self) -> MysqlRestoration:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self) -> None:
        origin = self._request.origin
        flavour = flavour_of(origin.server_version) if origin is not None else None
        if self._given is None:
            server_of_our_own = TrialServer(self._request.folder(), flavour=flavour, tools=self._tools_folder)
            self._address = self._stack.enter_context(server_of_our_own).address
        else:
            self._address = self._given
        server = self._address.at("")
        self._session = self._stack.enter_context(Session(server, lock_wait=self._request.limits.lock_wait))
        self._session.lift_rules()
        self._version: Version = self._session.version()
        if origin is not None and flavour != self._version.flavour:
            raise UsageError(
                f"the backup is of {origin.server_version}, and {self._session.what} is {self._version.shown}:"
                " the definitions of one would not come back the same on the other",
                "name a server of the backup's kind, or restore by hand: dbfleet show BACKUP says how",
            )
        if self._request.trial:
            return
        if self._request.recovers:
            require_own_server(self._session, self._address, self._request)
            self._reader = find_log_reader(self._version.flavour, self._tools_folder)
        if self._request.tables:
            self._check_tables()
        elif self._address.database:
            self._require_empty(self._address.database)

    def __exit__(self, *exc: object) -> None:
        for build in self._builds.values():
            build.side.remove()
        self._stack.close()

    def _exists(self, database: str) -> bool:
        return bool(self._session.row("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", database))

    def _occupied(self, database: str) -> bool:
        return self._exists(database) and not is_empty(self._session, database)

    def _require_empty(self, database: str) -> None:
        if self._occupied(database) and not self._request.replace:
            raise RefusedError(
                f"the target {database!r} at {self._session.what} is not empty",
                "restore to a new database with --to, or over it with --replace (it is kept under a dated name)",
            )

    def _check_tables(self) -> None:
        if not self._exists(self._address.database):
            raise NotFoundError(
                f"the database {self._address.database!r} at {self._session.what} does not exist",
                "restore it whole, without --table",
            )
        if not self._request.replace:
            require_room(self._session, self._address.database, self._request.tables)

    def location(self) -> str:
        """The URL of the database that was built."""
        return self._address.at(self._first().side.name).url()

    def replaces(self) -> bool:
        """Whether a database with something in it is at the target."""
        if self._request.trial:
            return False
        if not self._address.database:
            return self._request.replace
        return bool(self._request.tables) or self._occupied(self._address.database)

    # --- building -----------------------------------------------------------------------------

    def _build(self, label: Optional[str]) -> Build:
        if label not in self._builds:
            if not self._builds:
                folder = self._request.folder()
                self._tools: Tools = tools_for(
                    self._version, self._address, folder, self._tools_folder, begin=self._session.begin()
                )
            target = self._target(label)
            side = Side(self._session, target)
            side.make()
            self._builds[label] = Build(target, side, {})
        return self._builds[label]

    def _target(self, label: Optional[str]) -> str:
        """The name that the database ``label`` of the backup is to have."""
        if self._request.trial:
            return label or self._address.database or "trial"
        if label is not None and self._address.database and self._builds:
            raise UsageError(
                f"the backup holds several databases, and the target names one of them, {self._address.database!r}",
                "name the server alone: mysql://USER@HOST/",
            )
        target = self._address.database or label
        if target is None:
            raise UsageError(f"the target {self._address.shown!r} names no database", FORMS)
        if not self._request.tables:
            self._require_empty(target)
        return target

    def _first(self) -> Build:
        return next(iter(self._builds.values()))

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """Tables, rows, or the objects that need them."""
        if artifact.role == "users":
            self._users = self._save("users", chunks)
            return
        build = self._build(artifact.database)
        place = build.side.name
        if artifact.role == "data":
            only = self._request.tables or None
            load_rows(self._address.at(place), chunks, parallel=self._request.limits.parallel, only=only)
        elif artifact.role in SAVED:
            indexes.make(self._address.at(place), build.keys, self._request.limits.parallel)
            build.keys = {}
            path = self._save(f"{place.encode().hex()[-16:]}-{artifact.role}", chunks)
            build.saved[artifact.role] = path
            if artifact.role == "objects":
                with open(path, "rb") as file:
                    run_client(self._tools, place, iter(lambda: file.read(65536), b""), artifact.file)
        elif artifact.role in ("schema", "raw", "sql"):
            build.foreign = artifact.role == "sql"
            run_client(self._tools, place, chunks, artifact.file, only_there=build.foreign)
            if artifact.role != "raw":
                self._require_tables(build)
            if artifact.role == "schema":
                build.keys = indexes.put_off(self._session, place, read_objects(self._session, place))
        else:
            raise UsageError(f"{artifact.file!r} is nothing that MySQL reads", "choose a file of SQL")

    def _save(self, name: str, chunks: Iterable[bytes]) -> str:
        path = os.path.join(self._request.folder(), f"{name}.sql")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        return path

    def _require_tables(self, build: Build) -> None:
        if not self._request.tables:
            return
        there = {table.name for table in read_objects(self._session, build.side.name).tables}
        for name in self._request.tables:
            if name not in there:
                raise NotFoundError(f"the backup has no table {name!r}", "see the backup's tables with: dbfleet show")

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """Nothing quickly: the server refuses what does not fit. Thoroughly: ``CHECK TABLE``."""
        if not thorough:
            return []
        found: list[str] = []
        for build in self._builds.values():
            with Session(self._address.at(build.side.name)) as session:
                for table in read_objects(session, build.side.name).tables:
                    for _name, _operation, kind, text in session.rows(f"CHECK TABLE {quoted(table.name)}"):
                        if kind == "error" or (kind == "status" and text not in ("OK", "Table is already up to date")):
                            found.append(f"table {table.name}: {text}")
        return found

    def scope(self, proof: Proof) -> Proof:
        """The tables that were asked for, if some were; then neither the whole schema nor the queries can be told."""
        wanted = self._request.tables
        if not wanted:
            return proof
        tables = {name: table for name, table in proof.tables.items() if name in wanted}
        return replace(proof, tables=tables, schema_sha256=None, queries=(), image_sha256=None)

    def prove(self, against: Proof) -> Proof:
        """Measure the side database."""
        policy = ProofPolicy(level=against.level, queries=tuple(query.sql for query in against.queries))
        tables: dict[str, Sequence[Table]] = {}
        definitions = {}
        charsets = []
        with ExitStack() as stack:
            count = max(1, self._request.limits.parallel)
            side = self._first().side.name
            sessions = [stack.enter_context(Session(self._address.at(side))) for _number in range(count)]
            for label, build in self._builds.items():
                sessions[0].run(f"USE {quoted(build.side.name)}")
                objects = read_objects(sessions[0], build.side.name)
                definitions[label or ""] = read_definitions(sessions[0], build.side.name, objects)
                charsets.append((label or "", objects.charset, objects.collation))
                wanted = self._request.tables
                tables[build.side.name] = [one for one in objects.tables if not wanted or one.name in wanted]
            sessions[0].run(f"USE {quoted(side)}")
            for session in sessions:
                session.run("START TRANSACTION READ ONLY")
            labels = {build.side.name: label for label, build in self._builds.items()}
            return measure(sessions, tables, policy, digest_of(definitions, charsets), labels, hash_of(against))

    # --- taking over --------------------------------------------------------------------------

    def recover(self, recovery: Recovery) -> Recovered:
        """Apply the binary log, once everything has the name that the log gives it; see :func:`forward_server`."""
        folder, parallel = self._request.folder(), self._request.limits.parallel
        with events_off(self._session):
            taken = self.take_over()
            done = forward_server(self._session, self._tools, self._reader, folder, parallel, recovery)
        self._taken = replace(taken, notes=(*taken.notes, *done.notes))
        return done

    def take_over(self) -> TakenOver:
        """Move what was built into the target's place; with tables, these alone."""
        if self._taken is not None:  # before log was applied to it
            return self._taken
        all_built = [
            Built(
                self._address,
                self._session,
                self._tools,
                build.side.name,
                build.target,
                build.saved,
                self._request,
                foreign=build.foreign,
            )
            for build in self._builds.values()
        ]
        if self._request.tables:
            return copy_tables(all_built[0], self._request.tables)
        return take_over_whole(all_built, self._users)
