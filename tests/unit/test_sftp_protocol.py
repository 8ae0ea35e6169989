"""SFTP's packets: whatever a server answers ends as a value or as one clear error, and nobody waits for ever."""

from __future__ import annotations

import struct
import threading
from typing import Callable, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbfleet.errors import RepositoryError
from dbfleet.stores.sftp import packets as p
from dbfleet.stores.sftp.protocol import Protocol


class FakeChannel:
    """A server in memory: ``answer`` gets each request's body and gives bytes, or none to stay silent."""

    def __init__(self, answer: Callable[[bytes], Optional[bytes]], greeting: Optional[bytes] = None) -> None:
        self._answer = answer
        self._greeting = p.text(struct.pack(">BI", p.VERSION, 3)) if greeting is None else greeting
        self._out = bytearray()
        self._in = bytearray()
        self._closed = False
        self._changed = threading.Condition()

    def send(self, data: bytes) -> int:
        with self._changed:
            self._in += data
            while len(self._in) >= 4 and len(self._in) >= 4 + int.from_bytes(self._in[:4], "big"):
                end = 4 + int.from_bytes(self._in[:4], "big")
                body = bytes(self._in[4:end])
                del self._in[:end]
                said = self._greeting if body[0] == p.INIT else self._answer(body)
                self._out += said or b""
            self._changed.notify()
        return len(data)

    def recv(self, count: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._out or self._closed, 10)
            taken = bytes(self._out[:count])
            del self._out[:count]
            return taken

    def settimeout(self, seconds: float) -> None:
        """What would not come would be waited for by the test's own limit."""

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()


def reply(body: bytes, kind: int, payload: bytes) -> bytes:
    return p.text(bytes([kind]) + body[1:5] + payload)


def status(code: int, words: bytes = b"") -> bytes:
    return struct.pack(">I", code) + p.text(words) + p.text(b"")


def test_extensions_are_read_from_the_greeting() -> None:
    greeting = p.text(struct.pack(">BI", p.VERSION, 3) + p.text(b"fsync@openssh.com") + p.text(b"1"))
    assert Protocol(FakeChannel(lambda body: None, greeting), "x").extensions == {"fsync@openssh.com": "1"}


def test_what_a_server_offers_and_denies_is_done_another_way() -> None:
    """OpenSSH before 8.6 greets with extensions that its -P denies."""
    offered = (p.POSIX_RENAME, p.FSYNC, p.STATVFS, p.LIMITS)
    greeting = struct.pack(">BI", p.VERSION, 3) + b"".join(p.text(one.encode()) + p.text(b"1") for one in offered)
    asked: list[int] = []

    def answer(body: bytes) -> bytes:
        asked.append(body[0])
        return reply(body, p.STATUS, status(p.PERMISSION_DENIED if body[0] == p.EXTENDED else p.OK))

    line = Protocol(FakeChannel(answer, p.text(greeting)), "x")
    for _again in range(2):
        line.move("/a", "/b")
        line.fsync(b"handle")
        assert line.room("/") is None
    assert asked == [p.EXTENDED] * 2 + [p.RENAME] + [p.EXTENDED] * 2 + [p.RENAME]
    assert line.extensions == {}


@pytest.mark.parametrize(
    "greeting", [b"", p.text(b"\x02\0\0\0\x02"), p.text(b"SSH-2.0-x"), b"This account is not available.\n"]
)
def test_what_is_no_sftp_server_is_refused(greeting: bytes) -> None:
    channel = FakeChannel(lambda body: None, greeting)
    if not greeting:
        channel.close()
    with pytest.raises(RepositoryError) as caught:
        Protocol(channel, "sftp://host")
    assert "sftp://host" in caught.value.message
    assert "\n" not in str(caught.value)


def test_answers_find_their_questions_in_any_order() -> None:
    held: list[bytes] = []

    def answer(body: bytes) -> bytes:
        held.append(body)
        if len(held) < 3:
            return b""
        return b"".join(reply(one, p.HANDLE, p.text(one[-1:])) for one in reversed(held))

    line = Protocol(FakeChannel(answer), "x")
    asked = [line.ask(p.OPENDIR, p.name(name)) for name in "abc"]
    assert [p.handle_of(line.wait(one, p.HANDLE)) for one in asked] == [b"a", b"b", b"c"]


def test_a_refusal_has_its_code_and_words() -> None:
    line = Protocol(FakeChannel(lambda body: reply(body, p.STATUS, status(4, b"Failure"))), "x")
    with pytest.raises(p.StatusError) as caught:
        line.remove("/x")
    assert (caught.value.code, caught.value.words) == (p.FAILURE, "Failure")


def test_a_missing_file_is_none() -> None:
    line = Protocol(FakeChannel(lambda body: reply(body, p.STATUS, status(2))), "x")
    assert line.lstat("/x") is None


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbfleet.stores.sftp.protocol.PATIENCE", 0.2)
    line = Protocol(FakeChannel(lambda body: None), "x")
    with pytest.raises(RepositoryError, match="silent"):
        line.remove("/x")
    assert not line.alive
    with pytest.raises(RepositoryError):
        line.remove("/x")


def test_everybody_who_waits_is_told_when_the_line_ends() -> None:
    channel = FakeChannel(lambda body: None)
    line = Protocol(channel, "x")
    asked = [line.ask(p.OPENDIR, p.name("a")) for _request in range(3)]
    channel.close()
    for one in asked:
        with pytest.raises(RepositoryError, match="was lost"):
            line.wait(one, p.HANDLE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([p.STATUS, p.HANDLE, p.DATA, p.NAME, p.ATTRS, p.EXTENDED_REPLY, 7]))
def test_no_answer_breaks_it(payload: bytes, kind: int) -> None:
    line = Protocol(FakeChannel(lambda body: reply(body, kind, payload)), "x")
    for act in (
        lambda: line.lstat("/x"),
        lambda: line.open("/x", p.FOR_READING),
        lambda: line.remove("/x"),
        lambda: list(line.folder("/x")),
        lambda: line.room("/x"),
        lambda: line.contents(b"handle"),
    ):
        try:
            act()
        except (RepositoryError, p.StatusError):
            pass
    line.close()


@given(st.integers(0, 2**63), st.integers(0, 0o177777), st.integers(0, 2**32 - 1))
def test_attributes_are_read(size: int, mode: int, modified: int) -> None:
    flags = p.HAS_SIZE | p.HAS_OWNER | p.HAS_MODE | p.HAS_TIMES | p.HAS_MORE
    body = struct.pack(">IQIIIII", flags, size, 1, 2, mode, 3, modified)
    body += p.number(1) + p.text(b"more") + p.text(b"x")
    assert p.attributes(memoryview(body), 0) == (p.Attributes(size, mode, modified), len(body))
