"""A restore of a physical backup: a data directory built beside its target, verified, then given its name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Optional

from ...durable import sync
from ...errors import DamagedError, RefusedError
from ...model import Artifact, Proof
from ..base import RestoreRequest, TakenOver
from ..data_directory import DataDirectoryRestoration
from ..logs import Recovered, Recovery
from ..place import Place, flush_tree, own_tree, swap
from .address import Address
from .assembly import Assembly
from .cluster_recovery import ClusterRecovery
from .cluster_server import ClusterServer
from .cluster_snapshot import TABLESPACE
from .space_places import SpacePlaces
from .unpack import unpack


class ClusterRestoration(DataDirectoryRestoration[Assembly]):
    """A restore of base backups, with their tablespaces."""

    trial_folder = "cluster"

    def __init__(self, place: Optional[Place], request: RestoreRequest, *, tools: Optional[str]) -> None:
        super().__init__(place, request, tools=tools)
        self._spaces: Optional[SpacePlaces] = None
        self._server: Optional[ClusterServer] = None
        self._hindrance: list[str] = []
        self._recovered: Optional[Recovered] = None

    def __enter__(self) -> ClusterRestoration:
        super().__enter__()
        if self._place is not None:
            spaces = SpacePlaces(self._place, self._request.tablespaces, self._owner)
            spaces.check()
            self._spaces = self._stack.enter_context(closing(spaces))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.stop()
        super().__exit__(*exc)

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

    def _begin(self, root: str) -> Assembly:
        if self._spaces is None:
            return Assembly(root, self._tools)
        return Assembly(root, self._tools, self._spaces.elsewhere)

    def _complete(self, built: Assembly) -> None:
        if self._spaces is not None:
            self._spaces.require_known()
        super()._complete(built)

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
        assembly = self._finish()
        folder = self._request.folder() if self._place is None else assembly.root
        done = ClusterRecovery(assembly, folder, self._request.limits, recovery).run()
        self._recovered = done
        return done

    def _trial_url(self) -> Optional[str]:
        return None if self._server is None else self._server.address.url()

    # --- taking over --------------------------------------------------------------------------

    def take_over(self) -> TakenOver:
        """Give the new data directory the target's name."""
        assembly = self._finish()
        place, spaces = self._place, self._spaces
        if place is None or spaces is None:
            raise RefusedError("a trial takes no target's place", "restore it with --to")
        notes = _notes(assembly, self._recovered)
        mode = _mode_at(place)
        with spaces.taken(assembly, mode) as places:
            own_tree(assembly.data, self._owner, mode)
            flush_tree(assembly.data)
            kept = swap(assembly.data, place)
        sync(place.parent)
        return TakenOver(kept, notes=(*notes, *places))


def _mode_at(place: Place) -> int:
    """The mode of the folder that is replaced, of the two that a server accepts (manual, ``initdb -g``)."""
    with suppress(FileNotFoundError):
        if os.stat(place.path).st_mode & 0o050 == 0o050:
            return 0o750
    return 0o700


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
