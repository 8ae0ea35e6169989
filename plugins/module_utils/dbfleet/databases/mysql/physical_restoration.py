"""A restore of a physical backup: a data directory built beside its target, prepared, then given its name."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError, SourceError, UsageError
from ...model import Artifact, Proof
from ..base import Restoration, RestoreRequest, TakenOver
from ..place import Place, building, check_place, flush, flush_tree, is_occupied, own_tree, owner_of, swap
from .examine import check_tables, measure_again
from .prepared import Prepared
from .trial import TrialServer

ROLE = "copy"


class PhysicalRestoration(Restoration):
    """See :class:`Restoration`. Without a place it is a trial in the request's folder."""

    def __init__(self, place: Optional[Place], request: RestoreRequest, *, tools: Optional[str]) -> None:
        self._place = place
        self._request = request
        self._tools = tools
        self._stack = ExitStack()
        self._owner: Optional[tuple[int, int]] = None
        self._prepared: Optional[Prepared] = None
        self._server: Optional[TrialServer] = None
        self._finishing = threading.Lock()
        self._finished = False
        self._failure: Optional[DbfleetError] = None

    def __enter__(self) -> PhysicalRestoration:
        if self._request.tables:
            raise UsageError(
                "single tables cannot be copied out of a physical backup",
                "restore it into a new data directory, start a server there and copy the tables with a logical backup",
            )
        if self._place is not None:
            check_place(self._place, replace=self._request.replace)
            self._owner = owner_of(self._place)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """The next backup of the chain."""
        if artifact.role != ROLE:
            raise DamagedError(f"{artifact.file} is no part of a physical backup", "restore another backup")
        self._begun().add(artifact, chunks)

    def _begun(self) -> Prepared:
        if self._prepared is None:
            if self._place is not None:
                root = self._stack.enter_context(building(self._place))
            else:
                root = os.path.join(self._request.folder(), "dbfleet-copy")  # whose name lets a server in
                os.mkdir(root, 0o700)
            self._prepared = Prepared(root, self._tools)
        return self._prepared

    def _finish(self) -> Prepared:
        """Prepare what was received, once; raises again what it raised."""
        prepared = self._begun()
        with self._finishing:  # it is examined and measured side by side
            if self._failure is not None:
                raise self._failure
            if not self._finished:
                try:
                    prepared.finish()
                except DbfleetError as error:
                    self._failure = error
                    raise
                self._finished = True
        return prepared

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """What the tool finds while it replays the log; in a trial also what a server finds in its tables."""
        try:
            prepared = self._finish()
            if not thorough or self._place is not None:
                return []
            server = TrialServer(self._request.folder(), data=prepared.data, version=prepared.version)
            self._server = self._stack.enter_context(server)
            return check_tables(self._server.address, self._request.limits.parallel)
        except DamagedError as error:
            return [error.message]
        except SourceError:
            if self._server is None or self._server.is_alive():
                raise
            return [f"the server that was started on it ended: {self._server.last_words()}"]

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

    def location(self) -> str:
        """The URL of the trial's server, or the data directory."""
        if self._server is not None:
            return self._server.address.url()
        return self._begun().data

    def replaces(self) -> bool:
        """Whether something is in the target directory."""
        return self._place is not None and is_occupied(self._place)

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
        flush(place.parent)
        notes = [f"start {prepared.version.shown} on it, with the settings of the original"]
        if prepared.remote:
            names = ", ".join(prepared.remote[:5])
            notes.append(f"tables that were in folders of their own are in their usual place now: {names}")
        return TakenOver(kept, notes=tuple(notes))
