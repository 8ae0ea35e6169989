"""Foreign keys between tables that come back and those that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ProofError
from .server import Session, quoted


@dataclass(frozen=True)
class Reference:
    """A foreign key: ``columns`` of ``table`` name ``parent_columns`` of ``parent``, all in one database."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str

    def clause(self, database: str) -> str:
        """``ADD CONSTRAINT …`` with the parent in ``database``."""
        own = ", ".join(map(quoted, self.columns))
        theirs = ", ".join(map(quoted, self.parent_columns))
        # RESTRICT is the default; written out, MariaDB would show it as NO ACTION
        rules = (("ON DELETE", self.on_delete), ("ON UPDATE", self.on_update))
        actions = "".join(f" {what} {rule}" for what, rule in rules if rule != "RESTRICT")
        return (
            f"ADD CONSTRAINT {quoted(self.name)} FOREIGN KEY ({own})"
            f" REFERENCES {quoted(database)}.{quoted(self.parent)} ({theirs}){actions}"
        )


def read_references(session: Session, database: str) -> list[Reference]:
    """The foreign keys of ``database`` that stay inside it."""
    columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for table, name, column, parent_column in session.rows(
        "SELECT table_name, constraint_name, column_name, referenced_column_name"
        " FROM information_schema.key_column_usage WHERE table_schema = %s AND referenced_table_schema = %s"
        " ORDER BY table_name, constraint_name, ordinal_position",
        database,
        database,
    ):
        columns.setdefault((str(table), str(name)), []).append((str(column), str(parent_column)))
    found = []
    for table, name, parent, on_update, on_delete in session.rows(
        "SELECT table_name, constraint_name, referenced_table_name, update_rule, delete_rule"
        " FROM information_schema.referential_constraints WHERE constraint_schema = %s ORDER BY 1, 2",
        database,
    ):
        pairs = columns.get((str(table), str(name)))
        if pairs:
            own, theirs = zip(*pairs)
            found.append(Reference(str(name), str(table), own, str(parent), theirs, str(on_update), str(on_delete)))
    return found


def orphans(session: Session, reference: Reference, child: str, parent: str) -> int:
    """Rows of the table in database ``child`` whose foreign key names no row of the parent in database ``parent``."""
    joined = " AND ".join(
        f"p.{quoted(theirs)} = c.{quoted(own)}" for own, theirs in zip(reference.columns, reference.parent_columns)
    )
    given = " AND ".join(f"c.{quoted(own)} IS NOT NULL" for own in reference.columns)
    row = session.row(
        f"SELECT count(*) FROM {quoted(child)}.{quoted(reference.table)} c"
        f" WHERE {given} AND NOT EXISTS (SELECT 1 FROM {quoted(parent)}.{quoted(reference.parent)} p WHERE {joined})"
    )
    return int(row[0])


def require_whole(
    session: Session, side: str, target: str, tables: Sequence[str], there: Sequence[str], built: Sequence[str]
) -> None:
    """Refuse tables that would leave foreign keys broken: rows that come back, or rows that stay.

    ``there`` are the tables of the target, ``built`` those of the backup.
    """
    for reference in read_references(session, side):
        if reference.table not in tables:
            continue
        place = side if reference.parent in tables else target
        if place == target and reference.parent not in there:
            raise ProofError(
                f"table {reference.table!r} refers to {reference.parent!r}, which {target!r} does not have",
                f"restore it as well: --table {reference.parent}; nothing was changed",
            )
        _require(orphans(session, reference, side, place), reference, place == side)
    for reference in read_references(session, target):
        if reference.parent in tables and reference.table not in tables and reference.parent in built:
            broken = orphans(session, reference, target, side)
            before = orphans(session, reference, target, target) if reference.parent in there else broken
            if broken > before:
                raise ProofError(
                    f"{broken} rows of table {reference.table!r} would refer to rows of {reference.parent!r}"
                    " that are not in the backup",
                    f"restore {reference.table!r} as well: --table {reference.table}; nothing was changed",
                )


def _require(broken: int, reference: Reference, in_backup: bool) -> None:
    if broken and not in_backup:
        raise ProofError(
            f"{broken} rows of table {reference.table!r} would refer to rows of {reference.parent!r} that are gone",
            f"restore {reference.parent!r} as well: --table {reference.parent}; nothing was changed",
        )
