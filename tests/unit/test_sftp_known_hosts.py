"""Host keys: the format of sshd(8), and nobody is trusted by accident."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import RepositoryError
from dbfleet.stores.sftp.known_hosts import KnownKey, check_key, host_name, parse

KEY, OTHER = base64.b64encode(b"key").decode(), base64.b64encode(b"other").decode()


def hashed(name: str) -> str:
    salt = b"0123456789"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("hosts", "matches"),
    [
        ("host", True),
        ("HOST", True),
        ("other,host", True),
        ("ho*", True),
        ("h?st", True),
        ("*,!host", False),
        ("!host,*", False),
        ("other", False),
        ("[host]:2222", False),
        ("h[o]st", False),
        (hashed("host"), True),
        (hashed("other"), False),
        ("|1|broken", False),
        ("|1|!!|??", False),
    ],
)
def test_which_lines_are_about_a_host(hosts: str, matches: bool) -> None:
    found = parse([f"{hosts} ssh-ed25519 {KEY} comment"], "host")
    assert found == ([KnownKey("ssh-ed25519", b"key", False)] if matches else [])


def test_another_port_is_another_name() -> None:
    assert (host_name("Host", 22), host_name("Host", 2222)) == ("host", "[host]:2222")
    line = f"[host]:2222 ssh-ed25519 {KEY}"
    assert parse([line], host_name("host", 2222))
    assert not parse([line], host_name("host", 22))


@pytest.mark.parametrize(
    "line",
    ["", "# host x y", "host", "host ssh-ed25519", "host ssh-ed25519 no-base64!", f"@cert-authority host t {KEY}"],
)
def test_other_lines_are_passed_over(line: str) -> None:
    assert parse([line], "host") == []


@given(st.text(), st.text())
def test_no_line_breaks_it(line: str, name: str) -> None:
    parse([line], name)


def test_only_a_key_that_is_known_and_not_revoked_passes() -> None:
    known = parse([f"host t {KEY}"], "host")
    revoked = parse([f"host t {KEY}", f"@revoked * t {KEY}"], "host")
    check_key("host", 22, "t", b"key", known, None)
    for keys, blob, word in (
        ([], b"key", "not known"),
        (known, b"other", "changed"),
        (revoked, b"key", "revoked"),
        (parse([f"@revoked host t {OTHER}"], "host"), b"key", "not known"),
    ):
        with pytest.raises(RepositoryError, match=word) as caught:
            check_key("host", 22, "t", blob, keys, "/etc/known")
        assert caught.value.remedy
