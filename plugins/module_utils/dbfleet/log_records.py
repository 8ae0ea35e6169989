"""The records of a log archive: one small JSON file for each log file that is kept, written last.

A log archive is the folder ``NAME_log/LINEAGE/`` of a repository. A finished log file is an
artifact and the record ``FILE.json``. One that still grows is kept in pieces, whose names say up to
which byte of it they go, and from which on unless that is its first: ``FILE.part-00000001A2B0.json``,
``FILE.part-00000002B000-from-00000001A2B0.json``. A longer piece takes the place of those that it
holds, the finished file that of all. What no record names does not count. The JSON is written and
checked as manifests are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Optional

from . import manifests, record_fields
from .keys import NAME_PATTERN
from .model import SCHEMA, Artifact
from .units import to_text

LINEAGE = re.compile(r"[0-9A-Za-z_-]{1,100}", re.ASCII)
FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,150}", re.ASCII)
PART = re.compile(r"(.+)\.part-([0-9A-F]{12})(?:-from-([0-9A-F]{12}))?", re.ASCII)
RECORD = ".json"
_FOLDER = re.compile(rf"({NAME_PATTERN})_log/({LINEAGE.pattern})/([^/]+)", re.ASCII)


class Piece(NamedTuple):
    """The bytes of a growing file from ``first`` up to, but without, ``end``."""

    first: int
    end: int

    @property
    def length(self) -> int:
        """How many they are."""
        return self.end - self.first


@dataclass(frozen=True)
class Part:
    """Which bytes of a growing file an artifact holds: from ``first_byte`` on.

    ``tail_sha256`` is the digest of the file's last bytes before where they end: the file that grew on from there
    has the same.
    """

    first_byte: int
    tail_sha256: str


@dataclass(frozen=True)
class LogRecord:
    """One kept log file, or a piece of one that was still growing.

    What it says is of the file from its beginning to where the piece ends. ``lineage`` tells whose log
    it is: PostgreSQL's system identifier, MySQL's server UUID. ``start`` and ``end`` are positions as
    the engine writes them; times are those of the first and the last commit in it, where they could be
    told. The log was seen up to ``end`` at ``seen_at``: an unfinished file held nothing more then.
    ``whole_bytes`` is the size that the file has for its server, if that is more than what was kept:
    the rest is zeros. ``previous`` is the digest of the record of the finished file that was kept
    before this one.
    """

    job: str
    engine: str
    lineage: str
    name: str
    kind: str  # segment | history: what else the server's recovery asks for
    finished: bool
    start: str
    end: str
    seen_at: datetime
    artifact: Artifact
    timeline: Optional[int] = None
    first_time: Optional[datetime] = None
    last_time: Optional[datetime] = None
    whole_bytes: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    previous: Optional[str] = None
    part: Optional[Part] = None
    schema: int = SCHEMA
    digest: str = ""

    @property
    def piece(self) -> Optional[Piece]:
        """The bytes that are kept of a growing file; ``None`` where it is the whole of a finished one."""
        if self.finished:
            return None
        first = self.part.first_byte if self.part is not None else 0
        return Piece(first, first + self.artifact.raw_size_bytes)

    @property
    def file(self) -> str:
        """The name of this record in the repository."""
        return record_file(self.job, self.lineage, self.name, self.piece)


class Place(NamedTuple):
    """A file of a log archive taken apart: the job, the lineage, and the name below it."""

    job: str
    lineage: str
    rest: str


def folder(job: str) -> str:
    """What the names of all files of a job's log archive begin with."""
    return f"{job}_log/"


def place_of(file: str) -> Optional[Place]:
    """Which log archive a file of the repository belongs to by its name, or ``None``."""
    found = _FOLDER.fullmatch(file)
    return Place(found[1], found[2], found[3]) if found else None


def base_name(job: str, lineage: str, name: str, piece: Optional[Piece] = None) -> str:
    """What the names of an artifact and its record begin with."""
    return f"{folder(job)}{lineage}/{stem_of(name, piece)}"


