"""The way of the data, in both directions: raw bytes <-> compressed, encrypted, stored bytes.

Bytes pass once: what is counted and digested is what passes. Memory is a few chunks between
each two stages, whatever the size of the database.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Callable, Optional, Protocol

from ..errors import DamagedError, DbfleetError, KeyMaterialError, NotFoundError, RepositoryError, SourceError
from ..model import Artifact, Compression, Encryption
from ..progress import SILENCE, Progress
from ..stores.base import Store, Upload
from . import compression as compressions
from . import encryption as encryptions
from .digest import Digest
from .flow import PATIENCE, Abandoned, ChannelStage, Stage, Step, join
from .process import CHUNK, LARGEST
from .throttle import UNLIMITED, Throttle

PIECE = 128 * 1024  # small writes of a pump are gathered until there are so many bytes
# A key that does not fit may also be a damaged header. A stored file up to this size is read to its end
# to tell; a larger one is not worth hours of reading only to word an error.
KEY_ERROR_READS_ON = 256 * 1024 * 1024

DAMAGED_REMEDY = "restore from another backup or another copy of this one, and verify the storage"


class Sink(Protocol):
    """Where a pump writes raw bytes to."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True)
class StagedArtifact:
    """An artifact whose bytes are in the store, but not yet under its name."""

    artifact: Artifact
    upload: Upload

    def commit(self) -> None:
        """Make it durable and give it its name. Raises as :meth:`Upload.commit`."""
        self.upload.commit()

    def abort(self) -> None:
        """Remove it from the store, unless it was committed. Never raises."""
        self.upload.abort()


def stored_name(base: str, compression: Compression, encryption: Encryption) -> str:
    """The artifact's name: ``base`` and a suffix for each thing that was done to it."""
    compressions.check(compression)
    encryptions.check_settings(encryption)
    return base + compressions.SUFFIXES[compression.method] + encryptions.SUFFIXES[encryption.method]


def store_artifact(
    pump: Callable[[Sink], None],
    store: Store,
    base: str,
    role: str,
    compression: Compression,
    encryption: Encryption,
    *,
    throttle: Optional[Throttle] = None,
    progress: Progress = SILENCE,
    threads: int = 0,
) -> StagedArtifact:
    """Send everything that ``pump`` writes through compression and encryption into the store.

    ``threads`` is for the compression of this one artifact: 0 takes ``compression.threads``, and
    0 there what the host has. Nothing has its final name yet: the caller commits. Raises
    ``SourceError`` when the pump wrote nothing, and whatever the pump, a tool or the store
    raise; then every child has ended and the store keeps nothing.
    """
    name = stored_name(base, compression, encryption)
    described = encryptions.describe(encryption)
    with encryptions.encrypting(encryption) as encrypt, contextlib.ExitStack() as undo:
        steps = _present(compressions.encoder(compression, threads or compression.threads), encrypt)
        upload = store.upload(name)
        undo.callback(upload.abort)
        last = _StoreStage(upload, throttle or UNLIMITED)
        entrance = _Entrance(join(steps, last), None if steps else last.digest, progress)
        undo.callback(entrance.abort)
        pump(entrance)
        entrance.close(base)
        undo.pop_all()  # it worked: there is nothing to undo
    artifact = Artifact(
        file=name,
        role=role,
        size_bytes=last.digest.size_bytes,
        sha256=last.digest.finish(),
        raw_size_bytes=entrance.digest.size_bytes,
        raw_sha256=entrance.digest.finish(),
        compression=compression.method,
        encryption=described,
    )
    return StagedArtifact(artifact, upload)


@contextlib.contextmanager
def read_artifact(
    store: Store,
    artifact: Artifact,
    encryption: Encryption,
    *,
    throttle: Optional[Throttle] = None,
    progress: Progress = SILENCE,
) -> Iterator[Iterator[bytes]]:
    """The raw bytes of a stored artifact, in chunks, with the keys of ``encryption``.

    Sizes and digests are checked as the bytes pass: whoever has seen the iterator end has seen
    the bytes that were stored. Until then ``DamagedError`` may come, naming the file and what
    differs; a digest of the stored bytes that is wrong takes precedence over what decompression
    or decryption made of it. Raises ``NotFoundError`` for a missing file, ``KeyMaterialError``
    for keys that do not fit, ``RepositoryError`` when the store fails.
    """
    with encryptions.decrypting(artifact.encryption, encryption) as decrypt:
        steps = _present(decrypt, compressions.decoder(artifact.compression))
        with contextlib.closing(store.open(artifact.file)) as file:
            reading = _Reading(file, artifact, steps, throttle or UNLIMITED, progress)
            try:
                yield reading.chunks()
            finally:
                reading.abort()


