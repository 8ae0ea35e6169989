"""What listings and retention need of a manifest, read without decoding all of it.

A repository may hold a hundred thousand manifests. Their JSON is ours: its digest vouches for
every byte, its fields stand in a fixed order, each on a line of its own that no text inside a
field can imitate, for JSON writes line ends in text as ``\\n``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple, Optional

from . import manifests, names

_TOP = re.compile(
    rb'\{\n "schema": 1,\n "id": "([a-z0-9_-]+)",\n "name": "[a-z0-9_-]+",\n "engine": "([a-z]+)",\n'
    rb' "method": "[a-z]+",\n "type": "([a-z]+)",\n "parent": (?:null|"([a-z0-9_-]+)"),\n "source": \{\n'
)
_TIMES = re.compile(rb'\n "consistent_at": "([0-9T:.-]+)Z",\n "finished_at": "([0-9T:.-]+)Z",\n "position": \{')
_ARTIFACT = re.compile(rb'\n  \{\n   "file": "([^"\\]+)",\n   "role": "[^"\\]*",\n   "size_bytes": ([0-9]+),\n')


class StoredFile(NamedTuple):
    """An artifact as a listing knows it."""

    file: str
    size_bytes: int


class Outline(NamedTuple):
    """A manifest as a listing knows it."""

    id: str
    engine: str
    type: str
    parent: Optional[str]
    consistent_at: datetime
    finished_at: datetime
    artifacts: tuple[StoredFile, ...]
    digest: str

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all artifacts."""
        return sum(artifact.size_bytes for artifact in self.artifacts)


def read_outline(data: bytes, file: str) -> Optional[Outline]:
    """The outline of the manifest in the bytes of ``file``; ``None`` where only decoding it can tell."""
    digest = manifests.true_digest(data)
    top, times = _TOP.match(data), _TIMES.match(data, data.find(b'\n "consistent_at": "'))
    begin = data.find(b'\n "artifacts": [\n')
    end = data.find(b'\n ],\n "proof": {\n', begin)
    if digest is None or top is None or times is None or begin < 0 or end < 0:
        return None
    identity, engine, kind, parent = top.groups()
    if names.manifest_file(identity.decode()) != file:
        return None
    stored = tuple([StoredFile(name.decode(), int(size)) for name, size in _ARTIFACT.findall(data, begin, end)])
    if len(stored) != data.count(b"\n  {\n", begin, end):  # one of them is written in another way
        return None
    return Outline(
        identity.decode(),
        engine.decode(),
        kind.decode(),
        parent.decode() if parent else None,
        datetime.fromisoformat(times[1].decode() + "+00:00"),
        datetime.fromisoformat(times[2].decode() + "+00:00"),
        stored,
        digest,
    )
