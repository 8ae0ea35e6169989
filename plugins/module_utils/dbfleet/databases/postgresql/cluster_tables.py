"""Single tables out of a physical backup into a living database, by way of a scratch cluster on this host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Optional

from ...errors import CapacityError, DamagedError, NotFoundError, UsageError
from ...model import Artifact, Proof
from ...scratch import SCRATCH_ROOM
from ...units import show_size
from ..base import Restoration, RestoreRequest, TakenOver
from ..logs import Recovered, Recovery
from .address import Address
from .choice import choose
from .cluster_restoration import ClusterRestoration
from .connection import connect
from .inventory import read_tables
from .tables import copy_tables
from .tools import find

NO_DATABASES = ("postgres", "template1")


class ClusterTables(Restoration):
    """See :class:`Restoration`. The cluster is unpacked and started in the request's folder.

    The tables are those of its database that has the target's name; of its only database where none has.
    """

    def __init__(self, target: Address, request: RestoreRequest, *, tools: Optional[str]) -> None:
        self._target = target
        self._request = request
        self._tools = tools
        self._cluster = ClusterRestoration(None, request, tools=tools)
        self._recovered: Optional[Recovered] = None

    def __enter__(self) -> ClusterTables:
        if not self._target.database:
            raise UsageError("the target names no database", "write its name at the end of the URL")
        with connect(self._target):
            pass
        self._cluster.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._cluster.__exit__(*exc)

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """A part of the cluster, all of which is needed. Raises ``CapacityError`` without room for it."""
        folder = os.path.abspath(self._request.folder())
        free = shutil.disk_usage(folder).free
        if artifact.raw_size_bytes > free:
            raise CapacityError(
                f"the cluster that holds the tables needs {show_size(artifact.raw_size_bytes)} for {artifact.file} "
                f"in {os.path.dirname(folder)!r}, which has {show_size(free)} free",
                SCRATCH_ROOM,
            )
        self._cluster.receive(artifact, chunks)

    def check(self, *, thorough: bool = False) -> list[str]:
        """What the server's own manifest finds of the files. None is started yet: it would leave the log's way."""
        return self._cluster.check()

    def prove(self, against: Proof) -> Proof:
        """The server's own checksum of all files."""
        return self._cluster.prove(against)

    def recover(self, recovery: Recovery) -> Recovered:
        """Bring the whole cluster forward; the tables come out of what it is then."""
        self._recovered = self._cluster.recover(recovery)
        return self._recovered

    def location(self) -> str:
        """The URL of the scratch cluster."""
        return self._cluster.location()

    def replaces(self) -> bool:
        """Whether rows may be."""
        return self._request.replace

    def take_over(self) -> TakenOver:
        """Copy the tables, all of them or none."""
        hindrance = self._cluster.start()
        if hindrance:
            raise DamagedError(hindrance[0], "restore from another backup; nothing was changed")
        server = self._cluster.server_address()
        side = server.of(self._database(server))
        with connect(side) as connection:
            entries = [
                (table.oid, table.schema, table.table, table.kind, table.parent) for table in read_tables(connection)
            ]
            major = connection.major
        chosen = choose(entries, self._request.tables)
        names = {entry[0]: (entry[1], entry[2]) for entry in entries}
        taken = copy_tables(
            side,
            self._target,
            {asked: names[numbers[0]] for asked, numbers in chosen.items()},
            tool=find("pg_dump", at_least=major, folder=self._tools, why=f"the backup is of PostgreSQL {major}"),
            environment={},
            foreign_keys="",  # those of tables that are missing are among their definitions
            replace=self._request.replace,
            lock_wait=self._request.limits.lock_wait,
        )
        return replace(taken, notes=(*(self._recovered.notes if self._recovered else ()), *taken.notes))

    def _database(self, server: Address) -> str:
        """Which database of the cluster is meant."""
        with connect(server.of("template1")) as connection:
            names = connection.databases()
        own = [name for name in names if name not in NO_DATABASES]
        wanted = str(self._target.database)
        if wanted in names or len(own) == 1:
            return wanted if wanted in names else own[0]
        raise NotFoundError(
            f"the backup's cluster has no database {wanted!r}: it has {', '.join(map(repr, own)) or 'none'}",
            "restore into a database that is called as one of them, or the whole backup with --to FOLDER",
        )