def stem_of(name: str, piece: Optional[Piece] = None) -> str:
    """What the names of both files of a log file, or of a piece of it, begin with below the lineage."""
    if piece is None:
        return name
    return f"{name}.part-{piece.end:012X}" + (f"-from-{piece.first:012X}" if piece.first else "")


def record_file(job: str, lineage: str, name: str, piece: Optional[Piece] = None) -> str:
    """Where the record of a log file, or of a piece of it, is."""
    return base_name(job, lineage, name, piece) + RECORD


def split_part(stem: str) -> tuple[str, Optional[Piece]]:
    """The log file that a record's name without ``.json`` is of, and which bytes, if it was unfinished."""
    found = PART.fullmatch(stem)
    return (found[1], Piece(int(found[3] or "0", 16), int(found[2], 16))) if found else (stem, None)


# --- to bytes and back ---------------------------------------------------------------------


def encode(record: LogRecord) -> bytes:
    """The bytes of the record's file."""
    return manifests.encode_fields(to_json(record))


def seal(record: LogRecord) -> LogRecord:
    """``record`` with its digest."""
    return replace(record, digest=manifests.claimed_digest(encode(record)) or "")


def to_json(record: LogRecord) -> dict[str, Any]:
    """``record`` as JSON fields, in the order in which they are written."""
    return {
        "schema": record.schema,
        "job": record.job,
        "engine": record.engine,
        "lineage": record.lineage,
        "name": record.name,
        "kind": record.kind,
        "finished": record.finished,
        "timeline": record.timeline,
        "start": record.start,
        "end": record.end,
        "first_time": None if record.first_time is None else to_text(record.first_time),
        "last_time": None if record.last_time is None else to_text(record.last_time),
        "seen_at": to_text(record.seen_at),
        "whole_bytes": record.whole_bytes,
        "details": dict(record.details),
        "artifact": record_fields.artifact_json(record.artifact),
        **({"part": asdict(record.part)} if record.part is not None else {}),
        "previous": record.previous,
        "digest": record.digest,
    }


def decode(data: bytes, file: str) -> LogRecord:
    """The record in the bytes of ``file``. Raises ``DamagedError`` when they are not what was written."""
    record = manifests.decode_fields(data, file, _read)
    if record.file != file:
        raise manifests.damaged(file, f"it is the record of {record.file}")
    return record


def _read(fields: dict[str, Any], digest: str) -> LogRecord:
    record_fields.check_shape(fields, _PIECE if "part" in fields else _WHOLE)
    if not (LINEAGE.fullmatch(fields["lineage"]) and FILE.fullmatch(fields["name"])):
        raise ValueError("names that no log file has")
    for key in ("first_time", "last_time", "seen_at"):
        if fields[key] is not None:
            fields[key] = record_fields.read_moment(fields[key])
    base = base_name(fields["job"], fields["lineage"], fields["name"])
    fields["artifact"] = record_fields.read_artifact(fields["artifact"], base, bare=True)
    if "part" in fields:
        record_fields.check_shape(fields["part"], _PART)
        fields["part"] = Part(**fields["part"])
    fields["digest"] = digest
    return LogRecord(**fields)


_FIELDS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "job": (str,),
    "engine": (str,),
    "lineage": (str,),
    "name": (str,),
    "kind": (str,),
    "finished": (bool,),
    "timeline": (int, type(None)),
    "start": (str,),
    "end": (str,),
    "first_time": (str, type(None)),
    "last_time": (str, type(None)),
    "seen_at": (str,),
    "whole_bytes": (int,),
    "details": (dict,),
    "artifact": (dict,),
}
_END: dict[str, tuple[type, ...]] = {"previous": (str, type(None)), "digest": (str,)}
_WHOLE = record_fields.Shape(**_FIELDS, **_END)
_PIECE = record_fields.Shape(**_FIELDS, part=(dict,), **_END)
_PART = record_fields.Shape(first_byte=(int,), tail_sha256=(str,))