@contextlib.contextmanager
def read_foreign(
    file: BinaryIO, artifact: Artifact, encryption: Encryption, *, progress: Progress = SILENCE
) -> Iterator[Iterator[bytes]]:
    """The raw bytes of a file that no manifest describes: decoded as ``artifact`` says, but proven by nothing.

    Raises ``DamagedError`` where its own format shows that it was cut off, ``KeyMaterialError``
    for keys that do not fit.
    """
    with encryptions.decrypting(artifact.encryption, encryption) as decrypt:
        steps = _present(decrypt, compressions.decoder(artifact.compression))
        reading = _Reading(file, artifact, steps, UNLIMITED, progress, proven=False)
        try:
            yield reading.chunks()
        finally:
            reading.abort()


def check_stored(
    store: Store,
    artifact: Artifact,
    *,
    throttle: Optional[Throttle] = None,
    progress: Progress = SILENCE,
) -> list[str]:
    """What is wrong with the stored bytes of an artifact: missing, another size, another digest.

    Reads every byte, but needs no key and decodes nothing; ``progress`` is told stored bytes.
    Raises ``RepositoryError`` when it cannot be found out.
    """
    try:
        file = store.open(artifact.file)
    except NotFoundError:
        return [f"{artifact.file} is missing"]
    digest = Digest(threaded=True)
    try:
        with contextlib.closing(file):
            for data in _stored_chunks(file, artifact.file, throttle or UNLIMITED):
                digest.update(data)
                progress.advance(len(data))
        return _differences(artifact.file, "stored", digest, artifact.size_bytes, artifact.sha256)
    finally:
        digest.abort()


class _Entrance:
    """Where the pump writes: gathers small writes, cuts large ones, counts and digests.

    ``digest`` is shared with the store's end where nothing happens to the bytes in between.
    """

    def __init__(self, first: Stage, shared: Optional[Digest], progress: Progress) -> None:
        self.digest = shared or Digest(threaded=True)
        self._shared = shared is not None
        self._first = first
        self._progress = progress
        self._gathered = bytearray()
        self._failure: Optional[BaseException] = None

    def write(self, data: bytes) -> None:
        """Take the next raw bytes. Raises again what it once raised."""
        if self._failure is not None:
            raise self._failure
        try:
            self._take(data)
        except BaseException as error:  # a pump may not swallow it: close() would raise it again
            self._failure = error
            raise

    def close(self, base: str) -> None:
        """Finish every stage. Raises ``SourceError`` when not a single byte came."""
        self.write(b"")
        self._flush()
        if self.digest.size_bytes == 0:
            raise SourceError(f"{base}: the source gave not a single byte", "check the database")
        self._first.close()

    def abort(self) -> None:
        """End every stage and thread now. Never raises."""
        self._first.abort()
        self.digest.abort()

    def _take(self, data: bytes) -> None:
        if len(data) < PIECE:
            self._gathered += data
            if len(self._gathered) >= PIECE:
                self._flush()
            return
        self._flush()
        if len(data) <= LARGEST:
            self._pass(bytes(data))  # copies nothing where it is bytes already
            return
        view = memoryview(data)
        for start in range(0, len(view), LARGEST):
            self._pass(bytes(view[start : start + LARGEST]))

    def _flush(self) -> None:
        if self._gathered:
            data = bytes(self._gathered)
            self._gathered.clear()
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        if not self._shared:
            self.digest.update(data)
        self._first.write(data)
        self._progress.advance(len(data))


