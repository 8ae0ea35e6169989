"""Encryption with GnuPG: a passphrase (AES256), or recipients' public keys.

Symmetric encryption needs no keyring: it gets a private, empty home folder that is removed
afterwards, and no agent. Options and status words: the GnuPG manual, chapter "Invoking gpg", and
doc/DETAILS of its source.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Optional

from ..errors import DamagedError, DbfleetError, KeyMaterialError, ToolError
from ..model import Encryption
from .process import Command, Secret, last_lines, run

CIPHER = "AES256"
# The slowest derivation that the OpenPGP format knows, and a digest that is not SHA-1.
DERIVATION = ("--s2k-mode", "3", "--s2k-digest-algo", "SHA256", "--s2k-count", "65011712")
COMMON = ("--batch", "--no-tty", "--status-fd", "2")
USABLE = {"", "-", "q", "n", "m", "f", "u", "o"}  # the other letters of a key's validity say why not
UNUSABLE = {"r": "is revoked", "e": "has expired", "d": "is disabled"}

LINE_REMEDY = "set encryption.passphrase_file to a file whose first line is the passphrase"
DAMAGED_REMEDY = "restore from another backup or another copy of this one"


def check(encryption: Encryption) -> None:
    """Make sure that ``encryption`` can encrypt here, before any data flows.

    Raises ``KeyMaterialError`` for a missing, empty or unusable key, ``ToolError`` without gpg.
    """
    with encrypting(encryption) as command:
        run(command, stdin=b"preflight")


def describe(encryption: Encryption) -> dict[str, object]:
    """What the manifest says: the cipher, or the fingerprints of the keys that can read."""
    if not encryption.recipients:
        return {"method": "gpg", "mode": "symmetric", "cipher": CIPHER}
    return {"method": "gpg", "mode": "recipients", "key_ids": fingerprints(encryption)}


@contextlib.contextmanager
def encrypting(encryption: Encryption) -> Iterator[Command]:
    """The command that encrypts stdin to stdout; usable inside the context."""
    options = (*COMMON, "--no-options", "--no-autostart", "-z", "0", "-o", "-")
    if encryption.recipients:
        recipients = [part for key in fingerprints(encryption) for part in ("--recipient", key)]
        yield Command(
            ("gpg", *_home(encryption), *options, "--trust-model", "always", *recipients, "--encrypt"),
            explain=_explain_encryption,
        )
        return
    secret = _passphrase(encryption)
    with private_home() as home:
        yield Command(
            ("gpg", "--homedir", home, "--pinentry-mode", "loopback", *options)
            + (*DERIVATION, "--cipher-algo", CIPHER, "--symmetric"),
            secret=secret,
            explain=_explain_encryption,
        )


@contextlib.contextmanager
def decrypting(described: Mapping[str, object], encryption: Encryption) -> Iterator[Command]:
    """The command that decrypts stdin to stdout; usable inside the context.

    With recipients, gpg's own agent finds the secret key in ``encryption.gpg_home`` or the user's
    home; a passphrase file opens a protected key.
    """
    if described.get("mode") == "symmetric":
        secret = _passphrase(encryption)
        with private_home() as home:
            yield Command(
                ("gpg", "--homedir", home, "--pinentry-mode", "loopback", *COMMON)
                + ("--no-options", "--no-autostart", "--decrypt"),
                secret=secret,
                explain=_explain_decryption,
            )
        return
    unlock = ("--pinentry-mode", "loopback") if encryption.passphrase_file else ()
    yield Command(
        ("gpg", *_home(encryption), *unlock, *COMMON, "--decrypt"),
        secret=_passphrase(encryption) if encryption.passphrase_file else None,
        explain=_explain_decryption,
    )


def fingerprints(encryption: Encryption) -> list[str]:
    """The fingerprint of each recipient's primary key, in order.

    A recipient is anything that gpg takes for a user id, but it must name exactly one usable
    key. Raises ``KeyMaterialError``.
    """
    return [_fingerprint(recipient, encryption) for recipient in encryption.recipients]


def parse_keys(listing: str) -> list[tuple[str, str]]:
    """``(fingerprint, trouble)`` of each primary key in ``gpg --with-colons --list-keys``.

    Trouble is empty for a key that can encrypt (doc/DETAILS: field 2 validity, 12 capabilities).
    """
    keys: list[tuple[str, str]] = []
    trouble: Optional[str] = None
    for fields in (line.split(":") for line in listing.splitlines()):
        if fields[0] == "pub" and len(fields) > 11:
            trouble = ""
            if fields[1] not in USABLE:
                trouble = UNUSABLE.get(fields[1], "is invalid")
            elif "D" in fields[11]:
                trouble = "is disabled"
            elif "E" not in fields[11]:
                trouble = "cannot encrypt"
        elif fields[0] == "fpr" and trouble is not None and len(fields) > 9:
            keys.append((fields[9], trouble))
            trouble = None
    return keys


def read_passphrase(path: str) -> bytes:
    """The first line of a passphrase file, without its end. Raises ``KeyMaterialError``."""
    try:
        with open(path, "rb") as file:
            line = file.readline(65536)
    except OSError as error:
        raise KeyMaterialError(
            f"the passphrase file {path} cannot be read: {error.strerror or error}", LINE_REMEDY
        ) from error
    passphrase = line.rstrip(b"\r\n")
    if not passphrase:
        raise KeyMaterialError(f"the passphrase file {path} has an empty first line", LINE_REMEDY)
    if b"\0" in passphrase:
        raise KeyMaterialError(f"the passphrase file {path} holds a zero byte", LINE_REMEDY)
    if sys.platform == "win32" and line.endswith(b"\r\n"):
        raise KeyMaterialError(
            f"the passphrase file {path} ends its line with a carriage return, which gpg takes as part of it",
            "save it with Unix line ends",
        )
    return passphrase


@contextlib.contextmanager
def private_home() -> Iterator[str]:
    """A new, empty GnuPG home that only this user can enter, removed at the end."""
    import shutil
    import tempfile

    try:
        home = tempfile.mkdtemp(prefix="dbfleet-gpg-")  # mode 0700
    except OSError as error:
        raise ToolError(
            f"no temporary folder for gpg could be made: {error.strerror or error}",
            "point TMPDIR to a folder that can be written",
        ) from error
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _home(encryption: Encryption) -> tuple[str, ...]:
    if encryption.gpg_home is None:
        return ()
    home = os.path.abspath(encryption.gpg_home)
    if not os.path.isdir(home):
        raise KeyMaterialError(
            f"the GnuPG home {home} is not a folder", "set encryption.gpg_home to the folder with the keys"
        )
    return ("--homedir", home)


def _passphrase(encryption: Encryption) -> Secret:
    if encryption.passphrase_file is None:
        raise KeyMaterialError(
            "the backup is encrypted with a gpg passphrase, and no passphrase file is set", LINE_REMEDY
        )
    path = os.path.abspath(encryption.passphrase_file)
    return Secret(read_passphrase(path), "--passphrase-fd", "--passphrase-file", path)


def _fingerprint(recipient: str, encryption: Encryption) -> str:
    if not recipient.strip() or "\n" in recipient or "\0" in recipient:
        raise KeyMaterialError(f"{recipient!r} is not a gpg recipient", "name a key by its fingerprint")
    home = _home(encryption)
    try:
        listing = run(
            Command(
                ("gpg", *home, "--batch", "--no-tty", "--no-options", "--no-autostart", "--with-colons")
                # Else it brings its database of trust up to date first, in a home that we may only be able to read.
                + ("--trust-model", "always", "--fixed-list-mode", "--list-keys", "--", recipient),
                explain=_explain_listing,
            )
        )
    except _NoKey as nothing:
        raise KeyMaterialError(
            f"gpg has no public key for the recipient {recipient!r}",
            "import it (gpg --import), or set encryption.gpg_home to the folder with the keys",
        ) from nothing
    keys = parse_keys(listing.stdout.decode("utf-8", "replace"))
    if len(keys) != 1:
        found = ", ".join(key for key, _trouble in keys) or "none"
        raise KeyMaterialError(
            f"the recipient {recipient!r} must name one gpg key, but these match: {found}",
            "name the key by its fingerprint",
        )
    key, trouble = keys[0]
    if trouble:
        raise KeyMaterialError(f"the gpg key {key} of {recipient!r} {trouble}", "name or import a key that can encrypt")
    return recipient if re.fullmatch(r"(0x)?[0-9A-Fa-f]{40}!", recipient) else key


class _NoKey(KeyMaterialError):
    """gpg listed no key."""


def _said(words: str) -> str:
    """What gpg says to people: without its status lines."""
    return last_lines("\n".join(line for line in words.splitlines() if not line.startswith("[GNUPG:]")))


def _explain_listing(code: int, words: str) -> DbfleetError:
    if "No public key" in words or "not found" in words.lower():
        return _NoKey(_said(words))
    return ToolError(f"gpg could not list its keys: {_said(words)}", "check the GnuPG home and its permissions")


def _explain_encryption(code: int, words: str) -> DbfleetError:
    if re.search(r"\[GNUPG:\] (INV_RECP|NO_RECP|KEYEXPIRED)", words):
        return KeyMaterialError(f"gpg refused a recipient: {_said(words)}", "name or import a key that can encrypt")
    return ToolError(
        f"encryption with gpg failed with exit status {code}: {_said(words)}",
        "nothing was stored; cure what it says and start again",
    )


def _explain_decryption(code: int, words: str) -> DbfleetError:
    """The wrong key, damaged data, or a gpg that does not work; in this order."""
    if "[GNUPG:] PLAINTEXT " not in words:
        if "[GNUPG:] NO_SECKEY" in words:
            return KeyMaterialError(
                "none of the secret keys here can decrypt it",
                "set encryption.gpg_home to the folder with the secret key of one of its recipients",
            )
        if "BAD_PASSPHRASE" in words or "Bad session key" in words or "Bad passphrase" in words:
            return KeyMaterialError("the gpg passphrase is wrong", LINE_REMEDY)
        if "MISSING_PASSPHRASE" in words or "No passphrase given" in words:
            return KeyMaterialError("the secret key is protected by a passphrase", LINE_REMEDY)
        if "No agent running" in words or "failed to start" in words or "can't connect to" in words:
            return ToolError(f"gpg cannot reach its agent: {_said(words)}", "check the GnuPG home and its permissions")
    return DamagedError(f"the gpg data is damaged: {_said(words) or f'exit status {code}'}", DAMAGED_REMEDY)
