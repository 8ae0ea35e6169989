"""What a database's transaction log is to a log archive. It knows nothing of stores or records.

:class:`LogFormat` knows the files of an engine's log without any server; :class:`LogSource` is the
server that writes them, read by one of its own tools that puts files into a private folder, the
spool: ``pg_receivewal``, ``mysqlbinlog --raw --stop-never``.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Optional, Protocol

from ..errors import SourceError, UsageError
from ..model import Manifest
from ..stream.process import Command
from ..targets import Target


class LogLostError(SourceError):
    """The server no longer has the log that comes next: only a gap leads on."""

    kind = "log_lost"


class SlotLostError(SourceError):
    """What let the server keep its log for us is gone, and must be made again."""

    kind = "slot_lost"


@dataclass(frozen=True)
class Extent:
    """What one log file holds. Positions are written as the engine writes them.

    ``used_bytes`` of the file hold log; ``whole_bytes`` is the size that the server expects of the
    file, if that is more. Times are those of its first and last commit, where they can be told.
    """

    lineage: str
    start: str
    end: str
    used_bytes: int
    timeline: Optional[int] = None
    first_time: Optional[datetime] = None
    last_time: Optional[datetime] = None
    whole_bytes: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpoolFile:
    """A file in the spool under the name that it has in the log.

    A ``placeholder`` holds nothing: it tells the receiver where to go on.
    """

    name: str
    path: str
    finished: bool
    placeholder: bool = False


@dataclass(frozen=True)
class Origin:
    """Whose log a server writes, and up to where it has."""

    lineage: str
    server_version: str
    position: str
    timeline: Optional[int] = None


@dataclass(frozen=True)
class ServerState:
    """How far the server is, and what it must keep for the archiver; ``None`` where it does not tell.

    ``behind_bytes`` is the log between a position that was asked about and the server's own;
    ``retained_bytes`` is ``None`` as well where it keeps nothing for us.
    """

    position: str
    behind_bytes: Optional[int] = None
    retained_bytes: Optional[int] = None
    problems: Sequence[str] = ()  # with the way in which it keeps its log for us


class Shelf(Protocol):
    """What a log archive holds of one lineage, as far as a format must know it."""

    def names(self) -> Collection[str]:
        """Every finished log file and everything else of kind history."""

    def unfinished(self) -> Collection[str]:
        """Log files of which only the beginning is there."""

    def content(self, name: str) -> bytes:
        """The bytes of a small file."""

    def details(self, name: str) -> Mapping[str, Any]:
        """What :meth:`LogFormat.examine` said of a file besides."""


@dataclass(frozen=True)
class Line:
    """The log that can be applied to one backup, in order and without a gap.

    ``names`` may end with an unfinished file. ``missing`` is the first file that is not there,
    where others come after it: then these cannot be reached. ``others`` are small files that
    recovery asks for as well.
    """

    names: tuple[str, ...]
    missing: Optional[str] = None
    timeline: Optional[int] = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recovery:
    """Log that is to be applied to what a restoration has built, which is at ``position``, as its manifest says it.

    ``fetch`` writes a file of ``line`` to a path, as large as its server expects it, and raises what
    keeps it from that. ``may_end``: where the log ends before the target, its end is as good: nothing
    happened in between.
    """

    target: Target
    line: Line
    position: Mapping[str, Any]
    fetch: Callable[[str, str], None]
    may_end: bool = False


@dataclass(frozen=True)
class Recovered:
    """Where recovery ended: in the server's words, on which timeline, and whether it is paused there."""

    stopped: str
    timeline: Optional[int] = None
    paused: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """Which transactions are looked for in a log: all that is given must hold for one.

    ``kinds`` are words such as ``delete`` and ``drop``; ``table`` is ``TABLE`` or ``DATABASE.TABLE``; ``text`` is
    in a statement, whatever its case.
    """

    kinds: frozenset[str] = frozenset()
    table: Optional[str] = None
    text: Optional[str] = None


@dataclass(frozen=True)
class Found:
    """One transaction of a log: where it begins, its name, when it was, what it changes, and its statements."""

    position: str
    transaction: str
    moment: datetime
    changes: tuple[str, ...]
    statements: tuple[str, ...]


