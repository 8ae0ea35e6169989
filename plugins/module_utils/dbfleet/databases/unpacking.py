"""Unpacking the stream of an artifact into a folder, whatever format the stream has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from ..errors import CapacityError, DamagedError
from ..model import Artifact

BUFFER = 256 * 1024


class Unpacks(Protocol):
    """What reads one format and writes its files."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises ``DamagedError`` for what is none."""

    def close(self) -> None:
        """The stream has ended. Raises ``DamagedError`` where it may not end there."""

    def abort(self) -> None:
        """Close what is open. Never raises."""


def create_file(path: str, found: str) -> BinaryIO:
    """A new file that only we can read, with the folders that it lies in; ``found`` says for a message what holds it.

    Raises ``DamagedError`` where it is there already, and ``OSError``.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise DamagedError(f"{found} twice", "restore another backup") from None
    return open(descriptor, "wb", buffering=BUFFER)


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
