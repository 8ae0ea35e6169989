"""Promise 5 and 6: who can read is what was asked for; keys and names are data."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import KeyMaterialError, UsageError
from dbfleet.model import Encryption
from dbfleet.stream import age, encryption, gpg
from dbfleet.stream.process import Secret, last_lines

KEYS = """\
tru::1:1700000000:0:3:1:5
pub:{validity}:255:22:AAAABBBBCCCCDDDD:1700000000:::u:::{capabilities}::::::23::0:
fpr:::::::::0123456789ABCDEF0123456789ABCDEF01234567:
uid:u::::1700000000::HASH::Somebody <a@example.org>::::::::::0:
sub:u:255:18:EEEEFFFF00001111:1700000000::::::e::::::23:
fpr:::::::::89ABCDEF0123456789ABCDEF0123456789ABCDEF:
"""


@pytest.mark.parametrize(
    "validity, capabilities, trouble",
    [
        ("u", "scESC", ""),
        ("-", "scESC", ""),
        ("r", "sc", "is revoked"),
        ("e", "sc", "has expired"),
        ("d", "scESCD", "is disabled"),
        ("u", "scESCD", "is disabled"),
        ("u", "scSC", "cannot encrypt"),
        ("i", "scESC", "is invalid"),
    ],
)
def test_only_a_usable_key_is_a_recipient(validity: str, capabilities: str, trouble: str) -> None:
    listing = KEYS.format(validity=validity, capabilities=capabilities)
    assert gpg.parse_keys(listing) == [("0123456789ABCDEF0123456789ABCDEF01234567", trouble)]


@given(st.text())
def test_no_listing_breaks_the_parser(listing: str) -> None:
    assert isinstance(gpg.parse_keys(listing), list)


@pytest.mark.parametrize(
    "content, passphrase",
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"  two words \nsecond line\n", b"  two words "),
        ("pässwörd\n".encode(), "pässwörd".encode()),
    ],
)
def test_the_passphrase_is_the_first_line(tmp_path: Path, content: bytes, passphrase: bytes) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert gpg.read_passphrase(str(file)) == passphrase


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\nsecond line", b"nul\0l\n"])
def test_a_passphrase_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    with pytest.raises(KeyMaterialError) as caught:
        gpg.read_passphrase(str(file))
    assert caught.value.remedy
    assert "nul" not in str(caught.value)


def test_a_missing_passphrase_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(KeyMaterialError, match="nowhere"):
        gpg.read_passphrase(str(tmp_path / "nowhere"))


def test_a_secret_never_shows_in_a_representation() -> None:
    assert "hunter2" not in repr(Secret(b"hunter2", "--fd", "--file", "/p"))


@pytest.mark.parametrize(
    "settings",
    [Encryption("rot13"), Encryption("gpg"), Encryption("age"), Encryption("age", identity_file="/i")],
)
def test_what_nobody_could_read_is_refused(settings: Encryption) -> None:
    with pytest.raises(UsageError):
        encryption.check_settings(settings)
    with pytest.raises(UsageError):
        encryption.describe(settings)


def test_an_encryption_of_the_future_is_refused_clearly() -> None:
    with pytest.raises(UsageError, match="does not know"), encryption.decrypting({"method": "x"}, Encryption()):
        pass


@pytest.mark.parametrize(
    "recipient",
    ["", "-o/etc/passwd", "--output=x", "age1ABC", "age1x\nage1y", "ssh-rsa", "ssh-rsa AA\nBB", "AGE-SECRET-KEY-1XYZ"],
)
def test_what_is_no_age_recipient_is_never_given_to_age(recipient: str) -> None:
    with pytest.raises(KeyMaterialError):
        age.encrypting(Encryption("age", recipients=(recipient,)))


@pytest.mark.parametrize("recipient", ["", " ", "a\nb", "a\0b"])
def test_what_is_no_gpg_recipient_is_never_given_to_gpg(recipient: str) -> None:
    with pytest.raises(KeyMaterialError):
        gpg.fingerprints(Encryption("gpg", recipients=(recipient,)))


def test_reading_without_keys_says_which_setting_is_missing() -> None:
    for described, word in (
        ({"method": "gpg", "mode": "symmetric"}, "encryption.passphrase_file"),
        ({"method": "age", "recipients": ["age1x"]}, "encryption.identity_file"),
    ):
        with pytest.raises(KeyMaterialError) as caught, encryption.decrypting(described, Encryption()):
            pass
        assert word in caught.value.remedy


@pytest.mark.parametrize(
    "described, compression, command",
    [
        ({"method": "none"}, "none", "cat a.db"),
        ({"method": "none"}, "zstd", "zstd -dc a.db"),
        ({"method": "none"}, "gzip", "gzip -dc a.db"),
        ({"method": "gpg", "mode": "symmetric"}, "zstd", "gpg --decrypt a.db | zstd -dc"),
        ({"method": "gpg", "mode": "recipients"}, "none", "gpg --decrypt a.db"),
    ],
)
def test_the_command_by_hand_is_plain(described: dict[str, str], compression: str, command: str) -> None:
    assert encryption.decode_command("a.db", compression, described) == command


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_file_name_is_data_in_the_command_by_hand(name: str) -> None:
    words = shlex.split(encryption.decode_command(name, "none", {"method": "none"}))
    assert words[0] == "cat"
    assert words[1:] == ["./" + name if name.startswith("-") else name]


def test_a_key_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"secret\n")
    settings = Encryption("gpg", passphrase_file=str(file))
    file.chmod(0o600)
    assert encryption.warning(settings) is None
    file.chmod(0o640)
    given_by_root = file.stat().st_uid == 0  # to a group, whose members cannot change it
    assert (encryption.warning(settings) is None) == given_by_root
    file.chmod(0o660)
    assert str(file) in (encryption.warning(settings) or "")
    file.chmod(0o604)
    assert str(file) in (encryption.warning(settings) or "")
    identity = dataclasses.replace(settings, passphrase_file=None, identity_file=str(file))
    assert str(file) in (encryption.warning(identity) or "")
    assert encryption.warning(Encryption()) is None


@given(st.text())
def test_last_words_are_one_short_line(words: str) -> None:
    line = last_lines(words)
    assert len(line) <= 500
    assert len(line.splitlines()) <= 1
