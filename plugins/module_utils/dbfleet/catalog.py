"""The catalog: all manifests of a repository, read together.

The store is listed once; manifests and records are read when they are asked for, and kept. A
damaged file is never fatal: it is a finding, and its backup does not count.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from typing import Callable, Optional, TypeVar, Union

from . import gaps, names
from . import manifests as codec
from . import standing as judge
from .errors import DamagedError, DbfleetError, NotFoundError, UsageError
from .model import Finding, Manifest, ProofRecord, PruneRecord
from .outline import Outline, read_outline
from .standing import Standing
from .stores.base import Entry, Store

Read = TypeVar("Read")


def read_catalog(store: Store, name: Optional[str]) -> Catalog:
    """The catalog of job ``name`` in ``store``, or of every job there for ``None``.

    Raises ``NotFoundError`` for a repository that is not there, ``RepositoryError`` when it
    cannot be read.
    """
    files: dict[str, dict[str, Entry]] = {}
    prunes: set[str] = set()
    name = name or None  # a job without a name is about every job
    end = len(names.backup_id(name, datetime.now(timezone.utc))) if name else 0
    for entry in store.entries(f"{name}_" if name else ""):
        known = files.get(entry.name[:end])
        if known is not None and entry.name[end : end + 1] in (".", "/"):
            known[entry.name] = entry  # another file of an id that was taken apart already
            continue
        owned = names.of_backup(entry.name)
        if owned is not None:
            if name in (None, owned.job):
                files.setdefault(owned.id, {})[entry.name] = entry
            continue
        prune = names.of_prune(entry.name)
        if prune is not None and name in (None, prune.job):
            prunes.add(entry.name)
    return Catalog(store, name, files, prunes)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Records hold no cycles: looking for some while thousands are made takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Catalog:
    """One listing of a repository; made by :func:`read_catalog`.

    ``files`` maps every id to the entries of its files by name, whether it is a backup or not;
    ``prune_files`` are the names of prune records and of prunes' intents.
    """

    def __init__(
        self, store: Store, name: Optional[str], files: dict[str, dict[str, Entry]], prune_files: set[str]
    ) -> None:
        self.store = store
        self.name = name
        self.files = files
        self.prune_files = prune_files
        self._manifests: dict[str, Union[Manifest, DbfleetError]] = {}
        self._outlines: dict[str, Outline] = {}
        self._unread_proofs: dict[str, DbfleetError] = {}
        self._standings: dict[str, Standing] = {}

    # --- what there is ---

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Backups that have a manifest, readable or not, the oldest first."""
        found = [backup for backup, files in self.files.items() if names.manifest_file(backup) in files]
        return tuple(sorted(found, key=names.sort_key))

    def manifest(self, backup: str) -> Manifest:
        """The manifest of ``backup``; raises the reason when it cannot be had."""
        found = self._load(backup)
        if isinstance(found, DbfleetError):
            raise found
        return found

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """Every readable manifest by id, the oldest first."""
        with collector_paused():
            loaded = [(backup, self._load(backup)) for backup in self.ids]
        return {backup: found for backup, found in loaded if isinstance(found, Manifest)}

    @cached_property
    def unreadable(self) -> Mapping[str, DbfleetError]:
        """Backups whose manifest is damaged or of a newer schema, and why."""
        loaded = ((backup, self._load(backup)) for backup in self.ids)
        errors = {backup: found for backup, found in loaded if isinstance(found, DbfleetError)}
        return {backup: error for backup, error in errors.items() if not isinstance(error, NotFoundError)}

    @cached_property
    def prune_records(self) -> tuple[PruneRecord, ...]:
        """Every readable prune record, the oldest first."""
        return tuple(record for record in self._prunes.values() if isinstance(record, PruneRecord))

    @cached_property
    def intents(self) -> Mapping[str, codec.Intent]:
        """Every readable intent of a backup, a copy or a prune, by the name of its file."""
        return {file: found for file, found in self._intents.items() if isinstance(found, codec.Intent)}

    @cached_property
    def foreign(self) -> tuple[Entry, ...]:
        """Dumps of scripts before this project that no manifest describes, the oldest first."""
        announced = {backup for intent in self.intents.values() for backup in intent.files}
        announced |= {owned.id for owned in map(names.of_backup, self._intents) if owned is not None}
        announced |= set(self.ids)
        found = []
        for backup in sorted(self.files.keys() - announced, key=names.sort_key):
            files = self.files[backup]
            found += [files[file] for file in sorted(files) if names.is_legacy(file[len(backup) :])]
        return tuple(found)

    # --- what is known of it ---

    def standing(self, backup: str) -> Standing:
        """What is known of ``backup``, the chain that it needs included."""
        line: dict[str, None] = {}
        current: Optional[str] = backup
        while current is not None and current not in self._standings and current not in line:
            line[current] = None
            found = self.outline(current)
            current = None if isinstance(found, DbfleetError) else found.parent
        for member in reversed(line):
            self._standings[member] = self._judge(member)
        return self._standings[backup]

    @property
    def known_bad(self) -> Mapping[str, str]:
        """Every backup that is known to be bad, and why."""
        standings = ((backup, self.standing(backup)) for backup in self.manifests)
        return {backup: standing.reason for backup, standing in standings if standing.state == "bad"}

    def latest_good(self, engine: Optional[str] = None) -> Optional[Manifest]:
        """The newest backup (of ``engine``) that is not known to be bad; reads no more than it must."""
        for backup in reversed(self.ids):
            found = self._load(backup)
            if isinstance(found, Manifest) and engine in (None, found.engine) and self.standing(backup).counts:
                return found
        return None

    def newest(self) -> Optional[Manifest]:
        """The newest readable backup, good or not."""
        return next((found for found in map(self._load, reversed(self.ids)) if isinstance(found, Manifest)), None)

    def previous_digest(self) -> Optional[str]:
        """The digest of the newest readable manifest: what the next one links to."""
        newest = self.newest()
        return None if newest is None else newest.digest

    def findings(self) -> list[Finding]:
        """Everything that is wrong with the repository as a whole, as far as reading its records tells."""
        bad = self.known_bad  # reads the proof records
        unread = {**self.unreadable, **self._unread_proofs, **self._prunes, **self._intents}
        return [
            *(Finding(backup, reason, gaps.FROM_COPY) for backup, reason in bad.items()),
            *(Finding(f, e.message, e.remedy) for f, e in unread.items() if isinstance(e, DbfleetError)),
            *gaps.of_manifests(self.manifests.values(), self.prune_records, self._claimed(self.unreadable)),
            *gaps.of_records(self.prune_records, self._claimed(self._prunes)),
        ]

    def likely_parent(self, backup: str) -> Optional[str]:
        """What a backup whose manifest cannot be read may start from: what it states, else the one before."""
        try:
            data = self.store.read(names.manifest_file(backup))
        except NotFoundError:
            return None
        stated = re.search(rb'"parent":\s*(null|"([a-z0-9_-]+)")', data)
        parent = stated[2].decode("ascii") if stated and stated[2] else None
        if stated and (parent is None or parent in self.ids):
            return parent
        place = self.ids.index(backup)
        return self.ids[place - 1] if place > 0 else None

    # --- finding one ---

    def find(self, text: str, engine: Optional[str] = None) -> Manifest:
        """The backup that ``text`` names: ``latest``, an id, its manifest, or (a path to) an artifact.

        Raises ``NotFoundError`` with near matches, ``UsageError`` when several fit, and the
        reason when the manifest cannot be read.
        """
        if text == "latest":
            latest = self.latest_good(engine)
            if latest is None:
                raise NotFoundError(f"{self.where} has no backup that can be relied on", "take a backup first")
            return latest
        base = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
        for candidate in (text, base, base[: -len(names.MANIFEST)]):
            if names.manifest_file(candidate) in self.files.get(candidate, ()):
                return self.manifest(candidate)
        matches = list(self._with_artifact(text, base))
        if len(matches) > 1:
            raise UsageError(f"{text!r} is a file of {len(matches)} backups", "write the id of one of them")
        if not matches:
            raise NotFoundError(f"{self.where} has no backup {text!r}", self._near(base))
        return matches[0]

    @property
    def where(self) -> str:
        """The job and its repository, for messages."""
        return self.store.url if self.name is None else f"job {self.name} in {self.store.url}"

    def _with_artifact(self, text: str, base: str) -> Iterator[Manifest]:
        owned = names.of_backup(base)
        if owned is not None:  # an artifact beside its manifest carries the id in its name
            if names.manifest_file(owned.id) in self.files.get(owned.id, ()):
                manifest = self.manifest(owned.id)
                if any(artifact.file == base for artifact in manifest.artifacts):
                    yield manifest
            return
        for manifest in self.manifests.values():
            files = [artifact.file for artifact in manifest.artifacts]
            if any(text.endswith(file) or (text == base and file.endswith("/" + base)) for file in files):
                yield manifest

    def _near(self, text: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(text, self.ids[-1000:], n=3, cutoff=0.75)
        return f"did you mean {' or '.join(near)}?" if near else "list the backups of the repository"

    # --- reading ---

    def _load(self, backup: str) -> Union[Manifest, DbfleetError]:
        found = self._manifests.get(backup)
        if found is None:
            file = names.manifest_file(backup)
            if file in self.files.get(backup, ()):
                found = self._decoded(codec.decode_manifest, file)
            if found is None:
                found = NotFoundError(f"{self.where} has no backup {backup}", "list its backups")
            self._manifests[backup] = found
        return found

    def outline(self, backup: str) -> Union[Outline, Manifest, DbfleetError]:
        """As much of the manifest of ``backup`` as listings need, or why it cannot be had."""
        outline = self._outlines.get(backup)
        if outline is None and backup not in self._manifests:
            file = names.manifest_file(backup)
            listed = file in self.files.get(backup, ())
            found = self._decoded(read_outline, file) if listed else None
            if isinstance(found, Outline):
                outline = self._outlines[backup] = found
        return outline or self._load(backup)

    def _judge(self, backup: str) -> Standing:
        manifest = self.outline(backup)
        if isinstance(manifest, DbfleetError):
            return judge.of_unreadable(manifest)
        proven = self.proof_files(backup)
        own = judge.by_proofs(manifest, self._proofs_of(proven)) if proven else judge.UNPROVEN
        problem = self._misfit(manifest)
        if problem:
            own = Standing("bad", problem, own.proof, damaged=True)
        if manifest.parent is None:
            return own
        return judge.with_parent(own, manifest.parent, self._standings.get(manifest.parent))

    def _misfit(self, manifest: Union[Outline, Manifest]) -> str:
        files = self.files[manifest.id]
        if all(one.file in files and files[one.file].size_bytes == one.size_bytes for one in manifest.artifacts):
            return ""
        # A listing is no snapshot: what was written or pruned meanwhile is told apart by a fresh look.
        sizes = {entry.name: entry.size_bytes for entry in self.store.entries(manifest.id)}
        return judge.by_files(manifest, sizes)

    def _proofs_of(self, files: list[str]) -> Iterator[Union[ProofRecord, DbfleetError]]:
        for file in sorted(files, reverse=True):
            found = self._decoded(codec.decode_proof, file)
            if isinstance(found, DbfleetError):
                self._unread_proofs[file] = found
            if found is not None:
                yield found

    def proof_files(self, backup: str) -> list[str]:
        """The names of the proof records of ``backup``."""
        end = len(backup)
        return [
            file
            for file in self.files.get(backup, ())
            if file[end : end + 7] == ".proof-" and names.is_proof(file[end:])
        ]

    @cached_property
    def _prunes(self) -> dict[str, Union[PruneRecord, DbfleetError]]:
        records = sorted(
            (file for file in self.prune_files if file.endswith(names.RECORD)),
            key=lambda file: names.sort_key(file[: -len(names.RECORD)]),
        )
        return self._decode_all(codec.decode_prune, records)

    @cached_property
    def _intents(self) -> dict[str, Union[codec.Intent, DbfleetError]]:
        files = [
            names.intent_file(backup) for backup, there in self.files.items() if names.intent_file(backup) in there
        ]
        files += [file for file in self.prune_files if file.endswith(names.INTENT)]
        return self._decode_all(codec.decode_intent, sorted(files))

    def _decode_all(
        self, decode: Callable[[bytes, str], Read], files: list[str]
    ) -> dict[str, Union[Read, DbfleetError]]:
        decoded = ((file, self._decoded(decode, file)) for file in files)
        return {file: found for file, found in decoded if found is not None}

    def _decoded(self, decode: Callable[[bytes, str], Optional[Read]], file: str) -> Union[Read, DbfleetError, None]:
        try:
            return decode(self.store.read(file), file)
        except NotFoundError:  # taken away since the listing
            return None
        except (DamagedError, codec.NewerSchemaError) as error:
            return error

    def _claimed(self, unreadable: Mapping[str, object]) -> set[str]:
        # What cannot be read may still state its digest: it is there, so it is no gap as well.
        claims = set()
        for key, error in unreadable.items():
            if isinstance(error, DbfleetError):
                file = key if key in self.prune_files else names.manifest_file(key)
                try:
                    claims.add(codec.claimed_digest(self.store.read(file)) or "")
                except NotFoundError:
                    pass  # taken away since the listing
        return claims
