"""Which databases and tables of a server a job chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ...errors import NotFoundError, UsageError
from .objects import Objects
from .server import Session

EVERYTHING = "*"


@dataclass(frozen=True)
class Choice:
    """The job's ``source.databases``, ``source.tables`` and ``source.exclude_tables``.

    Tables are names, of shell patterns where they hold ``*``, ``?`` or ``[``, and may begin with
    ``DATABASE.``. Chosen tables come with their triggers alone; excluded ones leave everything else.
    """

    databases: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()

    @property
    def whole_server(self) -> bool:
        """Whether all databases and the accounts are wanted."""
        return EVERYTHING in self.databases

    @property
    def everything(self) -> bool:
        """Whether nothing is left out of the whole server."""
        return self.whole_server and not self.tables and not self.exclude_tables

    @property
    def whole(self) -> bool:
        """Whether views, routines and events are wanted as well."""
        return not self.tables

    def names(self, session: Session, named: str) -> list[str]:
        """The databases: those chosen, or the one that the URL ``named``.

        Raises ``NotFoundError`` for one that is not there, ``UsageError`` where the URL names another one.
        """
        if not self.databases:
            return [named]
        there = session.databases()
        if self.whole_server:
            return there
        for name in self.databases:
            if name not in there:
                raise NotFoundError(f"{session.what}: there is no database {name!r}", "correct source.databases")
        if named and named not in self.databases:
            raise UsageError(
                f"source.url names database {named!r}, which is not in source.databases", "leave it out of the URL"
            )
        return list(self.databases)

    def of(self, database: str, objects: Objects) -> Objects:
        """What of ``objects`` is wanted."""
        tables = tuple(one for one in objects.tables if self._wants(database, one.name))
        if self.whole:
            return replace(objects, tables=tables)
        sequences = tuple(one for one in objects.sequences if self._wants(database, one))
        return replace(objects, tables=tables, views=(), sequences=sequences)

    def _wants(self, database: str, table: str) -> bool:
        names = (table, f"{database}.{table}")
        chosen = not self.tables or _matches(names, self.tables)
        return chosen and not _matches(names, self.exclude_tables)


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names for pattern in patterns)
