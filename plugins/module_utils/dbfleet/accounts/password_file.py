"""The file that holds a password: who may read it, how old it is, and how a new one takes its place."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import stat
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Optional

from ..durable import sync_folder
from ..errors import KeyMaterialError, UsageError

# No character that a URL, an option file or a shell would read as something else; 184 bits.
ALPHABET = string.ascii_letters + string.digits
LENGTH = 32
# What servers may ask for (MySQL's validate_password, MariaDB's simple_password_check): one of each of these, and one
# that is neither.
CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


def new_password() -> str:
    """A password that nobody has seen, and that no server's policy refuses."""
    while True:
        drawn = "".join(secrets.choice(ALPHABET) for _place in range(LENGTH - 1))
        if all(any(one in kind for one in drawn) for kind in CLASSES):
            return f"{drawn[: LENGTH // 2]}-{drawn[LENGTH // 2 :]}"


@dataclass(frozen=True)
class PasswordFile:
    """A file with a password in its first line, its owner, group and mode."""

    path: str
    owner: str = "root"
    group: str = "dbfleet"
    mode: int = 0o640

    def read(self) -> Optional[str]:
        """The password; ``None`` where there is none. Raises ``KeyMaterialError`` for what is no plain password."""
        try:
            with open(self.path, encoding="ascii") as file:
                password = file.readline().rstrip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not plain ASCII"
            raise KeyMaterialError(
                f"password file {self.path!r} cannot be used: {reason}", "remove it, so that a new one is made"
            ) from None
        return password or None

    def age(self) -> float:
        """Seconds since the password was made. The file must be there."""
        return time.time() - os.stat(self.path).st_mtime

    def fits(self, *, check: bool = False) -> bool:
        """Whether owner, group and mode are as they should be."""
        found = os.stat(self.path)
        try:
            return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*self._ids(), self.mode)
        except UsageError:
            if check:
                return False  # the group is made before the file is written
            raise

    def fit(self) -> None:
        """Give it owner, group and mode; its age stays."""
        os.chown(self.path, *self._ids())
        os.chmod(self.path, self.mode)

    @contextmanager
    def replaced(self, password: str) -> Iterator[None]:
        """Write ``password`` beside the file; it takes the file's place when the block has ended without an error.

        So the old file is there until the server knows the new password, and a full disk or a missing folder is
        known before the server is told.
        """
        owner = self._ids()
        folder, name = os.path.split(self.path)
        staged = os.path.join(folder, f".{name}.new")
        try:
            with suppress(FileNotFoundError):
                os.unlink(staged)  # of a run that was killed: the server may know it, and gets the next one now
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(password + "\n")
                file.flush()
                os.fchown(descriptor, *owner)
                os.fchmod(descriptor, self.mode)
                os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                os.unlink(staged)
            raise KeyMaterialError(
                f"password file {self.path!r} cannot be written: {error.strerror}",
                "check its folder, and who runs this",
            ) from None
        try:
            yield
        except BaseException:
            os.unlink(staged)
            raise
        os.replace(staged, self.path)
        sync_folder(folder or os.curdir)

    def remove(self) -> None:
        """Remove it, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def _ids(self) -> tuple[int, int]:
        try:
            return pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid
        except KeyError:
            raise UsageError(
                f"password file {self.path!r}: there is no account {self.owner} or no group {self.group}",
                "make them first, or name others",
            ) from None
