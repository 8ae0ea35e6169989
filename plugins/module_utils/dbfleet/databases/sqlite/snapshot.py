"""A backup's view of one SQLite database: its artifacts, its proof, and how to restore it by hand."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Optional, Union

from ...errors import ProofError
from ...model import Artifact, Manifest, Proof, ProofPolicy, SourceIdentity
from ..base import ArtifactStream, Sink, Snapshot
from .connection import sqlite_errors
from .dump import dump
from .image import Pinned
from .measure import measure, written_differs
from .pages import ImageStream, IncrementStream
from .soundness import examine, stand_in_collations

# The shell as people have it: from 3.41 on it lets no script enter what only a writable schema takes, unless told so.
SHELL = "sqlite3 -bail -cmd '.dbconfig defensive off'"


class DumpStream(ArtifactStream):
    """The database as SQL."""

    role = "sql"
    suffix = ".sql"

    def __init__(self, connection: sqlite3.Connection, path: str, *, shared: bool) -> None:
        self._connection = connection
        self._path = path
        self._shared = shared
        self.written: Optional[dict[str, int]] = None

    def pump(self, sink: Sink) -> None:
        """Write the SQL, proven batch by batch."""
        self.written = dump(self._connection, self._path, sink, shared=self._shared)


class SqliteSnapshot(Snapshot):
    """One pinned state; see :class:`Snapshot`."""

    def __init__(
        self,
        pinned: Pinned,
        identity: SourceIdentity,
        consistent_at: datetime,
        pages: Union[ImageStream, IncrementStream],
        sql: Optional[DumpStream],
        notes: Sequence[str],
    ) -> None:
        self._pinned = pinned
        self._pages = pages
        self._sql = sql
        self.identity = identity
        self.type = "incremental" if isinstance(pages, IncrementStream) else "full"
        self.consistent_at = consistent_at
        self.position = {
            "journal_mode": pinned.journal_mode,
            "page_size": pinned.image.page_size,
            "page_count": pinned.image.page_count,
        }
        self.notes = (pinned.note, *notes)
        self.artifacts = (pages, sql) if sql else (pages,)
        self.tools = {"sqlite": sqlite3.sqlite_version}

    def prove(self, policy: ProofPolicy) -> Proof:
        """Measure the pinned state, which SQLite must find sound."""
        connection = self._pinned.connections[0]
        stand_in_collations(connection)
        if policy.level != "none":
            self._require_sound(connection)
        return measure(connection, self._pinned.path, policy)

    def compare(self, proof: Proof) -> Proof:
        """A table of which the ``.sql`` has other rows than were counted is a ``ProofError``."""
        if isinstance(self._pages, IncrementStream):
            return replace(proof, image_sha256=self._pages.image_sha256)
        wrong = written_differs(proof, self._sql.written) if self._sql and self._sql.written else []
        if wrong:
            raise ProofError(
                f"the .sql does not carry every row of table {wrong[0]!r} of {self._pinned.path!r}",
                "run PRAGMA integrity_check on the database",
            )
        return proof

    def _require_sound(self, connection: sqlite3.Connection) -> None:
        """A damaged database is no backup: SQLite reads every page of the very state that was stored."""
        with sqlite_errors(self._pinned.path):
            found = examine(connection, thorough=False)
        if found.damage:
            raise ProofError(
                f"database {self._pinned.path!r} is damaged: {'; '.join(found.damage)}",
                "restore the newest good backup, or repair it with the sqlite3 shell's .recover",
            )
        broken = [line for line in found.broken_constraints if not line.startswith("CHECK")]  # the .sql ignores checks
        if broken and self._sql:
            raise ProofError(
                f"the .sql cannot carry rows of {self._pinned.path!r} that its own schema forbids: {'; '.join(broken)}",
                "correct these rows, or use method: physical, which keeps the database's own pages",
            )
        if found.broken_constraints:
            self.notes = (*self.notes, f"rows break the schema: {'; '.join(found.broken_constraints)}")

    def interrupt(self) -> None:
        """End the statements that are running."""
        for connection in self._pinned.connections:
            connection.interrupt()

    def state(self) -> Optional[bytes]:
        """The page map of this state."""
        return self._pages.page_map.to_bytes() if self._pages.page_map else None

    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Decode the image and let SQLite replay each increment, which is a log of its own format."""
        decode = {artifact.role: command for artifact, command in stored}
        if not isinstance(self._pages, IncrementStream):
            commands = [f"{decode['db']} > restored.db"]
            if "sql" in decode:
                commands.append(f"# or, from the SQL: {decode['sql']} | {SHELL} restored.db")
            return tuple(commands)
        commands = [command for command in chain[-1].restore_with if not command.startswith("#")]
        return (
            *commands,
            f"{decode['pages']} > restored.db-wal",
            f"sqlite3 restored.db {shlex.quote('PRAGMA wal_checkpoint(TRUNCATE)')}",
        )
