"""What is known of one backup: whether it can be relied on, and what says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Optional, Union

from .errors import DbfleetError, NotFoundError
from .model import Manifest, ProofRecord
from .outline import Outline

LEVELS = ("checksum", "structure", "restore")  # weakest first


@dataclass(frozen=True)
class Standing:
    """What is known of one backup.

    ``good``: a verification passed and none since failed; ``unproven``: never verified;
    ``bad``: it cannot be relied on, for ``reason``; ``unknown``: it cannot be told, for
    ``reason``. ``proof`` is the newest verification that counts.
    """

    state: str
    reason: str = ""
    proof: Optional[ProofRecord] = None
    damaged: bool = False  # bad because its own stored files are not what was written

    @property
    def counts(self) -> bool:
        """Whether retention and ``latest`` may rely on it: it is not known to be bad."""
        return self.state in ("good", "unproven")


UNPROVEN = Standing("unproven")


def by_proofs(manifest: Union[Outline, Manifest], newest_first: Iterable[Union[ProofRecord, DbfleetError]]) -> Standing:
    """What the proof records of ``manifest`` say, read from the newest only as far as they matter.

    A failure makes a backup bad until a later record of the same or a stronger level passes. A
    record of another manifest does not count. One that cannot be read may have been a failure:
    unless a later restore passed, the backup is ``unknown``.
    """
    newest: Optional[ProofRecord] = None
    passed = -1
    doubt = ""
    for record in newest_first:
        if isinstance(record, DbfleetError):
            doubt = doubt or f"{record.message}; verify the backup again with --level restore"
            continue
        if record.manifest_digest != manifest.digest or record.level not in LEVELS:
            continue
        newest = newest or record
        level = LEVELS.index(record.level)
        if not record.ok and level > passed:
            problem = record.findings[0].problem if record.findings else "it gave no details"
            return Standing("bad", f"its {record.level} verification failed: {problem}", newest)
        if record.ok:
            passed = max(passed, level)
        if passed == len(LEVELS) - 1:
            break
    if doubt:
        return Standing("unknown", doubt, newest)
    return Standing("good" if passed >= 0 else "unproven", "", newest)


def by_files(manifest: Union[Outline, Manifest], sizes: Mapping[str, int]) -> str:
    """Which artifact is missing or of another size among the stored ``sizes`` in bytes; empty if none."""
    for artifact in manifest.artifacts:
        size = sizes.get(artifact.file)
        if size is None:
            return f"{artifact.file} is missing"
        if size != artifact.size_bytes:
            return f"{artifact.file} has {size} bytes instead of {artifact.size_bytes}"
    return ""


def with_parent(own: Standing, parent_id: str, parent: Optional[Standing]) -> Standing:
    """``own`` for a backup that starts from ``parent_id``; ``None`` for a parent in a circle."""
    if own.state == "bad":
        return own
    if parent is None:
        return replace(own, state="bad", reason=f"its chain runs in a circle at {parent_id}")
    if parent.counts:
        return own
    return replace(own, state=parent.state, reason=f"it needs {parent_id}: {parent.reason}")


def of_unreadable(error: DbfleetError) -> Standing:
    """What is known of a backup whose manifest cannot be read, or is not there."""
    if isinstance(error, NotFoundError):
        return Standing("bad", "it is missing")
    return Standing("unknown", error.message)
