"""The name of a transaction with a tag: ``UUID:tag:number`` (MySQL manual, "GTID Format and Storage", from 8.3 on).

Its event is written as MySQL's serialization library writes messages (``libs/mysql/serialization/readme.md`` of
MySQL's source): every number takes as many bytes as the lowest bits of the first one that are set, and one more.
The message is its format's version, its size, the last field that a reader must know, then each field behind its
number: 0 flags, 1 the server's UUID, 2 the transaction's number, 3 the tag, and more that is not read here.
"""

from __future__ import annotations

import uuid

HEAD = 3  # numbers before the first field
FLAGS, SERVER, NUMBER, TAG = range(4)
UUID_BYTES = 16
ALL_SET = 8  # the first byte: then the number has eight bytes of its own


class _Message:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        """The next number. Raises ``ValueError`` where the message ends."""
        first = self.take(1)
        more = next((bit for bit in range(ALL_SET) if not first[0] >> bit & 1), ALL_SET)
        value = int.from_bytes(first + self.take(more), "little")
        return value >> min(more + 1, ALL_SET)

    def signed(self) -> int:
        """The next number, whose lowest bit is its sign."""
        value = self.number()
        return -(value >> 1) - 1 if value & 1 else value >> 1

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes. Raises ``ValueError`` where the message ends."""
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError(f"{count} bytes are wanted where {len(taken)} are left")
        self._at += count
        return taken

    def field(self, expected: int) -> None:
        """Pass over a field's number. Raises ``ValueError`` for another one than ``expected``."""
        found = self.number()
        if found != expected:
            raise ValueError(f"field {found} where {expected} should be")


def read_tagged(body: bytes) -> str:
    """The GTID in the body of a tagged GTID event. Raises ``ValueError`` for what is none."""
    message = _Message(body)
    for _number in range(HEAD):
        message.number()
    message.field(FLAGS)
    message.number()
    message.field(SERVER)
    server = uuid.UUID(bytes=bytes(message.number() for _byte in range(UUID_BYTES)))
    message.field(NUMBER)
    number = message.signed()
    message.field(TAG)
    tag = message.take(message.number()).decode("ascii")
    return f"{server}:{tag}:{number}"
