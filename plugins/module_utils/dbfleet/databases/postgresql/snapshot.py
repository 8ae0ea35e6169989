"""A backup's view of one database: its dump, its proof in the dump's own snapshot, and how to restore it by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Optional

from ...errors import BusyError, DbfleetError, SourceError, ToolError, UsageError
from ...model import Artifact, Manifest, Proof, ProofPolicy, Source, SourceIdentity
from ...stream.process import Command, Filter
from ..base import ArtifactStream, Sink, Snapshot
from .address import Address, quoted_value
from .connection import Connection
from .inventory import Table
from .load import unknown_setting
from .measure import measure, merged
from .preamble import Preamble
from .tools import Tool, options, reason

SUFFIXES = {"custom": ("dump", ".dump"), "plain": ("sql", ".sql"), "directory": ("directory", ".dir.tar")}
PSQL = "psql -X -q -v ON_ERROR_STOP=1"
OLDER = "sed '1,40{/^SET transaction_timeout = 0;$/d;}'"  # what the server is too old for is in the first lines
STEM = re.compile(r"[^\w-]+")  # what a folder that people make is not called
# Locks are held for as long as the dump runs, and it must not hang behind somebody who waits for ours.
LOCK_TIMEOUTS = ("lock timeout", "could not obtain lock")


class PreambleStream(ArtifactStream):
    """Roles and database, as SQL."""

    role = "create"

    def __init__(self, preamble: Preamble, suffix: str, database: Optional[str]) -> None:
        self.suffix = suffix
        self.database = database
        self._data = preamble.encode()
        self.size_hint = len(self._data)

    def pump(self, sink: Sink) -> None:
        """Write the file."""
        sink.write(self._data)


class ToolStream(ArtifactStream):
    """What a tool writes: ``pg_dump`` in the snapshot that another session exported, or ``pg_dumpall``."""

    def __init__(
        self, command: Command, role: str, suffix: str, database: Optional[str], size_hint: Optional[int]
    ) -> None:
        self.role = role
        self.suffix = suffix
        self.database = database
        self.size_hint = size_hint
        self._command = command
        self._child: Optional[Filter] = None
        self._ended = False

    def pump(self, sink: Sink) -> None:
        """Pass everything on; the tool's exit status and words decide whether it was all."""
        with Filter(self._command) as child:
            self._child = child
            if self._ended:
                child.kill()
            child.close_input()
            for data in child.chunks():
                sink.write(data)

    def interrupt(self) -> None:
        """End the tool."""
        self._ended = True
        if self._child is not None:
            self._child.kill()


@dataclass(frozen=True)
class Held:
    """One database whose state is held by a transaction."""

    connection: Connection
    tables: Sequence[Table]
    preamble: Preamble
    snapshot: str
    sequences: tuple[str, ...]
    narrow: bool


