"""Copying one backup, or one log file, to another repository: what sync and the archive share.

Artifacts come first and the manifest last, under an intent, so that a crash leaves something
that is either a backup or swept. Bytes are checked against the manifest as they pass, and read
back from where they went.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256

from .. import manifests, names
from ..catalog import Catalog
from ..errors import CapacityError, DamagedError, NotFoundError, RefusedError, RepositoryError
from ..log_records import LogRecord
from ..model import Artifact, Limits, Manifest
from ..progress import Progress
from ..stores.base import Store
from ..stream.throttle import Throttle
from ..units import parse_free, show_size, utc_now
from .sweep import discard

CHUNK = 1024 * 1024
REMOVE_ONE = "find out which of the two is right before you remove one of them"


class Copier:
    """Copies backups of one job from ``source`` to ``target``; the target's exclusive lock is held."""

    def __init__(self, source: Store, target: Store, limits: Limits, throttle: Throttle, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._limits = limits
        self._throttle = throttle
        self._progress = progress

    def copy(self, manifest: Manifest, proofs: Sequence[str], there: Catalog, verb: str) -> None:
        """Bring a backup that the target lacks, and the records ``proofs``, to the target.

        Raises ``DamagedError`` when the source's bytes are not what its manifest says,
        ``RefusedError`` when the target holds something else under the same name.
        """
        files = there.files.get(manifest.id, {})
        wanted = [*(artifact.file for artifact in manifest.artifacts), *proofs]
        lacking = [file for file in wanted if file not in files]
        self.check_room(sum(a.size_bytes for a in manifest.artifacts if a.file in lacking))
        intent = manifests.Intent(manifest.id, verb, utc_now(), {manifest.id: tuple(lacking)})
        self._target.put(names.intent_file(manifest.id), manifests.encode(intent))
        try:
            for artifact in manifest.artifacts:
                self._copy_artifact(artifact, artifact.file in files)
            self.copy_records(proofs)
        except (DamagedError, RefusedError, NotFoundError):
            for file in (*lacking, names.intent_file(manifest.id)):
                discard(self._target, file)
            raise
        self.copy_records([names.manifest_file(manifest.id)])
        discard(self._target, names.intent_file(manifest.id))

    def check(self, manifest: Manifest) -> None:
        """Read every artifact of a backup at the target back; ``DamagedError`` if one differs."""
        for artifact in manifest.artifacts:
            self._progress.step(f"reading back {artifact.file}")
            self._read(self._target, artifact, _nowhere)

    def copy_records(self, files: Sequence[str]) -> None:
        """Bring small files that the target lacks to the target, byte for byte."""
        for file in files:
            self._put(file, self._source.read(file))

    def copy_log(self, record: LogRecord, *, there: bool) -> None:
        """Bring a log file that the target lacks to the target; ``there``: its artifact is there already.

        Raises what :meth:`copy` raises. Needs the lock of the target's log archive.
        """
        data = self._source.read(record.file)  # first: it goes last, and its artifact may go meanwhile
        self._copy_artifact(record.artifact, there)
        self._put(record.file, data)

    def _put(self, file: str, data: bytes) -> None:
        self._target.put(file, data)
        if self._target.read(file) != data:
            discard(self._target, file)
            raise RepositoryError(f"{self._target.url} gives {file} back changed", "check its storage")

    def _copy_artifact(self, artifact: Artifact, there: bool) -> None:
        if there:  # not from a copy of ours: that was swept, or its manifest would be there
            try:
                self._read(self._target, artifact, _nowhere)
            except DamagedError as error:
                raise RefusedError(f"{self._target.url} has another file named {artifact.file}", REMOVE_ONE) from error
            return
        self._progress.step(f"copying {artifact.file}")
        with self._target.upload(artifact.file) as upload:
            self._read(self._source, artifact, upload.write)
            upload.commit()
        self._progress.step(f"reading back {artifact.file}")
        try:
            self._read(self._target, artifact, _nowhere)
        except DamagedError as error:
            discard(self._target, artifact.file)
            raise RepositoryError(
                f"{self._target.url} gives {artifact.file} back changed", "check its storage, then sync again"
            ) from error

    def _read(self, store: Store, artifact: Artifact, write: Callable[[bytes], object]) -> None:
        digest = sha256()
        size = 0
        with store.open(artifact.file) as reader:
            while True:
                try:
                    data = reader.read(CHUNK)
                except OSError as error:
                    raise RepositoryError(
                        f"{artifact.file} in {store.url} cannot be read: {error.strerror}",
                        "check its storage",
                    ) from error
                if not data:
                    break
                self._throttle.take(len(data))
                digest.update(data)
                size += len(data)
                write(data)
                self._progress.advance(len(data))
        if (size, digest.hexdigest()) != (artifact.size_bytes, artifact.sha256):
            raise DamagedError(
                f"{artifact.file} in {store.url} is not what was written "
                f"({size} of {artifact.size_bytes} bytes were read)",
                "get it back from another copy of the repository",
            )

    def check_room(self, need: int) -> None:
        """Raise ``CapacityError`` where ``need`` bytes more would leave the target less than limits.min_free."""
        room = self._target.free_bytes()
        if room is None:
            return
        free, total = room
        size, share = parse_free(self._limits.min_free)
        reserve = max(size, int(total * share))
        if free - need < reserve:
            raise CapacityError(
                f"{self._target.url} has {show_size(free)} free; a copy of {show_size(need)} would leave "
                f"less than limits.min_free ({self._limits.min_free})",
                "make room there, or lower limits.min_free",
            )


def _nowhere(data: bytes) -> None:
    """Where bytes go that are only looked at."""


def same_place(one: Store, other: Store) -> bool:
    """Whether two stores are one and the same folder or URL."""
    roots = [getattr(store, "root", None) for store in (one, other)]
    if all(isinstance(root, str) for root in roots):
        return os.path.realpath(str(roots[0])) == os.path.realpath(str(roots[1]))
    return one.url.rstrip("/") == other.url.rstrip("/")


def gone_meanwhile(store: Store, backup: str) -> bool:
    """Whether a prune took ``backup`` away since the catalog was read."""
    try:
        store.read(names.manifest_file(backup))
    except NotFoundError:
        return True
    return False
