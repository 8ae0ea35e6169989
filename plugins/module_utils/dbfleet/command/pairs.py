"""Options that say ``OLD=NEW``."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UsageError


def read_pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    r"""What each old one becomes; a ``=`` inside a name is written ``\=``, as pg_basebackup has it.

    Raises ``UsageError`` for what is no pair, and for an old one that is named twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        parts = [part.replace("\0", "=") for part in word.replace("\\=", "\0").split("=")]
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"{option} {word!r} is not OLD=NEW", "write two paths, such as /srv/fast=/mnt/fast")
        if parts[0] in pairs:
            raise UsageError(f"{option} names {parts[0]!r} twice", "name it once")
        pairs[parts[0]] = parts[1]
    return pairs
