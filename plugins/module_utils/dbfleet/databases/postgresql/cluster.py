"""A whole PostgreSQL server, as its physical backups see it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import Optional

from ...errors import DamagedError, UsageError
from ...model import Artifact, LogSettings, Source, SourceIdentity
from ..base import ArtifactStream, Database, Restoration, RestoreRequest, Snapshot, SnapshotRequest
from ..logs import LogSource
from ..place import Place, is_path, place_of, url_of
from .address import Address, read_address
from .backup_manifest import read_manifest
from .base_backup import BaseBackup, BaseStream, NoIncrementError, begin, stage, with_parent
from .cluster_snapshot import ClusterSnapshot
from .cluster_stream import SINCE as STREAMED_SINCE
from .cluster_stream import stream
from .place import POSTGRESQL
from .replication import (
    Cluster,
    Tablespace,
    databases,
    describe,
    require_replication,
    reserve_log,
    size_bytes,
    tablespaces,
)
from .tools import Tool, find
from .wal_source import WalSource

INCREMENTAL_SINCE = 17
WHOLE = "*"  # what the identity calls the database: all of them


class PostgresqlCluster(Database):
    """The server behind ``postgresql://…`` as a source; a data directory as a target."""

    engine = "postgresql"
    methods = ("physical",)
    maps_tablespaces = True
    _trial = False

    @classmethod
    def url_of_place(cls, path: str) -> str:
        """The data directory ``path``, which need not be there yet."""
        return url_of(cls.engine, path)

    @classmethod
    def scratch(cls, place: Optional[Source], tools: Optional[str] = None) -> PostgresqlCluster:
        """Nowhere: a trial starts a server of its own on the files, whatever server there is for other trials."""
        database = cls(Source("postgresql:///", tools=tools))
        database._trial = True
        return database

    @staticmethod
    def forms(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """The base tar, and then its tablespaces."""
        base = [one for one in artifacts if one.role == "base"]
        return [[*base, *(one for one in artifacts if one.role == "tablespace")]] if base else []

    @cached_property
    def address(self) -> Address:
        """The server of the URL."""
        return read_address(self.source)

    def increments(self, method: str) -> bool:
        """The class can; where the server cannot, the backup is a full one that says why."""
        return method in self.methods

    def check(self) -> None:
        """Refuse what cannot be backed up: no server, no replication, no ``pg_basebackup`` that is new enough."""
        cluster = describe(self.address)
        require_replication(self.address, cluster)
        self._tool(cluster)
        tablespaces(self.address)

    def size_bytes(self) -> int:
        """Bytes of all databases."""
        return size_bytes(self.address)

    def identity(self) -> SourceIdentity:
        """The cluster by its system identifier."""
        return self._identity(describe(self.address))

    def _identity(self, cluster: Cluster) -> SourceIdentity:
        return SourceIdentity(self.address.host, WHOLE, cluster.version_text, cluster.system)

    def _tool(self, cluster: Cluster) -> Tool:
        why = f"the server is PostgreSQL {cluster.version_text} and needs a pg_basebackup at least as new"
        return find("pg_basebackup", at_least=cluster.major, folder=self.source.tools, why=why)

    def log_source(self, name: str, settings: LogSettings) -> LogSource:
        """The server's write-ahead log, kept for the archiver by a replication slot."""
        slot = settings.slot or f"dbfleet_{name.replace('-', '_')}"[:63]
        return WalSource(self.address, slot, self.source.tools)

    def restoration(self, request: RestoreRequest) -> AbstractContextManager[Restoration]:
        """Begin a restore to the data directory that the URL names; of single tables to the server that it names."""
        if request.tables and not request.trial:
            if is_path(self.source.url):
                raise UsageError(
                    "single tables go into the database of a living server, and the target is a data directory",
                    "name the database with --to postgresql://…, or restore the whole backup",
                )
            from .cluster_tables import ClusterTables  # a backup starts sooner without it

            return ClusterTables(self.address, request, tools=self.source.tools)
        from .cluster_restoration import ClusterRestoration

        place: Optional[Place] = None if self._trial else place_of(self.source.url, POSTGRESQL)
        return ClusterRestoration(place, request, tools=self.source.tools)

    @contextmanager
    def snapshot(self, request: SnapshotRequest) -> Iterator[Snapshot]:
        """Begin a base backup; it is consistent when all of it was pumped."""
        cluster = describe(self.address)
        require_replication(self.address, cluster)
        tool = self._tool(cluster)
        notes: list[str] = []
        if cluster.settings["data_checksums"] != "on":
            notes.append("the server keeps no checksums of its pages: damage there cannot be seen while it is read")
        with ExitStack() as stack:
            reservation = stack.enter_context(reserve_log(self.address))
            if reservation.note:
                notes.append(reservation.note)
            work = BaseBackup(tool, self.address, self.address.environment(request.scratch), reservation)
            base, more, kind = _begin(stack, work, cluster, request, tablespaces(self.address), notes)
            names = databases(self.address)
            yield ClusterSnapshot(base, more, self._identity(cluster), tool, kind=kind, notes=notes, names=names)


def _begin(
    stack: ExitStack,
    work: BaseBackup,
    cluster: Cluster,
    request: SnapshotRequest,
    spaces: Sequence[Tablespace],
    notes: list[str],
) -> tuple[BaseStream, list[ArtifactStream], str]:
    """The streams of the base and of its tablespaces, and whether it is ``full`` or ``incremental``."""
    if request.parent_state is not None:
        reason = why_full(request.parent_state, cluster)
        if not reason:
            parent = os.path.join(request.scratch, "parent_manifest")
            with open(os.open(parent, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(request.parent_state)
            try:
                return (
                    *_streams(stack, with_parent(work, parent), cluster, request, spaces, "incremental"),
                    "incremental",
                )
            except NoIncrementError as error:
                reason = f"the server cannot tell what changed: {error.message}"
        notes.append(f"full: {reason}")
    return (*_streams(stack, work, cluster, request, spaces, "full"), "full")


def _streams(
    stack: ExitStack,
    work: BaseBackup,
    cluster: Cluster,
    request: SnapshotRequest,
    spaces: Sequence[Tablespace],
    kind: str,
) -> tuple[BaseStream, list[ArtifactStream]]:
    size = size_bytes(work.address)
    hint = size if kind == "full" else None
    if not spaces and sys.platform != "win32":  # where pg_basebackup from 15 on writes a tar as if it were text
        return begin(stack, work, hint), []
    if cluster.major >= STREAMED_SINCE:
        return stream(stack, work, spaces, hint)
    return stage(work, os.path.join(request.scratch, f"tars-{kind}"), spaces, size)


def why_full(parent_state: bytes, cluster: Cluster) -> str:
    """Why no incremental backup can follow the one whose manifest is ``parent_state``; empty when one can."""
    if cluster.major < INCREMENTAL_SINCE:
        return f"PostgreSQL {cluster.version_text} has no incremental base backups, version {INCREMENTAL_SINCE} has"
    if cluster.settings.get("summarize_wal") != "on":
        return "summarize_wal is off on the server; with it on, the next backup can be incremental"
    try:
        parent = read_manifest(parent_state)
    except DamagedError as error:
        return error.message
    if parent.system is not None and parent.system != cluster.system:
        return f"the server is the cluster {cluster.system}, the backup before is of {parent.system}"
    if parent.timeline != cluster.timeline:
        return f"the server is on timeline {cluster.timeline}, the backup before ended on {parent.timeline}"
    return ""
