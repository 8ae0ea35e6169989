"""The part of a lease that this host sees itself: an operating system's lock, and marks of claims.

Two runs of one host never meet at the server: the lock here comes first, and dies with its
holder. A run that was killed leaves its claim at the server and a mark of it here; whoever holds
the lock here next knows by the mark that the claim is dead, and waits for nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from ...errors import RepositoryError
from ...host import state_dir
from ...state_files import make_folder, open_file
from ..locks import hold

LOCK = "lock"


class Marks:
    """Names of claims that runs of this host have put to the server; ``dead`` are those of killed runs."""

    def __init__(self, folder: str, dead: frozenset[str] = frozenset()) -> None:
        self.dead = dead
        self._folder = folder

    def add(self, claim: str) -> None:
        """Remember a claim before it is put there."""
        if self._folder:
            with contextlib.suppress(OSError):  # without it the next run here waits as long as one elsewhere
                os.close(open_file(os.path.join(self._folder, claim), os.O_WRONLY))

    def remove(self, claim: str) -> None:
        """Forget a claim that has gone from the server."""
        if self._folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._folder, claim))

    def forget_dead(self) -> None:
        """The dead claims have gone from the server."""
        for claim in self.dead:
            self.remove(claim)
        self.dead = frozenset()


@contextlib.contextmanager
def marked(place: str, name: str, *, shared: bool, wait: float) -> Iterator[Marks]:
    """Hold this host's own lock ``name`` for the repository at ``place``. Raises ``BusyError`` after ``wait`` seconds.

    A shared lock does without where the host's state cannot be written.
    """
    digest = hashlib.sha256(f"{place}\n{name}".encode("utf-8", "surrogateescape")).hexdigest()
    folder = os.path.join(state_dir(), "locks", digest[:32])
    with contextlib.ExitStack() as held:
        try:
            make_folder(folder)
            descriptor = open_file(os.path.join(folder, LOCK), os.O_RDWR)
            held.callback(os.close, descriptor)
            held.enter_context(hold(descriptor, name, shared=shared, wait=wait, writable=True))
            marks = Marks(folder, _dead(folder, shared))
        except OSError as error:
            if not shared:
                raise RepositoryError(
                    f"the lock {folder} of this host cannot be held: {error.strerror}",
                    "make its folder writable for this user, or set DBFLEET_STATE_DIR to one that is",
                ) from error
            marks = Marks("")
        yield marks


def _dead(folder: str, shared: bool) -> frozenset[str]:
    """Claims whose runs cannot live: with them this lock would not have been had."""
    claims = (claim for claim in os.listdir(folder) if claim != LOCK)
    return frozenset(claim for claim in claims if not shared or claim.startswith("write-"))
