"""A PostgreSQL server whose log is archived: its replication slot, and ``pg_receivewal``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Optional

from ...errors import DbfleetError, SourceError, ToolError, UsageError
from ...stream.process import Command, show_exit
from ..logs import LogLostError, LogSource, Origin, ServerState, SlotLostError, SpoolFile
from . import wal_names as wal
from .address import Address, import_driver
from .backup_manifest import read_lsn, show_lsn
from .connection import Connection, connect
from .quoting import quoted
from .replication import Cluster, describe, refusal, replicating
from .tools import Tool, find, reason
from .wal_format import WalFormat

GROWING = ".partial"
PADDING = 64  # bytes by which a position may be ahead of the last byte: records and pages begin at round places
SLOT = re.compile(r"[a-z0-9_]{1,63}", re.ASCII)
POSITION = (
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "
    "ELSE pg_catalog.pg_current_wal_flush_lsn() END"
)
SLOT_STATE = f"""
SELECT slot_type, active_pid, pg_catalog.pg_wal_lsn_diff({POSITION}, restart_lsn)::bigint, wal_status
FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
"""


class WalSource(LogSource):
    """See :class:`LogSource`."""

    format = WalFormat()

    def __init__(self, address: Address, slot: str, tools: Optional[str]) -> None:
        if not SLOT.fullmatch(slot):
            raise UsageError(
                f"log_archive.slot {slot!r} cannot name a replication slot", "use up to 63 of a-z, 0-9 and _"
            )
        self._address = address
        self._slot = slot
        self._tools = tools

    def origin(self) -> Origin:
        """The cluster by its system identifier."""
        cluster = describe(self._address)
        return Origin(cluster.system, cluster.version_text, cluster.position, cluster.timeline)

    def check(self) -> list[str]:
        """Replication must be allowed, and ``pg_receivewal`` be as new as the server."""
        cluster = describe(self._address)
        if cluster.settings["wal_level"] == "minimal":
            raise SourceError(
                f"PostgreSQL at {self._address.place} has wal_level = minimal, whose log restores nothing",
                "set wal_level = replica and restart the server",
            )
        self._tool(cluster)
        with connect(self._address) as session:
            return self._limit_notes(session)

    def _limit_notes(self, session: Connection) -> list[str]:
        if session.value("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'") != "-1":
            return []
        return [
            "max_slot_wal_keep_size is -1 on the server: while nobody fetches its log it is kept without limit; "
            "set it to what the disk can spare"
        ]

    def _tool(self, cluster: Cluster) -> Tool:
        why = f"the server is PostgreSQL {cluster.version_text} and needs a pg_receivewal at least as new"
        return find("pg_receivewal", at_least=cluster.major, folder=self._tools, why=why)

    def prepare(self, spool: str, last: Optional[str], details: Mapping[str, Any]) -> list[str]:
        """Make the slot unless it is there; an empty spool gets an empty file of the name of ``last``.

        ``pg_receivewal`` goes on after the newest file that it finds; it reads none of them.
        """
        notes = self._make_slot()
        if last is not None and not any(wal.kind_of(_true_name(name)) == "segment" for name in os.listdir(spool)):
            path = os.path.join(spool, last)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.truncate(int(details.get("segment_size", wal.DEFAULT_SIZE)))
        return notes

    def start_over(self) -> None:
        """Drop the slot: a receiver tells it the position it wants, and the next one would be given that again."""
        with connect(self._address) as session:
            rows = session.rows(SLOT_STATE, (self._slot,))
        if rows and rows[0][0] == "physical":
            self._command(f"DROP_REPLICATION_SLOT {quoted(self._slot)} WAIT")

    def _make_slot(self) -> list[str]:
        with connect(self._address) as session:
            rows = session.rows(SLOT_STATE, (self._slot,))
        if rows:
            kind, _pid, _kept, status = rows[0]
            if kind != "physical":
                raise SourceError(
                    f"the replication slot {self._slot} at {self._address.place} is a logical one",
                    "name another one in log_archive.slot",
                )
            if status != "lost":
                return []
            self._command(f"DROP_REPLICATION_SLOT {quoted(self._slot)}")
        self._command(f"CREATE_REPLICATION_SLOT {quoted(self._slot)} PHYSICAL RESERVE_WAL")
        return [f"made the replication slot {self._slot}"]

    def _command(self, words: str) -> None:
        driver = import_driver()
        with replicating(self._address) as raw:
            try:
                with raw.cursor() as cursor:
                    cursor.execute(words)
            except driver.Error as error:
                if getattr(error, "pgcode", None) in ("42710", "42704"):
                    return  # somebody made it in this moment, or dropped it
                said = str(error).strip().splitlines()[0].replace("ERROR:  ", "")
                raise SourceError(
                    f"PostgreSQL at {self._address.place} refuses the replication slot {self._slot}: {said}",
                    "raise max_replication_slots, or drop a slot that nobody uses any more",
                ) from error

    def receiver(self, spool: str, scratch: str) -> Command:
        """``pg_receivewal``, which ends at the first trouble: the archiver says what it was, and starts it again."""
        argv = (
            self._tool(describe(self._address)).path,
            f"--directory={spool}",
            f"--dbname={self._address.conninfo(application_name='dbfleet')}",
            f"--slot={self._slot}",
            "--no-loop",
            "--no-password",
        )
        return Command(argv, self._address.environment(scratch), explain=self._explain)

    def _explain(self, code: int, words: str) -> DbfleetError:
        said = reason(re.sub(r"pg_receivewal: (error|warning|detail|hint|notice): ", r"\1: ", words))
        place = f"PostgreSQL at {self._address.place}"
        if "has already been removed" in words or "is not in this server's history" in words:
            return LogLostError(f"{place} no longer has the log that comes next: {said}", "take a new physical backup")
        if re.search(r"replication slot .* does not exist|obsolete replication|can no longer (get|be)", words):
            return SlotLostError(f"the replication slot {self._slot} at {place} was lost: {said}", "it is made again")
        if "is active for PID" in words:
            return SourceError(
                f"{place}: {said}", "another archiver uses this slot: name another one in log_archive.slot"
            )
        if "pg_hba.conf" in said or "replication role" in said or "REPLICATION" in said:
            return refusal(self._address, said)
        return ToolError(f"pg_receivewal from {place} ended with {show_exit(code)}: {said}", "it is started again")

    def spooled(self, spool: str) -> list[SpoolFile]:
        """Finished and growing segments, histories first."""
        found = {}
        for name in os.listdir(spool):
            true_name, path = _true_name(name), os.path.join(spool, name)
            if wal.kind_of(true_name) is not None and (name == true_name or true_name not in found):
                found[true_name] = SpoolFile(true_name, path, name == true_name, _is_placeholder(name, path))
        return sorted(found.values(), key=lambda file: wal.sort_key(file.name))

    def state(self, end: Optional[str]) -> ServerState:
        """Its position, the log it keeps for the slot, and what is wrong with the slot."""
        with connect(self._address) as session:
            now = str(session.value(f"SELECT {POSITION}::text"))
            rows = session.rows(SLOT_STATE, (self._slot,))
        retained = None
        problems = []
        if rows:
            retained = None if rows[0][2] is None else int(rows[0][2])
            if rows[0][3] == "lost":
                problems.append(f"the server gave up what the replication slot {self._slot} kept")
        behind = None if end is None else read_lsn(now) - read_lsn(end)
        if behind is not None and behind < PADDING:
            behind = 0
        return ServerState(show_lsn(read_lsn(now)), behind, retained, tuple(problems))


def _is_placeholder(name: str, path: str) -> bool:
    """Whether it is the empty file that :meth:`WalSource.prepare` made."""
    if wal.kind_of(name) != "segment":
        return False
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(8) == bytes(8)
    except FileNotFoundError:
        return False


def _true_name(name: str) -> str:
    return name[: -len(GROWING)] if name.endswith(GROWING) else name
