"""Leftovers: what a crash left of a backup, a copy or a prune that never ended.

Only the holder of the job's exclusive lock may sweep: then whoever wrote an intent and did not
remove it is dead. Nothing goes that no intent, and no upload of this job, names.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from ..catalog import Catalog
from ..errors import AppendOnlyError
from ..stores.base import Store


def leftovers(catalog: Catalog) -> list[str]:
    """Names of everything that can go, in the order in which it must: intents after what they name."""
    return [*_half_written(catalog), *_announced(catalog)]


def sweep(catalog: Catalog) -> list[str]:
    """Remove the :func:`leftovers` of the catalog's job; returns the names of those that went.

    Where the store keeps everything from us they stay, until an account that may remove prunes.
    """
    gone = []
    for file in leftovers(catalog):
        if not discard(catalog.store, file):
            break
        gone.append(file)
    return gone


def discard(store: Store, file: str) -> bool:
    """Remove what nobody needs any more; false where the store keeps it: a later sweep takes it then."""
    try:
        store.remove(file)
    except AppendOnlyError:
        return False
    return True


def _half_written(catalog: Catalog) -> Iterator[str]:
    for entry in _uploads(catalog.store, catalog.name):
        folder, slash, hidden = entry.rpartition("/")
        final = folder + slash + hidden.lstrip(".")
        owned = names.of_backup(final) or names.of_prune_upload(final)
        if owned is not None and catalog.name in (None, owned.job):
            yield entry


def _uploads(store: Store, name: object) -> list[str]:
    prefixes = ("",) if name is None else (f"{name}_backup_", f"{name}_prune_")
    return sorted({entry.name for prefix in prefixes for entry in store.leftovers(prefix)})


def _announced(catalog: Catalog) -> Iterator[str]:
    for file, intent in catalog.intents.items():
        for backup, named in intent.files.items():
            there = catalog.files.get(backup, {})
            if names.manifest_file(backup) in there:
                continue
            yield from sorted(there.keys() - {file} if named is None else there.keys() & set(named))
        yield file
