"""Opening SQLite files: the path behind a URL, checks before SQLite sees it, its errors in our words."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ...errors import BusyError, CapacityError, DbfleetError, NotFoundError, SourceError, UsageError

MAGIC = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm", "-journal")


def path_of(url: str) -> str:
    """The absolute path that ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` names.

    As in SQLAlchemy, three slashes begin a relative path and four an absolute one (on Windows
    ``sqlite:///C:/app.db``), and a query such as ``?timeout=30`` belongs to the application. The
    path is taken literally; only where no such file exists is it tried without its query and
    percent-decoded. A URL that ends in ``?`` is what :func:`url_of` made: nothing in it is guessed.
    """
    scheme, _colon, rest = url.partition("://")
    if scheme.lower() != "sqlite" or not rest.startswith("/"):
        raise UsageError(
            f"source.url {url!r} names no SQLite file",
            "write sqlite:///relative.db or sqlite:////absolute.db",
        )
    literal = rest[1:]
    if literal in ("", ":memory:"):
        raise UsageError(f"source.url {url!r} is a database in memory", "name a database file")
    if "\0" in literal:
        raise UsageError("source.url contains a NUL byte", "name a database file")
    if literal.endswith("?"):
        return os.path.abspath(literal[:-1])
    plain = literal.partition("?")[0]
    candidates = dict.fromkeys((literal, plain, unquote(literal), unquote(plain)))
    chosen = next((name for name in candidates if os.path.lexists(name)), plain or literal)
    return os.path.abspath(chosen)


def url_of(path: str) -> str:
    """The ``sqlite://`` URL that means exactly ``path``, whether it is there or not."""
    absolute = os.path.abspath(path)
    return f"sqlite:///{absolute}" + ("?" if "?" in absolute or "%" in absolute else "")


def quoted(name: str) -> str:
    """``name`` as an SQL identifier (SQLite manual, "SQL Keywords")."""
    return '"' + name.replace('"', '""') + '"'


def check_file(path: str) -> None:
    """Refuse what SQLite would create, misread or fail on later: the reasons in one clear line each."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"database file {path!r} does not exist", "check source.url") from None
    except OSError as error:
        raise SourceError(f"database file {path!r} cannot be examined: {error.strerror}", access_remedy()) from None
    if stat.S_ISDIR(found.st_mode):
        raise SourceError(f"{path!r} is a directory, not a database file", "name the file inside it in source.url")
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{path!r} is not a regular file", "name a database file in source.url")
    if found.st_size == 0:
        raise SourceError(f"database file {path!r} is empty (0 bytes)", "check source.url; there is nothing to back up")
    try:
        with open(path, "rb") as file:
            head = file.read(100)
    except OSError as error:
        raise SourceError(f"database file {path!r} cannot be read: {error.strerror}", access_remedy()) from None
    if head[:16] != MAGIC or len(head) < 100:
        raise SourceError(
            f"{path!r} is not an SQLite database (its first bytes are not SQLite's)",
            "check source.url; an encrypted database needs its own tool",
        )


def access_remedy() -> str:
    """What to do about a missing permission."""
    return "run as a user who may read it"


def connect(path: str, *, wait: float, mode: str = "ro", immutable: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode that may be used from any one thread at a time.

    ``mode`` is SQLite's ``ro``, ``rw`` or ``rwc`` (URI Filenames manual); ``wait`` is the busy
    timeout in seconds.
    """
    name = quote(os.fsencode(os.path.abspath(path).replace(os.sep, "/")), safe="/:")
    prefix = "file:" if name.startswith("/") else "file:///"
    uri = f"{prefix}{name}?mode={mode}" + ("&immutable=1" if immutable else "")
    with sqlite_errors(path):
        return sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)


@dataclass(frozen=True)
class Opening:
    """How a file can be read now: SQLite's open mode, and the journal mode it is in."""

    mode: str
    immutable: bool
    journal_mode: str


def how_to_read(path: str, *, wait: float) -> Opening:
    """The way to read ``path`` now, whatever a crash or its medium left behind.

    Read-only first; read-write where a hot journal must be rolled back, as the application's own
    next start would do (SQLite manual, "File Locking", 4.0); immutable where a read-only medium
    holds no log that would matter.
    """
    check_file(path)
    for mode, immutable in (("ro", False), ("rw", False), ("ro", True)):
        if immutable and not _may_be_immutable(path):
            break
        connection = connect(path, wait=wait, mode=mode, immutable=immutable)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            return Opening(mode, immutable, journal_mode)
        except sqlite3.Error as error:
            failure = translate(error, path)
            if not _needs_another_mode(error):
                raise failure from error
        finally:
            connection.close()
    raise failure


def _needs_another_mode(error: sqlite3.Error) -> bool:
    text = str(error)
    return "readonly" in text or "unable to open" in text or "disk I/O" in text


def _may_be_immutable(path: str) -> bool:
    """Only on a medium that cannot be written from here, and with no log that holds anything."""
    if not _is_read_only(path):
        return False
    return not any(os.path.exists(path + suffix) and os.path.getsize(path + suffix) for suffix in ("-wal", "-journal"))


def _is_read_only(path: str) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@contextmanager
def sqlite_errors(path: str) -> Iterator[None]:
    """Turn what SQLite raises inside into our errors about ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def translate(error: sqlite3.Error, path: str) -> DbfleetError:
    """SQLite's error about ``path`` in our words, with a remedy (SQLite manual, "Result Codes")."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return BusyError(
            f"database {path!r} is locked by another process",
            "end the transaction that holds it (or the program in exclusive locking mode), or raise limits.lock_wait",
        )
    if "malformed" in text or "corrupt" in text:
        return SourceError(
            f"database {path!r} is damaged: {text}",
            "run PRAGMA integrity_check on it, and restore the newest good backup",
        )
    if "not a database" in text:
        return SourceError(
            f"{path!r} is not an SQLite database",
            "check source.url; an encrypted database needs its own tool",
        )
    if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return CapacityError(f"no room left to write {path!r}: {text}", "free space on that file system")
    if "readonly" in text:
        return SourceError(
            f"database {path!r} cannot be written: {text}", "run as a user who may write it and its folder"
        )
    if "unable to open" in text:
        return SourceError(
            f"database {path!r} cannot be opened: {text}",
            "check that this user may read it and, in WAL mode, may write its folder",
        )
    return SourceError(f"database {path!r} failed: {text}", "see the SQLite message")
