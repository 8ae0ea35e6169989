"""Places for restored data directories, and damage to what they are restored from."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DAMAGES = ("middle", "cut", "gone")


@contextmanager
def a_room() -> Iterator[Path]:
    """A folder that the server's user can reach, for restored data directories."""
    folder = Path(tempfile.mkdtemp(prefix="dbfleet-restored-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def room() -> Iterator[Path]:
    """See :func:`a_room`."""
    with a_room() as folder:
        yield folder


def damage(artifact: Path, where: str) -> None:
    """A bit flipped in the ``first byte``, the ``middle`` or the ``last byte``; the end ``cut`` off; or ``gone``."""
    data = bytearray(artifact.read_bytes())
    if where == "gone":
        artifact.unlink()
        return
    if where == "cut":
        del data[-7:]
    else:
        data[{"first byte": 0, "middle": len(data) // 2, "last byte": -1}[where]] ^= 0x10
    artifact.write_bytes(data)
