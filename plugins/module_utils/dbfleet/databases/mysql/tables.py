"""Single tables of a backup into a living database: all of them or none, the rest stays."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import RefusedError
from ...units import utc_now
from ..base import TakenOver
from .objects import read_charset, read_objects
from .references import read_references, require_whole
from .server import Session, quoted
from .streams import trigger_calls
from .swap import Move, create_like, drop_triggers, kept_name, move_tables, triggers_of
from .takeover import Built, turn_sequences


def rows_of(session: Session, database: str, table: str) -> int:
    """How many rows ``table`` has."""
    return int(session.row(f"SELECT count(*) FROM {quoted(database)}.{quoted(table)}")[0])


def require_room(session: Session, database: str, tables: Sequence[str]) -> None:
    """Refuse to overwrite rows."""
    there = {table.name for table in read_objects(session, database).tables}
    for name in tables:
        if name in there:
            row = session.row(f"SELECT 1 FROM {quoted(database)}.{quoted(name)} LIMIT 1")
            if row:
                raise RefusedError(
                    f"table {name!r} of database {database!r} already has rows",
                    "replace them with --replace (they are kept beside), or restore elsewhere with --to",
                )


def copy_tables(built: Built, tables: Sequence[str]) -> TakenOver:
    """Move ``tables`` with their rows, indexes, foreign keys and triggers into the target."""
    session, side, target = built.session, built.side, built.target
    if not built.request.replace:
        require_room(session, target, tables)
    there = [table.name for table in read_objects(session, target).tables]
    in_backup = [table.name for table in read_objects(session, side).tables]
    require_whole(session, side, target, tables, there, in_backup)
    rows = {name: rows_of(session, side, name) for name in tables}
    replaced = [name for name in tables if name in there]
    _require_no_children(session, target, tables, replaced)
    new = built.dump(trigger_calls(built.tools, side, tables), "new.sql")
    old = built.dump(trigger_calls(built.tools, target, replaced), "old.sql") if replaced else None
    _turn_references(session, side, target, tables)
    drop_triggers(session, side, triggers_of(session, side))
    kept = kept_name(session, target, utc_now()) if replaced else None
    if kept is not None:
        create_like(session, kept, read_charset(session, target))
    out = [Move(name, target, kept or "") for name in replaced]
    into = [Move(name, side, target) for name in tables]
    try:
        move_tables(built.address, out, into, triggers_of(session, target, replaced), wait=built.wait)
    except BaseException:
        if kept is not None:
            session.run(f"DROP DATABASE IF EXISTS {quoted(kept)}")
        raise
    try:
        turn_sequences(session, target, side, read_objects(session, target).sequences)
        built.feed(target, new, "the triggers")
    except BaseException:
        drop_triggers(session, target, triggers_of(session, target, tables))
        back = [Move(name, target, side) for name in tables]
        move_tables(built.address, back, [Move(name, kept or "", target) for name in replaced], (), wait=built.wait)
        built.feed(target, old, "the triggers")
        if kept is not None:
            session.run(f"DROP DATABASE IF EXISTS {quoted(kept)}")
        raise
    if kept is not None:
        built.feed(kept, old, "the triggers")
    return TakenOver(kept, rows)


def _require_no_children(session: Session, target: str, tables: Sequence[str], replaced: Sequence[str]) -> None:
    """Refuse to move a table that others refer to: their foreign keys would follow the old one."""
    children = session.rows(
        "SELECT DISTINCT table_schema, table_name, referenced_table_name FROM information_schema.key_column_usage"
        " WHERE referenced_table_schema = %s",
        target,
    )
    for schema, child, parent in children:
        if parent in replaced and not (schema == target and child in tables):
            raise RefusedError(
                f"table {child!r} refers to {parent!r}, which would be replaced",
                f"restore both: --table {child} --table {parent}, or drop that foreign key first; nothing was changed",
            )


def _turn_references(session: Session, side: str, target: str, tables: Sequence[str]) -> None:
    """Let foreign keys of tables that come back name the target's tables, where the parent stays there."""
    session.run("SET foreign_key_checks = 0")
    try:
        for reference in read_references(session, side):
            if reference.table in tables and reference.parent not in tables:
                table = f"{quoted(side)}.{quoted(reference.table)}"
                session.run(f"ALTER TABLE {table} DROP FOREIGN KEY {quoted(reference.name)}")
                session.run(f"ALTER TABLE {table} {reference.clause(target)}")
            elif reference.table not in tables and reference.parent in tables:
                table = f"{quoted(side)}.{quoted(reference.table)}"
                session.run(f"ALTER TABLE {table} DROP FOREIGN KEY {quoted(reference.name)}")
    finally:
        session.run("SET foreign_key_checks = 1")
