"""The moment to which a database is to be brought by its log: what people write, checked. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from .errors import UsageError
from .units import to_text

END = "latest"
KINDS = ("time", "lsn", "xid", "name", "position", "gtid")
ACTIONS = ("promote", "pause")
EXAMPLE = "write 2025-08-23T10:30:00Z, 2025-08-23 12:30:00+02:00, or latest"
LONGEST_NAME = 63
POSITION = re.compile(r"([0-9A-Za-z_][0-9A-Za-z_.-]*\.\d{6,10}):(\d{1,20})", re.ASCII)
# MariaDB's domain, server and number; MySQL's server, tag (from 8.3 on, where there is one) and number
GTID = re.compile(
    r"\d{1,10}-\d{1,10}-\d{1,20}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:[a-z_][a-z0-9_]{0,31})?:\d{1,20}",
    re.ASCII,
)


@dataclass(frozen=True)
class Target:
    """Where recovery ends.

    ``kind`` is ``time`` (then ``moment`` is set), ``end``: all the log there is, or what the engine's own log
    names: ``lsn`` (a position), ``xid`` (a transaction) and ``name`` (a restore point) of PostgreSQL,
    ``position`` (a file and its offset) and ``gtid`` (a transaction) of MariaDB. ``inclusive``: what is exactly
    at the target is still applied. ``action`` then: ``promote`` or ``pause``. ``timeline``: which one to follow,
    ``None`` for the newest.
    """

    kind: str
    value: str
    moment: Optional[datetime] = None
    inclusive: bool = True
    action: str = "promote"
    timeline: Optional[int] = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the log"
        return f"{self.kind} {to_text(self.moment) if self.moment is not None else self.value}"


def target_of(
    *,
    time: Optional[str] = None,
    lsn: Optional[str] = None,
    xid: Optional[str] = None,
    name: Optional[str] = None,
    position: Optional[str] = None,
    gtid: Optional[str] = None,
    inclusive: bool = True,
    action: str = "promote",
    timeline: Optional[str] = None,
) -> Optional[Target]:
    """The target that was asked for; ``None`` where none was. Raises ``UsageError`` for what cannot be one."""
    given = {kind: text for kind, text in zip(KINDS, (time, lsn, xid, name, position, gtid)) if text is not None}
    if not given:
        if timeline is not None or action != "promote" or not inclusive:
            raise UsageError("no target is given", "give a time, a position, a transaction or a restore point")
        return None
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are both given as the target", "keep one of them")
    if action not in ACTIONS:
        raise UsageError(f"target action {action!r} is not known", f"choose {' or '.join(ACTIONS)}")
    ((kind, text),) = given.items()
    moment: Optional[datetime] = None
    notes: tuple[str, ...] = ()
    if kind == "time" and text == END:
        if action == "pause":
            raise UsageError("a server cannot pause at the end of its log", "name a moment, or let it be promoted")
        kind = "end"
    elif kind == "time":
        moment, notes = read_time(text)
    elif kind == "lsn" and not re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", text):
        raise UsageError(f"{text!r} is no position in the log", "write it as 0/3000028")
    elif kind == "xid" and not re.fullmatch(r"\d{1,20}", text):
        raise UsageError(f"{text!r} is no transaction", "write its number")
    elif kind == "name" and (not text or len(text.encode("utf-8", "replace")) > LONGEST_NAME or "\n" in text):
        raise UsageError(f"{text!r} cannot name a restore point", f"write 1 to {LONGEST_NAME} bytes on one line")
    elif kind == "position":
        if not POSITION.fullmatch(text):
            raise UsageError(f"{text!r} is no position in a binary log", "write it as binlog.000007:5120")
        if not inclusive:
            raise UsageError("a position stands between two transactions: none is at it", "leave exclusive out")
    elif kind == "gtid" and not GTID.fullmatch(text):
        raise UsageError(
            f"{text!r} is no transaction",
            "write a GTID: 0-1-4711 of MariaDB, the server's UUID:4711 or UUID:tag:4711 of MySQL",
        )
    return Target(kind, text, moment, inclusive, action, _timeline(timeline), notes)


def read_time(text: str) -> tuple[datetime, tuple[str, ...]]:
    """The moment of ``text`` in UTC, and what to say of how it was read.

    ISO 8601 with an offset or ``Z``, a date and time with the name of a time zone behind it, or without
    any: then it is UTC. Raises ``UsageError``.
    """
    written = re.sub(r"[zZ]$", "+00:00", text.strip())
    if "T" in written or ":" in written:  # as Python before 3.11 wants it
        written = re.sub(r"([+-]\d\d):?(\d\d)?$", lambda found: f"{found[1]}:{found[2] or '00'}", written)
        written = re.sub(r"\.(\d{1,6})\d*", lambda found: f".{found[1]:0<6}", written)
    zone: Optional[str] = None
    named = re.fullmatch(r"(.*\d) +([A-Za-z][A-Za-z0-9_+/-]*)", written)
    if named:
        written, zone = named[1], named[2]
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{text!r} is no moment", EXAMPLE) from None
    if moment.tzinfo is not None:
        if zone is not None:
            raise UsageError(f"{text!r} has an offset and a time zone", "keep one of them")
        return moment.astimezone(timezone.utc), ()
    if zone is None or zone == "UTC":
        said = () if zone else (f"the target time {text} has no time zone and was read as UTC",)
        return moment.replace(tzinfo=timezone.utc), said
    import zoneinfo

    try:
        return moment.replace(tzinfo=zoneinfo.ZoneInfo(zone)).astimezone(timezone.utc), ()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"{text!r}: the time zone {zone!r} is not known on this host", EXAMPLE) from None


def _timeline(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,9}", str(text)):
        raise UsageError(f"{text!r} is no timeline", "write its number")
    return int(text)
