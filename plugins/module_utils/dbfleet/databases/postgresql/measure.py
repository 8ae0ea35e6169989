"""What a proof measures of a PostgreSQL database: rows, digests made by the server, answers to queries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ...errors import SourceError, UsageError
from ...model import Proof, ProofPolicy, QueryProof, TableProof
from .address import import_driver
from .connection import Connection
from .inventory import Table
from .quoting import literal, quoted, spelled
from .schema import schema_digest

LARGE_OBJECTS = "pg_largeobject"  # the name under which all of them are counted
SLICE = 4 * 2**20
BATCH = 500
COUNTED_AT_ONCE = 50
MODULUS = 2**64
FETCHED = 1000
SEQUENCES_AT_ONCE = 500


def measure(
    connection: Connection,
    tables: Sequence[Table],
    policy: ProofPolicy,
    *,
    search_path: str,
    narrow: bool = False,
    large_objects: bool = True,
) -> Proof:
    """The proof of what ``connection`` sees; it must be in a transaction and pinned.

    ``narrow``: only the given tables are described and measured. ``search_path`` is the one in which the
    user's queries are asked.
    """
    queries = tuple(measure_query(connection, sql, search_path) for sql in policy.queries)
    if policy.level == "none":
        return Proof("none", queries=queries)
    measured = measure_tables(connection, tables, content=policy.level == "content")
    if large_objects and not narrow:
        found = measure_large_objects(connection, content=policy.level == "content")
        if found is not None:
            measured[LARGE_OBJECTS] = found
    only = [table.oid for table in tables] if narrow else None
    return Proof(policy.level, measured, schema_digest(connection, only), queries)


def measure_tables(connection: Connection, tables: Sequence[Table], *, content: bool) -> dict[str, TableProof]:
    """Rows of each table that keeps rows and, if asked, their digest."""
    counted = [table for table in tables if table.has_rows]
    found: dict[str, TableProof] = {}
    if connection.value("SELECT pg_catalog.pg_is_in_recovery()"):  # a standby has no rows of unlogged tables
        absent = TableProof(0, f"{0:016x}" if content else None)
        found = {table.name: absent for table in counted if table.persistence == "u"}
        counted = [table for table in counted if table.persistence != "u"]
    if content:
        found.update({table.name: content_digest(connection, table) for table in counted})
        return found
    for start in range(0, len(counted), COUNTED_AT_ONCE):
        some = counted[start : start + COUNTED_AT_ONCE]
        numbers = connection.rows(
            " UNION ALL ".join(
                f"SELECT {number}, count(*) FROM ONLY {table.sql} {table.condition or ''}"
                for number, table in enumerate(some)
            )
        )
        found.update({some[number].name: TableProof(int(rows)) for number, rows in numbers})
    return found


def content_digest(connection: Connection, table: Table) -> TableProof:
    """Rows, and the sum modulo 2**64 of the hash of each row's text: equal for equal rows in any order.

    The hash is the one of hash partitions, which therefore stays what it is (manual, 5.11.2.1), and costs a
    fraction of MD5. A row is the text of its columns in the order of their names, because a dump may bring the
    columns of an inherited table back in another order; generated columns that are not stored are left out.
    """
    columns = connection.value(
        "SELECT string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attname COLLATE \"C\") "
        "FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped "
        "AND attgenerated <> 'v'",
        (table.oid,),
    )
    ((rows, total),) = connection.rows(
        f'SELECT count(*), coalesce(sum(hashtextextended(ROW({columns or ""})::text COLLATE "C", 0)), 0)::text '
        f"FROM ONLY {table.sql} {table.condition or ''}"
    )
    return TableProof(int(rows), f"{int(total) % MODULUS:016x}")


def measure_large_objects(connection: Connection, *, content: bool) -> Optional[TableProof]:
    """How many large objects there are and, if asked, a digest of their numbers and bytes; ``None`` without any."""
    count = int(connection.value("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"))
    if not count or not content:
        return TableProof(count) if count else None
    digest = hashlib.sha256()
    last = 0
    while True:
        rows = connection.rows(
            f"SELECT o.oid, length(s.slice), md5(s.slice) FROM (SELECT oid FROM pg_catalog.pg_largeobject_metadata "
            f"WHERE oid > %s ORDER BY oid LIMIT {BATCH}) AS o, "
            f"LATERAL (SELECT pg_catalog.lo_get(o.oid, 0, {SLICE}) OFFSET 0) AS s(slice) ORDER BY o.oid",
            (last,),
        )
        if not rows:
            return TableProof(count, digest.hexdigest())
        for oid, length, md5 in rows:
            digest.update(f"{oid}:{length}:{md5}".encode())
            position = SLICE
            while length == SLICE:
                ((length, md5),) = connection.rows(
                    "SELECT length(s.slice), md5(s.slice) FROM "
                    f"(SELECT pg_catalog.lo_get(%s, %s, {SLICE}) OFFSET 0) AS s(slice)",
                    (oid, position),
                )
                digest.update(f":{length}:{md5}".encode())
                position += SLICE
            digest.update(b"\n")
            last = oid


def sequence_mark(database: Optional[str]) -> str:
    """How the queries begin that a proof asks by itself; of several databases each has its own."""
    return f"/* sequences of {spelled(database)} */ " if database is not None else "/* sequences */ "


def sequence_queries(
    connection: Connection, only: Optional[Sequence[int]] = None, database: Optional[str] = None
) -> tuple[str, ...]:
    """Queries that count the sequences which have come as far as they have now.

    Sequences obey no snapshot: a dump holds what they are when it reads them, which is this or
    later. A sequence that a restore set back, or did not set at all, is missing from the count.
    """
    rows = connection.rows(
        "SELECT s.schemaname, s.sequencename, s.last_value, s.increment_by > 0 FROM pg_catalog.pg_sequences s "
        "JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname "
        "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename "
        "WHERE s.last_value IS NOT NULL AND NOT s.cycle AND c.relpersistence <> 't' "
        "AND (%s OR c.oid = ANY (%s)) "
        "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
        "AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2",
        (only is None, list(only or ())),
    )
    queries = []
    for start in range(0, len(rows), SEQUENCES_AT_ONCE):
        values = ", ".join(
            f"({literal(schema)}, {literal(name)}, {value}, {'1' if ascending else '-1'})"
            for schema, name, value, ascending in rows[start : start + SEQUENCES_AT_ONCE]
        )
        queries.append(
            f"{sequence_mark(database)}SELECT count(*) FROM (VALUES {values}) AS v(s, n, least, way) "
            "JOIN pg_catalog.pg_sequences q ON q.schemaname = v.s AND q.sequencename = v.n "
            "WHERE (q.last_value - v.least) * v.way >= 0"
        )
    return tuple(queries)


def measure_query(connection: Connection, sql: str, search_path: str) -> QueryProof:
    """The answer of ``sql`` in its own order. Raises ``UsageError`` when it cannot be asked, writes, or is many.

    The server itself opens it as a cursor: that takes one statement, and only one that gives rows
    (manual, 43.7.2).
    """
    try:
        rows, digest = _ask(connection, sql, search_path)
    except SourceError as error:
        if not getattr(error.__cause__, "pgcode", None):
            raise
        reason = error.message.partition(": ")[2]
        raise UsageError(f"proof.queries: {sql!r} failed: {reason}", "correct the query in the job") from error
    return QueryProof(sql, rows, digest)


def _ask(connection: Connection, sql: str, search_path: str) -> tuple[int, str]:
    connection.rows(
        "SELECT set_config('dbfleet.query', %s, true), set_config('search_path', %s, true)", (sql, search_path)
    )
    connection.run(
        "DO $dbfleet$ DECLARE c refcursor := 'dbfleet_proof'; "
        "BEGIN OPEN c FOR EXECUTE pg_catalog.current_setting('dbfleet.query'); END $dbfleet$"
    )
    answer = hashlib.sha256()
    count = 0
    while True:
        rows = _fetch_texts(connection)
        for row in rows:
            answer.update(b"".join(map(_value_bytes, row)) + b"\n")
        count += len(rows)
        if len(rows) < FETCHED:
            break
    connection.run("CLOSE dbfleet_proof; SET LOCAL search_path = ''")
    return count, answer.hexdigest()


def _fetch_texts(connection: Connection) -> list[tuple[Optional[str], ...]]:
    """Some rows with every value as the server wrote it."""
    extensions = import_driver().extensions
    with connection.errors(), connection.raw.cursor() as cursor:
        extensions.register_type(
            extensions.new_type(tuple(extensions.string_types), "DBFLEET_TEXT", lambda value, _cursor: value), cursor
        )
        cursor.execute(f"FETCH {FETCHED} FROM dbfleet_proof")
        return list(cursor.fetchall())


def _value_bytes(value: Any) -> bytes:
    if value is None:
        return b"n"
    data = str(value).encode("utf-8", "surrogateescape")
    return b"t%d:%b" % (len(data), data)


def verify_indexes(connection: Connection) -> list[str]:
    """Indexes that the server itself does not rely on, one line each."""
    rows = connection.rows(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i'"
    )
    return [f"index {quoted(*row)} is not valid" for row in rows]


def merged(proofs: Mapping[str, Proof]) -> Proof:
    """One proof of several databases: names of tables begin with the database's."""
    tables = {
        f"{spelled(database)}.{name}": table
        for database, proof in proofs.items()
        for name, table in proof.tables.items()
    }
    queries = tuple(query for proof in proofs.values() for query in proof.queries)
    level = next(iter(proofs.values())).level
    digests = {database: proof.schema_sha256 for database, proof in proofs.items()}
    if level == "none" or None in digests.values():
        return Proof(level, tables, None, queries)
    text = "".join(f"{spelled(database)} {digest}\n" for database, digest in sorted(digests.items()))
    return Proof(level, tables, hashlib.sha256(text.encode("utf-8")).hexdigest(), queries)
