"""Unpacking the stream of an artifact into a folder, whatever format the stream has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..errors import CapacityError, DamagedError
from ..model import Artifact


class Unpacks(Protocol):
    """What reads one format and writes its files."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises ``DamagedError`` for what is none."""

    def close(self) -> None:
        """The stream has ended. Raises ``DamagedError`` where it may not end there."""

    def abort(self) -> None:
        """Close what is open. Never raises."""


def unpack_with(reader: Unpacks, artifact: Artifact, chunks: Iterable[bytes], folder: str) -> None:
    """Let ``reader`` write all files of the stream below ``folder``.

    Raises ``DamagedError`` that names the artifact, and ``CapacityError`` where ``folder`` cannot be written.
    """
    try:
        for data in chunks:
            reader.feed(data)
        reader.close()
    except DamagedError as error:
        for _data in chunks:  # where the stored bytes are damaged, their digest says so more exactly
            pass
        if artifact.file in error.message:
            raise
        raise DamagedError(f"{artifact.file}: {error.message}", error.remedy) from error
    except OSError as error:
        raise CapacityError(
            f"cannot write in {folder!r}: {error.strerror}", "free space there, or restore elsewhere with --to"
        ) from error
    finally:
        reader.abort()
