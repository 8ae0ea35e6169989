"""Logs of our own making are what SQLite replays, and its own are read as it reads them."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.wal import (
    FRAME,
    HEADER,
    LogWriter,
    frame_offset,
    overlay,
    read_index,
    replay,
)
from dbfleet.errors import DamagedError


def slow_checksum(data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """Word for word as the manual writes it (fileformat2.html, 4.2)."""
    s0, s1 = before
    words = struct.unpack(f"<{len(data) // 4}I", data)
    for i in range(0, len(words), 2):
        s0 = (s0 + words[i] + s1) & 0xFFFFFFFF
        s1 = (s1 + words[i + 1] + s0) & 0xFFFFFFFF
    return s0, s1


def written(page_size: int, pages: list[tuple[int, bytes, int]]) -> bytes:
    log = LogWriter(page_size)
    return log.header + b"".join(log.frame(*page) for page in pages)


@given(st.sampled_from([512, 1024, 4096]), st.lists(st.binary(min_size=8, max_size=64), min_size=1, max_size=5))
def test_checksums_are_those_of_the_manual(page_size: int, seeds: list[bytes]) -> None:
    pages = [(number, (seed * page_size)[:page_size], number) for number, seed in enumerate(seeds, 1)]
    log = written(page_size, pages)
    checksum = slow_checksum(log[:24], (0, 0))
    assert log[24:32] == struct.pack(">II", *checksum)
    for number in range(1, len(pages) + 1):
        frame = log[frame_offset(number, page_size) :][: FRAME.size + page_size]
        checksum = slow_checksum(frame[:8] + frame[24:], checksum)
        assert frame[16:24] == struct.pack(">II", *checksum)


@given(
    st.sampled_from([512, 65536]),
    st.lists(st.tuples(st.integers(1, 9), st.binary(min_size=1, max_size=9)), max_size=6),
    st.integers(1, 99),
    st.integers(1, 7000),
)
def test_what_was_written_is_replayed_however_it_arrives(
    page_size: int, changes: list[tuple[int, bytes]], commit: int, chunk: int
) -> None:
    pages = [(page, (seed * page_size)[:page_size], 0) for page, seed in changes] + [(1, bytes(page_size), commit)]
    log = written(page_size, pages)
    assert list(replay((log[i : i + chunk] for i in range(0, len(log), chunk)), page_size)) == pages


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (0, "not a log"),
        (31, "not a log"),
        (32, "before its commit"),
        (40, "middle of a page"),
        (-1, "middle of a page"),
    ],
)
def test_a_log_that_was_cut_off_is_damaged(cut: int, why: str) -> None:
    log = written(512, [(2, bytes(512), 0), (1, bytes(512), 2)])
    with pytest.raises(DamagedError, match=why):
        list(replay([log[:cut]], 512))


def test_a_log_without_its_commit_or_of_another_page_size_is_damaged() -> None:
    with pytest.raises(DamagedError, match="before its commit"):
        list(replay([written(512, [(2, bytes(512), 0)])], 512))
    with pytest.raises(DamagedError, match="pages of 1024"):
        list(replay([written(512, [(1, bytes(512), 1)])], 1024))


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_sqlite_replays_our_log(mode: str, page_size: int, tmp_path: Path) -> None:
    """One database becomes another one, larger or smaller, by nothing but the log beside it."""
    images = []
    for name, rows in (("one", 40), ("two", 400), ("three", 3)):
        with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {page_size}")
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("CREATE TABLE t(a)")
            connection.executemany("INSERT INTO t VALUES(?)", [(name * 50,)] * rows)
        images.append((tmp_path / name).read_bytes())
    for before, after in zip(images, images[1:]):
        path = tmp_path / f"{mode}.db"
        path.write_bytes(before)
        count = len(after) // page_size
        pages = [(i + 1, after[i * page_size : (i + 1) * page_size]) for i in range(count)]
        log = LogWriter(page_size)
        frames = [log.frame(*page) for page in pages[1:]] + [log.frame(*pages[0], commit_pages=count)]
        Path(f"{path}-wal").write_bytes(log.header + b"".join(frames))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert path.read_bytes() == after


def test_the_index_and_the_log_of_sqlite_are_read_as_it_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t(a)")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        for number in range(50):
            connection.execute("INSERT INTO t VALUES(?)", (f"{number}" * 700,))
        with open(f"{path}-shm", "rb", buffering=0) as index, open(f"{path}-wal", "rb", buffering=0) as log:
            state = read_index(index)
            assert state is not None
            ((pages,),) = connection.execute("PRAGMA page_count")
            assert (state.pages, state.page_size) == (pages, 4096)
            assert state.backfilled < state.frames
            assert read_index(index).commit == state.commit  # type: ignore[union-attr]
            image = bytearray(path.read_bytes().ljust(pages * 4096, b"\0"))
            for page, frame in enumerate(overlay(log, state)):
                if frame:
                    log.seek(frame_offset(frame, 4096) + FRAME.size)
                    image[(page - 1) * 4096 : page * 4096] = log.read(4096)
            connection.execute("INSERT INTO t VALUES('later')")
            assert read_index(index).commit != state.commit  # type: ignore[union-attr]
    (tmp_path / "copy.db").write_bytes(image)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*), max(length(a)) FROM t").fetchone() == (50, 1400)


def test_an_index_that_is_being_written_or_is_none_is_not_read() -> None:
    for data in (b"", bytes(136), bytes(99), struct.pack("=I", 3007000) + bytes(132)):
        assert read_index(BytesIO(data)) is None


def test_a_log_that_is_not_the_one_of_the_index_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t(a)")
        connection.execute("INSERT INTO t VALUES(1)")
        state = read_index(BytesIO(Path(f"{path}-shm").read_bytes()))
        log = bytearray(Path(f"{path}-wal").read_bytes())
    assert state is not None
    with pytest.raises(DamagedError, match="ends before frame"):
        overlay(BytesIO(bytes(log[: HEADER.size])), state)
    other = bytearray(log)
    other[HEADER.size + 8] ^= 1
    with pytest.raises(DamagedError, match="another log"):
        overlay(BytesIO(bytes(other)), state)
    other = bytearray(log)
    other[frame_offset(state.frames, 4096) + 16] ^= 1
    with pytest.raises(DamagedError, match="last frame"):
        overlay(BytesIO(bytes(other)), state)
