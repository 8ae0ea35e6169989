"""What this host remembers of the newest backup of a job, so that the next one may be incremental.

It stays on the host, which holds the data anyway, and never goes to the repository: a host that
can only encrypt could not read it back from there.
"""

from __future__ import annotations

import hashlib
import os
from typing import Optional

from .host import state_dir
from .model import Job, Manifest


def remember(job: Job, manifest: Manifest, state: bytes) -> None:
    """Keep ``state`` as that of ``manifest``, in place of what was kept before. Raises ``OSError``."""
    path = _path(job)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600), "wb"
        ) as file:
            file.write(_head(manifest, state) + state)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        if os.path.exists(new):
            os.remove(new)


def recall(job: Job, manifest: Manifest) -> tuple[Optional[bytes], str]:
    """``(state, "")`` of ``manifest``, or ``(None, why)`` it cannot be had."""
    try:
        with open(_path(job), "rb") as file:
            head, state = file.readline(), file.read()
    except OSError:
        return None, f"this host does not remember the pages of {manifest.id}"
    if head != _head(manifest, state):
        return None, f"what this host remembers is not of {manifest.id} as it is now"
    return state, ""


def _head(manifest: Manifest, state: bytes) -> bytes:
    return f"{manifest.digest} {hashlib.sha256(state).hexdigest()}\n".encode("ascii")


def _path(job: Job) -> str:
    where = hashlib.sha256(job.repository.url.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return os.path.join(state_dir(), "parents", f"{job.name}-{where}.state")
