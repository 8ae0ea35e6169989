"""Encryption of artifacts: gpg, age or none, and how a person reads them without this project."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Optional

from ..errors import UsageError
from ..model import Encryption
from ..secret_files import exposure
from . import age, gpg
from .compression import SUFFIXES as COMPRESSION_SUFFIXES
from .process import Command

SUFFIXES = {"gpg": ".gpg", "age": ".age", "none": ""}
NONE: Mapping[str, object] = {"method": "none"}


def check_settings(encryption: Encryption) -> None:
    """Refuse a combination that cannot be meant, with ``UsageError``. Looks at no file, starts nothing."""
    if encryption.method not in SUFFIXES:
        raise UsageError(f"{encryption.method!r} is not an encryption method", "choose one of " + ", ".join(SUFFIXES))
    if encryption.method == "gpg" and not encryption.recipients and not encryption.passphrase_file:
        raise UsageError(
            "gpg encryption needs somebody who can read it",
            "set encryption.recipients or encryption.passphrase_file",
        )
    if encryption.method == "age" and not encryption.recipients:
        raise UsageError("age encryption needs somebody who can read it", "set encryption.recipients")


def check(encryption: Encryption) -> None:
    """Make sure that ``encryption`` can encrypt on this host, before any data flows.

    Raises ``UsageError``, ``KeyMaterialError`` or ``ToolError``.
    """
    check_settings(encryption)
    if encryption.method == "gpg":
        gpg.check(encryption)
    elif encryption.method == "age":
        age.check(encryption)


def describe(encryption: Encryption) -> dict[str, object]:
    """What the manifest says of how an artifact is encrypted; nothing secret."""
    check_settings(encryption)
    if encryption.method == "gpg":
        return gpg.describe(encryption)
    return age.describe(encryption) if encryption.method == "age" else dict(NONE)


def encrypting(encryption: Encryption) -> contextlib.AbstractContextManager[Optional[Command]]:
    """The command that encrypts, ``None`` for the method ``none``; usable inside the context."""
    check_settings(encryption)
    if encryption.method == "gpg":
        return gpg.encrypting(encryption)
    return contextlib.nullcontext(age.encrypting(encryption) if encryption.method == "age" else None)


def decrypting(
    described: Mapping[str, object], encryption: Encryption
) -> contextlib.AbstractContextManager[Optional[Command]]:
    """The command that decrypts what ``described`` (of the manifest) says, with the keys of ``encryption``.

    ``None`` for the method ``none``. Raises ``KeyMaterialError`` when the keys are not there.
    """
    method = described.get("method", "none")
    if method == "gpg":
        return gpg.decrypting(described, encryption)
    if method in ("age", "none"):
        return contextlib.nullcontext(age.decrypting(described, encryption) if method == "age" else None)
    raise UsageError(f"this version does not know the encryption {method!r}", "use the version that wrote the backup")


def warning(encryption: Encryption) -> Optional[str]:
    """What people should know of the key files: text when others than the owner can read one."""
    return exposure((encryption.passphrase_file, encryption.identity_file))


def decode_command(artifact_file: str, compression: str, encryption: Mapping[str, object]) -> str:
    """The shell command that writes an artifact's raw bytes to stdout, with plain tools only.

    ``compression`` and ``encryption`` are those of the artifact. gpg asks for the passphrase or
    uses the person's keyring; for age, ``AGE_IDENTITY`` must name the identity file.
    """
    import shlex

    file = shlex.quote("./" + artifact_file if artifact_file.startswith("-") else artifact_file)
    if compression not in COMPRESSION_SUFFIXES:
        raise UsageError(f"this version does not know the compression {compression!r}")
    expand = {"zstd": "zstd -dc", "gzip": "gzip -dc", "none": ""}[compression]
    method = encryption.get("method", "none")
    if method == "none":
        return f"{expand or 'cat'} {file}"
    if method not in SUFFIXES:
        raise UsageError(f"this version does not know the encryption {method!r}")
    identity = '"${AGE_IDENTITY:?set it to the path of the age identity file}"'
    decrypt = f"gpg --decrypt {file}" if method == "gpg" else f"age --decrypt --identity {identity} {file}"
    return f"{decrypt} | {expand}" if expand else decrypt