class _StoreStage(Stage):
    """The store's end: throttles, counts and digests what is written to the upload."""

    def __init__(self, upload: Upload, throttle: Throttle) -> None:
        self.digest = Digest(threaded=True)
        self._upload = upload
        self._throttle = throttle

    def write(self, data: bytes) -> None:
        """Store a chunk."""
        self._throttle.take(len(data))
        self.digest.update(data)
        self._upload.write(data)

    def close(self) -> None:
        """Wait for the digest. The upload stays open: it is committed elsewhere."""
        self.digest.finish()

    def abort(self) -> None:
        """End the digest."""
        self.digest.abort()


class _Reading:
    """A thread that sends stored bytes through the steps, and the chunks that come out."""

    def __init__(
        self,
        file: BinaryIO,
        artifact: Artifact,
        steps: list[Step],
        throttle: Throttle,
        progress: Progress,
        *,
        proven: bool = True,
    ) -> None:
        self._file = file
        self._proven = proven
        self._artifact = artifact
        self._throttle = throttle
        self._progress = progress
        self._abandoned = threading.Event()
        last = ChannelStage()
        self._channel = last.channel
        self._first = join(steps, last)
        self._stored = Digest(threaded=True)
        self._raw = Digest(threaded=True) if steps else self._stored
        self._thread = threading.Thread(target=self._feed, name="stored-bytes", daemon=True)
        self._thread.start()

    def chunks(self) -> Iterator[bytes]:
        """Raw bytes; at the end, the check of their digest."""
        for data in self._channel:
            if self._raw is not self._stored:
                self._raw.update(data)
            self._progress.advance(len(data))
            yield data
        artifact = self._artifact
        wrong = _differences(artifact.file, "raw", self._raw, artifact.raw_size_bytes, artifact.raw_sha256)
        if wrong and self._proven:
            raise DamagedError("; ".join(wrong), DAMAGED_REMEDY)

    def abort(self) -> None:
        """End every thread and child. Never raises; does nothing after the end."""
        self._abandoned.set()
        self._first.abort()
        self._thread.join(PATIENCE)
        self._stored.abort()
        self._raw.abort()

    def _feed(self) -> None:
        try:
            self._push()
        except BaseException as error:  # raised again where the chunks are read
            self._channel.end(error)
        else:
            self._channel.end()

    def _push(self) -> None:
        """Send all stored bytes; after a failed decoding only digest them, to name the true cause."""
        artifact = self._artifact
        trouble: Optional[DbfleetError] = None
        for data in _stored_chunks(self._file, artifact.file, self._throttle):
            if self._abandoned.is_set():
                raise Abandoned
            self._stored.update(data)
            if trouble is None:
                trouble = _trouble(lambda chunk=data: self._first.write(chunk))  # type: ignore[misc]
                if isinstance(trouble, KeyMaterialError) and artifact.size_bytes > KEY_ERROR_READS_ON:
                    break
        else:
            wrong = _differences(artifact.file, "stored", self._stored, artifact.size_bytes, artifact.sha256)
            if wrong and self._proven:
                raise DamagedError("; ".join(wrong), DAMAGED_REMEDY)
            if trouble is None:
                trouble = _trouble(self._first.close)
        if trouble is not None:
            raise type(trouble)(f"{artifact.file}: {trouble.message}", trouble.remedy) from trouble


def _trouble(act: Callable[[], None]) -> Optional[DbfleetError]:
    """What ``act`` raised of our own errors; it is told later, unless something worse is."""
    try:
        act()
    except DbfleetError as error:
        return error
    return None


def _stored_chunks(file: BinaryIO, name: str, throttle: Throttle) -> Iterator[bytes]:
    while True:
        try:
            data = file.read(CHUNK)
        except OSError as error:
            raise RepositoryError(
                f"{name} could not be read: {error.strerror or error}", "check the storage of the repository"
            ) from error
        if not data:
            return
        throttle.take(len(data))
        yield data


def _differences(name: str, which: str, digest: Digest, size_bytes: int, sha256: str) -> list[str]:
    """What the manifest says otherwise; of a file of another size the digest says nothing more."""
    if digest.size_bytes != size_bytes:
        return [f"{name} has {digest.size_bytes} {which} bytes instead of {size_bytes}"]
    found = digest.finish()
    if found == sha256:
        return []
    return [f"{name}: the SHA-256 of its {which} bytes is {found} instead of {sha256}"]


def _present(*steps: Optional[Step]) -> list[Step]:
    return [step for step in steps if step is not None]
