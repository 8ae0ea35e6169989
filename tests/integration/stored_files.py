"""Files in a repository that somebody else put there."""

from __future__ import annotations

import hashlib

from dbfleet.model import Artifact
from dbfleet.stores.file import FileStore


def keep_foreign(store: FileStore, name: str, data: bytes, raw: bytes, compression: str) -> Artifact:
    store.put(name, data)
    stored, plain = hashlib.sha256(data).hexdigest(), hashlib.sha256(raw).hexdigest()
    return Artifact(name, "sql", len(data), stored, len(raw), plain, compression)
