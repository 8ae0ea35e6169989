"""What a proof measures: rows, content digests, answers to queries.

The content digest of a table is computed by the server: the first 64 bits of the SHA-256 of a canonical
text of each row, summed exactly (as DECIMAL), so that the order of rows does not matter and equal
rows do not cancel out. Generated columns count: they must come out the same.

Proofs that name no hash are of MD5, as all once were. MySQL has no MD5 from 9.6 on, but as a component.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Optional

from ...errors import SourceError, UsageError
from ...model import Proof, ProofPolicy, QueryProof, TableProof
from .faults import ChangedError, error_of, translate
from .objects import Table
from .server import Session, each_of, quoted

PLAIN = ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal")
TEXT = (
    *("char", "varchar", "enum", "set", "binary", "varbinary"),
    *("tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob"),
)
SPATIAL = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
)
# A row's text must fit into max_allowed_packet, or the server makes it NULL, and the row would not count: longer
# columns go in as their hash, and shorter ones too where together they may have more than the least that servers take.
LONG_BYTES = 65535
WIDE_BYTES = 2**19
LONG_IN_WIDE = 64
HASHES = {"sha256": "sha2({}, 256)", "md5": "md5({})"}  # in SQL
NEWEST = "sha256"  # of what is measured anew
CLASSIC_HASHING = "INSTALL COMPONENT 'file://component_classic_hashing'"
LOST = (2006, 2013, 1317, 1927, 1053)  # the connection or the query was ended: not the query's own fault


def hash_of(proof: Proof) -> Optional[str]:
    """Which hash the digests of ``proof`` are of; ``None`` at every level but ``content``."""
    if proof.level != "content":
        return None
    digests = [table.digest for table in proof.tables.values() if table.digest is not None]
    return "md5" if any(":" not in digest for digest in digests) else NEWEST


def canonical(column: str, kind: str, length: int, longest: int, hashed: str) -> str:
    """The SQL for one column's part of a row's text: ``n`` for NULL; text with its length, for it may hold commas.

    Columns that may have more than ``longest`` bytes are taken as their hash, whose SQL ``hashed`` is.

    Text keeps the bytes of its own character set; FLOAT and MySQL's JSON are taken as they are written to a dump.
    """
    name = quoted(column)
    if kind in PLAIN:
        value = name
    elif kind == "vector" or (kind in TEXT and length > longest):
        value = hashed.format(name)
    elif kind in TEXT:
        value = f"concat(octet_length({name}), ':', cast({name} AS BINARY))"
    elif kind in SPATIAL:
        value = f"concat(ST_SRID({name}), ':', {hashed.format(f'ST_AsWKB({name})')})"
    elif kind == "bit":
        value = f"hex({name} + 0)"
    elif kind == "json":
        as_dumped = f"cast(cast({name} AS CHAR CHARACTER SET utf8mb4) AS JSON)"
        value = hashed.format(f"cast({as_dumped} AS CHAR CHARACTER SET utf8mb4)")
    else:
        value = f"cast({name} AS CHAR CHARACTER SET utf8mb4)"
    return f"coalesce({value}, 'n')"


def row_text(session: Session, database: str, table: str, hashed: str) -> str:
    """The SQL for the canonical text of a row of ``table``, its columns in their order, invisible ones too.

    Not those that say since when MariaDB has had the row: that is the moment of the restore, in a restored one.
    """
    columns = session.rows(
        "SELECT column_name, lower(data_type), coalesce(character_octet_length, 0) FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s"
        " AND coalesce(generation_expression, '') NOT IN ('ROW START', 'ROW END') ORDER BY ordinal_position",
        database,
        table,
    )
    if not columns:
        raise ChangedError(f"{session.what}: table {table!r} was dropped meanwhile", "start again")
    whole = sum(min(int(length), LONG_BYTES) for _name, kind, length in columns if kind in TEXT)
    longest = LONG_BYTES if whole <= WIDE_BYTES else LONG_IN_WIDE
    parts = [canonical(name, kind, int(length), longest, hashed) for name, kind, length in columns]
    return f"concat_ws(',', {', '.join(parts)})"


def measure_table(session: Session, database: str, table: str, hash_name: Optional[str]) -> TableProof:
    """Rows of ``table`` and, with one of ``HASHES``, their digest.

    Raises ``SourceError`` when the server has no such hash.
    """
    place = f"{quoted(database)}.{quoted(table)}"
    if hash_name is None:
        return TableProof(int(session.row(f"SELECT count(*) FROM {place}")[0]))
    _require(session, hash_name)
    hashed = HASHES[hash_name]
    text = hashed.format(row_text(session, database, table, hashed))
    digest = f"cast(conv(left({text}, 16), 16, 10) AS UNSIGNED)"
    rows, total = session.row(f"SELECT count(*), coalesce(sum({digest}), 0) FROM {place}")
    return TableProof(int(rows), f"{int(total):032x}" if hash_name == "md5" else f"{hash_name}:{int(total):032x}")


def _require(session: Session, hash_name: str) -> None:
    """Raises ``SourceError`` where only old proofs ask for the hash and the server has it no more."""
    if hash_name != "md5":
        return
    with suppress(SourceError):
        if session.row("SELECT md5('')")[0] is not None:
            return
    raise SourceError(
        f"{session.what}: the backup was proven by MD5, which this server does not have",
        f"run there: {CLASSIC_HASHING}; it can go again once the backup is restored",
    )


def measure_queries(session: Session, queries: Sequence[str]) -> tuple[QueryProof, ...]:
    """The answers of the user's ``queries``."""
    return tuple(measure_query(session, sql) for sql in queries)


