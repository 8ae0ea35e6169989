"""One consistent state of one or several databases: the moment in which it is taken, its artifacts, its proof."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import Any, Optional

from ...errors import DbfleetError, ProofError, SourceError
from ...model import Artifact, Limits, Manifest, Proof, ProofPolicy, SourceIdentity
from ...units import utc_now
from ..base import ArtifactStream, Snapshot
from .address import Address
from .binlog_format import LOGICAL_SINCE
from .by_hand import restore_commands
from .choice import Choice
from .columns import LOSSES, read_traits
from .gate import Held, commits_held, definitions_held, tables_locked, who_is_in_the_way
from .lanes import Part, Ranges, share_out
from .measure import measure
from .objects import (
    Definitions,
    Objects,
    Table,
    changed,
    digest_of,
    read_definitions,
    read_events,
    read_objects,
)
from .server import NO_LIMIT, Session, Version, end_sessions, quoted
from .streams import (
    DumpProcess,
    LaneStream,
    RawStream,
    ToolStream,
    events_calls,
    file_of,
    objects_calls,
    schema_stream,
    trigger_calls,
    users_stream,
)
from .tools import Tools
from .users import UsersStream, public_grants

BEGIN = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
REPEATABLE = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")


class Content:
    """One database of the backup: what is in it, and what made it when the backup began."""

    def __init__(self, session: Session, database: str, label: Optional[str], choice: Choice) -> None:
        self.database = database
        self.label = label  # its name where there are several
        self.choice = choice
        self.objects, self.definitions = self.read(session)
        self.events = read_events(session, database) if choice.whole else []
        self.traits = read_traits(session, database)

    def read(self, session: Session) -> tuple[Objects, Definitions]:
        """What is in it now, and what makes it."""
        session.run(f"USE {quoted(self.database)}")
        objects = self.choice.of(self.database, read_objects(session, self.database))
        return objects, read_definitions(session, self.database, objects, others=self.choice.whole)

    def excluded(self, session: Session) -> list[str]:
        """Tables that are there and not wanted."""
        wanted = {table.name for table in self.objects.tables}
        return [one.name for one in read_objects(session, self.database).tables if one.name not in wanted]

    def rows_in(self) -> list[Table]:
        """The tables whose rows are dumped."""
        return [table for table in self.objects.tables if table.has_rows]

    def split_keys(self, session: Session) -> dict[str, Ranges]:
        """The key ranges of tables whose primary key is one integer column."""
        marks = ", ".join(["%s"] * len(INTEGERS))
        found: dict[str, Ranges] = {}
        for table, column in session.rows(
            "SELECT k.table_name, min(k.column_name) FROM information_schema.key_column_usage k"
            " JOIN information_schema.columns c ON c.table_schema = k.table_schema AND c.table_name = k.table_name"
            " AND c.column_name = k.column_name"
            f" WHERE k.table_schema = %s AND k.constraint_name = 'PRIMARY' AND lower(c.data_type) IN ({marks})"
            " AND (SELECT count(*) FROM information_schema.key_column_usage o WHERE o.table_schema = k.table_schema"
            " AND o.table_name = k.table_name AND o.constraint_name = 'PRIMARY') = 1 GROUP BY k.table_name",
            self.database,
            *INTEGERS,
        ):
            name = quoted(column)
            row = session.row(f"SELECT min({name}), max({name}) FROM {quoted(self.database)}.{quoted(table)}")
            if row and row[0] is not None and int(row[1]) - int(row[0]) > 1000:
                found[str(table)] = Ranges(name, int(row[0]), int(row[1]))
        return found


class MysqlSnapshot(Snapshot):
    """See :class:`Snapshot`; made by :func:`open_snapshot`."""

    type = "full"

    def __init__(self, address: Address, identity: SourceIdentity, version: Version, tools: Tools) -> None:
        self.identity = identity
        self.consistent_at: datetime = utc_now()
        self.position: Mapping[str, Any] = {}
        self.artifacts: Sequence[ArtifactStream] = ()
        self.tools = {"server": version.shown, "dump": tools.dump.shown, "client": tools.client.shown}
        self.contents: list[Content] = []
        self.processes: list[DumpProcess] = []
        self.sessions: list[Session] = []
        self.commits: Optional[Held] = None
        self.locked: Optional[Held] = None
        self.defined: Optional[Held] = None
        self.remarks: list[str] = []
        self._address = address
        self.native = tools

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """Which lock was held and for how long, and what a dump cannot carry."""
        found = []
        if self.commits is not None and self.commits.seconds is not None:
            found.append(f"commits were held for {self.commits.seconds:.3f} s ({self.commits.way})")
        if self.locked is not None:
            found.append(f"{self.locked.way}, until the dump was complete")
        if self.defined is not None:
            found.append(f"{self.defined.way}, until the dump was complete")
        return (*found, *self.remarks)

    def prove(self, policy: ProofPolicy) -> Proof:
        """Measure the state that the dump processes read."""
        tables = {content.database: content.objects.tables for content in self.contents}
        self.sessions[0].run(f"USE {quoted(self.contents[0].database)}")
        labels = {content.database: content.label for content in self.contents}
        return measure(self.sessions, tables, policy, self._schema_digest(), labels)

    def _schema_digest(self) -> str:
        charsets = [(one.label or "", one.objects.charset, one.objects.collation) for one in self.contents]
        return digest_of({one.label or "": one.definitions for one in self.contents}, charsets)

    def compare(self, proof: Proof) -> Proof:
        """No object may have been altered or dropped while it was dumped: a snapshot does not cover definitions."""
        with Session(self._address.at("")) as session:
            for content in self.contents:
                try:
                    after = content.read(session)[1]
                except DbfleetError as error:
                    raise ProofError(f"{error.message}, when the backup was complete", "take another backup") from error
                found = changed(content.definitions, after)
                if found:
                    raise SourceError(
                        f"{found} in database {content.database!r} during the backup",
                        "start again when no migration is running",
                    )
        return proof

    def interrupt(self) -> None:
        """End the processes and the queries."""
        for stream in self.artifacts:
            if isinstance(stream, ToolStream):
                stream.kill()
        for process in self.processes:
            process.kill()
        with suppress(DbfleetError):
            end_sessions(self._address, [session.number for session in self.sessions])

    def state(self) -> Optional[bytes]:
        """Nothing: a logical backup is always full."""
        return None

    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Create the databases and feed the artifacts to the client."""
        return restore_commands(self.native.flavour, stored)


