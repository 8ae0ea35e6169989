"""The database beside the target in which a restore builds: its name, its lock, and the end of what crashed."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ...errors import DbfleetError, SourceError
from .server import Session, quoted

MARK = "_dbfleet_"
_SIDE = re.compile(r".*_dbfleet_[0-9a-f]{8}", re.DOTALL)
BASE = 40  # characters of the target's name that go into that of the side


class Side:
    """A database that exists while its maker's connection lasts: the lock of its name says whether it does."""

    def __init__(self, session: Session, target: str) -> None:
        self._session = session
        self._base = target[:BASE] + MARK
        self.name = self._base + os.urandom(4).hex()
        self.made = False

    def make(self) -> None:
        """Create it, after removing those of the same target whose makers died."""
        self._sweep()
        if not _lock(self._session, self.name):
            raise SourceError(f"{self._session.what}: the lock {self.name!r} is taken", "try again")
        self._session.run(f"CREATE DATABASE {quoted(self.name)}")
        self.made = True

    def _sweep(self) -> None:
        for row in self._session.rows("SHOW DATABASES"):
            name = str(row[0])
            if name.startswith(self._base) and _SIDE.fullmatch(name) and _lock(self._session, name):
                try:
                    drop(self._session, name)
                finally:
                    self._session.row("SELECT release_lock(%s)", name)

    def remove(self) -> None:
        """Drop it with what is left in it. Never raises."""
        if self.made:
            with suppress(DbfleetError):
                drop(self._session, self.name)


def _lock(session: Session, name: str) -> bool:
    return bool(session.row("SELECT get_lock(%s, 0)", name)[0] == "1")


def drop(session: Session, database: str) -> None:
    """Drop ``database``, whatever refers to its tables."""
    session.run("SET foreign_key_checks = 0")
    session.run(f"DROP DATABASE IF EXISTS {quoted(database)}")