class LogFormat(abc.ABC):
    """The files of one engine's log."""

    engine: str
    searched: tuple[str, ...] = ()  # kinds of targets that are looked for while the log is applied
    begins_with = "a physical backup"  # what it can be applied to

    @abc.abstractmethod
    def kind(self, name: str) -> Optional[str]:
        """``segment``, ``history`` (what recovery needs besides), or ``None`` for what is no file of a log."""

    @abc.abstractmethod
    def examine(self, name: str, path: str, *, finished: bool) -> Extent:
        """What the file at ``path`` holds. Raises ``DamagedError`` where no server wrote it under that name."""

    @abc.abstractmethod
    def sort_key(self, name: str) -> Any:
        """Orders the files of one lineage, the oldest first."""

    @abc.abstractmethod
    def line(self, shelf: Shelf, position: Mapping[str, Any], timeline: Optional[int] = None) -> Line:
        """The log on ``shelf`` that follows a backup with that ``position``, on ``timeline`` or the newest one.

        Raises ``NotFoundError`` where no such line of log leads on from the backup.
        """

    def fits(self, backup: Manifest) -> bool:
        """Whether log can be applied to what ``backup`` restores: to files, as logical backups hold rows."""
        return backup.method == "physical" and bool(backup.position)

    @abc.abstractmethod
    def require(self, target: Target, backup: Manifest) -> None:
        """Raise ``UsageError`` for a target to which no backup like this one can be brought."""

    @abc.abstractmethod
    def holds(self, shelf: Shelf, position: Mapping[str, Any], line: Line, end: str, target: Target) -> bool:
        """Whether the log from ``position`` along ``line``, up to the position ``end``, has ``target``.

        Not asked of times. ``True`` for targets of the kinds :attr:`searched`: only applying the log tells.
        """

    def search(self, name: str, path: str, wanted: Wanted) -> Iterator[Found]:
        """The transactions in a file that are ``wanted``, in order. Raises ``UsageError`` where a log cannot tell."""
        raise UsageError(
            f"the log of {self.engine} holds pages, not statements: nothing can be found in it by table or text",
            "see the server's own log for when it was, and restore to a time",
        )

    @abc.abstractmethod
    def gaps(self, shelf: Shelf) -> list[str]:
        """Log files that are missing between those that are there: the first one of each gap."""

    @abc.abstractmethod
    def is_needed(self, shelf: Shelf, name: str, positions: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a backup with one of ``positions`` may need the file to be restored to a later time."""


class LogSource(abc.ABC):
    """A server whose log is archived."""

    format: LogFormat

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Which server it is. Raises ``SourceError`` when it cannot be asked."""

    @abc.abstractmethod
    def check(self) -> list[str]:
        """Refuse, with a remedy, a server whose log cannot be archived; returns what people should know."""

    @abc.abstractmethod
    def prepare(self, spool: str, last: Optional[str], details: Mapping[str, Any]) -> list[str]:
        """Let the server keep its log for us, and an empty spool go on after the file ``last``.

        ``last`` is the newest finished file of the archive, of which :meth:`LogFormat.examine` said
        ``details``. Returns what was done that people should know. Raises :class:`LogLostError` where
        the log behind it is gone; with ``None`` it then goes on behind the gap.
        """

    @abc.abstractmethod
    def start_over(self) -> None:
        """The log that comes next is gone: let the server forget that we wanted it, before :meth:`prepare`."""

    @abc.abstractmethod
    def receiver(self, spool: str, scratch: str) -> Command:
        """The tool that writes into ``spool`` until it is ended; ``scratch`` is for its secrets.

        Its failure is a :class:`LogLostError` or a :class:`SlotLostError` where it is that.
        """

    @abc.abstractmethod
    def spooled(self, spool: str) -> list[SpoolFile]:
        """The log files in ``spool``, the oldest first. All but the last one may be removed once they are kept."""

    @abc.abstractmethod
    def state(self, end: Optional[str]) -> ServerState:
        """How far the server is beyond the position ``end``. Raises ``SourceError`` when it cannot be asked."""
