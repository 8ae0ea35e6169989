"""What a log archive holds, as one listing of it shows; records are read when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Callable, Optional, TypeVar

from . import log_records
from .errors import BusyError, DamagedError, DbfleetError, NotFoundError
from .log_records import LogRecord, Piece
from .stores.base import Entry, Store
from .stream.compression import SUFFIXES as COMPRESSIONS
from .stream.encryption import SUFFIXES as ENCRYPTIONS

CODING = re.compile(
    r"(\.again-\d+)?("
    + "|".join(re.escape(one) for one in {*COMPRESSIONS.values(), *ENCRYPTIONS.values()} if one)
    + ")*"
)
Reader = Callable[[LogRecord], bytes]
Found = TypeVar("Found")
LOOKS = 5  # how often what an archiver replaced meanwhile is looked for again: it does so every few seconds
DOUBTS = 50  # artifacts that are looked for again at most: more were not put there since the listing, they are lost


def read_logs(store: Store, job: str) -> dict[str, LogShelf]:
    """What the log archive of ``job`` holds, by lineage. Raises ``NotFoundError`` where there is no repository."""
    files: dict[str, dict[str, Entry]] = {}
    for entry in store.entries(log_records.folder(job)):
        place = log_records.place_of(entry.name)
        if place is not None and place.job == job:
            files.setdefault(place.lineage, {})[place.rest] = entry
    return {lineage: LogShelf(store, job, lineage, found) for lineage, found in files.items()}


class LogShelf:
    """One lineage of a log archive; it is the :class:`~dbfleet.databases.logs.Shelf` of its format.

    ``files`` are its stored files by their name below the lineage. Who adds or removes one says so
    with :meth:`put` and :meth:`forget`; what an archiver elsewhere changes meanwhile, longer pieces in
    the place of those that they hold, is seen when something is not found: see :meth:`look_again`.
    """

    def __init__(self, store: Store, job: str, lineage: str, files: dict[str, Entry]) -> None:
        self.store = store
        self.job = job
        self.lineage = lineage
        self.files = files
        self.read_content: Optional[Reader] = None  # who knows the keys gives it
        self._doubts = 0
        self._records: dict[str, LogRecord] = {}
        self._contents: dict[str, bytes] = {}

    # --- what there is ---

    @cached_property
    def _finished(self) -> set[str]:
        return {name for name, piece in self._stems() if piece is None}

    @cached_property
    def _parts(self) -> dict[str, set[Piece]]:
        parts: dict[str, set[Piece]] = {}
        for name, piece in self._stems():
            if piece is not None:
                parts.setdefault(name, set()).add(piece)
        return parts

    def _stems(self) -> list[tuple[str, Optional[Piece]]]:
        ending = len(log_records.RECORD)
        return [log_records.split_part(file[:-ending]) for file in self.files if file.endswith(log_records.RECORD)]

    def names(self) -> Collection[str]:
        """Every finished file."""
        return self._finished

    def unfinished(self) -> Collection[str]:
        """Files of which only the beginning is kept."""
        return {name for name in self._parts.keys() - self._finished if beginning(self._parts[name])}

    def length(self, name: str) -> Optional[int]:
        """Up to which byte an unfinished file is kept; ``None`` for a finished one."""
        last = self._kept(name)[-1]
        return None if last is None else last.end

    def superseded(self, only: Optional[str] = None) -> Iterator[LogRecord]:
        """Pieces that others hold, or the finished file does; of the file ``only``, if it is given.

        Records are read one by one: where a store keeps everything there are many, and the first one tells.
        """
        found = self._parts.items() if only is None else [(only, self._parts.get(only, set()))]
        old = [
            (name, piece)
            for name, pieces in found
            for piece in sorted(pieces if name in self._finished else _held(pieces))
        ]
        for name, piece in old:
            record = self._try(name, piece)
            if record is not None:
                yield record

    def orphans(self) -> list[str]:
        """Stored files that no record names, as a crash leaves them; names in the repository."""
        stems = {file[: -len(log_records.RECORD)] for file in self.files if file.endswith(log_records.RECORD)}
        found = []
        for file, entry in self.files.items():
            if not file.endswith(log_records.RECORD) and not any(
                CODING.fullmatch(file[len(stem) :]) for stem in _stems_of(file) if stem in stems
            ):
                found.append(entry.name)
        return sorted(found)

    @cached_property
    def _stored(self) -> dict[str, dict[str, int]]:
        """The bytes of the stored files by the name of their record, as the listing showed them."""
        stems = {file[: -len(log_records.RECORD)] for file in self.files if file.endswith(log_records.RECORD)}
        found: dict[str, dict[str, int]] = {}
        for file, entry in self.files.items():
            for stem in _stems_of(file):
                if stem in stems:
                    found.setdefault(stem, {})[file] = entry.size_bytes
                    break
        return found

    def sizes(self, name: str) -> Mapping[str, int]:
        """Stored bytes of the files that keep ``name``, as the listing showed them; both record and artifact."""
        found: dict[str, int] = {}
        for piece in self._kept(name):
            found.update(self._stored.get(log_records.stem_of(name, piece), {}))
        return found

    @property
    def size_bytes(self) -> int:
        """Bytes of everything stored."""
        return sum(entry.size_bytes for entry in self.files.values())

    # --- records ---

    def record(self, name: str) -> LogRecord:
        """The record of the file ``name``, or of the last piece of it: it tells of all that is kept of the file.

        Raises ``NotFoundError``, ``DamagedError`` when it cannot be read, ``BusyError`` when it changes all the time.
        """
        return self._as_it_is_now(name, lambda kept: self._read(name, kept[-1]))

    def pieces(self, name: str) -> list[LogRecord]:
        """The records whose artifacts one after the other are what is kept of the file ``name``: often one.

        Raises as :meth:`record`.
        """
        return self.from_pieces(name, lambda records: records)

    def from_pieces(self, name: str, make: Callable[[list[LogRecord]], Found]) -> Found:
        """What ``make`` makes of the records of :meth:`pieces`; again, where others take their place meanwhile.

        Raises as :meth:`record` and as ``make`` does, whose ``NotFoundError`` means that a piece is gone.
        """
        return self._as_it_is_now(name, lambda kept: make([self._read(name, piece) for piece in kept]))

    def look_again(self, name: str) -> bool:
        """List the stored files of the file ``name`` anew; whether that shows others than before."""
        prefix = log_records.base_name(self.job, self.lineage, name)
        listed = {entry.name.rpartition("/")[2]: entry for entry in self.store.entries(prefix)}
        known, found = ({file for file in files if f"{file}.".startswith(f"{name}.")} for files in (self.files, listed))
        if known == found:
            return False
        for file in known - found:
            del self.files[file]
        self.files.update((file, listed[file]) for file in found)
        for derived in ("_finished", "_parts", "_stored"):
            self.__dict__.pop(derived, None)
        return True

    def _as_it_is_now(self, name: str, read: Callable[[Sequence[Optional[Piece]]], Found]) -> Found:
        """What ``read`` makes of the pieces of ``name``, again where others took their place before they were read.

        An archiver may put a longer piece in the place of those that are being read: then the longer one is.
        """
        for _turn in range(LOOKS):
            try:
                return read(self._kept(name))
            except NotFoundError:
                if not self.look_again(name):
                    raise
        raise BusyError(f"{name} in the log archive of {self.job} changes faster than it can be read", "try again")

    def holds(self, record: LogRecord) -> bool:
        """Whether this very record is here as well; one that cannot be read is not."""
        if record.file.rpartition("/")[2] not in self.files:
            return False
        known = self._try(record.name, record.piece)
        return known is not None and known.digest == record.digest

    def misfit(self, record: LogRecord) -> str:
        """What is wrong with the artifact of ``record`` by the listing: it is missing, or of another size."""
        file = record.artifact.file.rpartition("/")[2]
        if file not in self.files and self._doubts < DOUBTS:
            self._doubts += 1
            self.look_again(record.name)  # a listing may have passed its place before it was put there
        entry = self.files.get(file)
        if entry is None:
            return "is missing"
        wanted = record.artifact.size_bytes
        return "" if entry.size_bytes == wanted else f"has {entry.size_bytes} bytes, not {wanted}"

    def _kept(self, name: str) -> Sequence[Optional[Piece]]:
        """What the file ``name`` is kept in."""
        if name in self._finished:
            return [None]
        found = beginning(self._parts.get(name, ()))
        if not found:
            raise NotFoundError(f"the log archive of {self.job} has no {name}", "see `dbfleet log-archive status`")
        return found

    def details(self, name: str) -> Mapping[str, Any]:
        """What the format said of a file."""
        return self.record(name).details

    def content(self, name: str) -> bytes:
        """The bytes of a small file."""
        if name not in self._contents:
            if self.read_content is None:
                raise DamagedError(f"{name} cannot be read here", "give the keys of the job")
            self._contents[name] = self.read_content(self.record(name))
        return self._contents[name]

    def _read(self, name: str, piece: Optional[Piece]) -> LogRecord:
        file = log_records.record_file(self.job, self.lineage, name, piece)
        if file not in self._records:
            self._records[file] = log_records.decode(self.store.read(file), file)
        return self._records[file]

    def _try(self, name: str, piece: Optional[Piece]) -> Optional[LogRecord]:
        try:
            return self._read(name, piece)
        except DbfleetError:
            return None

    # --- changes ---

    def put(self, record: LogRecord) -> None:
        """``record`` and its artifact are stored now."""
        for file, size in ((record.artifact.file, record.artifact.size_bytes), (record.file, 0)):
            self.files[file.rpartition("/")[2]] = Entry(file, size, 0.0)
        self._records[record.file] = record
        if record.piece is None:
            self._finished.add(record.name)
        else:
            self._parts.setdefault(record.name, set()).add(record.piece)

    def forget(self, record: LogRecord) -> None:
        """``record`` and its artifact are gone."""
        for file in (record.artifact.file, record.file):
            self.files.pop(file.rpartition("/")[2], None)
        self._records.pop(record.file, None)
        if record.piece is None:
            self._finished.discard(record.name)
        elif record.name in self._parts:
            self._parts[record.name].discard(record.piece)
            if not self._parts[record.name]:
                del self._parts[record.name]


def beginning(pieces: Collection[Piece]) -> list[Piece]:
    """Those of ``pieces`` of a file that one after the other are its longest beginning, as few as possible."""
    found: list[Piece] = []
    at = 0
    while following := [one for one in pieces if one.first == at and one.end > at]:
        found.append(max(following))
        at = found[-1].end
    return found


def _held(pieces: Collection[Piece]) -> list[Piece]:
    """Those of ``pieces`` that the beginning holds without them."""
    found = beginning(pieces)
    return [one for one in pieces if one not in found and found and one.end <= found[-1].end]


def _stems_of(file: str) -> list[str]:
    """Every beginning of ``file`` that ends before a dot, and all of it: one of them is its record's name."""
    return [file, *(file[: found.start()] for found in re.finditer(r"\.", file))]
