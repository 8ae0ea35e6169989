"""Line ends of text that passes through a C runtime of Windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.stream.line_ends import LineEnds, to_text_mode

TEXTS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\x1a"]), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(1, 5), max_size=40)


def passed(text: bytes, cuts: list[int]) -> bytes:
    """What comes out when ``text`` is fed in pieces of the sizes ``cuts``, then the rest."""
    ends, found = LineEnds(), b""
    for size in cuts:
        found += ends.feed(text[:size])
        text = text[size:]
    return found + (ends.feed(text) if text else b"") + ends.rest()


@given(TEXTS, CUTS)
def test_what_the_runtime_did_is_undone(text: bytes, cuts: list[int]) -> None:
    text = b"-- a tool's own line\n" + text
    assert passed(text.replace(b"\n", b"\r\n"), cuts) == text


@given(TEXTS, CUTS)
def test_a_runtime_in_binary_mode_is_left_alone(text: bytes, cuts: list[int]) -> None:
    text = b"-- a tool's own line\n" + text
    assert passed(text, cuts) == text


@pytest.mark.parametrize("text", [b"", b"\n", b"\r", b"no line\r", b"\n\r\n"])
def test_text_without_a_first_line_stays(text: bytes) -> None:
    assert passed(text, [1]) == text


@given(TEXTS)
def test_what_a_tool_reads_is_what_was_meant(text: bytes) -> None:
    assert to_text_mode(text).replace(b"\r\n", b"\n") == text
