"""A base backup with tablespaces, without a copy on this host: all its tars come in one stream of the server.

``pg_basebackup`` writes no more than one tar to stdout. The server itself, from version 15 on, sends them one
after another in one COPY (manual, "Streaming Replication Protocol", ``BASE_BACKUP``), and each is passed on to
its artifact as it comes.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Optional

from ...errors import DamagedError, DbfleetError, SourceError
from ..base import ArtifactStream, Sink
from .address import import_driver
from .backup_manifest import FILE
from .base_backup import BaseBackup, BaseStream
from .replication import Tablespace, replicating
from .tarball import BLOCK, header_of

SINCE = 15
OPTIONS = (
    "LABEL 'dbfleet', CHECKPOINT 'fast', WAL, TABLESPACE_MAP, "
    "MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256', TARGET 'client'"
)
END = bytes(2 * BLOCK)  # of a tar
NEW_TAR, NEW_MANIFEST, DATA = b"n", b"m", b"d"  # the first byte of each message; others are of progress
DAMAGED = "XX001"  # the server's code for data that are (manual, Appendix A)
AGAIN = "start the backup again"


class _Part:
    """One tar on its way: its sink, which may come later than its first bytes."""

    def __init__(self) -> None:
        self.sink: Optional[Sink] = None
        self.wanted = threading.Event()  # the sink is there
        self.over = threading.Event()  # all was written, or the backup failed
        self.seen = False


class StreamedBase(BaseStream):
    """The base tar of a stream."""

    def __init__(self, stream: ClusterStream, size_hint: Optional[int]) -> None:
        super().__init__("/base.tar", size_hint)
        self.part = _Part()
        self._stream = stream

    def pump(self, sink: Sink) -> None:
        """Let the tar pass, and read it on its way."""
        self._stream.pass_on(self.part, _Both(self.reader.feed, sink))
        self.reader.close()

    def interrupt(self) -> None:
        """End the stream."""
        self._stream.interrupt()


class StreamedTablespace(ArtifactStream):
    """The tar of one tablespace of a stream."""

    role = "tablespace"

    def __init__(self, stream: ClusterStream, oid: int) -> None:
        self.suffix = f"/{oid}.tar"
        self.part = _Part()
        self._stream = stream

    def pump(self, sink: Sink) -> None:
        """Let the tar pass."""
        self._stream.pass_on(self.part, sink)


class _Both:
    """A sink that lets another one see what passes."""

    def __init__(self, see: Any, sink: Sink) -> None:
        self._see = see
        self._sink = sink

    def write(self, data: bytes) -> None:
        self._see(data)
        self._sink.write(data)


class ClusterStream:
    """One ``BASE_BACKUP``. The server decides which tar comes next: all of them must be pumped at once."""

    def __init__(self, work: BaseBackup, spaces: Sequence[Tablespace], size_hint: Optional[int]) -> None:
        self._work = work
        self.base = StreamedBase(self, size_hint)
        self.spaces = [StreamedTablespace(self, one.oid) for one in spaces]
        self._parts = {f"{one.oid}.tar": space.part for one, space in zip(spaces, self.spaces)}
        self._parts["base.tar"] = self.base.part
        self._begun = threading.Event()
        self._ended = False
        self._failure: Optional[BaseException] = None
        self._raw: Any = None
        self._thread = threading.Thread(target=self._run, name="base-backup", daemon=True)
        # What the messages that come have led to:
        self._present: Optional[_Part] = None
        self._end = b""  # the last bytes of the base tar, which the manifest goes before
        self._manifest: Optional[bytearray] = None

    def begin(self) -> None:
        """Wait for the first bytes: by then the server has agreed. Raises what it refuses with."""
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            raise self._failure

    def pass_on(self, part: _Part, sink: Sink) -> None:
        """Let one tar go into ``sink``, until it or the backup ends."""
        part.sink = sink
        part.wanted.set()
        part.over.wait()
        if self._failure is not None:
            raise self._failure

    def interrupt(self) -> None:
        """End it, from any thread. Never raises."""
        self._ended = True
        for part in self._parts.values():
            part.wanted.set()
        raw = self._raw
        with suppress(OSError, import_driver().Error):  # then it is gone already
            if raw is not None and not raw.closed:
                with socket.socket(fileno=os.dup(raw.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End what still runs. Never raises."""
        self.interrupt()
        self._thread.join()

    # --- in the thread of the stream ------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # raised again where the tars are waited for
            self._failure = error
        finally:
            for part in self._parts.values():
                part.over.set()
            self._begun.set()

    def _read(self) -> None:
        with replicating(self._work.address) as raw:
            self._raw = raw
            more = ""
            with raw.cursor() as cursor:
                try:
                    if self._work.incremental is not None:
                        with open(self._work.incremental, "rb") as file:
                            cursor.copy_expert("UPLOAD_MANIFEST", io.BytesIO(file.read()))
                        more = ", INCREMENTAL"
                    cursor.copy_expert(f"BASE_BACKUP ({OPTIONS}{more})", self)
                except import_driver().Error as error:
                    raise self._explained(error, raw) from error
        self._finish()

    def _explained(self, error: Any, raw: Any) -> DbfleetError:
        with suppress(import_driver().Error), raw.cursor() as cursor:
            cursor.execute("SHOW server_version")  # the driver tells of warnings when the next statement ends
        words = "".join(raw.notices) + str(error).replace("ERROR:  ", "error: ")
        return self._work.explain("the base backup", words, damaged=error.pgcode == DAMAGED)

    def write(self, data: bytes) -> None:
        """Take the next message, which the driver hands over one by one."""
        kind = data[:1]
        if kind == DATA:
            self._take(data[1:])
        elif kind == NEW_TAR:
            self._end_tar()
            self._begin_tar(data[1:].partition(b"\0")[0].decode("utf-8", "replace"))
        elif kind == NEW_MANIFEST:
            self._manifest = bytearray()
        self._begun.set()

    def _begin_tar(self, name: str) -> None:
        part = self._parts.get(name)
        if part is None:
            raise SourceError(f"a tablespace was created while the backup began: {name}", AGAIN)
        part.seen = True
        self._present = part

    def _take(self, data: bytes) -> None:
        if self._manifest is not None:
            self._manifest += data
        elif self._present is self.base.part:
            held = self._end + data
            self._end = held[-len(END) :]
            self._give(held[: -len(END)])
        else:
            self._give(data)

    def _give(self, data: bytes) -> None:
        part = self._present
        if part is None:
            raise DamagedError("the server sent a part of a base backup that it did not name", AGAIN)
        part.wanted.wait()
        if self._ended or part.sink is None:
            raise SourceError("the base backup was ended", AGAIN)
        if data:
            part.sink.write(data)

    def _end_tar(self) -> None:
        if self._present is not None and self._present is not self.base.part:
            self._present.over.set()
        self._present = None

    def _finish(self) -> None:
        """Put the server's manifest into the base tar, as pg_basebackup itself does on stdout."""
        for name, part in self._parts.items():
            if not part.seen:
                raise SourceError(f"a tablespace was dropped while the backup began: {name}", AGAIN)
        if self._end != END or self._manifest is None:
            raise DamagedError("the server sent a base backup without its end", AGAIN)
        manifest = bytes(self._manifest)
        self._present = self.base.part
        self._give(header_of(FILE, len(manifest)))
        self._give(manifest)
        self._give(bytes(-len(manifest) % BLOCK) + END)


def stream(
    stack: ExitStack, work: BaseBackup, spaces: Sequence[Tablespace], size_hint: Optional[int]
) -> tuple[BaseStream, list[ArtifactStream]]:
    """Start the backup and wait until the server has agreed to it.

    Raises ``NoIncrementError`` where a full backup could be taken instead.
    """
    begun = ClusterStream(work, spaces, size_hint)
    stack.callback(begun.close)
    begun.begin()
    return begun.base, list(begun.spaces)
