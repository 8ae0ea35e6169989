"""One database that a restore builds: what it needs of the server, its dump, and what is measured of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import Optional

from ...errors import RefusedError, SourceError, UsageError
from ...model import Artifact, Proof, ProofPolicy
from ..base import RestoreRequest, TakenOver
from .address import Address
from .analyze import analyze
from .choice import choose
from .connection import Connection, connect, pin
from .inventory import read_tables
from .load import Loader, staging_pays
from .measure import measure, verify_indexes
from .preamble import Preamble
from .quoting import quoted, spelled
from .side import SideDatabase
from .tables import copy_tables, is_table
from .tools import find
from .unpack import unpack


class Build:
    """A database beside the one at ``target``; without a preamble, for a dump that says nothing of its own."""

    def __init__(
        self, target: Address, preamble: Optional[Preamble], request: RestoreRequest, tools: Optional[str]
    ) -> None:
        self.target = target
        self.preamble = preamble
        self._request = request
        self._tools = tools
        self.wanted: dict[str, tuple[int, ...]] = {}  # what was asked for, and the numbers of its tables
        self._foreign_keys = ""
        self._made_roles: list[str] = []
        self.side = SideDatabase(target)

    def begin(self) -> None:
        """Find out whether the server can hold it, and make it. Raises ``RefusedError`` naming what is missing."""
        made = self.preamble
        if made is None:
            self.side.create(_plain(self.side.admin), trial=self._request.trial)
            return
        self._choose(made)
        self._require(self.side.admin, made)
        self.side.create(made, trial=self._request.trial)
        if made.owner_of_public:
            self._give_public(made.owner_of_public)

    def _give_public(self, owner: str) -> None:
        """Let the schema ``public`` be ``owner``'s, where this server's initdb gave it to another one."""
        whose = "SELECT rolname FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner "
        with connect(self.side.address) as connection:
            if connection.rows(f"{whose} WHERE nspname = 'public'") != [(owner,)]:
                connection.run(f"ALTER SCHEMA public OWNER TO {quoted(owner)}")
                connection.run("GRANT ALL ON SCHEMA public TO PUBLIC")

    def empty(self) -> None:
        """Drop what was built, unless it took over. Never raises."""
        try:
            self.side.remove()
        except SourceError:
            pass  # the server is gone: the next restore sweeps it

    def discard(self) -> None:
        """Drop the roles that were made for it, and end its session. Never raises."""
        try:
            for name in self._made_roles:
                self.side.admin.run(f"DROP ROLE IF EXISTS {quoted(name)}")
        except SourceError:
            pass  # another trial uses them: the last one drops them
        self.side.drop()

    # --- what the server lacks ------------------------------------------------------------------

    def _require(self, admin: Connection, preamble: Preamble) -> None:
        if admin.major < preamble.server:
            raise RefusedError(
                f"the backup is of PostgreSQL {preamble.server}, the target is {admin.major}",
                "restore to a server of that version or a newer one",
            )
        missing = _lacking(admin, "name FROM pg_catalog.pg_available_extensions", preamble.extensions)
        if missing:
            raise RefusedError(
                f"the server lacks the extension {', '.join(missing)}",
                "install its package on the server's host; nothing was changed",
            )
        missing = _lacking(admin, "rolname FROM pg_catalog.pg_roles", preamble.roles)
        if missing and self._request.trial:
            self._make_roles(admin, preamble, missing)
        elif missing:
            raise RefusedError(
                f"the server lacks the role {', '.join(map(spelled, missing))}",
                "create it first, as the globals.sql or the .create.sql of the backup does; nothing was changed",
            )
        missing = _lacking(admin, "spcname FROM pg_catalog.pg_tablespace", preamble.tablespaces)
        if missing and not self._request.trial:
            raise RefusedError(
                f"the server lacks the tablespace {', '.join(map(spelled, missing))}",
                "create it first (CREATE TABLESPACE); nothing was changed",
            )

    def _make_roles(self, admin: Connection, preamble: Preamble, missing: list[str]) -> None:
        """Roles for the trial alone, which nobody can log in as."""
        for name in missing:
            attributes = " ".join(word for word in preamble.roles[name] if word != "LOGIN")
            try:
                admin.run(f"CREATE ROLE {quoted(name)} {attributes} NOLOGIN")
            except SourceError as error:
                raise UsageError(
                    f"proof.scratch_url: the trial needs the role {spelled(name)}, which could not be made there",
                    "create it on that server, or connect there as a superuser",
                ) from error
            self._made_roles.append(name)

    def _choose(self, preamble: Preamble) -> None:
        """Find the tables that were asked for, with their partitions."""
        self.wanted = choose(preamble.tables, self._request.tables)

    # --- its dump -------------------------------------------------------------------------------

    def load(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """Restore the dump: what fits of it in parallel."""
        made, side, trial = self.preamble, self.side, self._request.trial
        folder, jobs = self._request.folder, self._request.limits.parallel
        environment = side.address.environment(folder()) if side.address.password is not None else {}
        if artifact.role == "sql":
            psql = find("psql", at_least=side.admin.major, folder=self._tools, why="the server needs it")
            Loader(psql, side.address, environment, server=side.admin.major, trial=trial).script(
                psql, chunks, artifact.file, folder
            )
            return
        least = max(made.tool if made else 0, side.admin.major)
        why = f"the dump or the server needs pg_restore {least}"
        tool = find("pg_restore", at_least=least, folder=self._tools, why=why)
        loader = Loader(tool, side.address, environment, server=side.admin.major, trial=trial)
        keys: set[int] = set()
        if made is not None and self.wanted:
            missing = self._missing(made)
            keys = {key for key, table in made.foreign_keys if table in missing}
        if artifact.role == "directory":
            path = os.path.join(folder(), "unpacked")
            try:
                unpack(artifact, chunks, path)
                if self.wanted:
                    self._foreign_keys = loader.some_tables_of(path, artifact.file, folder(), self.numbers, keys)
                else:
                    loader.several_at_a_time(path, artifact.file, folder(), jobs)
            finally:
                shutil.rmtree(path, ignore_errors=True)
        elif self.wanted:
            self._foreign_keys = loader.some_tables(chunks, artifact.file, folder(), self.numbers, keys)
        elif staging_pays(jobs, artifact.raw_size_bytes):
            loader.staged(chunks, artifact.file, folder(), jobs)
        else:
            loader.stream(chunks, artifact.file)

    @property
    def numbers(self) -> set[int]:
        """The numbers of all tables that were asked for, partitions included."""
        return {number for group in self.wanted.values() for number in group}

    def _missing(self, made: Preamble) -> set[int]:
        """The wanted tables that the target does not have: their references must be made as well."""
        with connect(self.target) as living:
            return {
                number
                for number, schema, table, _kind, _parent in made.tables
                if number in self.numbers and not is_table(living, schema, table)
            }

    # --- what is measured of it -----------------------------------------------------------------

    def check(self) -> list[str]:
        """Indexes that the server does not rely on: everything else was checked as it came in."""
        with connect(self.side.address) as connection:
            return verify_indexes(connection)

    def prove(self, policy: ProofPolicy) -> Proof:
        """Measure it as ``policy`` says."""
        made = self.preamble
        with connect(self.side.address) as connection:
            pin(connection)
            connection.settings({"max_parallel_workers_per_gather": str(self._request.limits.parallel - 1)})
            search_path = (made.search_path if made else "") or connection.search_path
            connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            tables = read_tables(connection)
            if made is not None and self.wanted:
                names = {spelled(entry[1], entry[2]) for entry in made.tables if entry[0] in self.numbers}
                tables = [table for table in tables if table.name in names]
            narrow = bool(made and made.narrow) or bool(self.wanted)
            return measure(connection, tables, policy, search_path=search_path, narrow=narrow)

    def analyze(self) -> None:
        """Give the planner its statistics, which a dump does not carry."""
        analyze(self.side.address, self._request.limits.parallel)

    # --- single tables --------------------------------------------------------------------------

    def copy(self) -> TakenOver:
        """Copy the tables that were asked for into the target."""
        made = self.preamble
        if made is None:
            raise UsageError(
                "single tables can only be restored from a backup with a manifest",
                "restore the file to a new database with --to and copy what you need",
            )
        roots = {}
        for wanted, numbers in self.wanted.items():
            entry = next(entry for entry in made.tables if entry[0] == numbers[0])
            roots[wanted] = (entry[1], entry[2])
        address, environment = self.side.address, {}
        if address.password is not None:
            environment = address.environment(self._request.folder())
        return copy_tables(
            address,
            self.target,
            roots,
            tool=find("pg_dump", at_least=self.side.admin.major, folder=self._tools, why="the server needs it"),
            environment=environment,
            foreign_keys=self._foreign_keys,
            replace=self._request.replace,
            lock_wait=self._request.limits.lock_wait,
        )


def _lacking(admin: Connection, what: str, names: Iterable[str]) -> list[str]:
    known = {name for (name,) in admin.rows(f"SELECT {what}")}
    return [name for name in names if name not in known]


def _plain(admin: Connection) -> Preamble:
    """A database as the server makes them."""
    ((encoding, collate, ctype, user),) = admin.rows(
        "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, current_user "
        "FROM pg_catalog.pg_database WHERE datname = 'template0'"
    )
    return Preamble("restored", admin.major, 0, encoding, collate, ctype, owner=user)
