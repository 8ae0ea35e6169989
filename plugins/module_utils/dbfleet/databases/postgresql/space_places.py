"""Where a restore puts the tablespaces of a cluster: below a folder beside the data directory, or where it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Optional

from ...durable import sync
from ...errors import NotFoundError, RefusedError, UsageError
from ..place import MARK, Place, building, dated, flush_tree, own_folder, own_tree
from .assembly import Assembly

BUILT = "data"  # how what is built in a folder is called there
NO_MATTER = ("lost+found",)
KEY = "--tablespace-map"


class SpacePlaces:
    """``wanted``: new folders by the old ones, or by the tablespaces' numbers; they will belong to ``owner``."""

    def __init__(self, place: Place, wanted: Mapping[str, str], owner: Optional[tuple[int, int]]) -> None:
        self._place = place
        self._owner = owner
        self._wanted = dict(wanted)
        self._seen: dict[str, str] = {}  # the tablespaces of the backup: number and old folder
        self._new: dict[str, str] = {}  # and the new folders of those that get one
        self._rooms: list[str] = []
        self._stack = ExitStack()

    def check(self) -> None:
        """Refuse, before anything is changed, folders that tablespaces cannot be put into."""
        taken: dict[str, str] = {}
        for old, new in list(self._wanted.items()):
            if not os.path.isabs(new):
                raise UsageError(
                    f"the folder {new!r} for the tablespace {old!r} is a relative path", "write it absolute"
                )
            self._wanted[old] = new = os.path.realpath(new)
            if new in taken:
                raise UsageError(f"{KEY} puts {taken[new]!r} and {old!r} into {new!r}", "name two folders")
            taken[new] = old
            _check_folder(new, self._place.path)

    def elsewhere(self, oid: str, old: str) -> Optional[str]:
        """The folder to build a tablespace in; ``None`` where it was not told."""
        self._seen[oid] = old
        new = self._wanted.get(old) or self._wanted.get(old.rstrip("/")) or self._wanted.get(oid)
        if new is None:
            return None
        self._new[oid] = new
        if not os.path.isdir(new):
            os.mkdir(new, 0o700)
            own_folder(new, self._owner)  # a server may be started before it takes over
            self._stack.callback(_remove_empty, new)
        room = self._stack.enter_context(building(replace(self._place, path=os.path.join(new, BUILT))))
        self._rooms.append(room)
        return room

    def require_known(self) -> None:
        """Refuse a wish that no tablespace of the backup is meant by."""
        for old in self._wanted:
            if not {old, old.rstrip("/")} & {*self._seen, *self._seen.values()}:
                known = ", ".join(f"{oid} in {place!r}" for oid, place in sorted(self._seen.items())) or "none"
                raise UsageError(f"the backup has no tablespace {old!r}", f"correct {KEY}: it has {known}")

    def close(self) -> None:
        """Remove what was built and did not take over. Never raises."""
        self._stack.close()

    @contextmanager
    def taken(self, assembly: Assembly, mode: int) -> Iterator[list[str]]:
        """Put the tablespaces into their places, for good unless the context fails; yields notes on where they are.

        Their folders get ``mode``.
        """
        notes = [f"tablespace {oid} is in {self._new[oid]!r}" for oid in assembly.spaces if oid in self._new]
        beside = [oid for oid in assembly.spaces if oid not in self._new]
        root = f"{self._place.path}.tablespaces"
        if beside:
            root = dated(self._place.path, "tablespaces") if os.path.lexists(root) else root
            notes.append(f"tablespaces are in {root!r}")
        places = {oid: self._new.get(oid) or os.path.join(root, oid) for oid in assembly.spaces}
        assembly.point_to(places)
        for built in assembly.spaces.values():
            own_tree(built, self._owner, mode)
            flush_tree(built)
        with ExitStack() as undo:
            if beside:
                os.mkdir(root, 0o700)
                undo.callback(_remove_empty, root)
                own_folder(root, self._owner, mode)
            for oid, built in assembly.spaces.items():
                _move(built, places[oid], undo, whole=oid not in self._new)
                if oid in self._new:
                    own_folder(places[oid], self._owner, mode)
                sync(os.path.dirname(places[oid]))
            yield notes
            undo.pop_all()


def _move(built: str, place: str, undo: ExitStack, *, whole: bool) -> None:
    """Rename ``built`` to ``place``, or into it where that is there: it may be a mount point."""
    names = [""] if whole else os.listdir(built)
    for name in names:
        source, target = (os.path.join(built, name), os.path.join(place, name)) if name else (built, place)
        os.rename(source, target)
        undo.callback(os.rename, target, source)
    sync(place)


def _check_folder(path: str, data: str) -> None:
    if "\n" in path or "\r" in path:
        raise UsageError(f"{path!r} is no folder for a tablespace", "name another one")
    if os.path.commonpath([path, data]) in (path, data):
        raise UsageError(
            f"the folder {path!r} for a tablespace and the data directory {data!r} are one inside the other",
            "put the tablespace elsewhere",
        )
    if not os.path.isdir(os.path.dirname(path)):
        raise NotFoundError(f"the folder of {path!r} does not exist", f"create it, or correct {KEY}")
    try:
        left = [name for name in os.listdir(path) if name not in NO_MATTER and MARK not in name]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise RefusedError(f"{path!r} is a file", f"name a folder with {KEY}") from None
    if left:
        raise RefusedError(f"the folder {path!r} for a tablespace is not empty", "name another one, or empty it")


def _remove_empty(path: str) -> None:
    with suppress(OSError):
        os.rmdir(path)
