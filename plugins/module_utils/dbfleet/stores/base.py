"""What a store can do. It knows names and bytes, and nothing of databases or backups.

Names are relative, separated by ``/``, and never absolute or with ``..``; a store refuses
others with ``UsageError``. Every failure of the storage is a ``RepositoryError``
(``CapacityError`` when it is full); a name that is not there is a ``NotFoundError``.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Optional

# An upload makes its folder again when a removal took it away, empty, before the upload had a file in it.
# The removals of other runs would have to come in between as often as this to stop it.
FOLDER_ATTEMPTS = 20


class Entry(NamedTuple):
    """One stored object: its name, its bytes, when it was last written (seconds since the epoch)."""

    name: str
    size_bytes: int
    modified: float


class Upload(abc.ABC):
    """An object on its way in. Nothing has its final name until :meth:`commit`.

    As a context manager it aborts (removes the temporary object) unless it was committed.
    """

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Append ``data``."""

    @abc.abstractmethod
    def commit(self) -> None:
        """Make every byte durable, then give the object its name. Fails if the name is taken."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Remove what was written. Never raises; does nothing after a commit."""

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *exc: object) -> None:
        self.abort()


class Store(abc.ABC):
    """The storage behind a repository."""

    url: str

    def notes(self) -> tuple[str, ...]:
        """What people should know of backups that are kept here; they are told so in each of them."""
        return ()

    @abc.abstractmethod
    def prepare(self) -> None:
        """Create the root if it is missing, and check that it can be written."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Committed objects whose name starts with ``prefix``, in no particular order.

        An object still being written is not among them; a missing root raises ``NotFoundError``.
        """

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A raw reader of one object, to be closed by the caller."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """All bytes of one small object."""

    @abc.abstractmethod
    def upload(self, name: str) -> Upload:
        """Begin to write ``name``."""

    def put(self, name: str, data: bytes) -> None:
        """Write one small object durably under its final name; fails if the name is taken."""
        with self.upload(name) as upload:
            upload.write(data)
            upload.commit()

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove one object durably; a missing one is not an error.

        Raises ``AppendOnlyError`` where the storage keeps from us what it has.
        """

    def check_removal(self) -> None:
        """Raise ``AppendOnlyError`` where nothing can be removed, before a record says that something was."""
        return

    @abc.abstractmethod
    def lock(self, name: str, *, shared: bool = False, wait: float = 0.0) -> AbstractContextManager[None]:
        """Hold the lock ``name``; the operating system frees it when its holder dies.

        Waits up to ``wait`` seconds, then raises ``BusyError`` that names the holder. A shared
        lock on a store that cannot be written is granted: nobody else can change it from here.
        """

    @abc.abstractmethod
    def leftovers(self, prefix: str) -> list[Entry]:
        """Temporary objects of uploads that never committed, whose final name starts with ``prefix``.

        Only the holder of the exclusive lock may take them for dead.
        """

    @abc.abstractmethod
    def free_bytes(self) -> Optional[tuple[int, int]]:
        """``(free, total)`` bytes, or ``None`` where the storage has no such limit."""
