"""SQLite's write-ahead log as bytes: which frames a snapshot covers, and logs of our own making.

Source: SQLite manual, "WAL-mode File Format" (walformat.html). Big-endian in the log, native in
the index; frames count from 1.
"""

from __future__ import annotations

import operator
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Optional

from ...errors import DamagedError

MAGIC_LITTLE_ENDIAN = 0x377F0682  # checksums are taken over little-endian words
FORMAT_VERSION = 3007000
HEADER = struct.Struct(">IIIIIIII")
FRAME = struct.Struct(">IIIIII")
INDEX_HEADER = struct.Struct("=IIIBBHIIIIIIII")


@dataclass(frozen=True)
class IndexState:
    """The wal-index header: the last commit (``frames`` of the log, ``pages`` of the database)."""

    change: int
    page_size: int
    frames: int
    pages: int
    frame_checksum: tuple[int, int]
    salt: tuple[int, int]
    backfilled: int

    @property
    def commit(self) -> tuple[object, ...]:
        """What differs whenever another transaction has committed or the log has started anew."""
        return (self.change, self.frames, self.pages, self.frame_checksum, self.salt)


def read_index(index: BinaryIO) -> Optional[IndexState]:
    """The state in an open ``-shm`` file, or ``None`` while somebody is writing it or it is not set up."""
    index.seek(0)
    data = index.read(100)
    if len(data) < 100 or data[:48] != data[48:96]:
        return None
    version, _unused, change, is_init, _big_endian, size, frames, pages, *sums = INDEX_HEADER.unpack(data[:48])
    sum1, sum2, salt1, salt2, _own_sum1, _own_sum2 = sums
    if version != FORMAT_VERSION or not is_init:
        return None
    salts = struct.unpack(">II", struct.pack("=II", salt1, salt2))
    (backfilled,) = struct.unpack("=I", data[96:100])
    return IndexState(
        change, 65536 if size == 1 else size, frames, pages, (sum1, sum2), (salts[0], salts[1]), backfilled
    )


def frame_offset(frame: int, page_size: int) -> int:
    """Where ``frame`` begins in the log."""
    return HEADER.size + (frame - 1) * (FRAME.size + page_size)


def overlay(log: BinaryIO, state: IndexState) -> array[int]:
    """For each page of the snapshot (index 0 unused) the frame that holds it; 0 means the database file.

    4 bytes a page. Raises ``DamagedError`` where the log is not the one that the index describes.
    """
    newest = array("I", bytes(4 * (state.pages + 1)))
    frame_checksum = (0, 0)
    for frame in range(1, state.frames + 1):
        log.seek(frame_offset(frame, state.page_size))
        head = log.read(FRAME.size)
        if len(head) < FRAME.size:
            raise DamagedError(f"the write-ahead log ends before frame {frame} of {state.frames}")
        page, _commit_size, salt1, salt2, sum1, sum2 = FRAME.unpack(head)
        if (salt1, salt2) != state.salt:
            raise DamagedError(f"frame {frame} of the write-ahead log belongs to another log")
        if page <= state.pages:
            newest[page] = frame
        frame_checksum = (sum1, sum2)
    if state.frames and frame_checksum != state.frame_checksum:
        raise DamagedError("the last frame of the write-ahead log is not the one its index names")
    return newest


# --- writing a log that SQLite itself replays ------------------------------------------------


class LogWriter:
    """Makes a log whose replay turns one database into another: the changed pages, then a commit.

    SQLite replays it when it lies beside the database as ``NAME-wal``. The checksum is a linear
    recurrence over the words of a frame, so a frame costs one dot product with fixed weights.
    """

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self._weights, self._start = _weights((8 + page_size) // 4)
        head = struct.pack(">IIIIII", MAGIC_LITTLE_ENDIAN, FORMAT_VERSION, page_size, 0, 1, 1)
        header_weights, header_start = _weights(6)
        self._checksum = _checksum(head, (0, 0), header_weights, header_start)
        self.header = head + struct.pack(">II", *self._checksum)

    def frame(self, page: int, data: bytes, commit_pages: int = 0) -> bytes:
        """The frame of ``page``; ``commit_pages`` (the database's size in pages) makes it the commit."""
        head = struct.pack(">II", page, commit_pages)
        self._checksum = _checksum(head + data, self._checksum, self._weights, self._start)
        return head + struct.pack(">IIII", 1, 1, *self._checksum) + data


_SHIFT = 96
_MASK = 0xFFFFFFFF


def _weights(words: int) -> tuple[list[int], tuple[int, int, int, int]]:
    """How each word, and the checksum before, count in ``(s0, s1)`` after ``words`` words.

    ``s0 += x[i] + s1; s1 += x[i+1] + s0`` for each pair, modulo 2**32. Both sums are kept in one
    number (``s1`` shifted by 96 bits) so that one product serves both.
    """
    a, b, c, d = 1, 0, 0, 1  # the matrix that later pairs apply to (s0, s1)
    weights = [0] * words
    for i in range(words - 2, -1, -2):
        # x[i] adds (1, 1) and x[i+1] adds (0, 1) right after this pair
        weights[i] = ((a + b) & _MASK) | (((c + d) & _MASK) << _SHIFT)
        weights[i + 1] = b | (d << _SHIFT)
        # one pair: s0' = s0 + s1, s1' = s0 + 2*s1
        a, b, c, d = (a + b) & _MASK, (a + 2 * b) & _MASK, (c + d) & _MASK, (c + 2 * d) & _MASK
    return weights, (a, b, c, d)


def _checksum(
    data: bytes, before: tuple[int, int], weights: list[int], start: tuple[int, int, int, int]
) -> tuple[int, int]:
    words = array("I", data)
    if sys.byteorder == "big":
        words.byteswap()
    total = sum(map(operator.mul, weights, words))
    a, b, c, d = start
    s0, s1 = before
    return (a * s0 + b * s1 + (total & ((1 << _SHIFT) - 1))) & _MASK, (c * s0 + d * s1 + (total >> _SHIFT)) & _MASK


# --- reading a log of our own making ----------------------------------------------------------


def replay(chunks: Iterable[bytes], page_size: int) -> Iterator[tuple[int, bytes, int]]:
    """``(page, data, commit_pages)`` of each frame of a log that :class:`LogWriter` made.

    Raises ``DamagedError`` when it is cut off, of another page size, or not committed. The
    artifact's digest vouches for the bytes, so the frames' checksums are left to SQLite.
    """
    buffer = bytearray()
    supply = iter(chunks)

    def take(count: int) -> bytes:
        while len(buffer) < count:
            chunk = next(supply, None)
            if chunk is None:
                break
            buffer.extend(chunk)
        taken = bytes(buffer[:count])
        del buffer[:count]
        return taken

    head = take(HEADER.size)
    if len(head) < HEADER.size or HEADER.unpack(head)[:3] != (MAGIC_LITTLE_ENDIAN, FORMAT_VERSION, page_size):
        raise DamagedError(f"the increment is not a log of pages of {page_size} bytes")
    commit = 0
    while True:
        frame = take(FRAME.size + page_size)
        if not frame:
            break
        if len(frame) < FRAME.size + page_size:
            raise DamagedError("the increment ends in the middle of a page")
        page, commit = FRAME.unpack_from(frame)[:2]
        yield page, frame[FRAME.size :], commit
    if not commit:
        raise DamagedError("the increment ends before its commit")
