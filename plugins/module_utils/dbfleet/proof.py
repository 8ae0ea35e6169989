"""Comparing what was measured inside a backup's snapshot with what a restore gives. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Finding, Proof

REMEDY = "do not rely on this backup; restore another one, and find out what wrote or changed it"


def compare(expected: Proof, measured: Proof) -> list[Finding]:
    """Everything of ``expected`` that ``measured`` does not confirm; empty when they agree.

    What was never expected (level ``none``, no digest, no image) is not compared; what was
    expected and not measured is a finding, never a pass.
    """
    return [
        *_tables(expected, measured),
        *_schema(expected, measured),
        *_queries(expected, measured),
        *_image(expected, measured),
    ]


def _tables(expected: Proof, measured: Proof) -> Iterator[Finding]:
    if expected.level == "none":
        return
    for name, table in expected.tables.items():
        found = measured.tables.get(name)
        if found is None:
            yield Finding(f"table {name}", f"missing, {table.rows} rows were backed up", REMEDY)
        elif found.rows != table.rows:
            yield Finding(f"table {name}", f"{found.rows} rows, {table.rows} were backed up", REMEDY)
        elif table.digest is not None and found.digest is None:
            yield Finding(f"table {name}", "its content was not measured", "measure it at level content")
        elif table.digest is not None and found.digest != table.digest:
            yield Finding(f"table {name}", f"{found.rows} rows as expected, but other content", REMEDY)
    for name, table in measured.tables.items():
        if name not in expected.tables:
            yield Finding(f"table {name}", f"not in the backup's proof, but here with {table.rows} rows", REMEDY)


def _schema(expected: Proof, measured: Proof) -> Iterator[Finding]:
    if expected.schema_sha256 is None:
        return
    if measured.schema_sha256 is None:
        yield Finding("schema", "it was not measured", "measure it again")
    elif measured.schema_sha256 != expected.schema_sha256:
        yield Finding("schema", "other tables, columns, indexes or triggers than were backed up", REMEDY)


def _queries(expected: Proof, measured: Proof) -> Iterator[Finding]:
    answers = {query.sql: query for query in measured.queries}
    for query in expected.queries:
        answer = answers.get(query.sql)
        if answer is None:
            yield Finding(f"query {query.sql}", "it was not asked", "ask it again")
        elif answer.rows != query.rows:
            yield Finding(f"query {query.sql}", f"{answer.rows} rows, {query.rows} when backed up", REMEDY)
        elif answer.sha256 != query.sha256:
            yield Finding(f"query {query.sql}", f"{query.rows} rows as expected, but another answer", REMEDY)


def _image(expected: Proof, measured: Proof) -> Iterator[Finding]:
    # Only a restore that is meant to be the same bytes measures its image at all.
    if None not in (expected.image_sha256, measured.image_sha256) and (expected.image_sha256 != measured.image_sha256):
        yield Finding("database image", "not the bytes that were backed up", REMEDY)
