"""What a proof measures of an SQLite database: rows, content digests, answers to queries."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import UsageError
from ...model import Proof, ProofPolicy, QueryProof, TableProof
from .connection import quoted, sqlite_errors
from .dump import batches
from .literals import decode_text
from .references import all_lead_to_rows
from .schema import Table, read_items, read_tables, schema_digest

MODULUS = 2**256
# A backup is as whole as its source was: the same rows must answer.
REFERENCES = "SELECT * FROM pragma_foreign_key_check ORDER BY 1, 2, 3, 4"


def measure(connection: sqlite3.Connection, path: str, policy: ProofPolicy) -> Proof:
    """The proof of what ``connection`` sees, at ``policy.level``; ``none`` measures the queries only."""
    connection.text_factory = decode_text
    queries = tuple(measure_query(connection, sql) for sql in policy.queries)
    if policy.level == "none":
        return Proof(level="none", queries=queries)
    with sqlite_errors(path):
        items = read_items(connection)
        tables = {
            table.name: measure_table(connection, table, content=policy.level == "content")
            for table in read_tables(connection, items)
        }
    references = () if REFERENCES in policy.queries else _measure_references(connection)
    return Proof(policy.level, tables, schema_digest(items), queries + references)


def counted(connection: sqlite3.Connection, path: str, against: Proof) -> Proof:
    """``against`` with the rows, schema and answers that ``connection`` gives: what is asked of equal bytes."""
    connection.text_factory = decode_text
    queries = tuple(one if one.sql == REFERENCES else measure_query(connection, one.sql) for one in against.queries)
    with sqlite_errors(path):
        items = read_items(connection)
        tables = {table.name: _count(connection, table) for table in read_tables(connection, items)}
    known = {
        name: against.tables[name]._replace(rows=rows) if name in against.tables else TableProof(rows)
        for name, rows in tables.items()
    }
    return replace(against, tables=known, schema_sha256=schema_digest(items), queries=queries)


def _count(connection: sqlite3.Connection, table: Table) -> int:
    (rows,) = connection.execute(f"SELECT count(*) FROM main.{quoted(table.name)}").fetchone()
    return int(rows)


def _measure_references(connection: sqlite3.Connection) -> tuple[QueryProof, ...]:
    """Rows that refer to none; nothing where a foreign key itself is wrong (manual, "Foreign Key Support", 3)."""
    try:
        return (measure_query(connection, REFERENCES),)
    except UsageError as error:
        if "foreign key mismatch" in error.message:
            return ()
        raise


def measure_table(connection: sqlite3.Connection, table: Table, *, content: bool) -> TableProof:
    """Rows of ``table`` and, if asked, their digest."""
    if not content:
        return TableProof(_count(connection, table))
    query = f"SELECT {','.join(table.selected)} FROM main.{quoted(table.name)}"
    return content_digest(row for rows in batches(connection, query) for row in rows)


def content_digest(rows: Iterable[tuple[Any, ...]]) -> TableProof:
    """Rows, and the sum modulo 2**256 of the SHA-256 of each: equal for equal rows in any order.

    A row is the concatenation of its values, each as a type letter, a length where one is needed,
    and its bytes; a negative zero counts as zero.
    """
    total = count = 0
    sha256 = hashlib.sha256
    for row in rows:
        digest = sha256(b"".join(map(_value_bytes, row))).digest()
        total += int.from_bytes(digest, "big")
        count += 1
    return TableProof(count, f"{total % MODULUS:064x}")


def _value_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return b"t%d:%b" % (len(data), data)
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value + 0.0)
    if value is None:
        return b"n"
    return b"b%d:%b" % (len(value), value)


def measure_query(connection: sqlite3.Connection, sql: str) -> QueryProof:
    """The answer of ``sql`` in its own order. Raises ``UsageError`` when it cannot be asked or would write."""
    try:
        connection.execute("PRAGMA query_only = ON")
        answer = hashlib.sha256()
        if sql == REFERENCES and all_lead_to_rows(connection):
            return QueryProof(sql, 0, answer.hexdigest())
        rows = 0
        asked = connection.execute(sql)
        if asked.description is None:
            raise UsageError(f"proof.queries: {sql!r} asks for nothing", "write a query that gives rows")
        for row in asked:
            answer.update(b"".join(map(_value_bytes, row)) + b"\n")
            rows += 1
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise UsageError(f"proof.queries: {sql!r} failed: {error}", "correct the query in the job") from error
    return QueryProof(sql, rows, answer.hexdigest())


def written_differs(proof: Proof, written: Mapping[str, int]) -> list[str]:
    """Tables whose dumped rows are not the rows that were counted."""
    return [name for name, table in proof.tables.items() if name in written and written[name] != table.rows]
