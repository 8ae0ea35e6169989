"""A store in memory, which can end its user at any change, for tests of what a crash leaves."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Optional

from dbfleet.errors import BusyError, NotFoundError, RefusedError
from dbfleet.stores.base import Entry, Store, Upload


class Killed(BaseException):
    """The process was killed here."""


class MemoryStore(Store):
    """Objects by name. A test replaces ``change``, which every change calls before it is made, to raise Killed."""

    def __init__(self, url: str = "memory://repository") -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.reads = 0
        self.locked: set[str] = set()
        self.exists = True

    def change(self, what: str) -> None:
        """Called before ``what`` is changed."""

    def prepare(self) -> None:
        self.exists = True

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        if not self.exists:
            raise NotFoundError("the repository does not exist")
        for name, data in list(self.objects.items()):
            if name.startswith(prefix):
                yield Entry(name, len(data), 0.0)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        self.reads += 1
        if name not in self.objects:
            raise NotFoundError(f"{name} does not exist")
        return self.objects[name]

    def upload(self, name: str) -> Upload:
        if name in self.objects:
            raise RefusedError(f"{name} already exists")
        return MemoryUpload(self, name)

    def remove(self, name: str) -> None:
        if name in self.objects or name in self.partial:
            self.change(f"remove {name}")
        self.objects.pop(name, None)
        self.partial.pop(name, None)

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
        if not self.exists:
            raise NotFoundError("the repository does not exist")
        if name in self.locked:
            raise BusyError(f"{name} is locked")
        self.locked.add(name)
        try:
            yield
        finally:
            self.locked.discard(name)

    def leftovers(self, prefix: str) -> list[Entry]:
        return [Entry(name, len(data), 0.0) for name, data in self.partial.items() if name.startswith("." + prefix)]

    def free_bytes(self) -> Optional[tuple[int, int]]:
        return None


class MemoryUpload(Upload):
    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name
        self._hidden = f".{name}.partial"
        self._open = True
        store.change(f"begin {name}")
        store.partial[self._hidden] = b""

    def write(self, data: bytes) -> None:
        self._store.partial[self._hidden] += data

    def commit(self) -> None:
        self._store.change(f"write {self._name}")
        self._store.objects[self._name] = self._store.partial.pop(self._hidden)
        self._open = False

    def abort(self) -> None:
        if self._open and not isinstance(sys.exc_info()[1], Killed):  # a killed process cleans nothing up
            self._store.partial.pop(self._hidden, None)
