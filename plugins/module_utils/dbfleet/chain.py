"""Chains: which backups a backup needs, which need it, and whether the next one may be incremental. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Optional

from . import names
from .errors import DamagedError, NotFoundError
from .model import Job, Manifest, SourceIdentity


def resolve(manifests: Mapping[str, Manifest], backup: str) -> tuple[Manifest, ...]:
    """The backups that a restore of ``backup`` needs, the full one first and ``backup`` last.

    Raises ``NotFoundError`` when there is no such backup, ``DamagedError`` when a link of the
    chain is missing or the chain runs in a circle.
    """
    if backup not in manifests:
        raise NotFoundError(f"there is no backup {backup}", "list the backups of the repository")
    found = [manifests[backup]]
    seen = {backup}
    while found[-1].parent is not None:
        child, parent = found[-1].id, found[-1].parent
        if parent in seen:
            raise DamagedError(f"the chain of {backup} runs in a circle at {parent}", "take a new full backup")
        if parent not in manifests:
            raise DamagedError(
                f"{backup} cannot be restored: {child} needs {parent}, which is missing or unreadable",
                "get it back from another copy of the repository, or choose another backup",
            )
        seen.add(parent)
        found.append(manifests[parent])
    return tuple(reversed(found))


def newest(manifests: Mapping[str, Manifest]) -> Optional[Manifest]:
    """The newest backup by the time in its id: the one that an incremental would start from."""
    return max(manifests.values(), key=lambda manifest: names.sort_key(manifest.id), default=None)


def decide_type(
    job: Job,
    manifests: Mapping[str, Manifest],
    *,
    engine: str,
    identity: SourceIdentity,
    known_bad: Container[str],
    state_missing: Optional[str] = None,
) -> tuple[Optional[Manifest], str]:
    """``(parent, reason)``: the backup that the next one starts from, or ``None`` for a full one.

    ``state_missing`` says why the state of the newest backup cannot be used, if it cannot. The
    reason is for ``manifest.notes``; it is empty where a full backup was asked for.
    """
    if job.type == "full":
        return None, ""
    parent = newest(manifests)
    if parent is None:
        return None, "full: there is no earlier backup to start from"
    why_not = _broken_link(job, manifests, parent, engine, identity, known_bad) or state_missing
    if why_not:
        return None, f"full: {why_not}"
    return parent, f"incremental: what changed since {parent.id}"


def _broken_link(
    job: Job,
    manifests: Mapping[str, Manifest],
    parent: Manifest,
    engine: str,
    identity: SourceIdentity,
    known_bad: Container[str],
) -> str:
    try:
        links = resolve(manifests, parent.id)
    except DamagedError as error:
        return error.message
    for link in links:
        if link.id in known_bad:
            return f"{link.id} is known to be bad"
    if parent.engine != engine or not _same_database(parent.source, identity):
        other = parent.source
        return f"{parent.id} is of another database: {parent.engine} {other.database} on {other.host}"
    if parent.method != job.method:
        return f"{parent.id} is {parent.method}, and {job.method} was asked for"
    if len(links) >= job.limits.chain_length:
        return f"the chain has reached {len(links)} backups (limits.chain_length)"
    return ""


def _same_database(one: SourceIdentity, other: SourceIdentity) -> bool:
    if one.server_identity is not None and other.server_identity is not None:
        return (one.server_identity, one.database) == (other.server_identity, other.database)
    return (one.server_identity, one.host, one.database) == (
        other.server_identity,
        other.host,
        other.database,
    )
