"""Files on their way to and from an SFTP server: many pieces are on the line at once."""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future
from typing import Any, Callable, Optional

from ...errors import DbfleetError, RepositoryError
from ..base import Upload
from .faults import fault
from .packets import (
    DATA,
    EOF,
    FSETSTAT,
    HAS_MODE,
    READ,
    WRITE,
    Answer,
    StatusError,
    data_of,
    number,
    offset,
    text,
)
from .protocol import Protocol

WINDOW = 4 * 1024 * 1024  # bytes on the line at once: enough for 300 Mbit/s over 100 ms
FIRST_WINDOW = 256 * 1024  # of a reader, doubled with every piece: a record is read whole, and no more


class SftpUpload(Upload):
    """A hidden file on its way to its name. ``give_name`` and ``discard`` are the store's."""

    def __init__(
        self,
        line: Protocol,
        handle: bytes,
        temporary: str,
        mode: int,
        give_name: Callable[[], None],
        discard: Callable[[], None],
    ) -> None:
        self._line = line
        self._handle: Optional[bytes] = handle
        self._temporary = temporary
        self._give_name = give_name
        self._discard = discard
        self._written = 0
        self._on_the_line = 0
        self._answers: deque[tuple[int, Future[Answer]]] = deque()
        self._committed = False
        # What the server's umask took from the mode; an account that may not is left with less.
        line.ask(FSETSTAT, text(handle), number(HAS_MODE), number(mode))

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        handle = self._open_handle()
        view = memoryview(data)
        for start in range(0, len(view), self._line.longest_write):
            piece = bytes(view[start : start + self._line.longest_write])
            place, self._written = self._written, self._written + len(piece)
            self._answers.append((len(piece), self._line.ask(WRITE, text(handle), offset(place), text(piece))))
            self._on_the_line += len(piece)
            self._settle(WINDOW)

    def commit(self) -> None:
        """Bytes to the server's disk where it offers that, then the name, then the folder to its disk."""
        handle = self._open_handle()
        self._settle(0)
        try:
            self._line.fsync(handle)
            self._line.close_handle(handle)
        except StatusError as error:
            raise fault(self._line, error, self._temporary, "write") from error
        self._handle = None
        self._give_name()
        self._committed = True

    def abort(self) -> None:
        """Remove the hidden file; without a line to the server it stays, a leftover that is swept later."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._line.release(handle)
        if not self._committed:
            self._committed = True
            try:
                self._discard()
            except (DbfleetError, StatusError):
                pass

    def _settle(self, most: int) -> None:
        """Wait until at most so many bytes are on the line, and see that what went was written."""
        while self._answers and self._on_the_line > most:
            size, answer = self._answers.popleft()
            self._on_the_line -= size
            try:
                self._line.done(answer)
            except StatusError as error:
                raise fault(self._line, error, self._temporary, "write") from error

    def _open_handle(self) -> bytes:
        if self._handle is None:
            raise ValueError(f"the upload of {self._temporary} has ended")
        return self._handle


class SftpReader(io.RawIOBase):
    """A raw reader of one file; it asks ahead of what is read, more with every piece."""

    def __init__(self, line: Protocol, handle: bytes, path: str, size_bytes: int) -> None:
        super().__init__()
        self._line = line
        self._handle: Optional[bytes] = handle
        self._path = path
        self._size = size_bytes
        self._asked = 0  # bytes of the file that were asked for
        self._window = FIRST_WINDOW
        self._answers: deque[tuple[int, int, Future[Answer]]] = deque()
        self._on_the_line = 0
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: Optional[int] = -1) -> bytes:
        """Up to ``size`` bytes, at least one before the end; without a size everything that is left."""
        if size is None or size < 0:
            return self.readall()
        if not self._piece and size:
            self._piece = self._next_piece()
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the front; the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let the server forget the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._line.release(handle)
            self._answers.clear()
        super().close()

    def _next_piece(self) -> memoryview:
        if self._handle is None:
            raise ValueError(f"the reader of {self._path} is closed")
        try:
            self._ask_ahead(self._handle)
            if not self._answers:
                return memoryview(b"")
            place, size, answer = self._answers.popleft()
            self._on_the_line -= size
            data = data_of(self._line.wait(answer, DATA))
            while len(data) < size:  # a server may give less than was asked for
                rest = self._line.ask(READ, text(self._handle), offset(place + len(data)), number(size - len(data)))
                more = data_of(self._line.wait(rest, DATA))
                if not more:
                    raise StatusError(EOF, "")
                data = memoryview(bytes(data) + bytes(more))
        except StatusError as error:
            if error.code != EOF:
                raise fault(self._line, error, self._path, "read") from error
            raise RepositoryError(
                f"{self._path} on {self._line.where} ended while it was read", "verify the backup it belongs to"
            ) from error
        self._window = min(2 * self._window, WINDOW)
        return data

    def _ask_ahead(self, handle: bytes) -> None:
        while self._asked < self._size and self._on_the_line < self._window:
            size = min(self._line.longest_read, self._size - self._asked)
            answer = self._line.ask(READ, text(handle), offset(self._asked), number(size))
            self._answers.append((self._asked, size, answer))
            self._asked += size
            self._on_the_line += size
