"""Which tables a dump of a database holds, read as ``pg_dump`` chooses them, and locked as it locks them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from ...errors import BusyError, NotFoundError, SourceError
from .connection import Connection, connect
from .quoting import quoted, spelled

LOCKED_AT_ONCE = 200
ATTEMPTS = 10

# An extension's tables belong to it, unless it declared their rows to be data (manual, 38.17.3).
TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relispartition,
       pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       (SELECT i.inhparent FROM pg_catalog.pg_inherits i
        WHERE c.relispartition AND i.inhrelid = c.oid LIMIT 1),
       e.oid IS NOT NULL,
       e.extcondition[array_position(e.extconfig, c.oid)]
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
     AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (e.oid IS NULL OR c.oid = ANY (e.extconfig))
ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True)
class Table:
    """One table, partition or materialized view. ``condition`` says which rows of an extension's table are data."""

    oid: int
    schema: str
    table: str
    kind: str  # pg_class.relkind: r table, p partitioned, m materialized view, f foreign
    persistence: str
    partition: bool
    readable: bool
    parent: Optional[int]
    extension: bool
    condition: Optional[str]

    @property
    def name(self) -> str:
        """As proofs spell it."""
        return spelled(self.schema, self.table)

    @property
    def sql(self) -> str:
        """As SQL names it."""
        return quoted(self.schema, self.table)

    @property
    def has_rows(self) -> bool:
        """Whether a dump carries its rows. It does not carry those of a materialized view, which is filled anew."""
        return self.kind == "r"


def read_tables(connection: Connection, only: Optional[Collection[int]] = None) -> list[Table]:
    """The tables that a dump holds; ``only`` are the numbers of those that were chosen."""
    tables = [Table(*row) for row in connection.rows(TABLES)]
    if only is None:
        return tables
    return [table for table in tables if table.oid in only and not table.extension]


def lock_tables(connection: Connection, wait: int, only: Optional[Collection[int]] = None) -> list[Table]:
    """Begin a read-only transaction that holds every table as ``pg_dump`` does, and whose snapshot has all of them.

    ``LOCK TABLE`` takes no snapshot: the snapshot is younger than the locks, so that no table can be
    rewritten or dropped in between. Where one comes or goes meanwhile, it is tried again. Raises
    ``BusyError`` naming the table and who holds it.
    """
    deadline = time.monotonic() + wait
    for attempt in range(ATTEMPTS):
        before = read_tables(connection, only)
        require_readable(connection, before)
        connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            _lock(connection, [table for table in before if table.kind in ("r", "p")], deadline)
        except NotFoundError:
            connection.run("ROLLBACK")
            continue
        except BaseException:
            _rollback(connection)
            raise
        after = read_tables(connection, only)
        if after == before or attempt == ATTEMPTS - 1:
            require_readable(connection, after)
            return after
        connection.run("ROLLBACK")
    raise BusyError(
        f"tables of database {connection.database!r} come and go all the time",
        "take the backup when its schema is at rest",
    )


def _rollback(connection: Connection) -> None:
    try:
        connection.run("ROLLBACK")
    except SourceError:
        pass  # the session is gone, and with it the transaction


def _lock(connection: Connection, tables: Sequence[Table], deadline: float) -> None:
    for start in range(0, len(tables), LOCKED_AT_ONCE):
        some = tables[start : start + LOCKED_AT_ONCE]
        left = max(1, int((deadline - time.monotonic()) * 1000))
        connection.run(f"SET LOCAL lock_timeout = {left}")
        try:
            connection.run(f"LOCK TABLE {', '.join(f'ONLY {table.sql}' for table in some)} IN ACCESS SHARE MODE")
        except BusyError as error:
            raise held(connection, some) or error from error
        except SourceError as error:
            if getattr(error.__cause__, "pgcode", None) in ("42P01", "3F000"):  # dropped since it was listed
                raise NotFoundError(error.message) from error
            raise
    connection.run("SET LOCAL lock_timeout = 0")


def held(connection: Connection, tables: Sequence[Table]) -> Optional[BusyError]:
    """Which of ``tables`` is held, and by whom; asked in a session of its own, for this one's has failed."""
    with connect(connection.address.of(connection.database)) as other:
        found = other.rows(
            "SELECT l.relation, l.mode, a.pid, a.usename, a.application_name, a.client_addr::text, a.state, "
            "pg_catalog.date_trunc('second', pg_catalog.now() - a.xact_start)::text "
            "FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY (%s) "
            "AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
            ([table.oid for table in tables],),
        )
    if not found:
        return None
    relation, mode, pid, user, application, client, state, age = found[0]
    name = next(table.name for table in tables if table.oid == relation)
    who = " ".join(
        part
        for part in (
            f"process {pid}" if pid else "a prepared transaction",
            f"of {user}" if user else "",
            f"({application})" if application else "",
            f"from {client}" if client else "",
            f"{state} for {age}" if state and age else "",
        )
        if part
    )
    return BusyError(
        f"table {name} of database {connection.database!r} is locked ({mode}) by {who}",
        f"end that transaction (SELECT pg_terminate_backend({pid})), or raise limits.lock_wait",
    )


def require_readable(connection: Connection, tables: Sequence[Table]) -> None:
    """Refuse when a table may not be read, naming it: no dump could hold it."""
    closed = [table for table in tables if not table.readable and table.kind in ("r", "p")]
    if closed:
        user = connection.value("SELECT current_user")
        more = f" (and {len(closed) - 1} more)" if len(closed) > 1 else ""
        raise SourceError(
            f"role {user!r} may not read table {closed[0].name} of database {connection.database!r}{more}",
            f"GRANT SELECT ON {closed[0].sql} TO {quoted(str(user))}, or for everything GRANT pg_read_all_data, "
            "or leave it out with source.exclude_tables",
        )
