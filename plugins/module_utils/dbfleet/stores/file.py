"""``file://``: a folder, local or mounted.

An upload is a hidden file beside its final name; it gets that name when every byte is on disk.
Symbolic links inside the repository are never followed; the root itself may be one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, Optional
from urllib.parse import quote

from ..durable import sync_file, sync_folder
from ..errors import CapacityError, DbfleetError, NotFoundError, RefusedError, RepositoryError, UsageError
from ..host_faults import LARGER_FILES, NO_ROOM
from .base import FOLDER_ATTEMPTS, Entry, Store, Upload
from .locks import hold
from .names import LOCK, PARTIAL, check_name, final_name, partial_name
from .ownership import give_to_owner, open_or_create

FULL = NO_ROOM | {errno.EFBIG}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_HARD_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
WRITEBACK = 16 * 1024 * 1024  # bytes after which the system is asked to begin to write them to disk
SYSTEM_FOLDERS = {"lost+found", "System Volume Information", "$RECYCLE.BIN"}  # of a whole disk as root

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)  # for the writer of a FIFO
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class FileStore(Store):
    """A folder as a repository's storage."""

    def __init__(self, root: str, *, file_mode: int = 0o600, folder_mode: int = 0o700) -> None:
        self.root = os.path.abspath(root)
        path = ("/" if os.name == "nt" else "") + self.root.replace(os.sep, "/")
        self.url = "file://" + quote(path, errors="surrogateescape")
        self._file_mode = file_mode
        self._folder_mode = folder_mode

    def prepare(self) -> None:
        """Create the root if it is missing, and check that it can be written by writing to it."""
        probe = os.path.join(self.root, f".probe{PARTIAL}")
        try:
            self._make_folders(self.root)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(probe)  # of a run that was killed here
            if hasattr(os, "O_TMPFILE"):
                with contextlib.suppress(OSError):  # not every file system has files without a name
                    os.close(os.open(self.root, os.O_WRONLY | os.O_TMPFILE, 0o600))
                    return
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | FLAGS, 0o600))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(probe)  # unless another run took it for a leftover
        except OSError as error:
            raise storage_error(error, self.root, "write") from error

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Committed files; see :meth:`Store.entries`. Raises when the root cannot be read."""
        self._check_root()
        return (
            Entry(name, status.st_size, status.st_mtime)
            for name, status in self._scan("", prefix)
            if name[0] != "." and "/." not in name
        )

    def leftovers(self, prefix: str) -> list[Entry]:
        """Hidden files of uploads that did not commit; ``remove`` takes their names."""
        self._check_root()
        return [
            Entry(name, status.st_size, status.st_mtime)
            for name, status in self._scan("", prefix)
            if name.rpartition("/")[2].startswith(".") and final_name(name).startswith(prefix)
        ]

    def open(self, name: str) -> BinaryIO:
        """An unbuffered reader of one file."""
        path = self._locate(check_name(name))
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):  # before opening: a FIFO would wait for its writer
                raise RepositoryError(f"{path} is not a plain file", "find out who put it there")
            descriptor = os.open(path, os.O_RDONLY | FLAGS)
        except OSError as error:
            raise storage_error(error, path, "read") from error
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return os.fdopen(descriptor, "rb", buffering=0)

    def read(self, name: str) -> bytes:
        """All bytes of one small file."""
        path = self._locate(check_name(name))
        try:
            descriptor = os.open(path, os.O_RDONLY | WITHOUT_WAITING | FLAGS)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise RepositoryError(f"{path} is not a plain file", "find out who put it there")
                data = os.read(descriptor, found.st_size + 1)
                while len(data) < found.st_size and (more := os.read(descriptor, found.st_size - len(data))):
                    data += more
                return data
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, path, "read") from error

    def upload(self, name: str) -> Upload:
        """Begin to write ``name``; refuses a name that is taken, before any data flows."""
        final = self._locate(check_name(name))
        if os.path.lexists(final):
            raise taken(name)
        temporary = self._locate(partial_name(name))
        try:
            descriptor = self._create(temporary)
            give_to_owner(descriptor, self.root)
        except FileExistsError as error:
            raise half_written(name, temporary) from error
        except OSError as error:
            raise storage_error(error, temporary, "write") from error
        return FileUpload(name, descriptor, temporary, final, self._file_mode)

    def remove(self, name: str) -> None:
        """Remove one file (or a leftover) durably, and the subfolders that it leaves empty."""
        check_name(final_name(name) or name)
        path = self._locate(name)
        folder = os.path.dirname(path)
        try:
            os.unlink(path)
            sync_folder(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, path, "remove") from error
        remove_empty(folder, name.count("/"))

    @contextlib.contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
        """Hold ``.name.lock`` in the root; see :meth:`Store.lock`."""
        if "/" in check_name(name):
            raise UsageError(f"{name!r} cannot be the name of a lock: it has a slash")
        self._check_root()
        path = os.path.join(self.root, f".{name}{LOCK}")
        descriptor, writable = self._open_lock(path, shared)
        if descriptor is None:
            yield
            return
        try:
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(hold(descriptor, name, shared=shared, wait=wait, writable=writable))
                except OSError as error:
                    raise storage_error(error, path, "lock") from error
                yield
        finally:
            os.close(descriptor)

    def free_bytes(self) -> Optional[tuple[int, int]]:
        """``(free, total)`` bytes of the file system that holds the root, or will."""
        import shutil

        place = self.root
        while not os.path.lexists(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        try:
            usage = shutil.disk_usage(place)
        except OSError as error:
            raise storage_error(error, place, "read") from error
        return usage.free, usage.total

    def _check_root(self) -> None:
        try:
            if not stat.S_ISDIR(os.stat(self.root).st_mode):
                raise RepositoryError(f"the repository {self.root} is not a folder", "correct repository.url")
        except FileNotFoundError as error:
            raise NotFoundError(
                f"the repository {self.root} does not exist", "correct repository.url, or make a backup first"
            ) from error
        except OSError as error:
            raise storage_error(error, self.root, "read") from error

    def _locate(self, name: str) -> str:
        """The path of ``name``, every folder on whose way is a real one of this repository."""
        path = self.root
        *folders, last = name.split("/")
        for folder in folders:
            path = os.path.join(path, folder)
            if os.path.islink(path):
                raise RepositoryError(
                    f"{path} is a symbolic link inside the repository, which is not followed",
                    "replace it by the folder itself",
                )
        return os.path.join(path, last)

    def _create(self, temporary: str) -> int:
        """A new file, in a folder that may have to be made."""
        for attempt in range(1, FOLDER_ATTEMPTS + 1):
            try:
                self._make_folders(os.path.dirname(temporary))
                return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS, self._file_mode)
            except FileNotFoundError:
                if attempt == FOLDER_ATTEMPTS:
                    raise
        raise ValueError(temporary)  # not reached

    def _make_folders(self, path: str) -> None:
        """Create ``path`` and what is missing above it, durably and with the mode of folders."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if parent == path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)  # a drive that is not there
        self._make_folders(parent)
        try:
            os.mkdir(path, self._folder_mode)
        except FileExistsError:
            # Another upload made it in this moment, unless a removal took it away again, which stat() raises.
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            return
        os.chmod(path, self._folder_mode)  # whatever the umask
        if path != self.root and path.startswith(self.root + os.sep):
            give_to_owner(path, self.root)
        sync_folder(parent)

    def _scan(self, folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Plain files below ``folder`` (empty or ending in ``/``) that may match; hidden ones too."""
        subfolders = []
        try:
            with os.scandir(os.path.join(self.root, folder)) as found:
                for item in found:
                    name = folder + item.name
                    try:
                        if item.is_dir(follow_symlinks=False):
                            reaches = name.startswith(prefix) or prefix.startswith(name + "/")
                            if reaches and not item.name.startswith(".") and name not in SYSTEM_FOLDERS:
                                subfolders.append(name + "/")
                        elif item.is_file(follow_symlinks=False) and (
                            name.startswith(prefix) or item.name.startswith(".")
                        ):
                            yield name, item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # it went away while we looked
        except FileNotFoundError:
            return  # as did this folder
        except OSError as error:
            raise storage_error(error, os.path.join(self.root, folder), "read") from error
        for subfolder in subfolders:
            yield from self._scan(subfolder, prefix)

    def _open_lock(self, path: str, shared: bool) -> tuple[Optional[int], bool]:
        """The lock file and whether it can be written; no file where a shared lock needs none."""
        try:
            descriptor = open_or_create(path, os.O_RDWR | FLAGS, self._file_mode)
            with contextlib.suppress(PermissionError):  # another user made it: the mode is theirs
                _set_mode(descriptor, self._file_mode)
            return descriptor, True
        except OSError as error:
            if not (shared and error.errno in DENIED | FULL):
                raise storage_error(error, path, "lock") from error
        try:
            return os.open(path, os.O_RDONLY | FLAGS), False
        except OSError:
            return None, False  # nobody can change the repository from here


class FileUpload(Upload):
    """A hidden file on its way to its name."""

    def __init__(self, name: str, descriptor: int, temporary: str, final: str, mode: int) -> None:
        self._name = name
        self._descriptor: Optional[int] = descriptor
        self._temporary = temporary
        self._final = final
        self._committed = False
        self._written = 0
        self._advised = 0
        try:
            _set_mode(descriptor, mode)
        except OSError as error:
            self.abort()
            raise storage_error(error, temporary, "write") from error

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        descriptor = self._open_descriptor()
        view = memoryview(data)
        try:
            while view:
                count = os.write(descriptor, view)
                view = view[count:]
                self._written += count
        except OSError as error:
            raise storage_error(error, self._temporary, "write") from error
        if self._written - self._advised >= WRITEBACK:
            self._begin_writeback(descriptor)

    def commit(self) -> None:
        """Bytes to disk, then the name, then the folder to disk."""
        descriptor = self._open_descriptor()
        try:
            sync_file(descriptor)
            self._descriptor = None
            os.close(descriptor)
            _give_name(self._temporary, self._final)
            self._committed = True
            sync_folder(os.path.dirname(self._final))
        except FileExistsError as error:
            raise taken(self._name) from error
        except OSError as error:
            raise storage_error(error, self._final, "write") from error

    def abort(self) -> None:
        """Remove the hidden file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if not self._committed:
            with contextlib.suppress(OSError):  # a leftover, which is swept later
                os.unlink(self._temporary)
            remove_empty(os.path.dirname(self._temporary), self._name.count("/"))

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"the upload of {self._name} has ended")
        return self._descriptor

    def _begin_writeback(self, descriptor: int) -> None:
        """Let the disk begin now, so that the flush at the end is short. Linux does not wait for it."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, self._advised, self._written - self._advised, os.POSIX_FADV_DONTNEED)
        self._advised = self._written


def taken(name: str) -> RefusedError:
    """The error of a name that something else has."""
    return RefusedError(f"{name} already exists and is never overwritten", "choose another name")


def half_written(name: str, temporary: str) -> RepositoryError:
    """The error of a name whose temporary file is there."""
    return RepositoryError(
        f"{name} is already being written, or was left half-written in {temporary}",
        "the next backup or prune of its job removes what was left",
    )


def storage_error(error: OSError, path: str, verb: str) -> DbfleetError:
    """``error``, which came when ``path`` was to be read, written, removed or locked, with its remedy."""
    done = {"read": "read", "write": "written", "remove": "removed", "lock": "locked"}[verb]
    message = f"{path} cannot be {done}: {error.strerror or error}"
    if error.errno == errno.EFBIG:
        return CapacityError(message, LARGER_FILES)
    if error.errno in NO_ROOM:
        return CapacityError(message, "free some room there: shorten the retention and prune, or enlarge it")
    if error.errno == errno.EROFS:
        return RepositoryError(message, "mount the file system for writing")
    if error.errno in DENIED:
        return RepositoryError(message, f"give {_user()} the permission to {verb} there")
    if error.errno == errno.ELOOP:
        return RepositoryError(
            f"{path} is a symbolic link inside the repository, which is not followed",
            "replace it by the file itself",
        )
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{path} does not exist", "list the repository to see what is there")
    return RepositoryError(message, "check the storage and its mount")


def _give_name(temporary: str, final: str) -> None:
    """Rename without ever replacing: ``FileExistsError`` if ``final`` is there."""
    if os.name == "nt":
        os.rename(temporary, final)
        return
    try:
        os.link(temporary, final, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        # No hard links here (FAT, some mounts). The job's lock keeps others from taking the name in between.
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final) from None
        os.rename(temporary, final)
        return
    with contextlib.suppress(OSError):  # the object has its name: what stays is a leftover, swept later
        os.unlink(temporary)


def _set_mode(descriptor: int, mode: int) -> None:
    """The mode whatever the umask; only where the file is ours and modes exist."""
    if os.name == "nt" or stat.S_IMODE(os.fstat(descriptor).st_mode) == mode:
        return
    os.fchmod(descriptor, mode)


def _user() -> str:
    return f"the user with id {os.geteuid()}" if hasattr(os, "geteuid") else "this user"


def remove_empty(folder: str, levels: int) -> None:
    """Remove ``folder`` and those above it, ``levels`` of them at most, as long as they are empty."""
    with contextlib.suppress(OSError):  # not empty: somebody else's files keep it
        for _level in range(levels):
            os.rmdir(folder)
            folder = os.path.dirname(folder)
            sync_folder(folder)
