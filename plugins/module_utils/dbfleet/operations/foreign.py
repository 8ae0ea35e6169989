"""Plain files that no manifest describes: dumps of the scripts before this project, or of other tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..errors import NotFoundError, RefusedError, RepositoryError, UsageError
from ..model import Artifact
from ..stream.compression import guess_method

ENCRYPTIONS: Mapping[str, dict[str, Any]] = {".gpg": {"method": "gpg"}, ".age": {"method": "age"}}
ROLES = {".sql": "sql", ".db": "db", ".sqlite": "db", ".sqlite3": "db", ".dump": "dump"}


def describe(path: str) -> Artifact:
    """What the suffixes of ``path`` say of it: role, compression, encryption; no digests, for nobody took any.

    Raises ``UsageError`` for a file whose name ends in nothing that is known.
    """
    stem = os.path.basename(path)
    encryption: dict[str, Any] = {"method": "none"}
    base, suffix = os.path.splitext(stem)
    if suffix.lower() in ENCRYPTIONS:
        encryption, stem = ENCRYPTIONS[suffix.lower()], base
        base, suffix = os.path.splitext(stem)
    compression = guess_method(stem)
    if compression != "none":
        base, suffix = os.path.splitext(base)
    role = ROLES.get(suffix.lower())
    if role is None:
        raise UsageError(
            f"{path!r} ends in nothing that says what it is",
            f"name a file that ends in {', '.join(ROLES)}, with .gz or .zst and .gpg or .age behind it if need be",
        )
    return Artifact(path, role, -1, "", -1, "", compression, encryption)


def open_file(path: str) -> BinaryIO:
    """``path`` for reading.

    Raises ``NotFoundError``; ``RepositoryError`` when it cannot be read or is empty; ``RefusedError``
    for a database whose newest commits are in a log beside it.
    """
    try:
        if os.path.isfile(path) and os.path.exists(path + "-wal") and os.path.getsize(path + "-wal"):
            raise RefusedError(
                f"the newest commits of {path!r} may be in its log, {path + '-wal'!r}",
                "put them into the file first: sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'",
            )
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        if not os.fstat(file.fileno()).st_size:
            file.close()
            raise RepositoryError(f"{path!r} is empty (0 bytes)", "choose another file: this one holds no database")
        return file
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path!r}", "list the backups of the repository") from None
    except OSError as error:
        raise RepositoryError(f"{path!r} cannot be read: {error.strerror}", "check its permissions") from None
