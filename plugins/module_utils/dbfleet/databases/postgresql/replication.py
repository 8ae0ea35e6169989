"""What a server answers to somebody who may replicate it: which cluster it is, and its settings."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import SourceError
from .address import Address, import_driver
from .connection import connect, no_session

ROLE_REMEDY = "ALTER ROLE … REPLICATION for the role in the URL, and a line for it in pg_hba.conf: host replication …"
SETTINGS = ("wal_level", "max_wal_senders", "data_checksums", "server_version", "wal_segment_size")


@dataclass(frozen=True)
class Cluster:
    """A server as its replication protocol describes it (manual, chapter "Streaming Replication Protocol")."""

    system: str
    timeline: int
    version: int  # 150018
    settings: dict[str, str]
    position: str = "0/0"  # up to where its log is written

    @property
    def major(self) -> int:
        """15"""
        return self.version // 10000

    @property
    def version_text(self) -> str:
        """``15.18``"""
        return self.settings["server_version"].partition(" ")[0]


@dataclass(frozen=True)
class Tablespace:
    """A tablespace of its own: its number and its folder on the server."""

    oid: int
    place: str


def describe(address: Address) -> Cluster:
    """Which cluster is at ``address``. Raises ``SourceError`` where the role may not replicate it."""
    with replicating(address) as raw, raw.cursor() as cursor:
        cursor.execute("IDENTIFY_SYSTEM")
        system, timeline, position, _database = cursor.fetchone()
        version = int(raw.server_version)
        names = [*SETTINGS, "summarize_wal"] if version >= 170000 else SETTINGS
        settings = {}
        for name in names:
            cursor.execute(f"SHOW {name}")
            (settings[name],) = cursor.fetchone()
    return Cluster(str(system), int(timeline), version, settings, str(position))


@contextmanager
def replicating(address: Address) -> Iterator[Any]:
    """A session of the replication protocol. Raises ``SourceError`` where the server does not let us."""
    driver = import_driver()
    import psycopg2.extras

    more = {"replication": "true", "application_name": "dbfleet"}
    if "connect_timeout" not in address.parameters:
        more["connect_timeout"] = "15"
    raw = None
    try:
        raw = driver.connect(
            address.secret_conninfo(**more), connection_factory=psycopg2.extras.PhysicalReplicationConnection
        )
        yield raw
    except driver.Error as error:
        raise refusal(address, str(error)) from error
    finally:
        if raw is not None:
            raw.close()


class Reservation:
    """Log that the server keeps for one backup, by a slot that is gone with its session."""

    def __init__(self, raw: Any, note: str = "") -> None:
        self._raw = raw
        self.note = note  # why nothing is reserved, if so

    def is_lost(self) -> bool:
        """Whether its session is over: the server is gone, or gave the log up (manual, ``max_slot_wal_keep_size``)."""
        if self._raw is None:
            return False
        try:
            with self._raw.cursor() as cursor:
                cursor.execute("SHOW wal_level")
        except import_driver().Error:
            return True
        return False


@contextmanager
def reserve_log(address: Address) -> Iterator[Reservation]:
    """Let the server keep all log from now on: a busy one removes it before a long backup has come to fetch it."""
    driver = import_driver()
    with replicating(address) as raw:
        try:
            with raw.cursor() as cursor:
                cursor.execute(f"CREATE_REPLICATION_SLOT dbfleet_{uuid.uuid4().hex} TEMPORARY PHYSICAL RESERVE_WAL")
        except driver.Error as error:
            words = str(error).strip().splitlines()[0].replace("ERROR:  ", "")
            note = f"the server keeps no log for the backup by a slot ({words}): wal_keep_size must be enough"
            yield Reservation(None, note)
            return
        yield Reservation(raw)


def refusal(address: Address, said: str) -> SourceError:
    """Why the server does not let us replicate."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it gave no reason"]
    words = lines[0].replace("FATAL:  ", "").replace("ERROR:  ", "")
    place = f"PostgreSQL at {address.place}"
    if "certificate" in words or ("pg_hba.conf" in words and address.parameters.get("sslmode") == "disable"):
        return no_session(address, words)
    if "pg_hba.conf" in words:
        return SourceError(
            f"{place} does not let this role replicate: {words}",
            "a physical backup needs a line in pg_hba.conf whose database is the word replication",
        )
    if "REPLICATION" in words or "replication role" in words or "walsender" in words or "WAL sender" in words:
        return SourceError(f"{place} does not let this role replicate: {words}", ROLE_REMEDY)
    if "max_wal_senders" in words or "standby connections" in words:
        return SourceError(f"{place} has no connection for replication left: {words}", "raise max_wal_senders")
    return no_session(address, words)


def require_replication(address: Address, cluster: Cluster) -> None:
    """Refuse a server that writes too little log for a base backup."""
    if cluster.settings["wal_level"] == "minimal":
        raise SourceError(
            f"PostgreSQL at {address.place} has wal_level = minimal, with which no base backup can be taken",
            "set wal_level = replica and restart the server",
        )


def tablespaces(address: Address) -> list[Tablespace]:
    """The tablespaces besides the built-in ones."""
    with connect(address) as connection:
        rows = connection.rows(
            "SELECT oid, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace "
            "WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid"
        )
    return [Tablespace(int(oid), str(place)) for oid, place in rows]


def databases(address: Address) -> dict[int, str]:
    """The names of all databases by their numbers."""
    with connect(address) as connection:
        rows = connection.rows("SELECT oid, datname FROM pg_catalog.pg_database ORDER BY datname")
    return {int(oid): str(name) for oid, name in rows}


def size_bytes(address: Address) -> int:
    """Bytes of all databases, with a little for what they share and for the log."""
    with connect(address) as connection:
        return int(
            connection.value(
                "SELECT coalesce(sum(pg_catalog.pg_database_size(oid)), 0) + 2 * 16777216 "
                "FROM pg_catalog.pg_database WHERE pg_catalog.has_database_privilege(oid, 'CONNECT') "
                "OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"
            )
        )
