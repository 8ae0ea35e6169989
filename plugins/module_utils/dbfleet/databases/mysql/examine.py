"""Reading every table of a whole server that was started on restored files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TypeVar

from ...errors import ToolError
from ...model import Proof, TableProof
from .address import Address
from .commit_view import Name, shown
from .measure import hash_of, measure_queries, measure_table
from .server import SYSTEM, Session, each_of, quoted

SOUND = ("OK", "Table is already up to date")
UNKNOWN_ENGINE = "Unknown storage engine"
BASE = "'BASE TABLE', 'SYSTEM VERSIONED'"
Answer = TypeVar("Answer")


def _each(
    address: Address, names: Iterable[Name], parallel: int, act: Callable[[Session, Name], Answer]
) -> list[Answer]:
    """``act`` for each of ``names``, over several connections."""
    with ExitStack() as stack:
        return each_of([stack.enter_context(Session(address)) for _number in range(parallel)], names, act)


def tables_of(address: Address, *, system: bool = False) -> list[Name]:
    """Database and table of everything that has rows; with ``system`` the server's own as well."""
    with Session(address) as session:
        rows = session.rows(
            f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN ({BASE})"
            " AND table_schema NOT IN ('information_schema', 'performance_schema') ORDER BY 1, 2"
        )
    names = [(str(row[0]), str(row[1])) for row in rows]
    return names if system else [name for name in names if name[0].lower() not in SYSTEM]


def check_tables(address: Address, parallel: int, *, system: bool = True) -> list[str]:
    """What ``CHECK TABLE`` finds in any table, one line each; without ``system`` not in the server's own."""

    def check(session: Session, name: Name) -> list[str]:
        answer = session.rows(f"CHECK TABLE {quoted(name[0])}.{quoted(name[1])}")
        found = []
        for _table, _operation, kind, text in answer:
            if UNKNOWN_ENGINE in str(text):
                raise ToolError(
                    f"table {shown(name)} cannot be read here: {text}", "install the engine's plugin on this host"
                )
            if kind == "error" or (kind == "status" and text not in SOUND):
                found.append(f"table {shown(name)}: {text}")
        return found

    return sorted(
        line for lines in _each(address, tables_of(address, system=system), parallel, check) for line in lines
    )


def measure_again(address: Address, against: Proof, parallel: int) -> Proof:
    """What ``against`` says of tables and queries, measured here."""

    def count(session: Session, name: Name) -> tuple[str, TableProof]:
        return shown(name), measure_table(session, *name, hash_of(against))

    names = [name for name in tables_of(address) if shown(name) in against.tables]
    tables = dict(sorted(_each(address, names, parallel, count)))
    with Session(address) as session:
        session.run("START TRANSACTION READ ONLY")
        return Proof(against.level, tables, queries=measure_queries(session, [one.sql for one in against.queries]))
