"""What an ``sftp://`` URL says (draft-ietf-secsh-scp-sftp-ssh-uri-04, and ``/~/`` as curl and git read it)."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional
from urllib.parse import quote, unquote

from ...errors import UsageError

EXAMPLE = "write sftp://user@host/srv/backups/app, or sftp://user@host/~/app for a folder in the account's home"


class Place(NamedTuple):
    """What an ``sftp://`` URL says; ``path`` is absolute, or relative to the account's home."""

    host: str
    port: int
    user: Optional[str]
    path: str


def parse_url(url: str) -> Place:
    """The parts of ``sftp://user@host:port/path``, percent-decoded. Raises ``UsageError`` without a secret in it."""
    place, slash, path = url.partition("://")[2].partition("/")
    account, at, address = place.rpartition("@")
    if ":" in account:
        raise UsageError(
            "the sftp URL of a repository holds a password", "write it into a file, for repository.password_file"
        )
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::([0-9]{1,5}))?", address)
    port = int(found[2] or 22) if found else 0
    if found is None or not 0 < port < 65536 or (at and not account):
        raise UsageError("the sftp URL of a repository has no valid host and port", EXAMPLE)
    if "?" in path or "#" in path:
        raise UsageError("an sftp URL has no query and no fragment", "write ? as %3F and # as %23 in the path")
    decoded = "/" + unquote(path, errors="surrogateescape")
    if not slash or "\0" in decoded or ".." in decoded.split("/"):
        raise UsageError("an sftp URL has a path, without zero bytes and without ..", EXAMPLE)
    decoded = "/" + "/".join(part for part in decoded.split("/") if part not in ("", "."))
    if decoded == "/~" or decoded.startswith("/~/"):
        decoded = decoded[3:] or "."
    host, user = found[1].strip("[]"), unquote(account) or None
    if host.startswith("-") or (user or "").startswith("-") or "\0" in (user or ""):
        raise UsageError("the sftp URL of a repository has no valid host and user", EXAMPLE)
    return Place(host, port, user, decoded)


def shown(place: Place) -> str:
    """The URL of a place. Two accounts see the same absolute path, so only with a home the account is part of it."""
    home = not place.path.startswith("/")
    account = f"{quote(place.user, safe='')}@" if home and place.user else ""
    host = f"[{place.host}]" if ":" in place.host else place.host
    port = "" if place.port == 22 else f":{place.port}"
    return f"sftp://{account}{host}{port}{quote('/~/' + place.path if home else place.path, errors='surrogateescape')}"


def parent(path: str) -> str:
    """The folder above; of a name in the account's home that home, and of ``/`` itself."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
