"""The place of a server's restored data directory: how a URL names it, what is there, and taking its place."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Callable, Optional
from urllib.parse import quote, unquote

from ..durable import sync
from ..errors import BusyError, CapacityError, NotFoundError, RefusedError, UsageError
from ..scratch import gone_afterwards, is_abandoned, mark
from ..units import ID_TIME, utc_now
from ..urls import without_credentials

MARK = ".dbfleet-restore-"


@dataclass(frozen=True)
class Kind:
    """Whose data directories they are: the scheme of their URLs, the user who owns them by custom.

    ``server_on`` names the server that runs on a path (``process 77``), if one does.
    """

    scheme: str
    user: str
    server_on: Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Place:
    """A data directory, there or not yet."""

    path: str
    kind: Kind

    @property
    def parent(self) -> str:
        """The folder that holds it."""
        return os.path.dirname(self.path)


def url_of(scheme: str, path: str) -> str:
    """The URL of the data directory ``path``: with an absolute path behind the empty host, as SQLite's have."""
    place = os.path.abspath(path)
    if os.name == "nt":
        return f"{scheme}:////{quote(place.replace(os.sep, '/'), safe='/:', errors='surrogateescape')}"
    return f"{scheme}:///{quote(place, safe='/', errors='surrogateescape')}"


def is_path(url: str) -> bool:
    """Whether ``url`` names a data directory rather than a server."""
    return unquote(url.partition("://")[2], errors="surrogateescape").startswith("//")


def place_of(url: str, kind: Kind) -> Place:
    """The data directory that ``url`` names. Raises ``UsageError`` when it names a server instead."""
    path = unquote(url.partition("://")[2], errors="surrogateescape")
    if not is_path(url):
        raise UsageError(
            f"a physical backup is restored into a data directory, and {without_credentials(url)!r} names a server",
            f"give --to /path/of/the/data/directory (or {kind.scheme}:////path/of/the/data/directory)",
        )
    if "\0" in path or "\n" in path:
        raise UsageError(f"{path!r} is no path of a data directory", "name another one")
    if os.name == "nt" and re.match(r"//[A-Za-z]:", path):
        path = path[2:]
    return Place(os.path.realpath(path), kind)


def is_occupied(place: Place) -> bool:
    """Whether something is at the place."""
    try:
        return bool(os.listdir(place.path))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise RefusedError(f"the target {place.path!r} is a file", "name a folder with --to") from None


def check_place(place: Place, *, replace: bool) -> None:
    """Refuse a place that must not be touched."""
    if not os.path.isdir(place.parent):
        raise NotFoundError(
            f"the folder of the target {place.path!r} does not exist", "create it, or restore elsewhere with --to"
        )
    if os.path.ismount(place.path):
        raise RefusedError(
            f"the target {place.path!r} is a mount point, which nothing else can take the place of",
            "restore into a folder inside it",
        )
    if not is_occupied(place):
        return
    if not replace:
        raise RefusedError(
            f"the target {place.path!r} is not empty",
            "restore to a new folder with --to, or over it with --replace (it is kept beside under a dated name)",
        )
    require_stopped(place)


def require_stopped(place: Place) -> None:
    """Refuse a data directory that a server is running on."""
    server = place.kind.server_on(place.path)
    if server is not None:
        raise BusyError(
            f"a server is running on {place.path!r} ({server})",
            "stop it for the restore, then try again; nothing was changed",
        )


@contextmanager
def building(place: Place) -> Iterator[str]:
    """A private folder beside the place, on the same file system; gone afterwards, after a crash with the next one."""
    prefix = f".{os.path.basename(place.path)}{MARK}"
    try:
        for entry in list(os.scandir(place.parent)):
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False) and _is_dead(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)
        folder = os.path.join(place.parent, prefix + uuid.uuid4().hex[:12])
        os.mkdir(folder, 0o700)
        alive = mark(folder)
    except OSError as error:
        raise CapacityError(
            f"cannot write in {place.parent!r}: {error.strerror}", "run as a user who may write it"
        ) from error
    with gone_afterwards(folder, alive):
        yield folder


def _is_dead(folder: str) -> bool:
    try:
        return is_abandoned(folder)
    except OSError:
        return False


def owner_of(place: Place) -> Optional[tuple[int, int]]:
    """Who the restored files must belong to: user and group; ``None`` where only we can own them."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    for path in (place.path, place.parent):
        with suppress(FileNotFoundError):
            found = os.stat(path)
            if found.st_uid != 0 and (path == place.path or not found.st_mode & stat.S_ISVTX):
                return found.st_uid, found.st_gid
    import pwd

    with suppress(KeyError):
        account = pwd.getpwnam(place.kind.user)
        return account.pw_uid, account.pw_gid
    return None


def dated(path: str, what: str) -> str:
    """A name beside ``path`` that is not taken: ``data_before_restore_20250823_103000``."""
    name = f"{path}_{what}_{utc_now().strftime(ID_TIME)}"
    number = 1
    found = name
    while os.path.lexists(found):
        number += 1
        found = f"{name}_{number}"
    return found


def swap(built: str, place: Place) -> Optional[str]:
    """Give ``built`` the name of the place; returns where what it replaced is kept."""
    kept: Optional[str] = None
    if is_occupied(place):
        require_stopped(place)
        kept = dated(place.path, "before_restore")
        os.rename(place.path, kept)
    elif os.path.isdir(place.path):
        os.rmdir(place.path)
    try:
        os.rename(built, place.path)
    except BaseException:
        if kept is not None:
            os.rename(kept, place.path)
        raise
    return kept


def flush_tree(root: str) -> None:
    """Make every file and folder below ``root`` durable."""
    for folder, _folders, files in os.walk(root):
        for name in [*files, "."]:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                sync(path)


def own_folder(path: str, owner: Optional[tuple[int, int]], mode: int = 0o700) -> None:
    """Give the folder itself to ``owner``, with ``mode``."""
    if owner is not None:
        os.chown(path, *owner)
    os.chmod(path, mode)


def own_tree(root: str, owner: Optional[tuple[int, int]], mode: int = 0o700) -> None:
    """Give everything below ``root`` to ``owner``; folders get ``mode``, files the same without what enters folders."""
    for folder, folders, files in os.walk(root):
        os.chmod(folder, mode)
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, mode & 0o666)
        if owner is not None:
            for name in [*folders, *files, "."]:
                os.lchown(os.path.join(folder, name), *owner)
