"""Manifests, proof records, prune records and intents as JSON fields, there and back.

Reading takes nothing on trust: every field must be there, none may be unknown, each has its
type, and a backup names no files but its own. What does not fit raises ``ValueError``,
``TypeError``, ``KeyError`` or ``AttributeError``; ``manifests`` makes the error of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Optional, TypeVar, Union

from . import names
from .model import (
    SCHEMA,
    Artifact,
    Finding,
    Manifest,
    Proof,
    ProofRecord,
    PruneRecord,
    QueryProof,
    Removal,
    SourceIdentity,
    TableProof,
)
from .units import to_text


@dataclass(frozen=True)
class Intent:
    """What an operation is about to write or remove, so that a crash leaves nothing unknown.

    ``files`` maps a backup's id to its files, or to ``None`` where their names were not known
    yet: then it is every file of that id. An intent counts only for ids without a manifest.
    """

    id: str  # of the backup, or of the prune
    verb: str  # backup | sync | prune
    at: datetime
    files: Mapping[str, Optional[tuple[str, ...]]]
    schema: int = SCHEMA
    digest: str = ""


Record = Union[Manifest, ProofRecord, PruneRecord, Intent]


# --- to JSON -------------------------------------------------------------------------------


def to_json(record: Record) -> dict[str, Any]:
    """``record`` as JSON fields, in the order in which they are written."""
    if isinstance(record, Manifest):
        return _manifest_json(record)
    if isinstance(record, ProofRecord):
        return _proof_record_json(record)
    if isinstance(record, PruneRecord):
        return _prune_record_json(record)
    return {
        "schema": record.schema,
        "id": record.id,
        "verb": record.verb,
        "at": to_text(record.at),
        "files": {key: None if files is None else list(files) for key, files in record.files.items()},
        "digest": record.digest,
    }


def proof_json(proof: Proof) -> dict[str, Any]:
    """``proof`` as JSON fields."""
    return {
        "level": proof.level,
        "tables": {name: {"rows": table.rows, "digest": table.digest} for name, table in proof.tables.items()},
        "schema_sha256": proof.schema_sha256,
        "queries": [{"sql": q.sql, "rows": q.rows, "sha256": q.sha256} for q in proof.queries],
        "image_sha256": proof.image_sha256,
    }


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    """``artifact`` as JSON fields."""
    return {
        "file": artifact.file,
        "role": artifact.role,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "raw_size_bytes": artifact.raw_size_bytes,
        "raw_sha256": artifact.raw_sha256,
        "compression": artifact.compression,
        "encryption": dict(artifact.encryption),
        "database": artifact.database,
    }


def finding_json(finding: Finding) -> dict[str, str]:
    """``finding`` as JSON fields."""
    return {"object": finding.object, "problem": finding.problem, "remedy": finding.remedy}


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    source = manifest.source
    return {
        "schema": manifest.schema,
        "id": manifest.id,
        "name": manifest.name,
        "engine": manifest.engine,
        "method": manifest.method,
        "type": manifest.type,
        "parent": manifest.parent,
        "source": {
            "host": source.host,
            "database": source.database,
            "server_version": source.server_version,
            "server_identity": source.server_identity,
        },
        "started_at": to_text(manifest.started_at),
        "consistent_at": to_text(manifest.consistent_at),
        "finished_at": to_text(manifest.finished_at),
        "position": dict(manifest.position),
        "artifacts": [artifact_json(artifact) for artifact in manifest.artifacts],
        "proof": proof_json(manifest.proof),
        "tools": dict(manifest.tools),
        "restore_with": list(manifest.restore_with),
        "notes": list(manifest.notes),
        "previous": manifest.previous,
        "digest": manifest.digest,
    }


def _proof_record_json(record: ProofRecord) -> dict[str, Any]:
    return {
        "schema": record.schema,
        "backup": record.backup,
        "manifest_digest": record.manifest_digest,
        "level": record.level,
        "started_at": to_text(record.started_at),
        "finished_at": to_text(record.finished_at),
        "ok": record.ok,
        "findings": [finding_json(finding) for finding in record.findings],
        "measured": None if record.measured is None else proof_json(record.measured),
        "host": record.host,
        "digest": record.digest,
    }


def _prune_record_json(record: PruneRecord) -> dict[str, Any]:
    return {
        "schema": record.schema,
        "id": record.id,
        "name": record.name,
        "at": to_text(record.at),
        "removed": [
            {"id": gone.id, "digest": gone.digest, "rule": gone.rule, "archived_to": gone.archived_to}
            for gone in record.removed
        ],
        "previous": record.previous,
        "digest": record.digest,
    }


# --- from JSON: every field present, none unknown, each of its type ------------------------


def read_manifest(fields: dict[str, Any], digest: str) -> Manifest:
    """The manifest of ``fields`` (which it takes over), under the digest that its bytes have."""
    check_shape(fields, _MANIFEST)
    identity = fields["id"]
    name, _time = names.split_id(identity)
    if name != fields["name"]:
        raise ValueError(f"{identity} is not of {fields['name']}")
    check_shape(fields["source"], _SOURCE)
    fields["source"] = _make(SourceIdentity, fields["source"])
    for key in ("started_at", "consistent_at", "finished_at"):
        fields[key] = read_moment(fields[key])
    fields["artifacts"] = tuple([read_artifact(entry, identity) for entry in fields["artifacts"]])
    fields["proof"] = _proof(fields["proof"])
    fields["restore_with"] = _texts(fields["restore_with"])
    fields["notes"] = _texts(fields["notes"])
    fields["digest"] = digest
    return _make(Manifest, fields)


def read_proof_record(fields: dict[str, Any], digest: str) -> ProofRecord:
    """The proof record of ``fields``, under the digest that its bytes have."""
    check_shape(fields, _PROOF_RECORD)
    for key in ("started_at", "finished_at"):
        fields[key] = read_moment(fields[key])
    for finding in fields["findings"]:
        check_shape(finding, _FINDING)
    fields["findings"] = tuple([Finding(**finding) for finding in fields["findings"]])
    fields["measured"] = None if fields["measured"] is None else _proof(fields["measured"])
    fields["digest"] = digest
    return _make(ProofRecord, fields)


def read_prune_record(fields: dict[str, Any], digest: str) -> PruneRecord:
    """The prune record of ``fields``, under the digest that its bytes have."""
    check_shape(fields, _PRUNE_RECORD)
    for gone in fields["removed"]:
        check_shape(gone, _REMOVAL)
    fields["removed"] = tuple([_make(Removal, gone) for gone in fields["removed"]])
    fields["at"] = read_moment(fields["at"])
    fields["digest"] = digest
    return _make(PruneRecord, fields)


def read_intent(fields: dict[str, Any], digest: str) -> Intent:
    """The intent of ``fields``, under the digest that its bytes have."""
    check_shape(fields, _INTENT)
    files: dict[str, Optional[tuple[str, ...]]] = {}
    for backup, listed in fields["files"].items():
        names.split_id(backup)
        files[backup] = None if listed is None else _texts(listed)
        if not all(names.belongs(file, backup) for file in files[backup] or ()):
            raise ValueError(f"it names files that are not of {backup}")
    return Intent(fields["id"], fields["verb"], read_moment(fields["at"]), files, digest=digest)


def read_artifact(fields: dict[str, Any], backup: str, *, bare: bool = False) -> Artifact:
    """The artifact of ``fields``, which must be a file of ``backup``; ``bare``: it may have just that name."""
    check_shape(fields, _ARTIFACT)
    if not names.belongs(fields["file"], backup) and not (bare and fields["file"] == backup):
        raise ValueError(f"{fields['file']!r} is not a file of {backup}")
    return _make(Artifact, fields)


def _proof(fields: dict[str, Any]) -> Proof:
    check_shape(fields, _PROOF)
    tables = fields["tables"]
    for name, table in tables.items():  # by far the most of a manifest: no call of check_shape for each
        if len(table) != 2 or table["rows"].__class__ is not int or type(table["digest"]) not in _TEXT_OR_NONE:
            raise TypeError(f"table {name!r}: {table!r}")
        tables[name] = TableProof(table["rows"], table["digest"])
    for query in fields["queries"]:
        check_shape(query, _QUERY)
    fields["queries"] = tuple([_make(QueryProof, query) for query in fields["queries"]])
    return _make(Proof, fields)


def _texts(values: list[Any]) -> tuple[str, ...]:
    if not {*map(type, values)} <= {str}:
        raise TypeError(f"{values!r} is not all text")
    return tuple(values)


def read_moment(text: str) -> datetime:
    """The moment that :func:`~dbfleet.units.to_text` wrote."""
    if text[-1:] != "Z":
        raise ValueError(f"not a UTC time: {text!r}")
    return datetime.fromisoformat(text[:-1] + "+00:00")


Made = TypeVar("Made")


def _make(kind: type[Made], fields: dict[str, Any]) -> Made:
    # What kind(**fields) makes, without a second dictionary and without object.__setattr__ for every
    # field of a frozen dataclass: a catalog of 10,000 backups is read in a third of the time.
    made = object.__new__(kind)
    object.__setattr__(made, "__dict__", fields)
    return made


class Shape:
    """The names of some fields in their order, and the types that each may have."""

    def __init__(self, **types: tuple[type, ...]) -> None:
        self.names = tuple(types)
        self.types = frozenset(product(*types.values()))


def check_shape(fields: dict[str, Any], shape: Shape) -> None:
    """Raise ``ValueError`` or ``TypeError`` where ``fields`` are not of ``shape``."""
    if tuple(fields) != shape.names:
        wrong = sorted(set(fields) ^ set(shape.names))
        raise ValueError("unknown or missing fields: " + ", ".join(wrong) if wrong else "fields in another order")
    if tuple(map(type, fields.values())) not in shape.types:
        raise TypeError(f"a field of another type among {', '.join(fields)}")


_TEXT, _COUNT, _MAP, _LIST, _FLAG = (str,), (int,), (dict,), (list,), (bool,)
_TEXT_OR_NONE, _MAP_OR_NONE = (str, type(None)), (dict, type(None))

_MANIFEST = Shape(
    schema=_COUNT,
    id=_TEXT,
    name=_TEXT,
    engine=_TEXT,
    method=_TEXT,
    type=_TEXT,
    parent=_TEXT_OR_NONE,
    source=_MAP,
    started_at=_TEXT,
    consistent_at=_TEXT,
    finished_at=_TEXT,
    position=_MAP,
    artifacts=_LIST,
    proof=_MAP,
    tools=_MAP,
    restore_with=_LIST,
    notes=_LIST,
    previous=_TEXT_OR_NONE,
    digest=_TEXT,
)
_SOURCE = Shape(host=_TEXT, database=_TEXT, server_version=_TEXT, server_identity=_TEXT_OR_NONE)
_ARTIFACT = Shape(
    file=_TEXT,
    role=_TEXT,
    size_bytes=_COUNT,
    sha256=_TEXT,
    raw_size_bytes=_COUNT,
    raw_sha256=_TEXT,
    compression=_TEXT,
    encryption=_MAP,
    database=_TEXT_OR_NONE,
)
_PROOF = Shape(level=_TEXT, tables=_MAP, schema_sha256=_TEXT_OR_NONE, queries=_LIST, image_sha256=_TEXT_OR_NONE)
_QUERY = Shape(sql=_TEXT, rows=_COUNT, sha256=_TEXT)
_PROOF_RECORD = Shape(
    schema=_COUNT,
    backup=_TEXT,
    manifest_digest=_TEXT,
    level=_TEXT,
    started_at=_TEXT,
    finished_at=_TEXT,
    ok=_FLAG,
    findings=_LIST,
    measured=_MAP_OR_NONE,
    host=_TEXT,
    digest=_TEXT,
)
_FINDING = Shape(object=_TEXT, problem=_TEXT, remedy=_TEXT)
_PRUNE_RECORD = Shape(
    schema=_COUNT, id=_TEXT, name=_TEXT, at=_TEXT, removed=_LIST, previous=_TEXT_OR_NONE, digest=_TEXT
)
_REMOVAL = Shape(id=_TEXT, digest=_TEXT, rule=_TEXT, archived_to=_TEXT_OR_NONE)
_INTENT = Shape(schema=_COUNT, id=_TEXT, verb=_TEXT, at=_TEXT, files=_MAP, digest=_TEXT)