def measure_query(session: Session, sql: str) -> QueryProof:
    """The answer of ``sql`` in its own order, asked in a read-only transaction.

    Raises ``UsageError`` when it cannot be asked, would write, or is more than one statement.
    """
    answer = hashlib.sha256()
    count = 0
    try:
        with session.stream(sql) as cursor:
            if cursor.description is None:
                raise UsageError(f"proof.queries: {sql!r} asks for nothing", "write a query that gives rows")
            for row in cursor:
                answer.update(b"".join(map(_value_bytes, row)) + b"\n")
                count += 1
    except UsageError:
        raise
    except Exception as error:
        code, text = error_of(error)
        if not code:
            raise
        if code in LOST:
            raise translate(error, session.what) from error
        raise UsageError(f"proof.queries: {sql!r} failed: {text}", "correct the query in the job") from error
    return QueryProof(sql, count, answer.hexdigest())


def _value_bytes(value: Any) -> bytes:
    if value is None:
        return b"n"
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return b"%d:%b" % (len(data), data)


def _label(label: Optional[str], table: str) -> str:
    return table if label is None else f"{label}.{table}"


def measure(
    sessions: Sequence[Session],
    tables: Mapping[str, Sequence[Table]],
    policy: ProofPolicy,
    schema_sha256: Optional[str],
    labels: Mapping[str, Optional[str]],
    hash_name: Optional[str] = NEWEST,
) -> Proof:
    """The proof of ``tables`` by database, as ``sessions`` see them, which are of one snapshot.

    Digests, at level ``content``, are of ``hash_name``.
    A table is named ``label.table`` where its database has a label, as it has where there are several.
    """
    if policy.level == "none":
        return Proof("none", queries=measure_queries(sessions[0], policy.queries))
    names = [
        (_label(labels[database], table.name), database, table)
        for database, members in tables.items()
        for table in sorted(members, key=lambda one: -one.size_bytes)
        if table.has_rows
    ]

    def measured(session: Session, one: tuple[str, str, Table]) -> tuple[str, TableProof]:
        name, database, table = one
        return name, measure_table(session, database, table.name, hash_name if policy.level == "content" else None)

    found = sorted(each_of(sessions, names, measured))
    queries = measure_queries(sessions[0], policy.queries)
    return Proof(policy.level, dict(found), schema_sha256, queries)
