"""What ``list`` and ``show`` need: every backup of a job, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional, Union

from .. import manifests, names
from ..catalog import Catalog, collector_paused, read_catalog
from ..errors import DbfleetError, NotFoundError
from ..model import Job, Login, Manifest, ProofRecord
from ..outline import Outline
from ..stores.base import Store
from ..units import to_text


@dataclass(frozen=True)
class Listed:
    """One line of a listing.

    ``state`` is ``good`` (a verification passed), ``unproven`` (none yet), ``bad`` or ``damaged``
    (not to be relied on, for ``reason``), ``unknown`` (it cannot be told, for ``reason``), or
    ``foreign``: a dump that no manifest describes, stored in ``file``.
    """

    id: str
    state: str
    size_bytes: int
    outline: Union[Outline, Manifest, None] = None
    catalog: Optional[Catalog] = field(default=None, repr=False, compare=False)
    file: Optional[str] = None
    proof: Optional[ProofRecord] = None
    reason: str = ""

    @cached_property
    def manifest(self) -> Optional[Manifest]:
        """The whole manifest, where there is one. Raises when it was taken away or changed meanwhile."""
        if self.outline is None or isinstance(self.outline, Manifest) or self.catalog is None:
            return self.outline if isinstance(self.outline, Manifest) else None
        return self.catalog.manifest(self.id)

    def to_json(self) -> dict[str, Any]:
        """The manifest's fields where there is one, and what is known besides."""
        fields: dict[str, Any] = {"id": self.id}
        if self.manifest is not None:
            fields = manifests.to_json(self.manifest)
            fields["raw_size_bytes"] = self.manifest.raw_size_bytes
            fields["duration_seconds"] = self.manifest.duration_seconds
        if self.file is not None:
            fields["file"] = self.file
        fields.update(state=self.state, reason=self.reason, size_bytes=self.size_bytes, verified=None)
        if self.proof is not None:
            fields["verified"] = {
                "level": self.proof.level,
                "ok": self.proof.ok,
                "finished_at": to_text(self.proof.finished_at),
            }
        return fields


def open_repository(job: Job) -> Store:
    """The store of the job's repository."""
    return open_store_at(job, job.repository.url)


def open_store_at(job: Job, url: str, login: Optional[Login] = None) -> Store:
    """The store at ``url``, with the modes and the ``login`` that the job gives for its repository, or another one."""
    from ..stores.registry import open_store

    return open_store(
        url,
        file_mode=job.repository.file_mode,
        folder_mode=job.repository.folder_mode,
        **(job.repository.login if login is None else login)._asdict(),
    )


def listing(job: Job) -> list[Listed]:
    """Every backup of the job and every dump that no manifest describes, the oldest first.

    Raises ``NotFoundError`` for a repository that is not there.
    """
    with collector_paused():
        return list_catalog(read_catalog(open_repository(job), job.name))


def list_catalog(catalog: Catalog) -> list[Listed]:
    """The listing of a catalog that was read already."""
    rows = [_listed(catalog, backup) for backup in catalog.ids]
    rows += [_foreign(entry.name, entry.size_bytes) for entry in catalog.foreign]
    found = [row for row in rows if row is not None]
    return sorted(found, key=lambda row: names.sort_key(row.id)) if catalog.foreign else found


def find(job: Job, text: str) -> Listed:
    """The one line of the listing that ``text`` names; see :meth:`Catalog.find`.

    Raises ``NotFoundError`` with near matches, and the reason when a manifest cannot be read.
    """
    catalog = read_catalog(open_repository(job), job.name)
    try:
        backup = catalog.find(text).id
    except NotFoundError:
        base = text.replace("\\", "/").rpartition("/")[2]
        for entry in catalog.foreign:
            if base == entry.name:
                return _foreign(entry.name, entry.size_bytes)
        raise
    found = _listed(catalog, backup)
    if found is None:
        raise NotFoundError(f"{catalog.where} has no backup {text!r} any more", "list its backups again")
    return found


def _listed(catalog: Catalog, backup: str) -> Optional[Listed]:
    outline = catalog.outline(backup)
    if isinstance(outline, NotFoundError):  # removed since the listing
        return None
    if isinstance(outline, DbfleetError):
        size = sum(entry.size_bytes for entry in catalog.files[backup].values())
        newer = isinstance(outline, manifests.NewerSchemaError)
        return Listed(backup, "unknown" if newer else "damaged", size, reason=str(outline))
    standing = catalog.standing(backup)
    state = "damaged" if standing.damaged else standing.state
    return Listed(backup, state, outline.size_bytes, outline, catalog, proof=standing.proof, reason=standing.reason)


def _foreign(file: str, size_bytes: int) -> Listed:
    owned = names.of_backup(file)
    return Listed(file if owned is None else owned.id, "foreign", size_bytes, file=file)
