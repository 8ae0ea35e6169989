"""Compression of artifacts: zstd, gzip or none, in the formats that the plain tools read.

zstd has three providers: the standard library (Python 3.14, or its backport for older ones), the
package ``zstandard``, and the command ``zstd``. gzip is the standard library's zlib, or the
command ``pigz`` where it may use several threads.
"""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Iterator
from typing import Any, Optional

from ..errors import DamagedError, DbfleetError, ToolError, UsageError
from ..model import Compression
from .flow import Codec, Step
from .process import CHUNK, Command, last_lines, run

SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "none": ""}
LEVELS = {"zstd": range(-7, 20), "gzip": range(10)}
DEFAULT_LEVELS = {"zstd": 3, "gzip": 6}
FOREIGN_SUFFIXES = {".zst": "zstd", ".zstd": "zstd", ".gz": "gzip", ".gzip": "gzip"}

# More threads than this are never the bottleneck at usual levels, and each one costs memory.
MOST_THREADS = 4
# zstd gives every thread a job of its own; jobs of half the default size keep the memory of two
# threads under 40 MiB (8 MiB: 62); smaller ones cost 5 % more time. Each job begins with the whole
# window of the one before it (overlapLog 9 of zstd.h), or the size would grow by 5 %. High levels
# have windows larger than that and keep zstd's own choice.
JOB_BYTES = 4 * 1024 * 1024
WHOLE_WINDOW = 9
SMALL_JOBS_UP_TO = 9
# The package zstandard cannot bound its output: small inputs can, at zstd's 32768:1.
SLICE = 512

ZSTD_PROVIDERS = ("library", "package", "command")


def check(compression: Compression) -> None:
    """Refuse a method, level or number of threads that there is not, with ``UsageError``."""
    if compression.method not in SUFFIXES:
        raise UsageError(f"{compression.method!r} is not a compression method", "choose one of " + ", ".join(SUFFIXES))
    levels = LEVELS.get(compression.method)
    if levels is not None and compression.level is not None and compression.level not in levels:
        raise UsageError(
            f"{compression.level} is not a level of {compression.method}",
            f"choose a level from {levels[0]} to {levels[-1]}",
        )
    if compression.threads < 0:
        raise UsageError(f"{compression.threads} compression threads are not possible", "choose 0 or more")


def guess_method(file_name: str) -> str:
    """The method that the suffix of a file from elsewhere tells: ``dump.sql.gz`` is ``gzip``."""
    return FOREIGN_SUFFIXES.get(os.path.splitext(file_name)[1].lower(), "none")


def thread_count(requested: int) -> int:
    """``requested`` threads; 0 means what this process may use of the host, four at most."""
    if requested > 0:
        return requested
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


def encoder(compression: Compression, threads: int = 0) -> Optional[Step]:
    """What compresses, or ``None`` for the method ``none``; ``threads`` is as in :func:`thread_count`."""
    check(compression)
    if compression.method == "none":
        return None
    count = thread_count(threads)
    level = DEFAULT_LEVELS[compression.method] if compression.level is None else compression.level
    if compression.method == "zstd":
        return zstd_encoder(level, count, _zstd_provider())
    if count > 1 and _has_command("pigz"):
        return Command(("pigz", f"-{level}", "-c", "-n", "-p", str(count)))
    return GzipEncoder(level)


def decoder(method: str) -> Optional[Step]:
    """What decompresses, or ``None`` for the method ``none``."""
    if method not in SUFFIXES:
        raise UsageError(
            f"this version does not know the compression {method!r}", "use the version that wrote the backup"
        )
    if method == "none":
        return None
    return zstd_decoder(_zstd_provider()) if method == "zstd" else GzipDecoder()


def beginning(method: str, data: bytes, limit: int) -> bytes:
    """What ``data``, all of it, decompresses to: ``limit`` bytes at least, if there are so many.

    Raises ``DamagedError``; where only the command ``zstd`` is here, ``ToolError`` for more than 64 MiB.
    """
    step = decoder(method)
    if step is None:
        return data
    if isinstance(step, Command):
        return run(step, stdin=data).stdout
    found = bytearray()
    for piece in step.feed(data):
        found += piece
        if len(found) >= limit:
            break
    return bytes(found)


def zstd_encoder(level: int, threads: int, provider: str) -> Step:
    """zstd by one of :data:`ZSTD_PROVIDERS`; frames carry a checksum."""
    if provider == "library":
        return ZstdEncoder(level, threads)
    if provider == "package":
        return PackageZstdEncoder(level, threads)
    options = [f"-{level}" if level >= 0 else f"--fast={-level}", "-q", "-c", "--check"]
    options += ["--single-thread"] if threads == 1 else [f"-T{threads}"]
    if threads > 1 and level <= SMALL_JOBS_UP_TO:
        options += [f"-B{JOB_BYTES}", f"--zstd=overlapLog={WHOLE_WINDOW}"]
    return Command(("zstd", *options))


def zstd_decoder(provider: str) -> Step:
    """The way back from zstd by one of :data:`ZSTD_PROVIDERS`."""
    if provider == "library":
        return ZstdDecoder()
    if provider == "package":
        return PackageZstdDecoder()
    return Command(("zstd", "-d", "-q", "-c"), explain=_explain_decoder)


