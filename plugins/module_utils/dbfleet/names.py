"""The file names of a repository: how they are made, and what a name says.

``NAME_backup_YYYYmmdd_HHMMSS`` is a backup's id (UTC). Its files are ``ID.manifest.json``,
``ID.proof-YYYYmmddTHHMMSSZ.json``, ``ID.intent`` and its artifacts, ``ID.…`` or ``ID/…``.
A prune leaves ``NAME_prune_YYYYmmdd_HHMMSS.json``. A name holds no dot, so an id ends at the
first dot or slash, and ``app`` never owns a file of ``app_backup`` or ``app2``.
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import datetime, timedelta, timezone
from typing import Callable, NamedTuple, Optional

from .keys import NAME_PATTERN
from .units import ID_TIME

MANIFEST = ".manifest.json"
INTENT = ".intent"
RECORD = ".json"
PROOF_TIME = "%Y%m%dT%H%M%SZ"

_STAMP = r"\d{8}_\d{6}"
_ID = re.compile(rf"({NAME_PATTERN})_backup_{_STAMP}", re.ASCII)
_BACKUP = re.compile(rf"(({NAME_PATTERN})_backup_{_STAMP})([./].*)", re.ASCII | re.DOTALL)
_PRUNE = re.compile(rf"(({NAME_PATTERN})_prune_{_STAMP})(\.json|\.intent)", re.ASCII)
_PROOF = re.compile(r"\.proof-\d{8}T\d{6}Z\.json", re.ASCII)
_LEGACY = re.compile(r"\.(sql|db|dump|sqlite3?)(\.(gz|zst|bz2|xz))?(\.(gpg|age|enc))?", re.ASCII)


class Owned(NamedTuple):
    """A file name taken apart: whose it is, and the rest behind the id (``.db.zst``, ``/a.sql``)."""

    id: str
    job: str
    rest: str


def backup_id(name: str, moment: datetime) -> str:
    """The id of a backup of job ``name`` that began at ``moment``."""
    return f"{name}_backup_{moment.astimezone(timezone.utc).strftime(ID_TIME)}"


def prune_id(name: str, moment: datetime) -> str:
    """The id of a prune of job ``name`` at ``moment``."""
    return f"{name}_prune_{moment.astimezone(timezone.utc).strftime(ID_TIME)}"


def manifest_file(backup: str) -> str:
    """Where the manifest of ``backup`` is."""
    return backup + MANIFEST


def intent_file(identity: str) -> str:
    """Where the intent of a backup or a prune is."""
    return identity + INTENT


def record_file(prune: str) -> str:
    """Where the record of ``prune`` is."""
    return prune + RECORD


def proof_file(backup: str, moment: datetime) -> str:
    """Where the proof record of ``backup`` that was finished at ``moment`` is."""
    return f"{backup}.proof-{moment.astimezone(timezone.utc).strftime(PROOF_TIME)}.json"


def unused(make: Callable[[datetime], str], moment: datetime, taken: Container[str]) -> str:
    """``make(moment)``, a second later for as long as that name is taken."""
    while make(moment) in taken:
        moment += timedelta(seconds=1)
    return make(moment)


def of_backup(file: str) -> Optional[Owned]:
    """Which backup ``file`` belongs to by its name, or ``None``."""
    match = _BACKUP.fullmatch(file)
    return Owned(match[1], match[2], match[3]) if match else None


def of_prune(file: str) -> Optional[Owned]:
    """Which prune ``file`` belongs to by its name, or ``None``."""
    match = _PRUNE.fullmatch(file)
    return Owned(match[1], match[2], match[3]) if match else None


def of_prune_upload(file: str) -> Optional[Owned]:
    """Which prune a file still being written belongs to: its final name and whatever follows."""
    match = _PRUNE.match(file)
    return Owned(match[1], match[2], file[match.end(1) :]) if match else None


def is_proof(rest: str) -> bool:
    """Whether the rest of a name is that of a proof record."""
    return rest.startswith(".proof-") and _PROOF.fullmatch(rest) is not None


def is_legacy(rest: str) -> bool:
    """Whether the rest of a name is one that scripts before this project gave their dumps."""
    return _LEGACY.fullmatch(rest) is not None


def belongs(file: str, backup: str) -> bool:
    """Whether ``file`` is a name inside the repository that only ``backup`` may use."""
    rest = file[len(backup) :]
    if not file.startswith(backup) or rest[:1] not in (".", "/"):
        return False
    return "/" not in rest or not {"", ".", ".."} & set(rest[1:].split("/"))


def split_id(backup: str) -> tuple[str, datetime]:
    """``(name, moment)`` of a backup's id. Raises ``ValueError`` for anything else."""
    match = _ID.fullmatch(backup)
    if match is None:
        raise ValueError(f"not the id of a backup: {backup!r}")
    return match[1], id_time(backup)


def id_time(identity: str) -> datetime:
    """The moment at the end of an id. Raises ``ValueError`` for an impossible one."""
    stamp = identity[-15:]
    return datetime(
        int(stamp[:4]),
        int(stamp[4:6]),
        int(stamp[6:8]),
        int(stamp[9:11]),
        int(stamp[11:13]),
        int(stamp[13:]),
        tzinfo=timezone.utc,
    )


def sort_key(identity: str) -> tuple[str, str]:
    """Orders ids by their time, the oldest first."""
    return identity[-15:], identity
