"""Gaps: backups and records that are gone although nothing says who took them away. Pure.

Every manifest holds the digest of the one before it, and every prune record that of the record
before it (architecture, chapter 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .model import Finding, Manifest, PruneRecord

FROM_COPY = "get it back from another copy of the repository"


def of_manifests(
    manifests: Iterable[Manifest], records: Iterable[PruneRecord], unreadable: Iterable[str]
) -> Iterator[Finding]:
    """Manifests whose predecessor is neither there nor in a prune record.

    ``unreadable`` are the digests that damaged manifests state: those are there.
    """
    manifests, records = list(manifests), list(records)
    explained = {manifest.digest for manifest in manifests}.union(unreadable)
    explained.update(gone.digest for record in records for gone in record.removed)
    # A backup that prune moved to this repository came without its neighbours; its record vouches for it.
    moved = {gone.digest for record in records for gone in record.removed if gone.archived_to is not None}
    for manifest in manifests:
        if manifest.previous is None or manifest.previous in explained or manifest.digest in moved:
            continue
        yield Finding(
            manifest.id,
            "the backup before it is gone or was replaced, and no prune record says why",
            f"run sync or prune again if one was interrupted; else find out who removed it, and {FROM_COPY}",
        )


def of_records(records: Iterable[PruneRecord], unreadable: Iterable[str]) -> Iterator[Finding]:
    """Prune records whose predecessor is gone; ``unreadable`` as above."""
    records = list(records)
    present = {record.digest for record in records}.union(unreadable)
    for record in records:
        if record.previous is not None and record.previous not in present:
            yield Finding(record.id, "the prune record before it is gone", FROM_COPY)