class _Encoder(Codec):
    """Compresses by ``_stream``, an object with ``compress`` and ``flush`` as zlib has them."""

    _stream: Any

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Compress ``data``."""
        piece = self._stream.compress(data)
        if piece:
            yield piece

    def finish(self) -> Iterator[bytes]:
        """The end of the member or frame."""
        yield self._stream.flush()


class GzipEncoder(_Encoder):
    """One gzip member (RFC 1952) without name and time: the same bytes for the same input."""

    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


class GzipDecoder(Codec):
    """Any number of gzip members; zeros after the last one are padding, as for gzip itself."""

    def __init__(self) -> None:
        self._stream = _gzip_member()
        self._started = False
        self._ended = False  # at least one member is complete and no other has begun

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress ``data``. Raises ``DamagedError``."""
        while data:
            if self._ended and not self._started:
                data = data.lstrip(b"\0")
                if not data:
                    return
            self._started = True
            try:
                piece = self._stream.decompress(data, CHUNK)
            except zlib.error as error:
                raise _damaged("gzip", str(error)) from error
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = _gzip_member()
                self._started, self._ended = False, True

    def finish(self) -> Iterator[bytes]:
        """Nothing is left. Raises ``DamagedError`` in the middle of a member."""
        if self._started or not self._ended:
            raise _damaged("gzip", "it ends too early")
        return iter(())


class ZstdEncoder(_Encoder):
    """zstd by the standard library (PEP 784)."""

    def __init__(self, level: int, threads: int) -> None:
        zstd = _zstd_library()
        parameter = zstd.CompressionParameter
        options = {parameter.compression_level: level, parameter.checksum_flag: 1}
        if threads > 1:
            options[parameter.nb_workers] = threads
            if level <= SMALL_JOBS_UP_TO:
                options[parameter.job_size] = JOB_BYTES
                options[parameter.overlap_log] = WHOLE_WINDOW
        self._stream = zstd.ZstdCompressor(options=options)


class _FrameDecoder(Codec):
    """Any number of zstd frames, one ``_stream`` each."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._ended = False  # at least one frame is complete

    def finish(self) -> Iterator[bytes]:
        """Nothing is left. Raises ``DamagedError`` in the middle of a frame."""
        if self._stream is not None or not self._ended:
            raise _damaged("zstd", "it ends too early")
        return iter(())


class ZstdDecoder(_FrameDecoder):
    """Any number of zstd frames by the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self._zstd = _zstd_library()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress ``data``. Raises ``DamagedError``."""
        while data:
            if self._stream is None:
                self._stream = self._zstd.ZstdDecompressor()
            try:
                piece = self._stream.decompress(data, CHUNK)
                while True:
                    if piece:
                        yield piece
                    if self._stream.eof or self._stream.needs_input:
                        break
                    piece = self._stream.decompress(b"", CHUNK)
            except self._zstd.ZstdError as error:
                raise _damaged("zstd", str(error)) from error
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream, self._ended = None, True


class PackageZstdEncoder(_Encoder):
    """zstd by the package ``zstandard``."""

    def __init__(self, level: int, threads: int) -> None:
        import zstandard

        options: dict[str, int] = {"write_checksum": 1, "write_content_size": 0}
        if threads > 1:
            options["threads"] = threads
            if level <= SMALL_JOBS_UP_TO:
                options["job_size"] = JOB_BYTES
                options["overlap_log"] = WHOLE_WINDOW
        parameters = zstandard.ZstdCompressionParameters.from_level(level or DEFAULT_LEVELS["zstd"], **options)
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()


class PackageZstdDecoder(_FrameDecoder):
    """Any number of zstd frames by the package ``zstandard``."""

    def __init__(self) -> None:
        import zstandard

        super().__init__()
        self._zstandard = zstandard

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress ``data``. Raises ``DamagedError``."""
        for start in range(0, len(data), SLICE):
            rest = data[start : start + SLICE]
            while rest:
                if self._stream is None:
                    self._stream = self._zstandard.ZstdDecompressor().decompressobj(write_size=CHUNK // 4)
                try:
                    piece = self._stream.decompress(rest)
                except self._zstandard.ZstdError as error:
                    raise _damaged("zstd", str(error)) from error
                if piece:
                    yield piece
                rest = b""
                if self._stream.eof:
                    rest = self._stream.unused_data
                    self._stream, self._ended = None, True


def _zstd_provider() -> str:
    """The first provider that is here, the fastest first. Raises ``ToolError`` when none is."""
    if _zstd_library(optional=True) is not None:
        return "library"
    try:
        importlib.import_module("zstandard")
        return "package"
    except ImportError:
        pass  # the command does as well
    if _has_command("zstd"):
        return "command"
    raise ToolError(
        "nothing here can do zstd",
        "install the package zstd (or the Python package zstandard), or choose compression.method gzip",
    )


def _zstd_library(*, optional: bool = False) -> Any:
    """The module of PEP 784, under its name in Python 3.14 or that of its backport."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    if optional:
        return None
    raise ToolError("this Python has no zstd", "install the Python package backports.zstd")


def _has_command(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None


def _gzip_member() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _damaged(method: str, what: str) -> DamagedError:
    return DamagedError(
        f"the {method} data is damaged: {what}", "restore from another backup or another copy of this one"
    )


def _explain_decoder(code: int, words: str) -> DbfleetError:
    return _damaged("zstd", last_lines(words, 1) or f"zstd ended with exit status {code}")
