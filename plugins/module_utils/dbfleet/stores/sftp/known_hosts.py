"""Host keys that were seen before: files in the format of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

Read here and not by paramiko, which knows neither ``@revoked`` nor patterns.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import NamedTuple, Optional

from ...errors import KeyMaterialError, RepositoryError

USER_FILE = os.path.join("~", ".ssh", "known_hosts")
SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"


class KnownKey(NamedTuple):
    """A key of one host: its type, its bytes, and whether it must not be trusted any more."""

    kind: str
    blob: bytes
    revoked: bool


def files_of(chosen: Optional[str]) -> tuple[str, ...]:
    """The file that the job names, or else those that ssh reads."""
    return (chosen,) if chosen is not None else (os.path.expanduser(USER_FILE), SYSTEM_FILE)


def known_keys(host: str, port: int, chosen: Optional[str]) -> tuple[KnownKey, ...]:
    """What the files say of ``host``. Raises ``KeyMaterialError`` when the file that the job names cannot be read."""
    found: list[KnownKey] = []
    for path in files_of(chosen):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found += parse(file, host_name(host, port))
        except OSError as error:
            if chosen is not None:
                raise KeyMaterialError(
                    f"repository.known_hosts_file {path} cannot be read: {error.strerror}",
                    f"make it with: ssh-keyscan {_port_option(port)}{host}, and compare its keys with the server's",
                ) from error
    return tuple(found)


def check_key(host: str, port: int, kind: str, blob: bytes, known: Iterable[KnownKey], chosen: Optional[str]) -> None:
    """Refuse a server's key that is not known, has changed or was revoked: ``RepositoryError`` with the remedy."""
    known = tuple(known)
    place = host_name(host, port)
    print_of = f"{kind} {fingerprint(blob)}"
    path = files_of(chosen)[0]
    if any(key.revoked and key.blob == blob for key in known):
        raise RepositoryError(
            f"the host key of {place} ({print_of}) is marked as revoked", "do not trust this server; ask who runs it"
        )
    valid = [key for key in known if not key.revoked]
    if any(key.blob == blob for key in valid):
        return
    if valid:
        raise RepositoryError(
            f"the host key of {place} has changed: it shows {print_of}, which {path} does not have",
            "somebody may be in between. If the server was set up anew, compare this fingerprint with its own, and "
            f"replace the old line: ssh-keygen -R '{place}' -f {path}",
        )
    raise RepositoryError(
        f"the host key of {place} is not known: it shows {print_of}",
        "compare this fingerprint with the server's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there), then: "
        f"ssh-keyscan {_port_option(port)}{host} >> {path}",
    )


def host_name(host: str, port: int) -> str:
    """The host as the files write it: ``name``, or ``[name]:port``."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def fingerprint(blob: bytes) -> str:
    """``SHA256:…``, as ssh-keygen shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def parse(lines: Iterable[str], name: str) -> list[KnownKey]:
    """The keys that ``lines`` have for ``name``. What is no such line is passed over, as ssh does."""
    found = []
    for line in lines:
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue  # @cert-authority: certificates of hosts are not supported
        if not _matches(fields[0], name):
            continue
        try:
            found.append(KnownKey(fields[1], base64.b64decode(fields[2], validate=True), marker == "@revoked"))
        except (binascii.Error, ValueError):
            continue
    return found


def _matches(field: str, name: str) -> bool:
    if field.startswith("|1|"):
        return _is_hash_of(field, name)
    matched = False
    for pattern in field.lower().split(","):
        negated = pattern.startswith("!")
        # Brackets are themselves in these patterns: only * and ? stand for something.
        glob = (pattern[1:] if negated else pattern).replace("[", "[[]")
        if fnmatch.fnmatchcase(name, glob):
            if negated:
                return False
            matched = True
    return matched


def _is_hash_of(field: str, name: str) -> bool:
    try:
        _empty, _version, salt, digest = field.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode("utf-8"), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False


def _port_option(port: int) -> str:
    return "" if port == 22 else f"-p {port} "
