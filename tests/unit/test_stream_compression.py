"""Compression: every provider writes what the others read, and a missing end is damage, not success."""

from __future__ import annotations

import gzip
import importlib.util
import os
import random
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import DamagedError, ToolError, UsageError
from dbfleet.model import Compression
from dbfleet.stream import compression
from dbfleet.stream.flow import Codec


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# Providers that work in this process; the command is tested with the real tools.
ZSTD = [
    provider
    for provider, modules in {
        "library": ["compression.zstd", "backports.zstd"],
        "package": ["zstandard"],
    }.items()
    if any(map(_there, modules))
]
CODECS = ["gzip", *ZSTD]


def make_encoder(codec: str, level: int = 3, threads: int = 1) -> Codec:
    step = compression.GzipEncoder(level) if codec == "gzip" else compression.zstd_encoder(level, threads, codec)
    assert isinstance(step, Codec)
    return step


def make_decoder(codec: str) -> Codec:
    step = compression.GzipDecoder() if codec == "gzip" else compression.zstd_decoder(codec)
    assert isinstance(step, Codec)
    return step


def through(codec: Codec, data: bytes, piece: int = 1000) -> bytes:
    out = bytearray()
    for start in range(0, len(data), piece):
        for part in codec.feed(data[start : start + piece]):
            out += part
    for part in codec.finish():
        out += part
    return bytes(out)


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=5000), repeat=st.integers(1, 50), piece=st.integers(1, 3000))
def test_what_goes_in_comes_out(codec: str, data: bytes, repeat: int, piece: int) -> None:
    raw = data * repeat
    assert through(make_decoder(codec), through(make_encoder(codec), raw), piece) == raw


@pytest.mark.parametrize("provider", ZSTD)
def test_what_one_thread_finds_again_several_do_too(provider: str) -> None:
    """Threads work at pieces of their own: what repeats itself across two of them must not be stored twice."""
    data = random.Random(1).randbytes(700_000) * 8
    packed = through(make_encoder(provider, threads=2), data, piece=500_000)
    assert len(packed) < 2 * 700_000
    assert through(make_decoder(provider), packed, piece=500_000) == data


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(min_size=1, max_size=3000), cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_stream_is_damage(codec: str, data: bytes, cut: float) -> None:
    packed = through(make_encoder(codec), data)
    with pytest.raises(DamagedError):
        through(make_decoder(codec), packed[: int(len(packed) * cut)])


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(min_size=1, max_size=2000), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_damage_or_harmless(codec: str, data: bytes, where: float, bit: int) -> None:
    packed = bytearray(through(make_encoder(codec), data))
    packed[int(len(packed) * where)] ^= 1 << bit
    try:
        found = through(make_decoder(codec), bytes(packed))
    except DamagedError:
        return
    assert found == data  # such as a bit of gzip's field for the operating system


@pytest.mark.parametrize("codec", CODECS)
def test_members_one_after_the_other_are_one_stream(codec: str) -> None:
    packed = b"".join(through(make_encoder(codec), part) for part in (b"one ", b"", b"two ", b"three" * 1000))
    for piece in (1, 7, 10**6):
        assert through(make_decoder(codec), packed, piece) == b"one two " + b"three" * 1000


@pytest.mark.parametrize("codec", CODECS)
def test_garbage_after_the_end_is_damage(codec: str) -> None:
    with pytest.raises(DamagedError):
        through(make_decoder(codec), through(make_encoder(codec), b"data") + b"garbage")


@pytest.mark.parametrize("codec", CODECS)
def test_no_piece_is_large_however_much_is_in_a_small_input(codec: str) -> None:
    packed = through(make_encoder(codec), bytes(64 * 2**20), 2**20)
    largest = total = 0
    decoder = make_decoder(codec)
    for piece in decoder.feed(packed):
        largest, total = max(largest, len(piece)), total + len(piece)
    assert total == 64 * 2**20
    assert largest <= 16 * 2**20


@pytest.mark.parametrize(
    "codec, level, threads",
    [("gzip", level, 1) for level in compression.LEVELS["gzip"]]
    + [(codec, level, threads) for codec in ZSTD for level in (-7, -1, 0, 1, 9, 19) for threads in (1, 2)],
)
def test_every_level_and_number_of_threads_works(codec: str, level: int, threads: int) -> None:
    raw = os.urandom(1000) * 300
    assert through(make_decoder(codec), through(make_encoder(codec, level, threads), raw)) == raw


def test_gzip_opens_with_gzip_and_carries_no_time() -> None:
    packed = through(make_encoder("gzip"), b"data")
    assert gzip.decompress(packed) == b"data"
    assert packed[4:8] == bytes(4)
    assert packed == through(make_encoder("gzip"), b"data")


def test_gzip_padding_is_no_damage_but_half_a_member_is() -> None:
    packed = through(make_encoder("gzip"), b"data")
    assert through(make_decoder("gzip"), packed + bytes(1000)) == b"data"
    with pytest.raises(DamagedError):
        through(make_decoder("gzip"), packed + packed[:5])


def test_no_input_at_all_is_damage() -> None:
    for codec in CODECS:
        with pytest.raises(DamagedError):
            through(make_decoder(codec), b"")


@pytest.mark.parametrize(
    "settings",
    [
        Compression("lzma"),
        Compression("zstd", 20),
        Compression("zstd", -8),
        Compression("gzip", 10),
        Compression("gzip", -1),
        Compression("zstd", 3, -1),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(settings: Compression) -> None:
    with pytest.raises(UsageError) as caught:
        compression.check(settings)
    assert caught.value.remedy.startswith("choose")


@pytest.mark.parametrize(
    "name, method",
    [
        ("dump.sql.gz", "gzip"),
        ("DUMP.SQL.GZ", "gzip"),
        ("a.zst", "zstd"),
        ("a.sql", "none"),
        ("gz", "none"),
        (".gz", "none"),
        ("a.zst.gpg", "none"),
    ],
)
def test_a_foreign_file_tells_its_compression(name: str, method: str) -> None:
    assert compression.guess_method(name) == method


def test_threads_are_what_was_asked_for_and_few_when_nothing_was() -> None:
    assert compression.thread_count(7) == 7
    assert 1 <= compression.thread_count(0) <= compression.MOST_THREADS


def test_the_methods_without_work_have_no_step() -> None:
    assert compression.encoder(Compression("none")) is None
    assert compression.decoder("none") is None


def test_a_method_of_the_future_is_refused_clearly() -> None:
    with pytest.raises(UsageError, match="does not know"):
        compression.decoder("lzma")


def test_without_any_zstd_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for module in ("compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolError) as caught:
        compression.encoder(Compression())
    assert "install the package zstd" in caught.value.remedy


def test_gzip_without_pigz_works_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    step = compression.encoder(Compression("gzip", 9), threads=4)
    assert isinstance(step, compression.GzipEncoder)
    assert zlib.decompress(through(step, b"data"), 31) == b"data"
