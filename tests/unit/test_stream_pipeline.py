"""What happens to bytes between the pump and the store, with a store that only remembers."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbfleet.errors import CapacityError, DamagedError, DbfleetError, NotFoundError, SourceError
from dbfleet.model import Compression, Encryption
from dbfleet.stores.base import Entry, Store, Upload
from dbfleet.stream.pipeline import CHUNK, Sink, check_stored, read_artifact, store_artifact, stored_name

PLAIN = Encryption()
METHODS = [Compression("none"), Compression("gzip", 1, 1)]


class MemoryUpload(Upload):
    def __init__(self, store: MemoryStore, name: str) -> None:
        self.store, self.name, self.data, self.ended = store, name, bytearray(), ""

    def write(self, data: bytes) -> None:
        if self.store.room is not None and len(self.data) + len(data) > self.store.room:
            raise CapacityError("the memory is full")
        self.data += data

    def commit(self) -> None:
        self.store.objects[self.name] = bytes(self.data)
        self.ended = "committed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"


class MemoryStore(Store):
    """Not a store of the product: it only lets these tests see what reaches one."""

    url = "memory:"

    def __init__(self, room: Optional[int] = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: list[MemoryUpload] = []
        self.room = room

    def prepare(self) -> None: ...

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        return iter(())

    def open(self, name: str) -> BinaryIO:
        if name not in self.objects:
            raise NotFoundError(name)
        return io.BytesIO(self.objects[name])

    def read(self, name: str) -> bytes:
        return self.objects[name]

    def upload(self, name: str) -> Upload:
        self.uploads.append(MemoryUpload(self, name))
        return self.uploads[-1]

    def remove(self, name: str) -> None: ...

    def lock(self, name: str, *, shared: bool = False, wait: float = 0.0) -> AbstractContextManager[None]:
        return nullcontext()

    def leftovers(self, prefix: str) -> list[Entry]:
        return []

    def free_bytes(self) -> Optional[tuple[int, int]]:
        return None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
@settings(max_examples=30)
@given(st.lists(st.binary(max_size=2000).flatmap(lambda b: st.sampled_from([b, b * 400])), min_size=1, max_size=8))
def test_what_is_pumped_is_what_is_read(method: Compression, pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    store = MemoryStore()

    def pump(sink: Sink) -> None:
        for piece in pieces:
            sink.write(piece)

    if not raw:
        with pytest.raises(SourceError):
            store_artifact(pump, store, "a.db", "db", method, PLAIN)
        return
    staged = store_artifact(pump, store, "a.db", "db", method, PLAIN)
    assert store.objects == {}, "nothing may have its name before the commit"
    staged.commit()
    artifact = staged.artifact
    stored = store.objects[artifact.file]
    assert (artifact.size_bytes, artifact.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (artifact.raw_size_bytes, artifact.raw_sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    with read_artifact(store, artifact, PLAIN) as chunks:
        assert b"".join(chunks) == raw
    assert check_stored(store, artifact) == []


def stored(raw: bytes = b"data" * 100_000, method: Compression = METHODS[1]) -> tuple[MemoryStore, object]:
    store = MemoryStore()
    staged = store_artifact(lambda sink: sink.write(raw), store, "a.db", "db", method, PLAIN)
    staged.commit()
    return store, staged.artifact


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
@pytest.mark.parametrize("harm", ["cut", "flip", "grow", "empty"])
def test_damage_is_found_and_named_before_the_reader_is_done(method: Compression, harm: str) -> None:
    store, artifact = stored(method=method)
    name = artifact.file  # type: ignore[attr-defined]
    data = bytearray(store.objects[name])
    if harm == "cut":
        del data[-1]
    elif harm == "flip":
        data[len(data) // 2] ^= 1
    elif harm == "grow":
        data += b"\0"
    else:
        data.clear()
    store.objects[name] = bytes(data)
    with pytest.raises(DamagedError) as caught, read_artifact(store, artifact, PLAIN) as chunks:  # type: ignore[arg-type]
        for _chunk in chunks:
            pass
    assert name in caught.value.message
    assert "stored bytes" in caught.value.message, "the stored digest comes before what gzip says"
    assert caught.value.remedy
    problems = check_stored(store, artifact)  # type: ignore[arg-type]
    assert len(problems) == 1
    assert name in problems[0]


def test_a_missing_file_is_a_problem_and_not_an_accident() -> None:
    store, artifact = stored()
    store.objects.clear()
    assert check_stored(store, artifact) == ["a.db.gz is missing"]  # type: ignore[arg-type]
    with pytest.raises(NotFoundError), read_artifact(store, artifact, PLAIN):  # type: ignore[arg-type]
        pass


def test_raw_bytes_that_are_not_those_of_the_manifest_are_damage() -> None:
    import dataclasses

    store, artifact = stored()
    for change in ({"raw_sha256": "0" * 64}, {"raw_size_bytes": 5}):
        wrong = dataclasses.replace(artifact, **change)  # type: ignore[type-var]
        with pytest.raises(DamagedError, match="raw bytes"), read_artifact(store, wrong, PLAIN) as chunks:
            for _chunk in chunks:
                pass


def test_a_pump_that_fails_leaves_nothing() -> None:
    store = MemoryStore()

    def pump(sink: Sink) -> None:
        sink.write(bytes(10 * CHUNK))
        raise SourceError("the database went away")

    with pytest.raises(SourceError, match="went away"):
        store_artifact(pump, store, "a.db", "db", METHODS[1], PLAIN)
    assert [upload.ended for upload in store.uploads] == ["aborted"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
def test_a_pump_cannot_swallow_a_full_store(method: Compression) -> None:
    import os

    store = MemoryStore(room=2 * CHUNK)

    def pump(sink: Sink) -> None:
        for _chunk in range(20):
            try:
                sink.write(os.urandom(CHUNK))
            except DbfleetError:
                pass

    with pytest.raises(CapacityError):
        store_artifact(pump, store, "a.db", "db", method, PLAIN)
    assert [upload.ended for upload in store.uploads] == ["aborted"]


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    store, artifact = stored(bytes(20 * CHUNK))
    before = set(threading.enumerate())  # tests before this one may have left some that are about to end
    with read_artifact(store, artifact, PLAIN) as chunks:  # type: ignore[arg-type]
        next(chunks)
    assert set(threading.enumerate()) <= before


class Listener:
    def __init__(self) -> None:
        self.count = 0

    def step(self, text: str) -> None: ...

    def expect(self, total_bytes: Optional[int]) -> None: ...

    def advance(self, count: int) -> None:
        self.count += count


def test_progress_hears_of_every_raw_byte() -> None:
    store, listener = MemoryStore(), Listener()
    raw = bytes(3 * CHUNK + 17)
    staged = store_artifact(lambda sink: sink.write(raw), store, "a.db", "db", METHODS[1], PLAIN, progress=listener)
    staged.commit()
    assert listener.count == len(raw)
    with read_artifact(store, staged.artifact, PLAIN, progress=listener) as chunks:
        assert b"".join(chunks) == raw
    assert listener.count == 2 * len(raw)


@pytest.mark.parametrize(
    "compression, encryption, suffix",
    [
        (Compression("none"), PLAIN, ""),
        (Compression("zstd"), PLAIN, ".zst"),
        (Compression("gzip"), Encryption("gpg", passphrase_file="/p"), ".gz.gpg"),
        (Compression("zstd"), Encryption("age", recipients=("age1x",)), ".zst.age"),
    ],
)
def test_a_name_says_what_was_done_to_the_bytes(compression: Compression, encryption: Encryption, suffix: str) -> None:
    assert stored_name("j/a.db", compression, encryption) == "j/a.db" + suffix