@contextmanager
def open_snapshot(
    address: Address,
    identity: SourceIdentity,
    version: Version,
    tools: Tools,
    databases: Sequence[str],
    limits: Limits,
    choice: Choice,
) -> Iterator[MysqlSnapshot]:
    """Take the snapshot of ``databases`` that proof and dump processes share."""
    snapshot = MysqlSnapshot(address, identity, version, tools)
    server = address.at("")
    with ExitStack() as stack:
        control = stack.enter_context(Session(server, lock_wait=limits.lock_wait))
        _require_whole_answers(control)
        snapshot.defined = stack.enter_context(definitions_held(control, version, wait=limits.lock_wait))
        for database in databases:
            snapshot.contents.append(Content(control, database, database if choice.databases else None, choice))
        tables = {content.database: content.objects.tables for content in snapshot.contents}
        plan = [(content, _plan(content, control, limits.parallel)) for content in snapshot.contents]
        for _number in range(max(1, limits.parallel // 2)):
            snapshot.sessions.append(stack.enter_context(Session(server)))
        with commits_held(control, version, tables, wait=limits.lock_wait) as snapshot.commits:
            snapshot.locked = stack.enter_context(tables_locked(server, tables, wait=limits.lock_wait))
            streams = [one for content, lanes in plan for one in _begin(snapshot, content, control, lanes, stack)]
            for session in snapshot.sessions:
                session.run(REPEATABLE)
                session.run(BEGIN)
            _wait_until_begun(snapshot.processes, control, limits.lock_wait)
            snapshot.position = _position(control, snapshot.sessions[0], version, snapshot.remarks)
            if choice.everything and "binlog_file" in snapshot.position:
                since = int(control.row("SELECT unix_timestamp()")[0])
                snapshot.position = {**snapshot.position, LOGICAL_SINCE: since}
            snapshot.consistent_at = utc_now()
        if choice.whole_server:
            asked = stack.enter_context(Session(server))
            _remark_what_only_a_server_has(snapshot, asked)
            if version.flavour == "mysql":
                streams.append(UsersStream(asked))
            else:
                streams.append(users_stream(tools, public_grants(asked)))
        snapshot.artifacts = streams
        _remark_losses(snapshot)
        yield snapshot


def _require_whole_answers(session: Session) -> None:
    """The dump tools take what they are given for everything. Raises ``SourceError`` where the server cuts it."""
    (limit,) = session.row("SELECT @@GLOBAL.sql_select_limit")
    if int(limit) < NO_LIMIT:
        raise SourceError(
            f"{session.what}: sql_select_limit ends every answer of the server after {limit} rows,"
            " and a dump would lose the others",
            "SET GLOBAL sql_select_limit = DEFAULT on that server (and in its configuration), and start again",
        )


def _wait_until_begun(processes: Sequence[DumpProcess], control: Session, wait: int) -> None:
    """Return when every process has its snapshot. Commits are held meanwhile: it takes ``wait`` seconds at most.

    The tools themselves would wait for a locked table for as long as the server lets them: a day.
    """
    turn = threading.Lock()
    late, begun = threading.Event(), threading.Event()

    def stop() -> None:
        with turn:
            if begun.is_set():
                return
            late.set()
        for process in processes:
            process.kill()

    alarm = threading.Timer(max(1, wait), stop)
    alarm.daemon = True
    alarm.start()
    try:
        for process in processes:
            process.wait_until_begun()
    except DbfleetError as error:
        if late.is_set():
            raise who_is_in_the_way(control, wait) from error
        raise
    finally:
        alarm.cancel()
        with turn:
            begun.set()
    if late.is_set():  # in the very moment in which the last one had begun: all were ended
        raise who_is_in_the_way(control, wait)


def _plan(content: Content, session: Session, parallel: int) -> tuple[list[list[Part]], list[Part]]:
    plain = [table for table in content.rows_in() if table.name not in content.traits.odd]
    large = [table for table in plain if table.size_bytes * parallel > content.objects.size_bytes]
    ranges = content.split_keys(session) if large and parallel > 1 else {}
    odd = [Part((table.name,), table.size_bytes) for table in content.rows_in() if table.name in content.traits.odd]
    return share_out(plain, parallel, ranges, content.traits.verbatim), odd


def _begin(
    snapshot: MysqlSnapshot,
    content: Content,
    session: Session,
    plan: tuple[list[list[Part]], list[Part]],
    stack: ExitStack,
) -> list[ArtifactStream]:
    """Start the processes of one database; its streams, the rows first because they take longest."""

    tools = snapshot.native

    def start(part: Part) -> DumpProcess:
        process = DumpProcess(tools, content.database, part)
        stack.callback(process.close)
        snapshot.processes.append(process)
        return process

    label, database = content.label, content.database
    lanes, odd = plan
    streams: list[ArtifactStream] = [schema_stream(tools, database, label, content.objects)]
    for number, lane in enumerate(lanes, 1):
        processes = [start(part) for part in lane]
        size = sum(part.size_bytes for part in lane)
        streams.append(LaneStream(processes, file_of(label, f"data-{number}.sql"), label, size))
    if odd:
        streams.append(RawStream([start(part) for part in odd], file_of(label, "raw.sql"), label))
    if content.choice.whole:
        calls = objects_calls(tools, database, content.objects.views, content.excluded(session))
    else:
        calls = trigger_calls(tools, database, [table.name for table in content.objects.tables])
    streams.append(ToolStream("objects", file_of(label, "objects.sql"), label, tools, calls))
    if content.events:
        calls = events_calls(tools, database)
        streams.append(ToolStream("events", file_of(label, "events.sql"), label, tools, calls))
    return streams


def _position(control: Session, reader: Session, version: Version, remarks: list[str]) -> dict[str, Any]:
    """The place in the binary log of exactly this state; empty where there is no binary log."""
    if control.variable("log_bin") != "ON":
        return {}
    position: dict[str, Any] = {}
    if version.flavour == "mariadb":
        file, offset = reader.status("Binlog_snapshot_file"), reader.status("Binlog_snapshot_position")
        gtid = control.variable("gtid_binlog_pos")
        if file and offset:
            position.update(binlog_file=file, binlog_offset=int(offset))
    else:
        gtid = control.variable("gtid_executed")
        statement = "SHOW BINARY LOG STATUS" if version.number >= (8, 2) else "SHOW MASTER STATUS"
        try:
            row = control.row(statement)
            if row:
                position.update(binlog_file=str(row[0]), binlog_offset=int(row[1]))
        except SourceError:
            remarks.append("the binary log's position is not known: the account lacks REPLICATION CLIENT")
    if gtid:
        position["gtid"] = gtid.replace("\n", "")
    return position


def _remark_what_only_a_server_has(snapshot: MysqlSnapshot, session: Session) -> None:
    """Say what belongs to no database and is no account, as far as the account may read it."""
    for table, column, what in (
        ("servers", "Server_name", "servers that tables refer to (CREATE SERVER)"),
        ("func", "name", "functions of libraries (CREATE FUNCTION ... SONAME)"),
    ):
        with suppress(DbfleetError):
            names = [str(name) for (name,) in session.rows(f"SELECT {column} FROM mysql.{table} ORDER BY 1")]
            if names:
                snapshot.remarks.append(f"{what} are not kept: {', '.join(names[:5])}")


def _remark_losses(snapshot: MysqlSnapshot) -> None:
    """Say what no dump of the native tools carries."""
    for content in snapshot.contents:
        for kind, loss in LOSSES.items():
            names = [table.name for table in content.objects.tables if table.name in content.traits.lossy[kind]]
            if names:
                snapshot.remarks.append(loss.format(", ".join(names[:5])))
        versioned = [table.name for table in content.objects.tables if table.versioned]
        if versioned:
            snapshot.remarks.append(f"the history of system-versioned tables is not kept: {', '.join(versioned[:5])}")
