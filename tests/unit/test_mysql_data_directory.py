"""Whether the files on this host are those of the server that was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from dbfleet.databases.mysql import data_directory


class Asked:
    """A session of MariaDB that tells of one checkpoint after the other, and then goes on telling the last."""

    def __init__(self, *checkpoints: Optional[int]) -> None:
        self._rest: Iterator[Optional[int]] = iter(checkpoints)
        self._last = checkpoints[-1]

    def variable(self, name: str) -> None:
        return None

    def status(self, name: str) -> Optional[str]:
        checkpoint = next(self._rest, self._last)
        return None if checkpoint is None else str(checkpoint)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return tmp_path


def write(folder: Path, checkpoint: int, start: bytes = b"Phys") -> None:
    log = bytearray(9000)
    log[:4] = start
    log[4096:4104] = (checkpoint - 5).to_bytes(8, "big")
    log[8192:8200] = checkpoint.to_bytes(8, "big")
    (folder / "ib_logfile0").write_bytes(log)


@pytest.mark.parametrize(
    ("told", "certain"),
    [
        ((100,), True),
        ((90, 90, 100), True),  # the file is ahead while the server waits for the disk
        ((90,), False),
        ((10, 20, 30), None),
        ((None,), None),
    ],
)
def test_the_checkpoint_tells(folder: Path, told: tuple[Optional[int], ...], certain: Optional[bool]) -> None:
    write(folder, 100)
    assert data_directory._is_of(Asked(*told), str(folder)) is certain  # type: ignore[arg-type]


def test_a_log_that_cannot_be_read_tells_nothing(folder: Path) -> None:
    assert data_directory._is_of(Asked(100), str(folder)) is None  # type: ignore[arg-type]
    write(folder, 100, b"ABCD")
    assert data_directory._is_of(Asked(100), str(folder)) is None  # type: ignore[arg-type]
