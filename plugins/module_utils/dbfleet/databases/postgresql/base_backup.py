"""A physical backup on its way: ``pg_basebackup``, whose tar is examined while it passes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Optional

from ...errors import CapacityError, DamagedError, DbfleetError, ProofError, SourceError, ToolError
from ...scratch import SCRATCH_ROOM
from ...stream.process import CHUNK, Command, Filter, run, show_exit
from ...units import show_size
from ..base import ArtifactStream, Sink
from ..tool_faults import lacks_room
from .address import Address
from .replication import ROLE_REMEDY, Reservation, Tablespace, refusal
from .tools import Tool, reason
from .wal_check import BaseReader

CHECKSUM = re.compile(r"checksum verification failed in file \"([^\"]+)\"")
# What the server says when it cannot tell what changed since the parent (its messages are in English here,
# because LC_ALL=C is only ours: where the server speaks another language, the number of the error is not shown).
NO_SUMMARIES = ("WAL summar", "summarize_wal", "summarization", "incremental backup")
MORE_LOG = "raise max_slot_wal_keep_size or wal_keep_size"
ROOM = 1.1  # the data may grow while it is read


class NoIncrementError(SourceError):
    """The server cannot take an increment: a full backup can be taken instead."""


@dataclass(frozen=True)
class BaseBackup:
    """How ``pg_basebackup`` is called for one backup. ``incremental`` is the file of the parent's manifest."""

    tool: Tool
    address: Address
    environment: Mapping[str, str]
    reservation: Reservation
    incremental: Optional[str] = None

    def command(self, place: str) -> Command:
        """Into the folder ``place``, or to stdout when it is ``-``."""
        argv = [
            self.tool.path,
            f"--dbname={self.address.conninfo(application_name='dbfleet')}",
            f"--pgdata={place}",
            "--format=tar",
            "--wal-method=fetch",  # all log of the backup's time in the same tar: it needs nothing else
            "--checkpoint=fast",
            "--label=dbfleet",
            "--manifest-checksums=SHA256",
            "--no-password",
        ]
        if self.incremental is not None:
            argv.append(f"--incremental={self.incremental}")
        return Command(
            tuple(argv),
            self.environment,
            explain=lambda code, words: self.explain("pg_basebackup", words, f" with {show_exit(code)}"),
        )

    def explain(self, what: str, words: str, how: str = "", *, damaged: bool = False) -> DbfleetError:
        """What the ``words`` of ``what`` mean, which failed; ``how`` may say more of the way it did.

        ``damaged``: it is known that the server's own data are.
        """
        said = reason(re.sub(r"pg_basebackup: (error|warning|detail|hint): ", r"\1: ", words))
        found = CHECKSUM.search(words)
        if found or damaged or "checksum error occurred" in words:
            name = found[1] if found else "one of its files"
            return ProofError(
                f"the server at {self.address.place} has a damaged page in {name}",
                "restore the newest good backup; see pg_amcheck and the server's log for what the page belongs to",
            )
        if self.incremental is not None and any(word in words for word in NO_SUMMARIES):
            return NoIncrementError(said, "set summarize_wal = on")
        if "has already been removed" in words:
            return SourceError(
                f"the server at {self.address.place} removed log that the backup needs", f"{MORE_LOG} on the server"
            )
        if self.reservation.is_lost():
            return SourceError(
                f"the server at {self.address.place} ended the backup: it was stopped, its connections were cut, "
                "or it removed log that the backup needs",
                f"see its log, and start again; where it removed log, {MORE_LOG}",
            )
        if "pg_hba.conf" in said or "replication role" in said or "REPLICATION" in said:
            return refusal(self.address, said)
        if "permission denied" in said:
            return SourceError(f"{what} from {self.address.place}: {said}", ROLE_REMEDY)
        if "single tablespace to stdout" in said:
            return SourceError("a tablespace was created while the backup began", "start the backup again")
        if lacks_room(said):
            return CapacityError(f"{what}: {said}", SCRATCH_ROOM)
        return ToolError(
            f"{what} from {self.address.place} failed{how}: {said}",
            "nothing of what it wrote was kept; cure what it says and start again",
        )


