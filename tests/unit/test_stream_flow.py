"""Promise 1 and 2: bytes pass once, in order, all of them; an error in any thread is not lost."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import DamagedError
from dbfleet.stream.digest import Digest
from dbfleet.stream.flow import Abandoned, Channel, ChannelStage, Codec, CodecStage, Worker


@given(st.lists(st.binary(max_size=100), max_size=50))
def test_a_channel_delivers_everything_in_order(chunks: list[bytes]) -> None:
    channel = Channel(limit=2)

    def fill() -> None:
        for chunk in chunks:
            channel.put(chunk)
        channel.end()

    thread = threading.Thread(target=fill)
    thread.start()
    assert list(channel) == chunks
    thread.join()


def test_a_channel_holds_no_more_than_its_limit() -> None:
    channel = Channel(limit=2)
    put = []

    def fill() -> None:
        for number in range(10):
            channel.put(bytes([number]))
            put.append(number)
        channel.end()

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(0.05)
    assert put == [0, 1]
    assert len(list(channel)) == 10
    thread.join()


def test_a_failure_comes_after_the_chunks_before_it() -> None:
    channel = Channel()
    channel.put(b"good")
    channel.end(DamagedError("the rest"))
    seen = []
    with pytest.raises(DamagedError):
        for chunk in channel:
            seen.append(chunk)
    assert seen == [b"good"]


def test_a_stopped_channel_wakes_who_waits_to_put() -> None:
    channel = Channel(limit=1)
    channel.put(b"1")
    threading.Timer(0.02, channel.stop).start()
    with pytest.raises(Abandoned):
        channel.put(b"2")


def test_an_error_in_a_worker_reaches_the_one_who_puts() -> None:
    def refuse(data: bytes) -> None:
        raise DamagedError("refused")

    worker = Worker(refuse, "test")
    with pytest.raises(DamagedError):
        for _chunk in range(100):
            worker.put(b"x")
    with pytest.raises(DamagedError):
        worker.finish()


def test_an_error_with_the_last_chunk_is_raised_at_the_end() -> None:
    def refuse(data: bytes) -> None:
        raise DamagedError("refused")

    worker = Worker(refuse, "test")
    worker.put(b"only one")
    with pytest.raises(DamagedError):
        worker.finish()


class Doubler(Codec):
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data
        yield data

    def finish(self) -> Iterator[bytes]:
        yield b"end"


def test_what_a_codec_holds_back_is_handed_on_at_the_end() -> None:
    last = ChannelStage()
    stage = CodecStage(Doubler(), last)
    stage.write(b"a")
    stage.close()
    last.channel.end()
    assert list(last.channel) == [b"a", b"a", b"end"]


def test_aborting_a_codec_that_waits_for_a_full_channel_returns() -> None:
    stage = CodecStage(Doubler(), ChannelStage())
    for _chunk in range(4):
        stage.write(b"a")
    begin = time.monotonic()
    stage.abort()
    assert time.monotonic() - begin < 2


@given(st.lists(st.binary(max_size=300)), st.booleans())
def test_a_digest_in_pieces_is_the_digest_of_the_whole(pieces: list[bytes], threaded: bool) -> None:
    digest = Digest(threaded=threaded)
    for piece in pieces:
        digest.update(piece)
    whole = b"".join(pieces)
    assert digest.finish() == hashlib.sha256(whole).hexdigest()
    assert digest.size_bytes == len(whole)
    digest.abort()
    assert digest.finish() == hashlib.sha256(whole).hexdigest()
