"""Reading the tar of a base backup as it passes, in constant memory: ustar of POSIX, as the server writes it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Union

from ...errors import DamagedError

BLOCK = 512
FILE, LINK, FOLDER = "0", "2", "5"  # of the header's field typeflag


@dataclass(frozen=True)
class Member:
    """One entry: a relative path with ``/``, its size in bytes, and what it is."""

    name: str
    size: int
    kind: str


class TarReader(abc.ABC):
    """Takes a tar's bytes in pieces of any size at :meth:`feed` and tells of its members in turn."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0  # bytes of the present member's content that are still to come
        self._padding = 0
        self._ended = False

    @abc.abstractmethod
    def begin(self, member: Member) -> None:
        """A member begins."""

    @abc.abstractmethod
    def content(self, data: memoryview) -> None:
        """The next bytes of its content."""

    @abc.abstractmethod
    def end(self) -> None:
        """It is complete."""

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """The next bytes of the tar. Raises ``DamagedError`` when they are none."""
        view = memoryview(data)
        while view:
            if self._left:
                part = view[: self._left]
                self.content(part)
                self._left -= len(part)
                if not self._left:
                    self.end()
            elif self._padding:
                part = view[: self._padding]
                self._padding -= len(part)
            else:
                part = view[: BLOCK - len(self._header)]
                self._header += part
                if len(self._header) == BLOCK:
                    header = bytes(self._header)
                    self._header.clear()
                    self._take(header)
            view = view[len(part) :]

    def close(self) -> None:
        """The tar is over. Raises ``DamagedError`` when its end is missing.

        pg_basebackup 13 and 14 do not pad the manifest, which they put last: a part of a block of zeros is left.
        """
        if not self._ended or self._left or self._padding or any(self._header):
            raise DamagedError("its tar ends in the middle", "restore another backup")

    def _take(self, header: bytes) -> None:
        if not any(header):
            self._ended = True
            return
        if self._ended:
            raise DamagedError("its tar goes on after its end", "restore another backup")
        member = read_header(header)
        self._left = member.size
        self._padding = -member.size % BLOCK
        self.begin(member)
        if not member.size:
            self.end()


def read_header(header: bytes) -> Member:
    """The member that one block of 512 bytes describes."""
    summed = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    try:
        told = int(header[148:156].rstrip(b" \0") or b"0", 8)
        size = _number(header[124:136])
    except ValueError:
        told, size = -1, 0
    if told != summed:
        raise DamagedError("a header in its tar is damaged", "restore another backup")
    kind = header[156:157].decode("latin-1")
    name = header[:100].rstrip(b"\0")
    prefix = header[345:500].rstrip(b"\0") if header[257:263] == b"ustar\0" else b""
    path = (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")
    return Member(path, 0 if kind in (LINK, FOLDER) else size, FILE if kind == "\0" else kind)


def header_of(name: str, size: int) -> bytes:
    """The block that begins a private file of ``size`` bytes; ``name`` is short and ASCII."""
    length = f"{size:011o}\0".encode() if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000600\0" + 2 * b"0000000\0",  # mode, user, group
        length,
        b"00000000000\0",  # when it was changed
        b" " * 8,  # the checksum, as it is summed
        FILE.encode("ascii") + bytes(100) + b"ustar\x0000",
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # files of 8 GiB and more: binary, as GNU tar has it
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b" \0") or b"0", 8)
