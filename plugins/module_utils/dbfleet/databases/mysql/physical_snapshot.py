"""A physical backup's view of a whole server: the stream of its files, its place in the logs, the rows in it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional

from ...errors import DamagedError, ProofError, SourceError, ToolError
from ...model import Artifact, Manifest, Proof, ProofPolicy, SourceIdentity
from ...stream.process import CHUNK, Filter
from ...units import utc_now
from ..base import ArtifactStream, Sink, Snapshot
from .binlog_format import begun_at
from .commit_view import CommitView
from .copy_tool import COMPLETED, FLAVOURS, HotCopy, fields_of
from .server import Session
from .xbstream import Examiner

UNCOUNTED = "proof: the tables' rows were not counted: "
OWNER = "# where root ran this: chown -R mysql: restored"
NO_REMOTE = "find restored -name '*.isl' -delete"


@dataclass(frozen=True)
class State:
    """What the next increment must know of a backup: where it ended, of which server, in which files."""

    lsn: int
    server: str
    version: str
    mark: str

    def encode(self) -> bytes:
        """As this host keeps it."""
        return json.dumps(self.__dict__, sort_keys=True).encode()


def read_state(data: bytes) -> State:
    """What :meth:`State.encode` gave. Raises ``DamagedError``."""
    try:
        fields = json.loads(data)
        return State(int(fields["lsn"]), str(fields["server"]), str(fields["version"]), str(fields["mark"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError("what this host remembers of the backup before cannot be read") from error


class CopyStream(ArtifactStream):
    """What the tool writes, examined as it passes."""

    role = "copy"

    def __init__(self, child: Filter, first: bytes, view: CommitView, suffix: str, size_hint: Optional[int]) -> None:
        self.suffix = suffix
        self.size_hint = size_hint
        self.reader = Examiner()
        self._child = child
        self._first = first
        self._view = view

    def _chunks(self) -> Iterator[bytes]:
        yield self._first
        yield from self._child.chunks()

    def pump(self, sink: Sink) -> None:
        """Pass the stream on. A tool that does not say that it completed has failed, whatever its exit status."""
        try:
            for data in self._chunks():
                self.reader.feed(data)
                sink.write(data)
        except ToolError as error:
            if self._view.alarm.error is not None:
                raise self._view.alarm.error from error
            raise
        finally:
            self._view.over()
        if not self._view.hearing.completed:
            raise ToolError(f"the copy ended without {COMPLETED!r}", "see the server's log, and start again")
        self.reader.close()

    def interrupt(self) -> None:
        """End the tool. Never raises."""
        self._child.kill()
        self._view.interrupt()


def begin(copy: HotCopy, view: CommitView, size_hint: Optional[int]) -> tuple[Filter, CopyStream]:
    """Start the tool and wait for its first bytes: by then the server has agreed to it."""
    child = copy.start(view.hearing)
    view.watch(child)
    try:
        child.close_input()
        first = child.read(CHUNK)
        if not first:
            child.wait()
            raise ToolError(f"{copy.tool.path} wrote nothing", "see the server's log")
    except BaseException:
        child.close()
        raise
    kind = "full" if copy.since is None else "inc"
    return child, CopyStream(child, first, view, f".{kind}.xbstream", size_hint if copy.since is None else None)


class PhysicalSnapshot(Snapshot):
    """See :class:`Snapshot`. What the end of the stream tells is known when it was pumped."""

    def __init__(
        self,
        stream: CopyStream,
        view: CommitView,
        copy: HotCopy,
        identity: SourceIdentity,
        *,
        mark: str,
        log_folder: str,
        notes: Sequence[str],
    ) -> None:
        self.artifacts = (stream,)
        self.identity = identity
        self.type = "full" if copy.since is None else "incremental"
        self.notes = notes
        self.tools = {"server": identity.server_version, "copy": copy.tool.shown}
        self.consistent_at: datetime = utc_now()
        self.position: Mapping[str, Any] = {}
        self._stream = stream
        self._view = view
        self._copy = copy
        self._mark = mark
        self._log_folder = log_folder

    def prove(self, policy: ProofPolicy) -> Proof:
        """Count what is in the tables at the commit at which the backup is consistent; that it is, is seen later."""
        return self._view.measure(policy)

    def compare(self, proof: Proof) -> Proof:
        """The stream must be whole and begin where the parent ended. Raises ``ProofError``."""
        reader = self._stream.reader
        checkpoints, info = fields_of(reader.text("checkpoints")), fields_of(reader.text("info"))
        expected = 0 if self._copy.since is None else self._copy.since
        try:
            since, reached, last = (int(checkpoints[name]) for name in ("from_lsn", "to_lsn", "last_lsn"))
        except (KeyError, ValueError) as error:
            raise DamagedError("the copy does not say what it holds", "take another backup") from error
        if since != expected or info.get("partial", "N") != "N":
            raise ProofError(f"the copy begins at {since} instead of {expected}", "take another backup")
        file, offset, gtid = [*reader.text("binlog_info").split(None, 2), "", "", ""][:3]
        gtid = "".join(gtid.split())
        self.position = {"from_lsn": since, "to_lsn": reached, "lsn": last}
        if offset:
            self.position = {**self.position, "binlog_file": file, "binlog_offset": int(offset)}
            begun = begun_at(os.path.join(self._log_folder, file)) if self._log_folder else None
            if begun is not None:  # the number may be used again: RESET MASTER lets them begin anew
                self.position = {**self.position, "binlog_begun": begun}
        if gtid:
            self.position = {**self.position, "gtid": gtid}
        self.consistent_at = utc_now()
        return self._judge(proof, file, offset, gtid)

    def _judge(self, proof: Proof, file: str, offset: str, gtid: str) -> Proof:
        image = self._stream.reader.image_sha256
        if proof.level == "none" and not proof.queries and not self._view.reason:
            return Proof("none", image_sha256=image)
        reason = self._view.reason
        if not reason and not self._view.is_at(file, offset, gtid):
            reason = "they could not be seen at the very commit at which the copy is consistent"
        if reason:
            self.notes = (*self.notes, UNCOUNTED + reason)
            return Proof("none", image_sha256=image)
        return Proof(proof.level, proof.tables, queries=proof.queries, image_sha256=image)

    def interrupt(self) -> None:
        """End the tool and the queries."""
        self._stream.interrupt()

    def state(self) -> Optional[bytes]:
        """Where the next increment begins."""
        identity = self.identity
        return State(
            int(self.position["to_lsn"]), str(identity.server_identity), identity.server_version, self._mark
        ).encode()

    def restore_with(self, chain: Sequence[Manifest], stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
        """Unpack each backup of the chain; replay them in order in the first one's folder."""
        flavour = FLAVOURS[self._copy.tool.flavour]
        tool, unpacker = flavour.by_hand
        prepare = f"{tool} --prepare"
        ((_artifact, decode),) = stored
        if not chain:
            unpack = ("mkdir -m 700 restored", f"{decode} | {unpacker} -x -C restored")
            return (*unpack, f"{prepare} --target-dir=restored", NO_REMOTE, OWNER)
        not_last = " ".join((prepare, *flavour.not_last))
        earlier = [one for one in chain[-1].restore_with if not one.startswith(("find ", "#"))]
        commands = [one.replace(f"{prepare} --target", f"{not_last} --target") for one in earlier]
        folder = shlex.quote(f"increment-{len(chain)}")
        commands += [f"mkdir -m 700 {folder}", f"{decode} | {unpacker} -x -C {folder}"]
        return (*commands, f"{prepare} --target-dir=restored --incremental-dir={folder}", NO_REMOTE, OWNER)


def why_full(state: bytes, identity: SourceIdentity, lsn: int, mark: str) -> str:
    """Why no increment can follow the backup of ``state`` on a server whose log is at ``lsn``; empty when one can."""
    try:
        parent = read_state(state)
    except DamagedError as error:
        return error.message
    if parent.server != identity.server_identity:
        return "the backup before is of another server"
    if parent.version != identity.server_version:
        return f"the server is {identity.server_version} now, and was {parent.version}"
    if parent.mark != mark:
        return "the server's files are others than at the backup before: its data directory was restored or moved"
    if lsn < parent.lsn:
        return f"the server's log is at {lsn}, and was at {parent.lsn}: its data directory was set back"
    return ""


def current_lsn(session: Session) -> int:
    """The end of InnoDB's log, as the server says it."""
    text = session.status("Innodb_lsn_current")
    if text is None:  # of MariaDB alone
        text = str(
            (*session.row("SELECT storage_engines ->> '$.InnoDB.LSN' FROM performance_schema.log_status"), "")[0]
        )
    if not text.isdigit():
        raise SourceError(
            f"{session.what}: the server does not tell where InnoDB's log ends", "see whether InnoDB is enabled"
        )
    return int(text)
