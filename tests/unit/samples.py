"""Backups for tests: manifests with artifacts whose bytes are really there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Optional

from dbfleet import manifests, names
from dbfleet.model import (
    Artifact,
    Finding,
    Job,
    Manifest,
    Proof,
    ProofRecord,
    Repository,
    Retention,
    SourceIdentity,
    TableProof,
)
from dbfleet.stores.base import Store

START = datetime(2025, 1, 1, 3, 0, tzinfo=timezone.utc)


def moment(days: float = 0) -> datetime:
    return START + timedelta(days=days)


def job(name: str = "app", url: str = "memory://repository", **retention: Any) -> Job:
    return Job(name, Repository(url), retention=Retention(**retention))


def content(backup: str, suffix: str) -> bytes:
    return f"bytes of {backup}{suffix}".encode() * 3


def make_manifest(
    at: datetime,
    name: str = "app",
    *,
    parent: Optional[str] = None,
    previous: Optional[str] = None,
    suffixes: Sequence[str] = (".sql", ".db"),
    **changed: Any,
) -> Manifest:
    """A sealed manifest of a backup at ``at``."""
    backup = names.backup_id(name, at)
    fields: dict[str, Any] = {
        "id": backup,
        "name": name,
        "engine": "sqlite",
        "method": "logical",
        "type": "full" if parent is None else "incremental",
        "parent": parent,
        "previous": previous,
        "source": SourceIdentity("host", "/srv/app.db", "3.40.1", "identity"),
        "started_at": at,
        "consistent_at": at + timedelta(seconds=1),
        "finished_at": at + timedelta(seconds=2.5),
        "artifacts": tuple(make_artifact(backup, suffix) for suffix in suffixes),
        "proof": Proof("rows", {"users": TableProof(3), "a b": TableProof(0, "d" * 64)}, "5" * 64),
        "tools": {"sqlite": "3.40.1"},
        "restore_with": ("zstd -dc app.sql.zst | sqlite3 app.db",),
        "position": {"data_version": 7},
        "notes": ("locked for 0.1 s",),
    }
    return manifests.seal(Manifest(**{**fields, **changed}))


def make_artifact(backup: str, suffix: str) -> Artifact:
    data = content(backup, suffix)
    digest = sha256(data).hexdigest()
    return Artifact(backup + suffix, suffix.strip("./").partition(".")[0], len(data), digest, len(data), digest)


def store_backup(store: Store, manifest: Manifest) -> Manifest:
    """Write the artifacts and the manifest, as a backup does."""
    for artifact in manifest.artifacts:
        store.put(artifact.file, content(manifest.id, artifact.file[len(manifest.id) :]))
    store.put(names.manifest_file(manifest.id), manifests.encode(manifest))
    return manifest


def store_series(store: Store, days: Sequence[float], name: str = "app") -> list[Manifest]:
    """Backups at ``days``, each linked to the one before."""
    made: list[Manifest] = []
    for day in days:
        previous = made[-1].digest if made else None
        made.append(store_backup(store, make_manifest(moment(day), name, previous=previous)))
    return made


def store_chain(store: Store, days: Sequence[float], name: str = "app") -> list[Manifest]:
    """A full backup and the incrementals that follow it."""
    made: list[Manifest] = []
    for day in days:
        parent = made[-1] if made else None
        manifest = make_manifest(moment(day), name, parent=parent and parent.id, previous=parent and parent.digest)
        made.append(store_backup(store, manifest))
    return made


def make_proof(
    manifest: Manifest, *, ok: bool, level: str = "restore", days: float = 0.1, **changed: Any
) -> ProofRecord:
    at = manifest.finished_at + timedelta(days=days)
    fields: dict[str, Any] = {
        "backup": manifest.id,
        "manifest_digest": manifest.digest,
        "level": level,
        "started_at": at,
        "finished_at": at,
        "ok": ok,
        "findings": () if ok else (Finding("table users", "2 rows, 3 were backed up"),),
        "measured": manifest.proof,
        "host": "host",
    }
    return manifests.seal(ProofRecord(**{**fields, **changed}))


def store_proof(store: Store, record: ProofRecord) -> str:
    file = names.proof_file(record.backup, record.finished_at)
    store.put(file, manifests.encode(record))
    return file
