"""Data directories of MySQL and MariaDB: whether a server runs on one, and whether it is the one of a server."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional

from ...errors import SourceError
from ..place import Kind
from .server import Session

# A server holds a lock of the operating system on them while it runs.
LOCKED = ("ibdata1", "mysql.ibd", "aria_log_control")
LEFT_OUT = re.compile(r"(ib_logfile\d+|ibtmp\d+|aria_log\.\d+|.*[-.]bin\.\d+|binlog\.\d+|.*\.err|.*\.log)$")
# Where InnoDB keeps its two checkpoints in ib_logfile0, by the first four bytes of the file (10.5, 10.8, and 10.8 with
# an encrypted log, whose checkpoints are not).
CHECKPOINTS = {b"PHYS": (512 + 8, 1536 + 8), b"Phys": (4096, 8192), b"\xf0\x9f\x97\x9d": (4096, 8192)}
ATTEMPTS = 25
PAUSE = 0.2  # seconds between two attempts: a checkpoint is in the file before the server tells of it


def _server_on(path: str) -> Optional[str]:
    """What holds the files of ``path`` open, if something does."""
    if sys.platform == "win32":
        return None  # the system itself refuses to rename files that are open
    import fcntl

    for name in LOCKED:
        try:
            descriptor = os.open(os.path.join(path, name), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return f"which holds {name}"
        finally:
            os.close(descriptor)
    return None


DATA_DIRECTORY = Kind("mysql", "mysql", _server_on)


def size_of(path: str) -> int:
    """Bytes of the files that a physical backup copies, about."""
    total = 0
    for folder, _folders, files in os.walk(path):
        for name in files:
            if not LEFT_OUT.match(name):
                with suppress(OSError):  # it was removed meanwhile
                    total += os.lstat(os.path.join(folder, name)).st_size
    return total


@dataclass(frozen=True)
class Here:
    """A server's files on this host: its data directory, whether it ``certainly`` is that, and what marks it.

    The ``mark`` changes when somebody puts other files in place of the server's: it is the number of the first one.
    """

    path: str
    certainly: bool
    mark: str


def _first_file(session: Session, path: str) -> str:
    """InnoDB's first file, which may be outside of the data directory (manual, "InnoDB Startup Configuration")."""
    home, files = session.variable("innodb_data_home_dir") or "", session.variable("innodb_data_file_path") or ""
    return os.path.join(path, home, files.partition(":")[0] or LOCKED[0])


def require_here(session: Session) -> Here:
    """The server's files: they must be on this host, its tools copy files.

    Raises ``SourceError`` where they are not readable or, having the same names, another server's.
    """
    place = path = session.variable("datadir") or ""
    what = f"a physical backup copies the files of the server at {session.address.place()}"
    try:
        os.listdir(path)
        place = _first_file(session, path)
        with open(place, "rb") as file:
            file.read(1)
            found = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(
            f"{what}, and {place!r} cannot be read here: {error.strerror}",
            "run dbfleet on the server's host as root or as the server's user, or take a logical backup",
        ) from error
    certain = _is_of(session, path)
    if certain is False:
        raise SourceError(
            f"{what}, and {path!r} on this host belongs to another server",
            "run dbfleet on the server's own host, or correct source.url",
        )
    return Here(path, bool(certain), f"{found.st_dev}:{found.st_ino}")


def _is_of(session: Session, path: str) -> Optional[bool]:
    """Whether ``path`` holds the files of the server; ``None`` where that cannot be told."""
    uuid = session.variable("server_uuid")
    if uuid:
        with suppress(OSError), open(os.path.join(path, "auto.cnf"), encoding="utf-8", errors="replace") as file:
            return uuid in file.read()
        return None
    pairs = set()
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        said, found = session.status("Innodb_lsn_last_checkpoint"), _checkpoint(path)
        if found is None or not said:
            return None
        if found == int(said):
            return True
        pairs.add((found, said))
    return False if len(pairs) == 1 else None  # those that move are of a server that is making checkpoints


def _checkpoint(path: str) -> Optional[int]:
    """The newest checkpoint in InnoDB's log; ``None`` where the log is elsewhere or of another format."""
    try:
        with open(os.path.join(path, "ib_logfile0"), "rb") as file:
            kind = file.read(4)
            numbers = []
            for place in CHECKPOINTS.get(kind, ()):
                file.seek(place)
                numbers.append(int.from_bytes(file.read(8), "big"))
            return max(numbers, default=None)
    except OSError:
        return None
