"""A restore of a physical backup: a data directory built beside its target, verified, then given its name."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError
from ...model import Artifact, Proof
from ..base import Restoration, RestoreRequest, TakenOver
from ..logs import Recovered, Recovery
from ..place import Place, building, check_place, flush, flush_tree, is_occupied, own_tree, owner_of, swap
from .address import Address
from .assembly import Assembly
from .cluster_recovery import ClusterRecovery
from .cluster_server import ClusterServer
from .cluster_snapshot import TABLESPACE
from .space_places import SpacePlaces
from .unpack import unpack


class ClusterRestoration(Restoration):
    """See :class:`Restoration`. Without a place it is a trial in the request's folder."""

    def __init__(self, place: Optional[Place], request: RestoreRequest, *, tools: Optional[str]) -> None:
        self._place = place
        self._request = request
        self._tools = tools
        self._stack = ExitStack()
        self._spaces: Optional[SpacePlaces] = None
        self._owner: Optional[tuple[int, int]] = None
        self._assembly: Optional[Assembly] = None
        self._server: Optional[ClusterServer] = None
        self._hindrance: list[str] = []
        self._finishing = threading.Lock()
        self._finished = False
        self._recovered: Optional[Recovered] = None
        self._failure: Optional[DbfleetError] = None

    def __enter__(self) -> ClusterRestoration:
        if self._place is not None:
            check_place(self._place, replace=self._request.replace)
            self._owner = owner_of(self._place)
            spaces = SpacePlaces(self._place, self._request.tablespaces, self._owner)
            spaces.check()
            self._spaces = self._stack.enter_context(closing(spaces))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.stop()
        self._stack.close()

    # --- building -----------------------------------------------------------------------------

    def receive(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """A base tar begins the next backup of the chain; its tablespaces follow it."""
        assembly = self._begun()
        number = TABLESPACE.search(artifact.file)
        if artifact.role == "base":
            folder = assembly.add_link()
        elif number is not None:
            folder = assembly.add_tablespace(number[1])
        else:
            raise DamagedError(f"{artifact.file} is no part of a physical backup", "restore another backup")
        unpack(artifact, chunks, folder)

    def _begun(self) -> Assembly:
        if self._assembly is None:
            if self._place is not None and self._spaces is not None:
                root = self._stack.enter_context(building(self._place))
                self._assembly = Assembly(root, self._tools, self._spaces.elsewhere)
            else:
                root = os.path.join(self._request.folder(), "cluster")
                os.mkdir(root, 0o700)
                self._assembly = Assembly(root, self._tools)
        return self._assembly

    def _finish(self) -> Assembly:
        """Verify and join what was received, once; raises again what it raised."""
        assembly = self._begun()
        with self._finishing:  # it is examined and measured side by side
            if self._failure is not None:
                raise self._failure
            if not self._finished:
                try:
                    if self._spaces is not None:
                        self._spaces.require_known()
                    assembly.finish()
                except DbfleetError as error:
                    self._failure = error
                    raise
                self._finished = True
        return assembly

    # --- proving ------------------------------------------------------------------------------

    def check(self, *, thorough: bool = False) -> list[str]:
        """What the server's own manifest finds; in a trial also what a server does that is started on it."""
        try:
            assembly = self._finish()
        except DamagedError as error:
            return [error.message]
        if not thorough or self._place is not None:
            return []
        return self.start() or self._running(assembly).examine()

    def start(self) -> list[str]:
        """Start a server on the files of a trial, once; what keeps it from running, one line each."""
        if self._server is None:
            try:
                self._running(self._finish()).start()
            except DamagedError as error:
                self._hindrance = [error.message]
        return self._hindrance

    def _running(self, assembly: Assembly) -> ClusterServer:
        if self._server is None:
            self._server = ClusterServer(assembly, self._request.folder(), self._request.limits.parallel)
        return self._server

    def server_address(self) -> Address:
        """How to reach the server of a trial, once it was started."""
        return self._running(self._finish()).address

    def prove(self, against: Proof) -> Proof:
        """The server's own checksum of everything, which :meth:`check` compares with every file."""
        try:
            return Proof(against.level, image_sha256=self._finish().image_sha256)
        except DamagedError:  # check() tells it
            return Proof(against.level)

    def recover(self, recovery: Recovery) -> Recovered:
        """Bring it forward with a server of its own, and examine what comes of it."""
        done = ClusterRecovery(self._finish(), self._request.limits, recovery).run()
        self._recovered = done
        return done

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
        """Give the new data directory the target's name."""
        assembly = self._finish()
        place, spaces = self._place, self._spaces
        if place is None or spaces is None:
            raise RefusedError("a trial takes no target's place", "restore it with --to")
        notes = _notes(assembly, self._recovered)
        with spaces.taken(assembly) as places:
            own_tree(assembly.data, self._owner)
            flush_tree(assembly.data)
            kept = swap(assembly.data, place)
        flush(place.parent)
        return TakenOver(kept, notes=(*notes, *places))


def _notes(assembly: Assembly, recovered: Optional[Recovered]) -> list[str]:
    notes = [f"start PostgreSQL {assembly.major} on it: it recovers to the end of the backup by itself"]
    if recovered is not None:
        notes = [*recovered.notes] if recovered.paused else [f"start PostgreSQL {assembly.major} on it"]
        notes += [] if recovered.paused else recovered.notes
    if assembly.was_standby:
        notes.append("it was backed up from a standby: standby.signal was left out, so that it starts as a primary")
    if not os.path.exists(os.path.join(assembly.data, "postgresql.conf")):
        notes.append("its postgresql.conf and pg_hba.conf are elsewhere, and so not in the backup")
    auto = os.path.join(assembly.data, "postgresql.auto.conf")
    if os.path.exists(auto):
        with open(auto, encoding="utf-8", errors="replace") as file:
            if re.search(r"^\s*archive_(command|mode|library)\b", file.read(), re.MULTILINE):
                notes.append("its archive settings are those of the original: see that they do not write over its log")
    return notes
