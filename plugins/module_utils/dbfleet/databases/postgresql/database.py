"""PostgreSQL, as the engine sees a database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Optional
from urllib.parse import quote

from ...errors import NotFoundError, SourceError
from ...model import Artifact, Source, SourceIdentity
from ...stream.process import Command, run
from ...units import utc_now
from ..base import ArtifactStream, Database, Restoration, RestoreRequest, Snapshot, SnapshotRequest
from .address import Address, read_address
from .connection import Connection, connect, pin
from .directory_dump import DirectoryStream
from .inventory import lock_tables
from .measure import sequence_queries
from .preamble import read_preamble
from .quoting import spelled
from .side import PATTERN, is_occupied
from .snapshot import (
    SUFFIXES,
    Held,
    PostgresqlSnapshot,
    PreambleStream,
    ToolStream,
    dump_command,
    encoding_of,
    explain,
    narrows,
    selection,
)
from .tools import Tool, find


class PostgresqlDatabase(Database):
    """The database behind ``postgresql://…``."""

    engine = "postgresql"
    methods = ("logical",)
    formats = ("custom", "plain", "directory")
    choices = ("databases", "schemas", "exclude_schemas", "tables", "exclude_tables")
    _own_server = False  # trials run on a server that is started for them

    @classmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> PostgresqlDatabase:
        """On the server at ``place``, or on one that is started for the trial."""
        database = cls(replace(place or Source("postgresql:///"), tools=tools))
        database._own_server = place is None
        return database

    @staticmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """What makes the roles and the databases, and then their dumps."""
        first = [one for role in ("globals", "create") for one in artifacts if one.role == role]
        dumps = ([one for one in artifacts if one.role == role] for role, _suffix in SUFFIXES.values())
        return [[*first, *found] for found in dumps if found]

    @cached_property
    def address(self) -> Address:
        """The server and database of the URL."""
        return read_address(self.source)

    def increments(self, method: str) -> bool:
        """Never: a dump is always whole."""
        return False

    def check(self) -> None:
        """Refuse what cannot be backed up: no server, no database, no ``pg_dump`` that is new enough."""
        with connect(self.address) as connection:
            self._tool(connection)
            self._databases(connection)

    def size_bytes(self) -> int:
        """Bytes of the database's files."""
        with connect(self.address) as connection:
            names = self._databases(connection) or [connection.database]
            return sum(int(connection.value("SELECT pg_catalog.pg_database_size(%s::name)", (name,))) for name in names)

    def identity(self) -> SourceIdentity:
        """The server by its system identifier, and the database by its number there."""
        with connect(self.address) as connection:
            return self._identity(connection)

    def restoration(self, request: RestoreRequest) -> AbstractContextManager[Restoration]:
        """Begin a restore to this URL."""
        from .restoration import PostgresqlRestoration  # a backup starts sooner without it

        address = None if self._own_server else self.address
        several = bool(self.source.databases) and not request.tables
        return PostgresqlRestoration(address, request, tools=self.source.tools, several=several)

    @contextmanager
    def snapshot(self, request: SnapshotRequest) -> Iterator[Snapshot]:
        """Hold every table and export a snapshot; ``pg_dump`` and the proof both read that one."""
        with ExitStack() as stack:
            connection = stack.enter_context(connect(self.address))
            work = _Work(self.source, self.address, request, self._tool(connection), connection.database)
            names: Sequence[Optional[str]] = self._databases(connection) or (None,)
            held: dict[Optional[str], Held] = {}
            for name in names:
                held[name] = work.hold(stack, name)
            consistent_at = utc_now()
            streams: list[ArtifactStream] = []
            if "*" in self.source.databases:
                streams.append(work.globals(connection))
            streams += [
                PreambleStream(one.preamble, f"{file_stem(name)}.create.sql", name) for name, one in held.items()
            ]
            streams += [work.dump(name, one) for name, one in held.items()]
            yield PostgresqlSnapshot(
                held, self._identity(connection), consistent_at, position(connection), work.notes, streams, work.tool
            )

    def _databases(self, connection: Connection) -> list[str]:
        """The databases that the job names; none where it means the one of the URL."""
        chosen = self.source.databases
        if not chosen:
            return []
        there = [name for name in connection.databases() if not re.fullmatch(PATTERN, name)]
        if "*" in chosen:
            return [name for name in there if name != "postgres" or is_occupied(self.address.of(name))]
        missing = [name for name in chosen if name not in there]
        if missing:
            raise NotFoundError(
                f"the server at {self.address.place} has no database {missing[0]!r}", "correct source.databases"
            )
        return list(dict.fromkeys(chosen))

    def _tool(self, connection: Connection) -> Tool:
        why = f"the server is PostgreSQL {connection.version_text} and needs a pg_dump at least as new"
        return find("pg_dump", at_least=connection.major, folder=self.source.tools, why=why)

    def _identity(self, connection: Connection) -> SourceIdentity:
        try:
            with connect(self.address.of(connection.database)) as other:  # where it may not be asked, nothing is lost
                system = str(other.value("SELECT system_identifier FROM pg_catalog.pg_control_system()"))
        except SourceError:
            system = "unknown"
        number = connection.value("SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()")
        host = self.address.host
        if self.source.databases:
            return SourceIdentity(host, ", ".join(self.source.databases), connection.version_text, system)
        return SourceIdentity(host, connection.database, connection.version_text, f"{system}/{number}")