class BaseStream(ArtifactStream):
    """The base tar: straight out of ``pg_basebackup``, or out of a file. ``reader`` has seen all of it afterwards."""

    role = "base"

    def __init__(self, suffix: str, size_hint: Optional[int]) -> None:
        self.suffix = suffix
        self.size_hint = size_hint
        self.reader = BaseReader()

    def _chunks(self) -> Iterator[bytes]:
        raise NotImplementedError

    def pump(self, sink: Sink) -> None:
        """Pass the tar on, and read it on its way."""
        for data in self._chunks():
            self.reader.feed(data)
            sink.write(data)
        self.reader.close()

    def interrupt(self) -> None:
        """End what gives the bytes. Never raises."""


class PipedBase(BaseStream):
    """What ``pg_basebackup`` writes to stdout, without a copy on this host."""

    def __init__(self, child: Filter, first: bytes, size_hint: Optional[int]) -> None:
        super().__init__(".base.tar", size_hint)
        self._child = child
        self._first = first

    def _chunks(self) -> Iterator[bytes]:
        yield self._first
        yield from self._child.chunks()

    def interrupt(self) -> None:
        """End the tool."""
        self._child.kill()


class StagedBase(BaseStream):
    """A file that ``pg_basebackup`` wrote before: it cannot send several tars at once."""

    def __init__(self, path: str) -> None:
        super().__init__("/base.tar", os.path.getsize(path))
        self._path = path

    def _chunks(self) -> Iterator[bytes]:
        yield from _file_chunks(self._path)


class TablespaceStream(ArtifactStream):
    """The tar of one tablespace; its suffix is its number."""

    role = "tablespace"

    def __init__(self, path: str, oid: int) -> None:
        self.suffix = f"/{oid}.tar"
        self.size_hint = os.path.getsize(path)
        self._path = path

    def pump(self, sink: Sink) -> None:
        """Pass the file on and remove it: the next ones need the room."""
        for data in _file_chunks(self._path):
            sink.write(data)
        os.remove(self._path)


def _file_chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return
            yield data


def begin(stack: ExitStack, work: BaseBackup, size_hint: Optional[int]) -> PipedBase:
    """Start the backup and wait for its first bytes: by then the server has agreed to it.

    Raises :class:`NoIncrementError` where a full backup could be taken instead.
    """
    child = Filter(work.command("-"))
    try:
        child.close_input()
        first = child.read(CHUNK)
        if not first:
            child.wait()
            raise ToolError("pg_basebackup wrote nothing", "see the server's log")
    except BaseException:
        child.close()
        raise
    stack.callback(child.close)
    return PipedBase(child, first, size_hint)


def stage(
    work: BaseBackup, folder: str, spaces: Sequence[Tablespace], size: int
) -> tuple[BaseStream, list[ArtifactStream]]:
    """Take the whole backup into ``folder`` first. Raises ``CapacityError`` when it has no room for it."""
    import shutil

    free = shutil.disk_usage(os.path.dirname(folder)).free
    if free < size * ROOM:
        raise CapacityError(
            f"pg_basebackup must write this backup to files first, which needs {show_size(int(size * ROOM))} in "
            f"{os.path.dirname(folder)!r}, which has {show_size(free)} free",
            SCRATCH_ROOM,
        )
    run(work.command(folder))
    base = os.path.join(folder, "base.tar")
    manifest = os.path.join(folder, "backup_manifest")
    append_member(base, manifest, "backup_manifest")
    streams: list[ArtifactStream] = []
    for space in spaces:
        path = os.path.join(folder, f"{space.oid}.tar")
        if not os.path.exists(path):
            raise SourceError(f"tablespace {space.oid} was dropped while the backup began", "start the backup again")
        streams.append(TablespaceStream(path, space.oid))
    known = {f"{space.oid}.tar" for space in spaces} | {"base.tar", "backup_manifest"}
    more = sorted(set(os.listdir(folder)) - known)
    if more:
        raise SourceError(f"a tablespace was created while the backup began: {more[0]}", "start the backup again")
    return StagedBase(base), streams


def append_member(tar: str, path: str, name: str) -> None:
    """Put the file ``path`` into ``tar`` as ``name``, as pg_basebackup itself does on stdout."""
    import tarfile

    try:
        with tarfile.open(tar, "a:", format=tarfile.USTAR_FORMAT) as archive:
            archive.add(path, name)
    except tarfile.TarError as error:
        raise DamagedError(f"the tar of the base backup cannot be read: {error}", "start the backup again") from error
    os.remove(path)


def with_parent(work: BaseBackup, path: str) -> BaseBackup:
    """The same, but only what changed since the backup whose manifest is in the file ``path``."""
    return replace(work, incremental=path)
