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
from .state_files import replace_file


def remember(job: Job, manifest: Manifest, state: bytes) -> None:
    """Keep ``state`` as that of ``manifest``, in place of what was kept before. Raises ``OSError``."""
    replace_file(_path(job), _head(manifest, state) + state, flush=True)


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
