"""Tagged GTIDs as MySQL writes them into its log: numbers of one to nine bytes, fields behind their numbers."""

from __future__ import annotations

import uuid


def written(number: int) -> bytes:
    """Seven bits in each byte but the last of nine: as many set bits at the bottom as bytes follow the first."""
    length = next((count for count in range(1, 9) if number < 1 << 7 * count), 9)
    if length == 9:
        return b"\xff" + number.to_bytes(8, "little")
    return ((number << length) | ((1 << length - 1) - 1)).to_bytes(length, "little")


def message(server: uuid.UUID, number: int, tag: str) -> bytes:
    """The body of the event, up to the fields that nobody reads here."""
    signed = number << 1 if number >= 0 else (-number - 1) << 1 | 1
    fields = [b"\x02", b"".join(map(written, server.bytes)), written(signed), written(len(tag)) + tag.encode()]
    body = b"".join(written(place) + field for place, field in enumerate(fields))
    return written(1) + written(len(body)) + written(0) + body + b"\x08\x00\x0a\x04"
