"""SFTP version 3 over an open channel: many requests on their way at once, each answer by its number.

Sources: draft-ietf-secsh-filexfer-02, and chapter 4 of OpenSSH's PROTOCOL for what ends in ``@openssh.com``.
A small client of our own, because paramiko's hides the server's extensions, the mode of a new file, and
answers that need not be waited for.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Optional

from ...errors import RepositoryError
from .packets import (
    ATTRS,
    CLOSE,
    DATA,
    EOF,
    EXTENDED,
    EXTENDED_REPLY,
    FSTAT,
    FSYNC,
    HANDLE,
    HAS_MODE,
    INIT,
    LIMITS,
    LSTAT,
    MKDIR,
    NAME,
    NO_SUCH_FILE,
    OK,
    OPEN,
    OPENDIR,
    PERMISSION_DENIED,
    POSIX_RENAME,
    READ,
    READDIR,
    REMOVE,
    RENAME,
    RMDIR,
    SETSTAT,
    STAT,
    STATUS,
    STATVFS,
    VERSION,
    Answer,
    Attributes,
    Room,
    StatusError,
    attributes,
    data_of,
    handle_of,
    name,
    names,
    number,
    offset,
    text,
    text_at,
    unpack,
    words_of,
)

PATIENCE = 60.0  # seconds in which a server that is alive says something
FLUSH_PATIENCE = 3600.0  # a slow disk may take that long to write what it was sent
LONGEST_ANSWER = 1024 * 1024
SAFE_PIECE = 32 * 1024  # bytes that every server takes in one request (draft, chapter 3)
LONGEST_PIECE = 255 * 1024
READDIRS = 8  # requests for the next names of a folder that are on their way at once

LOST_REMEDY = "check the network and the server, then start again: nothing half-written is ever listed"


class Protocol:
    """One SFTP conversation. Any thread may ask; one thread of its own listens."""

    def __init__(self, channel: Any, where: str) -> None:
        self.where = where
        self._channel = channel
        self._received = bytearray()
        self._sending = threading.Lock()
        self._numbers = 0
        self._waiting: dict[int, Future[Answer]] = {}
        self._failure: Optional[RepositoryError] = None
        self._heard = time.monotonic()
        self._flushes = 0  # on their way: meanwhile OpenSSH does nothing else
        self._greeted = False
        channel.settimeout(PATIENCE)
        self.extensions = self._greet()
        self._greeted = True
        threading.Thread(target=self._listen, name="sftp-answers", daemon=True).start()
        self.longest_read = self.longest_write = SAFE_PIECE
        limits = self._offered(LIMITS, EXTENDED_REPLY)
        if limits is not None:
            _packet, most_read, most_write, _handles = unpack(">4Q", limits, 0)
            self.longest_read = min(most_read or SAFE_PIECE, LONGEST_PIECE)
            self.longest_write = min(most_write or SAFE_PIECE, LONGEST_PIECE)

    @property
    def alive(self) -> bool:
        """Whether nothing has failed so far."""
        return self._failure is None

    def close(self) -> None:
        """End the conversation. Never raises."""
        self._fail("it was closed")

    # --- requests by name ---

    def lstat(self, path: str) -> Optional[Attributes]:
        """What ``path`` is, links not followed; ``None`` when it is not there."""
        try:
            return attributes(self.wait(self.ask(LSTAT, name(path)), ATTRS), 0)[0]
        except StatusError as error:
            if error.code == NO_SUCH_FILE:
                return None
            raise

    def stat(self, path: str) -> Attributes:
        """What ``path`` is, links followed."""
        return attributes(self.wait(self.ask(STAT, name(path)), ATTRS), 0)[0]

    def open(self, path: str, flags: int, mode: Optional[int] = None) -> bytes:
        """The handle of a file; ``mode`` is what a new one gets, less the server's umask."""
        extra = struct.pack(">I", 0) if mode is None else struct.pack(">II", HAS_MODE, mode)
        return handle_of(self.wait(self.ask(OPEN, name(path), struct.pack(">I", flags), extra), HANDLE))

    def close_handle(self, handle: bytes) -> None:
        """Close a file; what could not be written may show only now."""
        self.done(self.ask(CLOSE, text(handle)))

    def contents(self, handle: bytes) -> bytes:
        """All bytes of a small file: asked for together with its size, so that nothing is waited for twice."""
        sized = self.ask(FSTAT, text(handle))
        data = b""
        while True:
            piece = self.ask(READ, text(handle), offset(len(data)), number(self.longest_read))
            try:
                more = data_of(self.wait(piece, DATA))
            except StatusError as error:
                if error.code == EOF:
                    return data
                raise
            data += more
            if not more or len(data) >= attributes(self.wait(sized, ATTRS), 0)[0].size_bytes:
                return data

    def release(self, handle: bytes) -> None:
        """Close a file or folder that nothing was written to, without waiting. Never raises."""
        try:
            self.ask(CLOSE, text(handle))
        except RepositoryError:
            pass  # the server closes it with the line

    def mkdir(self, path: str, mode: int) -> None:
        """Make a folder with ``mode``, whatever the server's umask."""
        self.done(self.ask(MKDIR, name(path), struct.pack(">II", HAS_MODE, mode)))
        self.ask(SETSTAT, name(path), struct.pack(">II", HAS_MODE, mode))  # refused to some accounts: no matter

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.done(self.ask(REMOVE, name(path)))

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self.done(self.ask(RMDIR, name(path)))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; fails where the new one is taken (draft, chapter 6.5)."""
        self.done(self.ask(RENAME, name(old), name(new)))

    def move(self, old: str, new: str) -> None:
        """Give a file a name that nobody else would take; needs no room, unlike OpenSSH's own ``rename``."""
        if self._offered(POSIX_RENAME, STATUS, name(old), name(new)) is None:
            self.rename(old, new)

    def fsync(self, handle: bytes) -> None:
        """Every byte of a file, or the names in a folder, to the server's disk, where it offers that."""
        self._flushes += 1
        try:
            self._offered(FSYNC, STATUS, text(handle))
        finally:
            self._flushes -= 1

    def room(self, path: str) -> Optional[Room]:
        """Of the file system that holds ``path``; ``None`` where the server does not tell."""
        told = self._offered(STATVFS, EXTENDED_REPLY, name(path))
        if told is None:
            return None
        numbers = unpack(">11Q", told, 0)
        return Room(numbers[4] * numbers[1], numbers[2] * numbers[1], numbers[7] if numbers[5] else 1)

    def folder(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """Everything in a folder but ``.`` and ``..``: its name, and what it is, links not followed."""
        handle = handle_of(self.wait(self.ask(OPENDIR, name(path)), HANDLE))
        asked: list[Future[Answer]] = []
        try:
            asked = [self.ask(READDIR, text(handle)) for _request in range(READDIRS)]
            while True:
                yield from names(self.wait(asked.pop(0), NAME))
                asked.append(self.ask(READDIR, text(handle)))
        except StatusError as error:
            if error.code != EOF:
                raise
        finally:
            self.release(handle)

    # --- requests by number ---

    def ask(self, kind: int, *fields: bytes) -> Future[Answer]:
        """Send a request; its answer comes with the future. Raises ``RepositoryError`` when the line is dead."""
        answer: Future[Answer] = Future()
        with self._sending:
            if self._failure is not None:
                raise self._failure
            self._numbers = (self._numbers + 1) & 0xFFFFFFFF
            body = b"".join((struct.pack(">BI", kind, self._numbers), *fields))
            self._waiting[self._numbers] = answer
            try:
                self._send(body)
            except RepositoryError:
                raise
            except Exception as error:  # paramiko raises many kinds
                raise self._fail(str(error) or type(error).__name__) from error
        return answer

    def wait(self, answer: Future[Answer], wanted: int) -> memoryview:
        """The body of an answer of the kind ``wanted``. Raises :class:`StatusError`, ``RepositoryError``."""
        asked = time.monotonic()
        while True:
            try:
                kind, body = answer.result(PATIENCE)
                break
            except NotYet:
                self._check_silence(asked)
        if kind == wanted and kind != STATUS:
            return body
        if kind != STATUS:
            raise self._fail(f"it gave an answer of kind {kind} where {wanted} was asked for")
        (code,) = unpack(">I", body, 0)
        if code == OK and wanted == STATUS:
            return body
        raise StatusError(code, words_of(body))

    def done(self, answer: Future[Answer]) -> None:
        """Wait until the server says that it has done what was asked."""
        self.wait(answer, STATUS)

    def _check_silence(self, asked: float) -> None:
        """Give up on a server that has said nothing for too long since it was ``asked``."""
        patience = FLUSH_PATIENCE if self._flushes else PATIENCE
        if time.monotonic() - max(asked, self._heard) >= patience:
            raise self._fail(f"it has been silent for {patience:g} seconds")

    def _offered(self, extension: str, wanted: int, *fields: bytes) -> Optional[memoryview]:
        """The answer to a request of an ``extension``; ``None`` where the server does not offer or denies it."""
        if extension not in self.extensions:
            return None
        try:
            return self.wait(self.ask(EXTENDED, text(extension.encode()), *fields), wanted)
        except StatusError as error:
            if error.code != PERMISSION_DENIED:
                raise
            self.extensions.pop(extension, None)  # OpenSSH before 8.6 offers also what its own -P denies
            return None

    # --- packets ---

    def _greet(self) -> dict[str, str]:
        try:
            self._send(struct.pack(">BI", INIT, 3))
            packet = self._packet()
        except RepositoryError:
            raise
        except Exception as error:
            raise self._fail(f"it does not speak SFTP: {error or type(error).__name__}") from error
        kind, version = struct.unpack_from(">BI", packet)
        if kind != VERSION or version < 3:
            raise self._fail("it does not speak SFTP version 3")
        found, place = {}, 5
        while place < len(packet):
            key, place = text_at(packet, place)
            value, place = text_at(packet, place)
            found[bytes(key).decode("utf-8", "replace")] = bytes(value).decode("utf-8", "replace")
        return found

    def _send(self, body: bytes) -> None:
        data = memoryview(struct.pack(">I", len(body)) + body)
        began = time.monotonic()
        while data:
            try:
                sent = self._channel.send(data[: 4 * SAFE_PIECE].tobytes())
            except socket.timeout:  # nothing was sent: the server takes no more for now
                self._check_silence(began)
                continue
            if sent == 0:
                raise EOFError("the server closed it")
            data = data[sent:]

    def _packet(self) -> memoryview:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 5 <= length <= LONGEST_ANSWER:
            raise ValueError(f"a packet of {length} bytes")
        return memoryview(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            try:
                data = self._channel.recv(LONGEST_ANSWER)
            except socket.timeout:
                if not self._greeted:
                    raise
                continue  # nothing was asked; who waits for an answer gives up by themselves
            if not data:
                raise EOFError("the server closed it")
            self._received += data
        taken = bytes(memoryview(self._received)[:count])
        del self._received[:count]
        return taken

    def _listen(self) -> None:
        try:
            while True:
                packet = self._packet()
                self._heard = time.monotonic()
                kind, number = struct.unpack_from(">BI", packet)
                answer = self._waiting.pop(number, None)
                if answer is not None:
                    answer.set_result((kind, packet[5:]))
        except Exception as error:  # paramiko raises many kinds; who waits is told
            self._fail(str(error) or type(error).__name__)

    def _fail(self, reason: str) -> RepositoryError:
        """The line is dead: tell everyone who waits, once."""
        if self._failure is None:
            self._failure = RepositoryError(f"the connection to {self.where} was lost: {reason}", LOST_REMEDY)
        try:
            self._channel.close()
        except Exception:
            pass  # it is dead already
        while self._waiting:
            try:
                _number, answer = self._waiting.popitem()
            except KeyError:
                break  # somebody else was faster
            answer.set_exception(self._failure)
        return self._failure
