"""A restore of a physical backup: a data directory built beside its target, prepared, then given its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Optional

from ...durable import sync
from ...errors import DamagedError, RefusedError, SourceError
from ...model import Artifact, Proof
from ..base import RestoreRequest, TakenOver
from ..data_directory import DataDirectoryRestoration
from ..logs import Recovered, Recovery
from ..place import Place, flush_tree, own_tree, swap
from .address import Address
from .examine import check_tables, measure_again
from .forward import forward_directory
from .physical_snapshot import CopyStream
from .prepared import Prepared
from .server import Session
from .trial import TrialServer

# The tools put into the one directory what these settings of the original put elsewhere.
PLACES = "those of places outside of it (innodb_data_home_dir, innodb_undo_directory, innodb_log_group_home_dir)"


class PhysicalRestoration(DataDirectoryRestoration[Prepared]):
    """A restore of what mariadb-backup or xtrabackup wrote."""

    trial_folder = "dbfleet-copy"  # whose name lets a server in

    def __init__(self, place: Optional[Place], request: RestoreRequest, *, tools: Optional[str]) -> None:
        super().__init__(place, request, tools=tools)
        self._server: Optional[TrialServer] = None
        self._recovered: Optional[Recovered] = None

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """The next backup of the chain."""
        if artifact.role != CopyStream.role:
            raise DamagedError(f"{artifact.file} is no part of a physical backup", "restore another backup")
        self._begun().add(artifact, chunks)

    def _begin(self, root: str) -> Prepared:
        return Prepared(root, self._tools)

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """What the tool finds while it replays the log; in a trial also what a server finds in its tables."""
        try:
            prepared = self._finish()
            if not thorough or self._place is not None:
                return []
            return check_tables(self._start(prepared), self._request.limits.parallel)
        except DamagedError as error:
            return [error.message]
        except SourceError as error:
            if self._server is None or self._server.is_alive():
                raise
            said = self._server.last_words()
            fault = self._server.host_fault(said)
            if fault is not None:
                raise fault from error
            return [f"the server that was started on it ended: {said}"]

    def scope(self, proof: Proof) -> Proof:
        """Rows can only be counted where a server runs on what was built: in a trial."""
        if self._place is None:
            return proof
        return replace(proof, level="none", tables={}, queries=())

    def prove(self, against: Proof) -> Proof:
        """The checksums of all pieces, which were compared as they came in; in a trial also the tables' rows."""
        try:
            image = self._finish().image_sha256
        except DamagedError:  # check() tells it
            return Proof(against.level)
        if self._server is None:
            return Proof(against.level, image_sha256=image)
        measured = measure_again(self._server.address, against, self._request.limits.parallel)
        return replace(measured, image_sha256=image)

    def server_address(self) -> Address:
        """Of the server of a trial, which is started unless it runs."""
        return self._start(self._finish()) if self._server is None else self._server.address

    def _start(self, prepared: Prepared) -> Address:
        server = TrialServer(self._request.folder(), data=prepared.data, version=prepared.version)
        self._server = self._stack.enter_context(server)
        return server.address

    def _end(self) -> None:
        """Let the server of a trial end in order, so that another one can run on its files."""
        server, self._server = self._server, None
        if server is not None:
            with Session(server.address) as session:
                server.shut_down(session)
            server.close()

    def _trial_url(self) -> Optional[str]:
        return None if self._server is None else self._server.address.url()

    def recover(self, recovery: Recovery) -> Recovered:
        """Apply the binary log by a private server."""
        self._end()
        limits = self._request.limits
        done = forward_directory(self._finish(), self._request.folder(), self._tools, limits.parallel, recovery)
        self._recovered = done
        return done

    # --- taking over --------------------------------------------------------------------------

    def take_over(self) -> TakenOver:
        """Give the new data directory the target's name, its owner and its mode."""
        prepared = self._finish()
        place = self._place
        if place is None:
            raise RefusedError("a trial takes no target's place", "restore it with --to")
        own_tree(prepared.data, self._owner)
        with suppress(FileNotFoundError):
            os.chmod(prepared.data, stat.S_IMODE(os.stat(place.path).st_mode))
        flush_tree(prepared.root)
        kept = swap(prepared.data, place)
        sync(place.parent)
        notes = [*(self._recovered.notes if self._recovered is not None else ())]
        notes.append(f"start {prepared.version.shown} on it, with the settings of the original but for {PLACES}")
        if prepared.remote:
            names = ", ".join(prepared.remote[:5])
            notes.append(f"tables that were in folders of their own are in their usual place now: {names}")
        return TakenOver(kept, notes=tuple(notes))
