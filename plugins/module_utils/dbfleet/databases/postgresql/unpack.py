"""Unpacking the tars of a base backup into private folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO, Optional

from ...errors import DamagedError
from ...model import Artifact
from ..unpacking import create_file, unpack_with
from .tarball import FILE, FOLDER, LINK, Member, TarReader


def unpack(artifact: Artifact, chunks: Iterable[bytes], folder: str) -> None:
    """Everything of the tar goes below ``folder``. Raises ``DamagedError`` for what is no base backup."""
    unpack_with(_Writer(folder), artifact, chunks, folder)


class _Writer(TarReader):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self._file: Optional[BinaryIO] = None

    def begin(self, member: Member) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in member.name:
            raise DamagedError(f"the tar names {member.name!r}, which is outside of it", "restore another backup")
        path = os.path.join(self._folder, *parts)
        if member.kind == FOLDER:
            os.makedirs(path, mode=0o700, exist_ok=True)
        elif member.kind == FILE:
            self._file = create_file(path, f"the tar holds {path!r}")
        elif member.kind != LINK or parts[:1] != ["pg_tblspc"]:  # links of tablespaces are made anew
            raise DamagedError(f"the tar holds {member.name!r} of unknown kind {member.kind!r}", "restore another one")

    def content(self, data: memoryview) -> None:
        if self._file is not None:
            self._file.write(data)

    def end(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def abort(self) -> None:
        """Close what is open. Never raises."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # what failed before is on its way up