class PostgresqlSnapshot(Snapshot):
    """One exported snapshot of each database; see :class:`Snapshot`.

    ``held`` is by the databases' names, or by ``None`` where there is only the one of the URL.
    """

    def __init__(
        self,
        held: Mapping[Optional[str], Held],
        identity: SourceIdentity,
        consistent_at: datetime,
        position: Mapping[str, Any],
        notes: Sequence[str],
        artifacts: Sequence[ArtifactStream],
        tool: Tool,
    ) -> None:
        self._held = held
        self.identity = identity
        self.type = "full"
        self.consistent_at = consistent_at
        self.position = position
        self.notes = notes
        self.artifacts = artifacts
        self._tool = tool
        self.tools = {"pg_dump": tool.version}

    def prove(self, policy: ProofPolicy) -> Proof:
        """Measure the exported snapshots, in the transactions that exported them."""
        proofs = {name: self._measure(held, policy) for name, held in self._held.items()}
        if None in proofs:
            return proofs[None]
        return merged({str(name): proof for name, proof in proofs.items()})

    @staticmethod
    def _measure(held: Held, policy: ProofPolicy) -> Proof:
        queries = policy.queries if held.preamble.main else ()
        if policy.level != "none":
            queries = (*queries, *held.sequences)
        return measure(
            held.connection,
            held.tables,
            replace(policy, queries=queries),
            search_path=held.preamble.search_path,
            narrow=held.narrow,
        )

    def compare(self, proof: Proof) -> Proof:
        """Nothing to compare: ``pg_dump`` read the very rows that were measured, or failed."""
        return proof

    def interrupt(self) -> None:
        """End the tools and the statements."""
        for stream in self.artifacts:
            if isinstance(stream, ToolStream):
                stream.interrupt()
        for held in self._held.values():
            held.connection.cancel()

    def state(self) -> Optional[bytes]:
        """Nothing: a dump has no increments."""
        return None

    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Make the roles and the database, then restore the dump into it."""
        made = []
        older = bool(unknown_setting(self._tool.major, min(held.connection.major for held in self._held.values())))
        for artifact, command in stored:
            name = artifact.database if artifact.database is not None else "restored"
            into = shlex.quote(f"dbname={quoted_value(name)}" if artifact.database is not None else name)
            if artifact.role == "globals":
                made.append(
                    f"# roles and settings of the server, if it is a new one: {command} | psql -X -q -d postgres"
                )
            elif artifact.role == "create":
                made.append(f"{command} | psql -X -q -d postgres -v database={shlex.quote(name)}")
            elif artifact.role == "directory":
                folder = shlex.quote(f"{STEM.sub('_', name)}.dir")
                made.append(f"mkdir -m 700 {folder}")
                made.append(f"{command} | tar -x -C {folder}")
                if older:
                    made.append(f"pg_restore -f - {folder} | {OLDER} | {PSQL} -d {into}")
                    continue
                # For what several jobs do wrong see load.LATE.
                made.append(f"pg_restore --exit-on-error --jobs=2 --section=pre-data --section=data -d {into} {folder}")
                made.append(f"pg_restore --exit-on-error --section=post-data -d {into} {folder}")
            elif artifact.role == "dump":
                made.append(
                    f"{command} | pg_restore -f - | {OLDER} | {PSQL} -d {into}"
                    if older
                    else f"{command} | pg_restore --exit-on-error -d {into}"
                )
            else:
                made.append(f"{command} | {f'{OLDER} | ' if older else ''}{PSQL} -d {into}")
        return tuple(made)


def dump_command(
    tool: Tool,
    address: Address,
    source: Source,
    *,
    snapshot: str,
    encoding: str,
    form: str,
    lock_wait: int,
    environment: Mapping[str, str],
    more: Sequence[str] = (),
) -> Command:
    """``pg_dump`` of the database at ``address``, whose encoding is given, in the exported ``snapshot``."""
    chosen = selection(source)
    argv = [
        tool.path,
        f"--dbname={address.conninfo(application_name='dbfleet')}",
        f"--snapshot={snapshot}",
        f"--format={form}",
        f"--encoding={encoding_of(chosen, encoding)}",
        f"--lock-wait-timeout={max(1, lock_wait) * 1000}",
        "--no-password",
        *chosen,
        *more,
    ]
    if form != "plain":
        argv.append("--compress=0")  # the pipeline compresses, on all cores
    return Command(
        tuple(argv),
        environment,
        explain=lambda code, words: explain(address, code, words),
        text=form == "plain",
    )


def encoding_of(chosen: Sequence[str], database: str) -> str:
    """In which encoding a dump is to be: that of the database, unless names are ``chosen`` that must be read as UTF-8.

    Without being told, the tool takes what the server's or the role's ``client_encoding`` is.
    """
    return database if database == "SQL_ASCII" or all(map(str.isascii, chosen)) else "UTF8"


def selection(source: Source) -> list[str]:
    """The options that choose schemas and tables; a pattern that matches nothing is an error."""
    chosen = [
        *options("schema", source.schemas),
        *options("exclude-schema", source.exclude_schemas),
        *options("table", source.tables),
        *options("exclude-table", source.exclude_tables),
    ]
    return [*chosen, "--strict-names"] if source.schemas or source.tables else chosen


def narrows(source: Source) -> bool:
    """Whether only some schemas or tables are wanted."""
    return bool(source.schemas or source.exclude_schemas or source.tables or source.exclude_tables)


def explain(address: Address, code: int, words: str, tool: str = "pg_dump") -> DbfleetError:
    """What the tool said, in our words."""
    said = reason(words)
    name = address.database
    if any(phrase in said for phrase in LOCK_TIMEOUTS):
        return BusyError(
            f"database {name!r}: a table is locked: {said}",
            "end the transaction that holds the lock, or raise limits.lock_wait",
        )
    if "permission denied" in said:
        return SourceError(f"database {name!r}: {said}", "grant the role what it lacks, such as pg_read_all_data")
    if "no matching" in said:
        return UsageError(f"database {name!r}: {said}", "correct source.schemas or source.tables")
    return ToolError(
        f"{tool} of database {name!r} failed with exit status {code}: {said}",
        "nothing of what it wrote was kept; cure what it says and start again",
    )
