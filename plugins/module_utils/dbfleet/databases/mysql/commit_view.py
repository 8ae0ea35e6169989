"""The tables as they are at the very commit at which a physical backup is consistent.

mariadb-backup says on stderr when it holds all commits (``BACKUP STAGE BLOCK_COMMIT``; up to 10.6 in other words). A
transaction with a consistent snapshot that begins then sees exactly what the backup holds, and can be counted at
leisure. xtrabackup holds none: they are held here, while it copies the last small files and reads how far the logs
are. That the snapshots did begin in time is not assumed: the tool says when it goes on, and nothing of that may have
been written when they stand. Where the server has a binary log, its positions must be equal as well.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Optional

from ...errors import DbfleetError
from ...model import Proof, ProofPolicy, TableProof
from ...stream.process import Filter
from .address import Address
from .copy_tool import FLAVOURS, Hearing
from .faults import ChangedError
from .gate import commits_held, definitions_held
from .lock_alarm import LockAlarm
from .measure import NEWEST, measure_queries, measure_table
from .server import SYSTEM, Session, Version, each_of, end_sessions
from .snapshot import BEGIN, REPEATABLE

HOLD_WAIT = 2  # seconds that commits wait at most, where they are held here
INNER = re.compile(r"FTS_[0-9a-f]{16}_|#sql")
# The names in InnoDB's own catalog are those of files; the server itself translates them.
NAME = "convert(convert(convert({} USING binary) USING filename) USING utf8mb4)"
TABLES = (
    "SELECT "
    + NAME.format("substring_index(name, '/', 1)")
    + ", "
    + NAME.format("substring_index(substring_index(substring_index(name, '/', -1), '#P#', 1), '#p#', 1)")
    + ", table_id FROM information_schema.innodb_sys_tables WHERE name LIKE '%/%' ORDER BY table_id"
)
# MySQL keeps such names to itself. Its definitions are held, so that a name is enough.
NAMES = (
    "SELECT table_schema, table_name, '' FROM information_schema.tables"
    " WHERE engine = 'InnoDB' AND table_type = 'BASE TABLE'"
)
SEQUENCES = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SEQUENCE'"
Name = tuple[str, str]  # database and table


def shown(name: Name) -> str:
    """``database.table``, as the proof of a whole server has it."""
    return ".".join(name)


class CommitView:
    """Snapshots that begin when :meth:`tell` hears that commits are held."""

    def __init__(
        self, address: Address, version: Version, count: int, *, lock_wait: int, wanted: bool, unread: str = ""
    ) -> None:
        """Over ``count`` connections; ``unread`` says why the account cannot count rows, if it cannot.

        Unless it is ``wanted`` nothing is held and no snapshot begins.

        Raises ``BusyError`` where a statement that alters a table goes on for ``lock_wait`` seconds.
        """
        self._address = address
        self._version = version
        self._moment = FLAVOURS[version.flavour].moment
        self._defined = ExitStack()  # while this is open nobody alters a table, where the server can see to that
        self._holding = ExitStack()  # while this is open nothing is committed
        self._sessions: list[Session] = []
        self._begun = threading.Event()  # or it never will
        self._child: Optional[Filter] = None
        self._ours: list[Session] = []  # all connections of this view
        self.alarm = LockAlarm(address, lock_wait, self._moment.waits, self._ours)
        self._limit: Optional[int] = None
        self._in_time: Optional[bool] = None
        self._older = True  # as far as is known, the tool is an older version
        self.hearing = Hearing(self._tell)
        self.position: Mapping[str, str] = {}
        self.reason = unread  # why nothing can be said of the tables, if so
        self._wanted = wanted and not unread
        try:
            if version.flavour == "mysql" and self._wanted:
                wait = max(1, lock_wait)
                holder = self._defined.enter_context(Session(address, lock_wait=wait))
                self._ours.append(holder)
                self._defined.enter_context(definitions_held(holder, version, wait=wait))
            for _number in range(max(1, count)):
                session = Session(address)
                self._sessions.append(session)
                self._ours.append(session)
                session.run(REPEATABLE)
            self._before = self._tables()
        except DbfleetError:
            self.close()
            raise

    def watch(self, child: Filter) -> None:
        """The tool that is heard."""
        self._child = child
        self.alarm.watch(child)

    def close(self) -> None:
        """End the sessions. Never raises."""
        self.alarm.cancel()
        self._holding.close()
        self._defined.close()
        for session in self._sessions:
            session.close()

    def _tell(self, line: str, start: int) -> None:
        moment = self._moment
        self.alarm.tell(line)
        if self._begins(line) and not self._begun.is_set():
            try:
                if self._wanted:
                    self._begin()
            except DbfleetError as error:
                self.reason = error.message
            self._begun.set()
        elif moment.stand.search(line) and self._in_time is None:
            self._in_time = self._limit is not None and start >= self._limit
        if moment.over is not None and moment.over in line:
            self._holding.close()

    def _begins(self, line: str) -> bool:
        older = self._moment.older
        if older is not None and older[0] in line:
            self._older = False
        return self._moment.begin in line or (older is not None and self._older and older[1] in line)

    def _begin(self) -> None:
        if self._moment.over is not None:
            holder = self._holding.enter_context(Session(self._address, lock_wait=HOLD_WAIT))
            self._ours.append(holder)
            self._holding.enter_context(commits_held(holder, self._version, {}, wait=HOLD_WAIT))
        for session in self._sessions:
            session.run(BEGIN)
        unheard = self._child.unheard() if self._child is not None else None
        if unheard is not None:
            self._limit = self.hearing.heard + unheard
        names = ("Binlog_snapshot_file", "Binlog_snapshot_position")
        found = [self._sessions[0].status(name) for name in names]
        if found[0] and found[1]:
            self.position = {"file": found[0], "offset": found[1]}
        elif self._version.flavour == "mysql":  # the tool begins another file of the binary log
            self.position = {"gtid": (self._sessions[0].variable("gtid_executed") or "").replace("\n", "")}

    def interrupt(self) -> None:
        """The run has failed: end what :meth:`measure` does."""
        self._begun.set()
        with suppress(DbfleetError):
            end_sessions(self._address, [session.number for session in self._sessions])

    def over(self) -> None:
        """The tool has ended: what it has not said by now it will not say."""
        self._holding.close()
        if not self._begun.is_set():
            self.reason = self.reason or "the tool did not tell when it held commits"
            self._begun.set()

    def is_at(self, file: str, offset: str, gtid: str) -> bool:
        """Whether the snapshots are of the commit at which the backup is, whose place in the binary log is given."""
        place = {"file": file, "offset": offset, "gtid": gtid}
        return bool(self._in_time) and (not file or all(place[name] == value for name, value in self.position.items()))

    # --- measuring ----------------------------------------------------------------------------

    def measure(self, policy: ProofPolicy) -> Proof:
        """The tables that were there all the time, and the queries. Waits for the moment first."""
        self._begun.wait()
        if self.reason:
            return Proof("none")
        found: dict[Name, TableProof] = {}
        if policy.level != "none":
            found = self._measure(NEWEST if policy.level == "content" else None)
        queries = measure_queries(self._sessions[0], policy.queries)
        return Proof(policy.level, {shown(name): table for name, table in sorted(found.items())}, queries=queries)

    def _measure(self, hash_name: Optional[str]) -> dict[Name, TableProof]:
        found: dict[Name, TableProof] = {}

        def work(session: Session, name: Name) -> None:
            with suppress(ChangedError):  # it was altered or dropped since
                found[name] = measure_table(session, *name, hash_name)

        each_of(self._sessions, sorted(self._before), work)
        after = self._tables()  # one that was renamed or truncated since is another table of the same name
        return {name: table for name, table in found.items() if after.get(name) == self._before[name]}

    def _tables(self) -> dict[Name, list[str]]:
        """InnoDB's numbers of each table, of all its partitions."""
        found: dict[Name, list[str]] = {}
        with Session(self._address) as session:
            for database, table, number in session.rows(TABLES if self._version.flavour == "mariadb" else NAMES):
                if str(database).lower() not in SYSTEM and not INNER.match(str(table)):
                    found.setdefault((str(database), str(table)), []).append(str(number))
            for database, sequence in session.rows(SEQUENCES):  # no snapshot covers them
                found.pop((str(database), str(sequence)), None)
        return found