class _Work:
    """What one backup does for each of its databases."""

    def __init__(self, source: Source, address: Address, request: SnapshotRequest, tool: Tool, main: str) -> None:
        self._source = source
        self._address = address
        self._request = request
        self._main = main
        self._environment = address.environment(request.scratch)
        self.tool = tool
        self.notes: list[str] = []

    def hold(self, stack: ExitStack, name: Optional[str]) -> Held:
        """Lock the tables of one database and export its snapshot."""
        limits = self._request.limits
        connection = stack.enter_context(connect(self._address.of(name or self._main)))
        pin(connection)
        connection.settings({"max_parallel_workers_per_gather": str(limits.parallel - 1)})
        only = self._chosen(connection)
        sequences = sequence_queries(connection, only, name)
        tables = lock_tables(connection, limits.lock_wait, only)
        exported = str(connection.value("SELECT pg_catalog.pg_export_snapshot()"))
        narrow = only is not None
        main = connection.database == self._main
        preamble = read_preamble(
            connection,
            tables,
            tool=self.tool.major,
            search_path=connection.search_path,
            narrow=narrow,
            main=main,
        )
        what = f"{spelled(name)}: " if name is not None else ""
        self.notes.append(f"{what}snapshot {exported}, ACCESS SHARE locks on {len(tables)} tables while the dump ran")
        if narrow:
            self.notes.append(f"{what}only the schemas and tables that the job chose")
        return Held(connection, tables, preamble, exported, sequences, narrow)

    def dump(self, name: Optional[str], held: Held) -> ToolStream:
        """The dump of one database."""
        form = self._request.format or "custom"
        folder = os.path.join(self._request.scratch, f"dump-{held.snapshot}")
        more = ["--no-unlogged-table-data"] if in_recovery(held.connection) else []
        if form == "directory":
            more += [f"--jobs={self._request.limits.parallel}", f"--file={folder}"]
        command = dump_command(
            self.tool,
            self._address.of(held.connection.database),
            self._source,
            snapshot=held.snapshot,
            encoding=held.connection.encoding,
            form=form,
            lock_wait=self._request.limits.lock_wait,
            environment=self._environment,
            more=more,
        )
        role, suffix = SUFFIXES[form]
        size = int(held.connection.value("SELECT pg_catalog.pg_database_size(current_database())"))
        if form == "directory":
            return DirectoryStream(command, folder, file_stem(name), name, size)
        return ToolStream(command, role, file_stem(name) + suffix, name, size)

    def globals(self, connection: Connection) -> ToolStream:
        """Roles, memberships, tablespaces and settings of the server."""
        why = "roles and settings of the server are written by it"
        tool = find("pg_dumpall", at_least=connection.major, folder=self._source.tools, why=why)
        address = self._address.of(connection.database)
        argv = [
            tool.path,
            f"--dbname={address.conninfo(application_name='dbfleet')}",
            "--globals-only",
            f"--encoding={connection.encoding}",
            "--no-password",
        ]
        if not connection.value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"):
            argv.append("--no-role-passwords")
            self.notes.append("globals.sql is without passwords: the role may not read them")
        closed = connection.databases(closed=True)
        if closed:
            self.notes.append(f"left out, because they take no connections: {', '.join(closed)}")
        command = Command(
            tuple(argv),
            self._environment,
            explain=lambda code, words: explain(address, code, words, "pg_dumpall"),
            text=True,
        )
        return ToolStream(command, "globals", "/globals.sql", None, None)

    def _chosen(self, connection: Connection) -> Optional[list[int]]:
        """The numbers of the tables that the tool itself finds by the job's patterns; ``None`` means all."""
        if not narrows(self._source):
            return None
        address, chosen = self._address.of(connection.database), selection(self._source)
        argv = (
            self.tool.path,
            f"--dbname={address.conninfo(application_name='dbfleet')}",
            "--format=custom",
            "--compress=0",
            "--schema-only",
            f"--encoding={encoding_of(chosen, connection.encoding)}",
            "--no-password",
            *chosen,
        )
        command = Command(argv, self._environment, explain=lambda code, words: explain(address, code, words))
        archive = run(command).stdout
        restore = find("pg_restore", at_least=self.tool.major, folder=self._source.tools, why="it must read the dump")
        listed = run(Command((restore.path, "--list")), stdin=archive).stdout.decode("utf-8", "replace")
        return [int(number) for number in re.findall(r"^\d+; 1259 (\d+) ", listed, re.MULTILINE)]


def file_stem(database: Optional[str]) -> str:
    """How the files of one database begin, behind the backup's id."""
    if database is None:
        return ""
    stem = quote(database, safe="")
    if stem.startswith((".", "-")) or stem == "globals":
        stem = f"%{ord(stem[0]):02X}{stem[1:]}"
    return f"/{stem}"


def in_recovery(connection: Connection) -> bool:
    """Whether the server is a standby."""
    return bool(connection.value("SELECT pg_catalog.pg_is_in_recovery()"))


def position(connection: Connection) -> dict[str, object]:
    """Where in the server's log the backup is."""
    standby = in_recovery(connection)
    function = "pg_last_wal_replay_lsn" if standby else "pg_current_wal_lsn"
    return {"lsn": str(connection.value(f"SELECT pg_catalog.{function}()")), "standby": standby}
