"""Encryption with age (https://age-encryption.org/v1) to recipients' public keys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..errors import DamagedError, DbfleetError, KeyMaterialError, ToolError
from ..model import Encryption
from .process import Command, last_lines, run

RECIPIENT = re.compile(r"age1[a-z0-9]+|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [^\n\0]*)?")
IDENTITY_REMEDY = "set encryption.identity_file to the age identity of one of its recipients"


def check(encryption: Encryption) -> None:
    """Encrypt nothing to the recipients: raises ``KeyMaterialError`` or ``ToolError`` if that fails."""
    run(encrypting(encryption))


def describe(encryption: Encryption) -> dict[str, object]:
    """What the manifest says: public keys are public."""
    return {"method": "age", "recipients": list(encryption.recipients)}


def encrypting(encryption: Encryption) -> Command:
    """The command that encrypts stdin to stdout. Raises ``KeyMaterialError`` for what is no recipient."""
    for recipient in encryption.recipients:
        if not RECIPIENT.fullmatch(recipient):
            raise KeyMaterialError(
                f"{recipient!r} is not an age recipient", "write a public key: age1… or ssh-ed25519 …"
            )
    named = [part for recipient in encryption.recipients for part in ("--recipient", recipient)]
    return Command(("age", "--encrypt", *named), explain=_explain_encryption)


def decrypting(described: Mapping[str, object], encryption: Encryption) -> Command:
    """The command that decrypts stdin to stdout. Raises ``KeyMaterialError`` without an identity."""
    if encryption.identity_file is None:
        raise KeyMaterialError("the backup is encrypted with age, and no identity file is set", IDENTITY_REMEDY)
    path = os.path.abspath(encryption.identity_file)
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise KeyMaterialError(
            f"the age identity file {path} cannot be read: {error.strerror or error}", IDENTITY_REMEDY
        ) from error
    if empty:
        raise KeyMaterialError(f"the age identity file {path} is empty", IDENTITY_REMEDY)
    return Command(("age", "--decrypt", "--identity", path), explain=_explain_decryption)


def _said(words: str) -> str:
    lines = [line for line in words.splitlines() if "filippo.io/age/report" not in line]
    return last_lines("\n".join(lines), 2)


def _explain_encryption(code: int, words: str) -> DbfleetError:
    if "recipient" in words or "failed to wrap key" in words:
        return KeyMaterialError(
            f"age refused a recipient: {_said(words)}", "write a public key: age1… or ssh-ed25519 …"
        )
    return ToolError(
        f"encryption with age failed with exit status {code}: {_said(words)}",
        "nothing was stored; cure what it says and start again",
    )


def _explain_decryption(code: int, words: str) -> DbfleetError:
    if "no identity matched" in words:
        return KeyMaterialError("the age identity does not fit", IDENTITY_REMEDY)
    if re.search(r'error: (reading|failed to read|failed to open) "', words) or "passphrase" in words:
        return KeyMaterialError(f"the age identity cannot be used: {_said(words)}", IDENTITY_REMEDY)
    return DamagedError(
        f"the age data is damaged: {_said(words) or f'exit status {code}'}",
        "restore from another backup or another copy of this one",
    )
