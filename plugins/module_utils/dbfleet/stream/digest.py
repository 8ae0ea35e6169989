"""SHA-256 and size of bytes on their way past."""

from __future__ import annotations

import hashlib

from .flow import Worker


class Digest:
    """The SHA-256 of everything that was given, and how many bytes that was.

    With ``threaded`` the hashing is done in a thread of its own, behind a bounded queue: the
    caller goes on with its chunk, which must not change any more.
    """

    def __init__(self, *, threaded: bool = False) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._worker = Worker(self._hash.update, "digest") if threaded else None

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        if self._worker is None:
            self._hash.update(data)
        else:
            self._worker.put(data)

    def finish(self) -> str:
        """Lower-case hexadecimal SHA-256 of all bytes. Nothing may follow."""
        if self._worker is not None:
            self._worker.finish()
        return self._hash.hexdigest()

    def abort(self) -> None:
        """Leave no thread behind. Never raises; does nothing after :meth:`finish`."""
        if self._worker is not None:
            self._worker.abort()
