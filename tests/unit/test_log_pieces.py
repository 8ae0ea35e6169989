"""Log files that grow: kept in pieces that are never many, of which every byte is stored a few times only."""

from __future__ import annotations

import math
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbfleet.databases.mysql.binlog_format import MAGIC, BinlogFormat
from dbfleet.errors import NotFoundError
from dbfleet.log_catalog import LogShelf, beginning, read_logs
from dbfleet.log_records import Piece, decode, encode, split_part, stem_of
from dbfleet.model import Compression, Job, Limits, Repository
from dbfleet.operations.copying import Copier
from dbfleet.operations.log_copying import copy_logs
from dbfleet.operations.log_files import write_file
from dbfleet.operations.log_shipping import Shipper
from dbfleet.operations.log_status import _misfits
from dbfleet.progress import SILENCE
from dbfleet.stores.base import Store
from dbfleet.stores.registry import open_store
from dbfleet.stream.throttle import UNLIMITED


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """No test here cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


NAME = "000003e8-binlog.000001"
DESCRIPTION, ROTATE, ROWS = 15, 4, 30
LINEAGE = "6c7bbf6e"


def event(chance: random.Random, kind: int, size: int) -> bytes:
    return struct.pack("<IBIIIH", 1000, kind, 7, 19 + size, 0, 0) + chance.randbytes(size)


class Lab:
    """A file that grows, the archive that keeps it, and a copy of the archive."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.path = folder / "binlog.000001"
        self.stores: list[Store] = []
        for name in ("here", "there"):
            (folder / name).mkdir()
            self.stores.append(open_store(str(folder / name)))
        self.job = Job(
            "app", Repository(str(folder / "here")), compression=Compression("none"), limits=Limits(min_free="0")
        )
        self.begin()
        self.shipper = self.fresh()
        self.stored = 0

    def begin(self) -> None:
        self.path.write_bytes(MAGIC + event(self.chance, DESCRIPTION, 100))

    def fresh(self) -> Shipper:
        """An archiver that was started anew."""
        return Shipper(self.job, self.stores[0], BinlogFormat(), LINEAGE)

    def grow(self, size: int, kind: int = ROWS) -> None:
        with open(self.path, "ab") as file:
            file.write(event(self.chance, kind, size))

    def ship(self, *, finished: bool = False) -> None:
        record = self.shipper.ship(NAME, str(self.path), finished=finished)
        if record is not None:
            assert decode(encode(record), record.file) == record
            self.stored += record.artifact.raw_size_bytes

    def copy(self) -> None:
        source, target = self.stores
        copier = Copier(source, target, self.job.limits, UNLIMITED, SILENCE)
        assert copy_logs(self.job, source, target, [], copier).findings == []

    def shelf(self, place: int = 0) -> LogShelf:
        return read_logs(self.stores[place], "app")[LINEAGE]

    def kept(self, place: int = 0) -> bytes:
        """What the archive gives back of the file; nothing may be wrong with it or left over."""
        shelf = self.shelf(place)
        assert list(_misfits(shelf)) == [] and shelf.orphans() == [] and list(shelf.superseded()) == []
        assert (
            shelf.record(NAME).end == f"binlog.000001:{sum(one.artifact.raw_size_bytes for one in shelf.pieces(NAME))}"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            write_file(self.job, shelf, NAME, str(path))
            return path.read_bytes()


@contextmanager
def lab(seed: int = 0) -> Iterator[Lab]:
    with tempfile.TemporaryDirectory() as folder:
        yield Lab(Path(folder), seed)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_what_is_kept_is_what_was_written_in_few_pieces(sizes: list[int], chance: random.Random) -> None:
    with lab() as one:
        for number, size in enumerate(sizes):
            one.grow(size)
            one.ship()
            whole = one.path.read_bytes()
            assert one.kept() == whole
            assert len(one.shelf().pieces(NAME)) <= math.log2(len(whole)) + 1
            if chance.random() < 0.2:
                one.copy()
                assert one.kept(1) == whole
            if chance.random() < 0.1:
                one.shipper = one.fresh()
            assert one.stored <= len(whole) * (math.log(number + 1, 1.5) + 2)
        one.grow(20, ROTATE)
        one.ship(finished=True)
        one.copy()
        assert one.kept() == one.kept(1) == one.path.read_bytes()
        assert one.shelf().unfinished() == one.shelf(1).unfinished() == set()
        assert len(one.shelf().files) == len(one.shelf(1).files) == 2


def test_growing_steadily_stores_every_byte_a_few_times() -> None:
    """Four hundred looks at a file: kept whole at each look it would be stored two hundred times."""
    with lab() as one:
        for _number in range(400):
            one.grow(1000)
            one.ship()
        assert one.stored < 8 * one.path.stat().st_size
        assert one.kept() == one.path.read_bytes()


def test_less_and_less_is_kept_in_few_pieces_as_well() -> None:
    with lab() as one:
        for number in range(200):
            one.grow(4000 - number)
            one.ship()
            assert len(one.shelf().pieces(NAME)) <= math.log2(one.path.stat().st_size) + 1
        assert one.kept() == one.path.read_bytes()


def test_a_file_that_was_begun_anew_is_stored_from_its_beginning() -> None:
    with lab() as one:
        for size in (5000, 300, 70):
            one.grow(size)
            one.ship()
        old = one.path.read_bytes()
        one.begin()
        one.grow(100)
        one.ship()
        assert one.kept() == old  # it is shorter so far
        one.grow(9000)
        one.ship()
        assert one.kept() == one.path.read_bytes()
        assert len(one.shelf().pieces(NAME)) == 1


def test_a_copy_is_mended_where_a_piece_of_it_is_lost() -> None:
    with lab() as one:
        for size in (5000, 1000, 200):
            one.grow(size)
            one.ship()
        one.copy()
        first, second, last = one.shelf(1).pieces(NAME)
        for file in (first.file, first.artifact.file):
            one.stores[1].remove(file)
        assert NAME not in one.shelf(1).unfinished()
        assert [one.shelf(1).holds(record) for record in (first, second, last)] == [False, True, True]
        one.copy()
        assert one.kept(1) == one.kept()


def test_what_a_kill_leaves_is_made_good() -> None:
    """Between the longer piece and the removal of those that it holds; with a piece that is missing."""
    with lab() as one:
        for size in (4000, 1000):
            one.grow(size)
            one.ship()
        here = Path(one.job.repository.url)
        before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
        assert len(one.shelf().pieces(NAME)) == 2
        one.grow(9000)
        one.ship()
        for path, data in before.items():
            path.write_bytes(data)
        assert len(one.shelf().pieces(NAME)) == 1
        one.shipper = one.fresh()
        assert one.kept() == one.path.read_bytes()
        one.grow(10)
        one.ship()
        (first, _last) = one.shelf().pieces(NAME)
        for file in (first.file, first.artifact.file):
            one.stores[0].remove(file)
        assert NAME not in one.shelf().unfinished()
        with pytest.raises(NotFoundError):
            one.shelf().record(NAME)
        one.shipper = one.fresh()
        one.grow(10)
        one.ship()
        assert one.kept() == one.path.read_bytes()


def test_who_reads_while_the_archiver_goes_on_reads_what_is_there_now() -> None:
    with lab() as one:
        for size in (4000, 1000):
            one.grow(size)
            one.ship()
        seen, unread = one.shelf(), one.shelf()
        assert len(seen.pieces(NAME)) == 2
        one.grow(9000)
        one.ship()
        longer = one.shelf().pieces(NAME)
        assert unread.record(NAME) == one.shelf().record(NAME)
        assert unread.pieces(NAME) == longer and unread.length(NAME) == len(one.path.read_bytes())
        path = one.path.with_name("log")
        assert write_file(one.job, seen, NAME, str(path)) == longer[-1]  # it knew records whose artifacts are gone
        assert path.read_bytes() == one.path.read_bytes()

        one.grow(20, ROTATE)
        one.ship(finished=True)
        assert seen.pieces(NAME) == longer  # as it saw them
        assert write_file(one.job, seen, NAME, str(path)).finished
        assert path.read_bytes() == one.path.read_bytes()
        assert seen.names() == {NAME} and seen.unfinished() == set() and list(_misfits(seen)) == []


def test_a_listing_that_missed_an_artifact_is_no_finding() -> None:
    with lab() as one:
        one.grow(1000)
        one.ship()
        shelf, record = one.shelf(), one.shelf().record(NAME)
        del shelf.files[record.artifact.file.rpartition("/")[2]]  # put there after the listing had passed
        assert list(_misfits(shelf)) == []


def test_what_is_gone_is_not_waited_for() -> None:
    """A prune took it; or its artifact alone is lost, and no longer piece will come."""
    with lab() as one:
        one.grow(1000)
        one.ship()
        pruned, damaged, path = one.shelf(), one.shelf(), one.path.with_name("log")
        record = damaged.record(NAME)
        one.stores[0].remove(record.artifact.file)
        for _turn in range(2):
            with pytest.raises(NotFoundError, match=record.artifact.file):
                write_file(one.job, damaged, NAME, str(path))
        assert [finding.object for finding in _misfits(damaged)] == [NAME]
        one.stores[0].remove(record.file)
        with pytest.raises(NotFoundError, match=f"has no {NAME}"):
            write_file(one.job, pruned, NAME, str(path))
        assert not path.exists()


@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda pair: Piece(*pair))))
def test_a_beginning_has_no_hole(pieces: set[Piece]) -> None:
    found = beginning(pieces)
    at = 0
    for piece in found:
        assert piece.first == at < piece.end and piece in pieces
        at = piece.end
    assert not any(piece.first == at < piece.end for piece in pieces)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_names_tell_the_bytes(first: int, end: int) -> None:
    assert split_part(stem_of("b.000001", Piece(first, end))) == ("b.000001", Piece(first, end))
    assert split_part(stem_of("b.000001")) == ("b.000001", None)
    assert stem_of("b.000001", Piece(0, 0x1A2B0)) == "b.000001.part-00000001A2B0"
