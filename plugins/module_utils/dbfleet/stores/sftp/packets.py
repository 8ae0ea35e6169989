"""The packets of SFTP version 3: numbers, fields, and what is in answers.

Sources: draft-ietf-secsh-filexfer-02, and chapter 4 of OpenSSH's PROTOCOL for what ends in ``@openssh.com``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ...errors import RepositoryError

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = 3, 4, 5, 6, 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = 11, 12, 13, 14, 15, 16, 17, 18
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
FOR_READING, FOR_WRITING, CREATE, EXCLUSIVE = 1, 2, 8, 32

FSYNC, STATVFS, LIMITS = "fsync@openssh.com", "statvfs@openssh.com", "limits@openssh.com"
POSIX_RENAME = "posix-rename@openssh.com"
HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_MORE = 1, 2, 4, 8, 0x80000000

Answer = tuple[int, memoryview]  # its kind, and its body without the number


class StatusError(Exception):
    """What the server answered instead of doing it: a code of the draft's chapter 7, and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class Attributes(NamedTuple):
    """What is known of a file: bytes, type and permissions (0 when not told), seconds since the epoch."""

    size_bytes: int
    mode: int
    modified: int


class Room(NamedTuple):
    """A file system: free and total bytes, and how many more files it takes for this account."""

    free: int
    total: int
    files: int


def text(value: bytes) -> bytes:
    """A string field: its length and its bytes."""
    return struct.pack(">I", len(value)) + value


def number(value: int) -> bytes:
    """A 32-bit field."""
    return struct.pack(">I", value)


def offset(value: int) -> bytes:
    """A 64-bit field."""
    return struct.pack(">Q", value)


def name(path: str) -> bytes:
    """A path as a string field; names are UTF-8 wherever it matters to us."""
    return text(path.encode("utf-8", "surrogateescape"))


def handle_of(body: memoryview) -> bytes:
    """The handle in an answer."""
    return bytes(text_at(body, 0)[0])


def data_of(body: memoryview) -> memoryview:
    """The bytes of a file in an answer."""
    return text_at(body, 0)[0]


def attributes(body: memoryview, place: int) -> tuple[Attributes, int]:
    """The attributes at ``place``, and where they end (draft, chapter 5)."""
    (flags,) = unpack(">I", body, place)
    place += 4
    size = mode = modified = 0
    if flags & HAS_SIZE:
        (size,) = unpack(">Q", body, place)
        place += 8
    if flags & HAS_OWNER:
        place += 8
    if flags & HAS_MODE:
        (mode,) = unpack(">I", body, place)
        place += 4
    if flags & HAS_TIMES:
        _accessed, modified = unpack(">II", body, place)
        place += 8
    if flags & HAS_MORE:
        (count,) = unpack(">I", body, place)
        place += 4
        for _field in range(2 * count):
            _value, place = text_at(body, place)
    return Attributes(size, mode, modified), place


def names(body: memoryview) -> Iterator[tuple[str, Attributes]]:
    """The entries in an answer to READDIR, without ``.`` and ``..``."""
    (count,) = unpack(">I", body, 0)
    if not count:
        raise malformed()  # the end of a folder is told otherwise
    place = 4
    for _entry in range(count):
        raw, place = text_at(body, place)
        _long, place = text_at(body, place)
        found, place = attributes(body, place)
        last = bytes(raw).decode("utf-8", "surrogateescape")
        if last not in (".", ".."):
            yield last, found


def words_of(body: memoryview) -> str:
    words, _end = text_at(body, 4) if len(body) >= 8 else (b"", 0)
    return bytes(words).decode("utf-8", "replace").strip()


def text_at(body: memoryview, place: int) -> tuple[memoryview, int]:
    (length,) = unpack(">I", body, place)
    end = place + 4 + length
    if end > len(body):
        raise malformed()
    return body[place + 4 : end], end


def unpack(fields: str, body: memoryview, place: int) -> tuple[int, ...]:
    """Numbers at ``place``. Raises ``RepositoryError`` where the answer ends before them."""
    try:
        return struct.unpack_from(fields, body, place)
    except struct.error:
        raise malformed() from None


def malformed() -> RepositoryError:
    """The error of an answer that is not as the draft says."""
    return RepositoryError(
        "the SFTP server gave an answer that makes no sense", "check which server it is, and its log"
    )
