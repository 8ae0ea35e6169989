"""The stream of mariadb-backup and xtrabackup, read as it passes, in constant memory.

Pieces of several files follow one another in any order, each with its place in its file and its
CRC-32; a last piece without content closes a file (Percona manual, "The xbstream binary").
"""

from __future__ import annotations

import abc
import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Optional, Union

from ...errors import DamagedError
from ...model import Artifact
from ..unpacking import create_file, unpack_with

MAGIC = b"XBSTCK01"
PAYLOAD, SPARSE, END = b"P", b"S", b"E"
FIXED = 14  # bytes before the path: magic, flags, kind, its length
LONGEST_PATH = 4096
# What the tool says of the backup, a few lines each; MariaDB 11.1 renamed them.
PREFIXES = ("xtrabackup_", "mariadb_backup_")
WORDS = ("info", "checkpoints", "binlog_info")
TEXTS = {prefix + word for prefix in PREFIXES for word in WORDS}
REMEDY = "restore another backup"


@dataclass(frozen=True)
class Piece:
    """One piece: of which file, from which byte on, how long, its CRC; ``holes`` are pairs of skip and length."""

    path: str
    kind: bytes
    offset: int = 0
    size: int = 0
    crc: int = 0
    holes: bytes = b""


class StreamReader(abc.ABC):
    """Takes a stream's bytes in parts of any size at :meth:`feed` and tells of its pieces in turn."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0  # bytes of the present piece that are still to come
        self._open: set[str] = set()
        self._seen = hashlib.sha256()
        self._texts: dict[str, bytearray] = {}
        self._text: Optional[bytearray] = None

    @property
    def image_sha256(self) -> str:
        """A digest of the heads of all pieces: of the names, places and checksums that the tool gave them."""
        return self._seen.hexdigest()

    def text(self, word: str) -> str:
        """What the tool says in one of its own files: ``info``, ``checkpoints`` or ``binlog_info``."""
        for prefix in PREFIXES:
            if prefix + word in self._texts:
                return self._texts[prefix + word].decode("utf-8", "replace")
        return ""

    @abc.abstractmethod
    def begin(self, piece: Piece) -> None:
        """A piece begins; one of kind ``END`` has no content."""

    @abc.abstractmethod
    def content(self, data: memoryview) -> None:
        """The next bytes of its content."""

    @abc.abstractmethod
    def end(self) -> None:
        """Its content is complete."""

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """The next bytes. Raises ``DamagedError`` when they are no such stream."""
        view = memoryview(data)
        while view:
            if self._left:
                part = view[: self._left]
                self._left -= len(part)
                if self._text is not None:
                    self._text += part
                self.content(part)
                if not self._left:
                    self.end()
            else:
                part = view[: _missing(self._header)]
                self._header += part
                if not _missing(self._header):
                    header = bytes(self._header)
                    self._header.clear()
                    self._take(header)
            view = view[len(part) :]

    def close(self) -> None:
        """The stream is over. Raises ``DamagedError`` when its end is missing."""
        if self._header or self._left or self._open or not (self.text("info") and self.text("checkpoints")):
            raise DamagedError("the stream ends in the middle", REMEDY)

    def _take(self, header: bytes) -> None:
        self._seen.update(header)
        piece = read_piece(header)
        if piece.kind == END:
            self._open.discard(piece.path)
        else:
            self._open.add(piece.path)
        self._text = None
        if piece.path in TEXTS:
            self._text = self._texts.setdefault(piece.path, bytearray())
        self._left = piece.size
        self.begin(piece)
        if not piece.size:
            self.end()


def _missing(header: bytearray) -> int:
    """How many bytes of its head a piece still lacks."""
    if len(header) < FIXED:
        return FIXED - len(header)
    if header[:8] != MAGIC:
        raise DamagedError("the stream holds something that is no piece of a file", REMEDY)
    kind, length = bytes(header[9:10]), int.from_bytes(header[10:14], "little")
    if kind not in (PAYLOAD, SPARSE, END) or not 0 < length <= LONGEST_PATH:
        raise DamagedError("the head of a piece in the stream is damaged", REMEDY)
    whole = FIXED + length
    if kind == SPARSE:
        whole += 4
        if len(header) >= whole:
            whole += 8 * int.from_bytes(header[whole - 4 : whole], "little")
    if kind != END:
        whole += 20
    return whole - len(header)


def read_piece(header: bytes) -> Piece:
    """The piece that a whole head describes. Raises ``DamagedError`` for a path that leads outside."""
    kind, length = header[9:10], int.from_bytes(header[10:14], "little")
    path = header[FIXED : FIXED + length].decode("utf-8", "surrogateescape")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts or "\0" in path:
        raise DamagedError(f"the stream names {path!r}, which is outside of it", REMEDY)
    path = "/".join(parts)
    if kind == END:
        return Piece(path, kind)
    at = FIXED + length + (4 if kind == SPARSE else 0)
    size, offset, crc = (
        int.from_bytes(header[at + start : at + end], "little") for start, end in ((0, 8), (8, 16), (16, 20))
    )
    return Piece(path, kind, offset, size, crc, header[at + 20 :])


class Examiner(StreamReader):
    """Looks at a stream that only passes."""

    def begin(self, piece: Piece) -> None:
        """Nothing more is to be known of it."""

    def content(self, data: memoryview) -> None:
        """What the tool says is kept by the reader itself."""

    def end(self) -> None:
        """Nothing either."""


class Unpacker(StreamReader):
    """Writes the files of a stream below ``folder``, and compares every piece with its CRC."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._piece = Piece("", END)
        self._spans: list[tuple[int, int]] = []
        self._crc = 0

    def begin(self, piece: Piece) -> None:
        """Find its place."""
        self._piece = piece
        if piece.kind == END:
            file = self._files.pop(piece.path, None) or self._create(piece.path)
            file.close()
            return
        if piece.path not in self._files:
            self._files[piece.path] = self._create(piece.path)
        file = self._files[piece.path]
        if file.tell() != piece.offset:
            file.seek(piece.offset)
        self._crc = zlib.crc32(piece.holes)
        self._spans = _spans(piece)

    def content(self, data: memoryview) -> None:
        """Write it, leaving out what the source had as holes."""
        self._crc = zlib.crc32(data, self._crc)
        file = self._files[self._piece.path]
        while data and self._spans:
            skip, length = self._spans[0]
            if skip:
                file.seek(skip, os.SEEK_CUR)
            part = data[:length]
            file.write(part)
            data = data[len(part) :]
            self._spans[0] = (0, length - len(part))
            if length == len(part):
                del self._spans[0]
        if data:
            raise DamagedError(f"a piece of {self._piece.path!r} is longer than it says", REMEDY)

    def end(self) -> None:
        """Compare."""
        if self._piece.kind == END:
            return
        if self._crc != self._piece.crc:
            raise DamagedError(f"the checksum of a piece of {self._piece.path!r} differs", REMEDY)
        for skip, _length in self._spans:  # a hole at the end of the file
            self._files[self._piece.path].truncate(self._files[self._piece.path].seek(skip, os.SEEK_CUR))

    def _create(self, path: str) -> BinaryIO:
        return create_file(os.path.join(self._folder, *path.split("/")), f"the stream holds {path!r}")

    def abort(self) -> None:
        """Close what is open. Never raises."""
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                pass  # what failed before is on its way up


def _spans(piece: Piece) -> list[tuple[int, int]]:
    """What of the content goes where: bytes to skip, then bytes to write."""
    if piece.kind != SPARSE:
        return [(0, piece.size)]
    numbers = [int.from_bytes(piece.holes[at : at + 4], "little") for at in range(0, len(piece.holes), 4)]
    return list(zip(numbers[::2], numbers[1::2]))


def unpack(artifact: Artifact, chunks: Iterable[bytes], folder: str) -> Unpacker:
    """Write all files of the stream below ``folder``. Raises ``DamagedError`` for what is none."""
    unpacker = Unpacker(folder)
    unpack_with(unpacker, artifact, chunks, folder)
    return unpacker
