"""A restore of PostgreSQL databases: built beside their targets, proven, then swapped or copied into them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Optional

from ...errors import NotFoundError, RefusedError, SourceError, UsageError
from ...model import Artifact, Proof, ProofPolicy
from ..base import Restoration, RestoreRequest, TakenOver
from . import preamble as preambles
from .address import Address
from .build import Build
from .connection import maintenance
from .measure import merged, sequence_mark
from .preamble import Preamble
from .quoting import quoted, spelled
from .server import TemporaryServer
from .side import Swap, is_occupied, is_there, swap, sweep


class PostgresqlRestoration(Restoration):
    """See :class:`Restoration`. Without an address it is a trial on a server of its own.

    ``several``: the backup may hold several databases, which go back under their own names.
    """

    def __init__(
        self, address: Optional[Address], request: RestoreRequest, *, tools: Optional[str], several: bool
    ) -> None:
        self._address = address
        self._request = request
        self._tools = tools
        self._several = several
        self._stack = ExitStack()
        self._builds: dict[Optional[str], Build] = {}
        self._occupied: set[str] = set()

    def __enter__(self) -> PostgresqlRestoration:
        if self._address is None:
            return self
        if not self._several and not self._address.database and not self._request.trial:
            raise UsageError("the target names no database", "write its name at the end of the URL")
        with maintenance(self._address) as admin:
            sweep(admin)
        if not self._request.trial and not self._several:
            self._check_target(self._address)
        return self

    def _check_target(self, address: Address) -> None:
        name = str(address.database)
        with maintenance(address) as admin:
            there = is_there(admin, name)
        if there and is_occupied(address):
            self._occupied.add(name)
        if self._request.tables and not there:
            raise NotFoundError(
                f"the server at {address.place} has no database {name!r} to copy tables into",
                "restore the whole backup, or check the target",
            )
        if name in self._occupied and not self._request.tables and not self._request.replace:
            raise RefusedError(
                f"the target database {name!r} is not empty",
                "restore to a new database with --to, or over it with --replace (it is kept under a dated name)",
            )

    def __exit__(self, *exc: object) -> None:
        for build in self._builds.values():  # all of them first: they may share roles that were made for a trial
            build.empty()
        for build in self._builds.values():
            build.discard()
        self._stack.close()

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """What makes a database, then its dump; a dump that stands alone goes into a plain new database.

        Roles and settings of the server (``globals``) are for people to apply: they concern other databases as well.
        """
        name = artifact.database
        if artifact.role == "globals" or self._is_not_wanted(name):
            return
        if artifact.role == "create":
            self._begin(name, preambles.decode(chunks, artifact.file))
            return
        build = self._builds.get(name) or self._begin(name, None)
        build.load(artifact, chunks)

    def _is_not_wanted(self, name: Optional[str]) -> bool:
        """Whether only tables of another database were asked for."""
        address = self._address
        return bool(self._request.tables and name is not None and address is not None and address.database != name)

    def _begin(self, name: Optional[str], preamble: Optional[Preamble]) -> Build:
        if self._address is None:
            server = TemporaryServer(self._request.folder(), preamble.server if preamble else 0, self._tools)
            self._stack.callback(server.stop)
            server.start()
            self._address = server.address
        address = self._address
        if name is not None:
            address = address.of(name)
            if not self._request.trial:
                self._check_target(address)
        build = Build(address.of(address.database or "postgres"), preamble, self._request, self._tools)
        self._builds[name] = build
        build.begin()
        return build

    def _built(self) -> list[Build]:
        if not self._builds:
            raise SourceError("nothing was restored yet", "begin the restore again")
        return list(self._builds.values())

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """Indexes that the server does not rely on: everything else was checked as it came in."""
        return [line for build in self._built() for line in build.check()]

    def scope(self, proof: Proof) -> Proof:
        """Only the wanted tables; and no description of the schema where another major version wrote it."""
        if self._request.tables:
            tables = {}
            for name, build in self._builds.items():
                made = build.preamble
                prefix = f"{spelled(name)}." if name is not None else ""
                for entry in made.tables if made else ():
                    spelling = prefix + spelled(entry[1], entry[2])
                    if entry[0] in build.numbers and spelling in proof.tables:
                        tables[spelling] = proof.tables[spelling]
            return Proof(proof.level, tables)
        if any(build.preamble and build.preamble.server != build.side.admin.major for build in self._built()):
            return replace(proof, schema_sha256=None)
        return proof

    def prove(self, against: Proof) -> Proof:
        """Measure what was built as ``against`` was measured."""
        self._built()
        marks = {name: sequence_mark(name) for name in self._builds}
        proofs = {}
        for name, build in self._builds.items():
            own = [query.sql for query in against.queries if query.sql.startswith(marks[name])]
            users = [query.sql for query in against.queries if not query.sql.startswith(tuple(marks.values()))]
            asked = [*users, *own] if build.preamble is None or build.preamble.main else own
            proofs[name] = build.prove(ProofPolicy(level=against.level, queries=tuple(asked)))
        if None in proofs:
            return proofs[None]
        return merged({str(name): proof for name, proof in proofs.items()})

    def location(self) -> str:
        """The URL of the database that was built; of several, of the one that the job's queries are asked in."""
        builds = self._built()
        main = [build for build in builds if build.preamble is not None and build.preamble.main]
        return (main or builds)[0].side.address.url()

    def replaces(self) -> bool:
        """Whether a database with something in it is at the target; with tables, whether rows may be."""
        return self._request.replace if self._request.tables else bool(self._occupied)

    # --- taking over --------------------------------------------------------------------------

    def take_over(self) -> TakenOver:
        """Swap the names, or copy the tables that were asked for."""
        builds = self._built()
        if self._request.tables:
            return builds[0].copy()
        for build in builds:
            build.analyze()
        swaps = [Swap(build.side, str(build.target.database), build.preamble) for build in builds]
        kept = swap(swaps, terminate=self._request.replace)
        admin = builds[0].side.admin
        for old, new in list(kept.items()):
            if old not in self._occupied:  # it held nothing: nothing is to be kept
                admin.run(f"ALTER DATABASE {quoted(new)} IS_TEMPLATE false")  # it may be one, which stays
                admin.run(f"DROP DATABASE IF EXISTS {quoted(new)}")
                del kept[old]
        return TakenOver(", ".join(kept.values()) or None)
