"""Single tables out of a restored database into a living one, in one transaction: all of them or none."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ...errors import BusyError, DbfleetError, ProofError, RefusedError, SourceError, ToolError
from ...stream.process import Command, run
from ...units import ID_TIME, utc_now
from ..base import TakenOver
from .address import Address
from .connection import Connection, connect, pin
from .load import known_to, without_meta_commands
from .quoting import literal, quoted, spelled
from .side import LONGEST_NAME
from .tools import Tool, reason

ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@dataclass(frozen=True)
class Wanted:
    """A table to copy: as it was asked for, where it is, and its partitions' names."""

    asked: str
    schema: str
    table: str
    partitioned: bool
    members: tuple[tuple[str, str], ...]

    @property
    def sql(self) -> str:
        """As SQL names it."""
        return quoted(self.schema, self.table)

    @property
    def rows_sql(self) -> str:
        """What its rows are selected from: its own, and of a partitioned table all."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def name(self) -> str:
        """As proofs spell it."""
        return spelled(self.schema, self.table)


def copy_tables(
    side: Address,
    target: Address,
    roots: Mapping[str, tuple[str, str]],
    *,
    tool: Tool,
    environment: Mapping[str, str],
    foreign_keys: str,
    replace: bool,
    lock_wait: int,
) -> TakenOver:
    """Copy tables with their rows, indexes, triggers, constraints and sequences from ``side`` into ``target``.

    Rows that are there are overwritten only with ``replace``, and kept in a table beside under a dated
    name. Raises ``RefusedError`` before, ``ProofError`` where a reference would lead nowhere.
    """
    with connect(side) as source, connect(target, lock_wait=lock_wait) as living:
        pin(source)
        pin(living)
        wanted = [_find(source, asked, schema, table) for asked, (schema, table) in roots.items()]
        work = _Copy(source, living, wanted, replace)
        work.check()
        missing = [one for one in wanted if one not in work.existing]
        before, after = (_definitions(tool, source, environment, missing, section) for section in ("pre", "post"))
        living.run("BEGIN")
        try:
            work.open()
            work.define(before, lock_wait)
            rows = {one.asked: work.copy(one) for one in wanted}
            work.define(after, lock_wait)
            work.close(foreign_keys)
            living.run("COMMIT")
        except BaseException as error:
            _rollback(living)
            raise _explained(error, living.database) from error
    return TakenOver(", ".join(work.kept) or None, rows)


def is_table(connection: Connection, schema: str, table: str) -> Optional[str]:
    """``pg_class.relkind`` of what has that name; ``None`` where nothing has."""
    kind = connection.value(
        "SELECT c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        (schema, table),
    )
    return None if kind is None else str(kind)


def _find(source: Connection, asked: str, schema: str, table: str) -> Wanted:
    members = source.rows(
        "WITH RECURSIVE family AS (SELECT c.oid FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s "
        "UNION ALL SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid "
        "JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid AND p.relispartition) "
        "SELECT n.nspname, c.relname FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        (schema, table),
    )
    return Wanted(asked, schema, table, is_table(source, schema, table) == "p", tuple(members))


def _definitions(
    tool: Tool, source: Connection, environment: Mapping[str, str], tables: Sequence[Wanted], section: str
) -> str:
    """The SQL that makes ``tables`` (before their rows) or their indexes and triggers (after them)."""
    if not tables:
        return ""
    argv = (
        tool.path,
        f"--dbname={source.address.conninfo(application_name='dbfleet')}",
        f"--encoding={source.client_encoding}",
        f"--section={section}-data",
        "--strict-names",
        "--no-password",
        *(f"--table={quoted(*member)}" for one in tables for member in one.members),
    )
    command = Command(
        argv,
        environment,
        explain=lambda code, words: ToolError(f"pg_dump failed: {reason(words)}", "see its message"),
        text=True,
    )
    return without_meta_commands(run(command).stdout.decode(source.client_encoding))


class _Copy:
    """One transaction that brings tables of ``source`` into ``living``."""

    def __init__(self, source: Connection, living: Connection, wanted: Sequence[Wanted], replace: bool) -> None:
        self._source = source
        self._living = living
        self._wanted = wanted
        self._replace = replace
        self.existing: list[Wanted] = []
        self.kept: list[str] = []
        self._references: list[tuple[str, str, str, Optional[str]]] = []
        self._triggers: list[tuple[str, str, str]] = []

    def check(self) -> None:
        """Refuse, before anything is changed, what cannot or must not be copied."""
        for one in self._wanted:
            kind = is_table(self._living, one.schema, one.table)
            if kind is None:
                continue
            if kind not in ("r", "p"):
                raise RefusedError(
                    f"{one.name} is no table in database {self._living.database!r}", "drop or rename it first"
                )
            ours, theirs = ({name for name, _generated in _columns(c, one)} for c in (self._living, self._source))
            if ours != theirs:
                raise RefusedError(
                    f"table {one.name} of database {self._living.database!r} has other columns than the backup's: "
                    f"{', '.join(sorted(ours ^ theirs))}",
                    "the schema has changed since: restore to a new database with --to and copy what you need",
                )
            if not self._replace and self._living.value(f"SELECT EXISTS(SELECT FROM {one.rows_sql})"):
                raise RefusedError(
                    f"table {one.name} of database {self._living.database!r} already has rows",
                    "overwrite them with --replace (they are kept in a table beside under a dated name)",
                )
            self.existing.append(one)

    def open(self) -> None:
        """Empty what is there, with references and triggers put aside for the rest of the transaction."""
        living = self._living
        if not self.existing:
            return
        living.run(f"LOCK TABLE {', '.join(one.sql for one in self.existing)} IN ACCESS EXCLUSIVE MODE")
        numbers = [living.value("SELECT %s::regclass::oid", (one.sql,)) for one in self.existing]
        self._references = living.rows(
            "SELECT k.conrelid::regclass::text, k.conname, pg_catalog.pg_get_constraintdef(k.oid), "
            "pg_catalog.obj_description(k.oid, 'pg_constraint') FROM pg_catalog.pg_constraint k "
            "WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY (%s) OR k.confrelid = ANY (%s))",
            (numbers, numbers),
        )
        for table, name, _definition, _comment in self._references:
            living.run(f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}")
        self._triggers = living.rows(
            "SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled::text FROM pg_catalog.pg_trigger t "
            "WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid = ANY (%s)",
            (numbers,),
        )
        for table, name, _state in self._triggers:
            living.run(f"ALTER TABLE {table} DISABLE TRIGGER {quoted(name)}")
        for one in self.existing:
            if living.value(f"SELECT EXISTS(SELECT FROM {one.rows_sql})"):
                if not self._replace:
                    raise RefusedError(f"table {one.name} has rows that came meanwhile", "overwrite with --replace")
                self._keep(one)
            living.run(f"TRUNCATE {one.rows_sql}")

    def _keep(self, one: Wanted) -> None:
        """Keep the rows that are overwritten in a table beside."""
        suffix = f"_before_restore_{utc_now().strftime(ID_TIME)}"
        stem = one.table.encode("utf-8")[: LONGEST_NAME - len(suffix)].decode("utf-8", "ignore")
        name, number = stem + suffix, 1
        while is_table(self._living, one.schema, name) is not None:
            number += 1
            name = f"{stem[: LONGEST_NAME - len(suffix) - 4]}{suffix}_{number}"
        self._living.run(f"CREATE TABLE {quoted(one.schema, name)} AS SELECT * FROM {one.rows_sql}")
        self.kept.append(spelled(one.schema, name))

    def define(self, sql: str, lock_wait: int) -> None:
        """Make objects of tables that are missing."""
        if sql:
            self._living.run(known_to(self._living.major, sql))
            self._living.run(f"SET LOCAL lock_timeout = {max(1, lock_wait) * 1000}; SET LOCAL row_security = off")

    def copy(self, one: Wanted) -> int:
        """Copy the rows of one table; returns how many."""
        columns = ", ".join(quoted(name) for name, generated in _columns(self._source, one) if not generated)
        if columns:
            count = _pipe(
                self._source,
                f"COPY (SELECT {columns} FROM {one.rows_sql}) TO STDOUT",
                self._living,
                f"COPY {one.sql} ({columns}) FROM STDIN",
            )
        else:
            count = int(self._source.value(f"SELECT count(*) FROM {one.rows_sql}"))
            for _row in range(count):
                self._living.run(f"INSERT INTO {one.sql} DEFAULT VALUES")
        found = int(self._living.value(f"SELECT count(*) FROM {one.rows_sql}"))
        if found != count:
            raise ProofError(
                f"table {one.name} has {found} rows after the copy instead of {count}", "nothing was changed"
            )
        self._set_sequences(one)
        return count

    def _set_sequences(self, one: Wanted) -> None:
        """No sequence of the table may give a number again."""
        for schema, name in self._source.rows(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' "
            "AND d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass "
            "AND d.deptype IN ('a', 'i') AND d.refobjid = %s::regclass",
            (one.sql,),
        ):
            if is_table(self._living, schema, name) != "S":
                continue
            sequence = quoted(schema, name)
            ((value, called),) = self._source.rows(f"SELECT last_value, is_called FROM {sequence}")
            ((ours, ours_called),) = self._living.rows(f"SELECT last_value, is_called FROM {sequence}")
            if not ours_called or (one in self.existing and called and self._further(sequence, value, ours)):
                self._living.rows("SELECT pg_catalog.setval(%s::regclass, %s, %s)", (sequence, value, called))

    def _further(self, sequence: str, value: int, ours: int) -> bool:
        step = self._living.value(
            "SELECT seqincrement FROM pg_catalog.pg_sequence WHERE seqrelid = %s::regclass", (sequence,)
        )
        return value > ours if step > 0 else value < ours

    def close(self, foreign_keys: str) -> None:
        """Put triggers and references back; the server checks each reference as it is made."""
        for table, name, state in self._triggers:
            self._living.run(f"ALTER TABLE {table} {ENABLE[state]} TRIGGER {quoted(name)}")
        for table, name, definition, comment in self._references:
            self._living.run(f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} {definition}")
            if comment is not None:
                self._living.run(f"COMMENT ON CONSTRAINT {quoted(name)} ON {table} IS {literal(comment)}")
        if foreign_keys:
            self._living.run(known_to(self._living.major, foreign_keys))


def _columns(connection: Connection, one: Wanted) -> list[tuple[str, bool]]:
    """Names of the columns, and whether they are generated."""
    rows = connection.rows(
        "SELECT attname, attgenerated <> '' FROM pg_catalog.pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (one.sql,),
    )
    return [(str(name), bool(generated)) for name, generated in rows]


def _pipe(source: Connection, out: str, living: Connection, into: str) -> int:
    """Rows from one session into the other, through a pipe; returns how many."""
    reader, writer = os.pipe()
    failures: list[BaseException] = []
    count: list[int] = []

    def send() -> None:
        try:
            with os.fdopen(writer, "wb") as file, source.errors(), source.raw.cursor() as cursor:
                cursor.copy_expert(out, file)
                count.append(cursor.rowcount)
        except BaseException as error:  # raised again below
            failures.append(error)

    sender = threading.Thread(target=send, name="copy-out", daemon=True)
    sender.start()
    try:
        with os.fdopen(reader, "rb") as file, living.errors(), living.raw.cursor() as cursor:
            cursor.copy_expert(into, file)
    finally:
        sender.join()
    if failures:
        raise failures[0]
    return count[0]


def _rollback(connection: Connection) -> None:
    try:
        connection.run("ROLLBACK")
    except DbfleetError:
        pass  # the session is gone, and with it the transaction


def _explained(error: BaseException, database: str) -> BaseException:
    """The error of a copy in words that say what to do."""
    if not isinstance(error, (SourceError, BusyError)):
        return error
    cause: Any = error.__cause__
    if getattr(cause, "pgcode", None) == "23503":
        detail = getattr(cause.diag, "message_detail", None) or error.message
        return ProofError(
            f"a row would refer to one that is not there: {detail}",
            "restore the table that it refers to as well; nothing was changed",
        )
    if isinstance(error, SourceError):
        return SourceError(f"{error.message}", "nothing was changed in the target; restore what it lacks as well")
    return error
