"""``sftp://``: a folder on an SSH server.

An upload is a hidden file beside its final name, as in a local folder; it gets that name when
every byte is on the server's disk. Symbolic links inside the repository are never followed.
Works with an account that may add but not remove (docs/sftp.md).
"""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO, NoReturn, Optional, cast

from ...errors import AppendOnlyError, CapacityError, NotFoundError, RepositoryError, UsageError
from ..base import FOLDER_ATTEMPTS, Entry, Store, Upload
from ..file import SYSTEM_FOLDERS, half_written, taken
from ..names import check_name, final_name, partial_name
from .faults import fault
from .files import SftpReader, SftpUpload
from .lease import Lease
from .marks import marked
from .packets import (
    CREATE,
    EXCLUSIVE,
    FAILURE,
    FOR_READING,
    FOR_WRITING,
    FSYNC,
    NO_SUCH_FILE,
    PERMISSION_DENIED,
    Attributes,
    StatusError,
)
from .protocol import Protocol
from .session import Access, OwnLine, Session
from .url import parent as parent_of
from .url import parse_url, shown

LEASE = ".lease"
PROBE = ".probe"
NO_FSYNC = (
    "the SFTP server does not offer fsync@openssh.com: what was committed may be lost if that machine loses power"
)


class SftpStore(Store):
    """A folder on an SSH server as a repository's storage."""

    def __init__(
        self, url: str, access: Optional[Access] = None, *, file_mode: int = 0o600, folder_mode: int = 0o700
    ) -> None:
        place = parse_url(url)
        self.path = place.path
        self._access = access or Access()
        self._session = Session(place.host, place.port, place.user, self._access)
        self._file_mode = file_mode
        self._folder_mode = folder_mode
        self._leases: list[Lease] = []
        self._plain: set[str] = set()  # names that the last listing saw as plain files
        self._folders: set[str] = set()  # folders that were seen not to be links
        self.url = shown(place)

    def notes(self) -> tuple[str, ...]:
        """That the server cannot flush to its disk; that others can read our secrets."""
        unsafe = () if FSYNC in self._line().extensions else (NO_FSYNC,)
        warning = self._access.warning()
        return (*unsafe, warning) if warning else unsafe

    def prepare(self) -> None:
        """Create the root if it is missing, and check that it can be written by writing to it."""
        line = self._line()
        try:
            self._make_folders(line, self.path)
            probe = self._at(PROBE)
            line.close_handle(line.open(probe, FOR_WRITING | CREATE, 0o600))
            with contextlib.suppress(StatusError):  # an account that may only add leaves it there
                line.remove(probe)
        except StatusError as error:
            self._fail(line, error, self.path, "write")

    def check_removal(self) -> None:
        """Remove something that nobody needs. Raises ``AppendOnlyError`` where this account may not."""
        line = self._line()
        probe = self._at(PROBE)
        try:
            try:
                line.remove(probe)  # one that another account left could not be opened
            except StatusError as error:
                if error.code != NO_SUCH_FILE:
                    raise
                line.close_handle(line.open(probe, FOR_WRITING | CREATE, 0o660))
                line.remove(probe)
        except StatusError as error:
            if error.code == PERMISSION_DENIED:
                raise AppendOnlyError(
                    f"{self.url} does not permit this account to remove",
                    "an append-only account is meant to refuse this: prune with an account that may remove",
                ) from error
            if error.code != NO_SUCH_FILE:  # another run was faster
                self._fail(line, error, probe, "write")

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Committed files; see :meth:`Store.entries`. Raises when the root cannot be read."""
        self._plain.clear()
        return (entry for entry in self._scan(prefix, self._root()) if entry.name[0] != "." and "/." not in entry.name)

    def leftovers(self, prefix: str) -> list[Entry]:
        """Hidden files of uploads that did not commit; ``remove`` takes their names."""
        found = self._scan(prefix, self._root())
        return [entry for entry in found if (final := final_name(entry.name)) and final.startswith(prefix)]

    def open(self, name: str) -> BinaryIO:
        """A reader of one file that asks ahead."""
        path = self._at(check_name(name))
        line = self._line()
        try:
            self._check_way(line, name)
            found = self._plain_file(line, path, name)
            handle = line.open(path, FOR_READING)
        except StatusError as error:
            self._fail(line, error, path, "read")
        return cast(BinaryIO, SftpReader(line, handle, path, found.size_bytes))

    def read(self, name: str) -> bytes:
        """All bytes of one small file."""
        path = self._at(check_name(name))
        line = self._line()
        try:
            self._check_way(line, name)
            if name not in self._plain:
                self._plain_file(line, path, name)
            handle = line.open(path, FOR_READING)
        except StatusError as error:
            self._fail(line, error, path, "read")
        try:
            return line.contents(handle)
        except StatusError as error:
            self._fail(line, error, path, "read")
        finally:
            line.release(handle)

    def upload(self, name: str) -> Upload:
        """Begin to write ``name``; refuses a name that is taken, before any data flows."""
        final, temporary = self._at(check_name(name)), self._at(partial_name(name))
        line = self._line()
        try:
            self._check_way(line, name)
            if line.lstat(final) is not None:
                raise taken(name)
            handle = self._create(line, name, temporary)
        except StatusError as error:
            self._fail(line, error, temporary, "write")
        return SftpUpload(
            line,
            handle,
            temporary,
            self._file_mode,
            give_name=lambda: self._give_name(name, temporary, final),
            discard=lambda: self._discard(name, temporary),
        )

    def remove(self, name: str) -> None:
        """Remove one file (or a leftover) durably, and the subfolders that it leaves empty."""
        check_name(final_name(name) or name)
        path = self._at(name)
        folder = path.rpartition("/")[0]
        line = self._line()
        self._check_leases()
        try:
            self._check_way(line, name)
            line.remove(path)
            self._sync_folder(line, folder)
        except StatusError as error:
            if error.code == NO_SUCH_FILE:
                return
            self._fail(line, error, path, "remove")
        self._remove_empty(line, name)

    @contextlib.contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
        """Hold a lease in ``.name.lease`` of the root; see :mod:`.lease`.

        The host's own part dies with its holder. What a killed run leaves at the server holds up
        other hosts until it counts as dead, a minute later.
        """
        if "/" in check_name(name):
            raise UsageError(f"{name!r} cannot be the name of a lock: it has a slash")
        deadline = time.monotonic() + wait
        with marked(self.url, name, shared=shared, wait=wait) as marks, contextlib.ExitStack() as held:
            line = OwnLine(self._session)
            held.callback(line.end)
            folder = self._at(f".{name}{LEASE}")
            lease = Lease(line, folder, name, shared=shared, modes=(self._file_mode | 0o600, self._folder_mode))
            try:
                lease.take(max(deadline - time.monotonic(), 0.0), marks)
                held.callback(lease.release, marks)
            except StatusError as error:
                refused = fault(line(), error, folder, "lock")
                if not (shared and (error.code == PERMISSION_DENIED or isinstance(refused, CapacityError))):
                    raise refused from error
                # granted: nobody can change the repository from here
            if not shared:
                self._leases.append(lease)
                held.callback(self._leases.remove, lease)
            yield

    def free_bytes(self) -> Optional[tuple[int, int]]:
        """``(free, total)`` bytes of the file system that holds the root, or will; ``None`` if the server is silent."""
        line = self._line()
        path = self.path
        while True:
            try:
                room = line.room(path)
                return None if room is None else (room.free, room.total)
            except StatusError as error:
                parent = parent_of(path)
                if error.code != NO_SUCH_FILE or parent == path:
                    self._fail(line, error, path, "read")
                path = parent

    # --- inside ---

    def _line(self) -> Protocol:
        return self._session.protocol()

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def _fail(self, line: Protocol, error: StatusError, path: str, verb: str) -> NoReturn:
        raise fault(line, error, path, verb) from error

    def _plain_file(self, line: Protocol, path: str, name: str) -> Attributes:
        found = line.lstat(path)
        if found is None:
            raise NotFoundError(f"{path} on {self._session.where} does not exist", "list the repository")
        _check_plain(found, path)
        return found

    def _check_leases(self) -> None:
        for lease in list(self._leases):
            lease.check()

    def _root(self) -> list[tuple[str, Attributes]]:
        line = self._line()
        try:
            return list(line.folder(self.path))
        except StatusError as error:
            if error.code == NO_SUCH_FILE:  # also what a file is answered with
                if line.lstat(self.path) is not None:
                    raise RepositoryError(
                        f"the repository {self.url} is not a folder", "correct repository.url"
                    ) from error
                raise NotFoundError(
                    f"the repository {self.url} does not exist", "correct repository.url, or make a backup first"
                ) from error
            self._fail(line, error, self.path, "read")

    def _scan(self, prefix: str, found: list[tuple[str, Attributes]], folder: str = "") -> Iterator[Entry]:
        """Plain files below ``folder`` (empty or ending in ``/``) that may match; hidden ones too."""
        subfolders = []
        for last, what in found:
            name = folder + last
            if stat.S_ISDIR(what.mode):
                reaches = name.startswith(prefix) or prefix.startswith(name + "/")
                if reaches and not last.startswith(".") and name not in SYSTEM_FOLDERS:
                    subfolders.append(name)
                    self._folders.add(name)
            elif stat.S_ISREG(what.mode) and (name.startswith(prefix) or last.startswith(".")):
                self._plain.add(name)
                yield Entry(name, what.size_bytes, float(what.modified))
        for subfolder in subfolders:
            line = self._line()
            try:
                inside = list(line.folder(self._at(subfolder)))
            except StatusError as error:
                if error.code == NO_SUCH_FILE:
                    continue  # it went away while we looked
                self._fail(line, error, self._at(subfolder), "read")
            yield from self._scan(prefix, inside, subfolder + "/")

    def _check_way(self, line: Protocol, name: str) -> None:
        """Every folder on the way to ``name`` is a real one of this repository, or missing."""
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder in self._folders:
                continue
            found = line.lstat(self._at(folder))
            if found is None:
                return
            if stat.S_ISLNK(found.mode):
                raise RepositoryError(
                    f"{self._at(folder)} is a symbolic link inside the repository, which is not followed",
                    "replace it by the folder itself",
                )
            self._folders.add(folder)

    def _create(self, line: Protocol, name: str, temporary: str) -> bytes:
        """The handle of a new file, in a folder that may have to be made."""
        folder = temporary.rpartition("/")[0]
        for attempt in range(1, FOLDER_ATTEMPTS + 1):
            try:
                if attempt > 1:
                    self._make_folders(line, folder)
                return line.open(temporary, FOR_WRITING | CREATE | EXCLUSIVE, self._file_mode)
            except StatusError as error:
                missing = error.code == NO_SUCH_FILE or (error.code == FAILURE and line.lstat(folder) is None)
                if missing and attempt < FOLDER_ATTEMPTS:
                    continue
                if error.code == FAILURE and line.lstat(temporary) is not None:
                    raise half_written(name, temporary) from error
                raise
        raise ValueError(temporary)  # not reached

    def _give_name(self, name: str, temporary: str, final: str) -> None:
        """Rename without ever replacing; the lease must still be ours."""
        line = self._line()
        self._check_leases()
        try:
            # OpenSSH never replaces here; other servers may, and the job's lock keeps others away in between.
            if line.lstat(final) is not None:
                raise taken(name)
            line.rename(temporary, final)
            self._sync_folder(line, final.rpartition("/")[0])
        except StatusError as error:
            if error.code == FAILURE and line.lstat(final) is not None:
                raise taken(name) from error
            self._fail(line, error, final, "write")

    def _discard(self, name: str, temporary: str) -> None:
        """Remove what was written of ``name``, and the folders that were made for it."""
        line = self._line()
        line.remove(temporary)
        self._remove_empty(line, name)

    def _remove_empty(self, line: Protocol, name: str) -> None:
        """Remove the folders above ``name``, as long as they are empty."""
        with contextlib.suppress(StatusError):  # not empty: somebody else's files keep it
            for _level in range(name.count("/")):
                name = name.rpartition("/")[0]
                self._folders.discard(name)
                line.rmdir(self._at(name))
                self._sync_folder(line, parent_of(self._at(name)))

    def _sync_folder(self, line: Protocol, folder: str) -> None:
        """The names in a folder to the server's disk; OpenSSH opens folders like files for that."""
        if FSYNC not in line.extensions:
            return
        try:
            handle = line.open(folder or "/", FOR_READING)
        except StatusError:
            return  # not a server that can
        try:
            line.fsync(handle)
        except StatusError as error:
            if error.code == FAILURE:
                self._fail(line, error, folder, "write")
        finally:
            line.release(handle)

    def _make_folders(self, line: Protocol, path: str) -> None:
        """Create ``path`` and what is missing above it, durably and with the mode of folders."""
        try:
            found = line.stat(path)
        except StatusError as error:
            parent = parent_of(path)
            if error.code != NO_SUCH_FILE or parent == path:
                raise
        else:
            if not stat.S_ISDIR(found.mode):
                raise RepositoryError(f"{path} on {self._session.where} is not a folder", "correct repository.url")
            return
        self._make_folders(line, parent)
        try:
            line.mkdir(path, self._folder_mode)
        except StatusError as error:
            if error.code != FAILURE or line.lstat(path) is None:
                raise
            return  # another upload made it in this moment
        self._sync_folder(line, parent)


def _check_plain(found: Attributes, path: str) -> None:
    if stat.S_ISLNK(found.mode):
        raise RepositoryError(
            f"{path} is a symbolic link inside the repository, which is not followed",
            "replace it by the file itself",
        )
    if not stat.S_ISREG(found.mode):  # before opening: a FIFO would wait for its writer
        raise RepositoryError(f"{path} is not a plain file", "find out who put it there")
