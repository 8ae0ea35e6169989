"""Which store a URL means. A new store is one line here."""

from __future__ import annotations

import os
import re
from typing import Optional

from ..errors import UsageError
from .base import Store
from .file import FileStore

SCHEMES = ("file", "sftp")


def open_store(
    url: str,
    *,
    file_mode: int = 0o600,
    folder_mode: int = 0o700,
    identity_file: Optional[str] = None,
    known_hosts_file: Optional[str] = None,
    password_file: Optional[str] = None,
) -> Store:
    """The store of a repository's URL, or of a plain path. Touches nothing yet.

    Raises ``UsageError`` for schemes that there are not; the message holds nothing else of the
    URL, which may carry a password.
    """
    scheme, _colon, rest = url.partition("://")
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) and url.startswith(scheme + "://"):
        if scheme.lower() == "sftp":
            from .sftp.session import Access  # only where it is used: a listing of a folder starts sooner
            from .sftp.store import SftpStore

            access = Access(identity_file, known_hosts_file, password_file)
            return SftpStore(url, access, file_mode=file_mode, folder_mode=folder_mode)
        if scheme.lower() != "file":
            raise UsageError(
                f"there is no store for {scheme.lower()}:// URLs", f"use {_listed()}, or a path to a folder"
            )
        return FileStore(file_path(rest), file_mode=file_mode, folder_mode=folder_mode)
    return FileStore(_checked(url), file_mode=file_mode, folder_mode=folder_mode)


def file_path(rest: str) -> str:
    """The path in what follows ``file://`` (RFC 8089): an absolute path, percent-encoded."""
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise UsageError(
            "a file URL has three slashes and an absolute path",
            "write file:///var/backups/app, or a plain path",
        )
    from urllib.parse import unquote

    decoded = _checked("/" + unquote(path, errors="surrogateescape"))
    if os.name == "nt" and re.match(r"/[A-Za-z]:", decoded):
        return decoded[1:]
    return decoded


def _checked(path: str) -> str:
    if not path:
        raise UsageError("the repository has no URL", "set repository.url, such as file:///var/backups/app")
    if "\0" in path:
        raise UsageError("the path of a repository cannot have a zero byte")
    return path


def _listed() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)
