"""Manifests, proof records, prune records and intents as canonical JSON bytes.

The file is readable JSON with one-space indents and a fixed order of fields; ``digest`` is the
last one, the SHA-256 of the same JSON without it. Reading compares that digest over the very
bytes, so any changed byte is noticed. The place of ``digest`` is the same in every schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Callable, Optional, TypeVar

from . import names, record_fields
from .errors import DamagedError, RepositoryError
from .model import SCHEMA, Manifest, ProofRecord, PruneRecord
from .record_fields import Intent, Record, finding_json, to_json

__all__ = [
    "AnyRecord",
    "Intent",
    "NewerSchemaError",
    "Record",
    "claimed_digest",
    "damaged",
    "decode_fields",
    "decode_intent",
    "decode_manifest",
    "decode_proof",
    "decode_prune",
    "encode",
    "encode_fields",
    "finding_json",
    "seal",
    "to_json",
]


class NewerSchemaError(RepositoryError):
    """A file that a newer version of this project wrote: not damaged, only not readable here."""

    kind = "newer"


AnyRecord = TypeVar("AnyRecord", Manifest, ProofRecord, PruneRecord, Intent)
Decoded = TypeVar("Decoded")

_HEAD = b',\n "digest": "'
_FOOT = b'"\n}\n'
_TAIL = len(_HEAD) + 64 + len(_FOOT)


# --- to bytes and back ---------------------------------------------------------------------


def encode(record: Record) -> bytes:
    """The canonical bytes of ``record``, with its digest (whatever ``record.digest`` says)."""
    return encode_fields(to_json(record))


def encode_fields(fields: dict[str, Any]) -> bytes:
    """The canonical bytes of a record's ``fields``, whose last one is ``digest``: it is made anew."""
    del fields["digest"]
    body = _text(fields)[:-2]
    return body + _HEAD + sha256(body + b"\n}\n").hexdigest().encode("ascii") + _FOOT


def seal(record: AnyRecord) -> AnyRecord:
    """``record`` with its digest."""
    return replace(record, digest=claimed_digest(encode(record)) or "")


def claimed_digest(data: bytes) -> Optional[str]:
    """The digest that the bytes of a file state at their end, true or not."""
    if data[-_TAIL : -_TAIL + len(_HEAD)] != _HEAD or data[-len(_FOOT) :] != _FOOT:
        return None
    return data[-_TAIL + len(_HEAD) : -len(_FOOT)].decode("ascii", "replace")


def true_digest(data: bytes) -> Optional[str]:
    """The digest of the bytes of a file, if it is the one that they state."""
    digest = sha256(data[:-_TAIL] + b"\n}\n").hexdigest()
    return digest if data[-_TAIL:] == _HEAD + digest.encode("ascii") + _FOOT else None


def decode_manifest(data: bytes, file: str) -> Manifest:
    """The manifest in the bytes of ``file``.

    Raises ``DamagedError`` when they are not what was written, or are the manifest of another
    file; ``NewerSchemaError`` when a newer version wrote them.
    """
    manifest = decode_fields(data, file, record_fields.read_manifest)
    if names.manifest_file(manifest.id) != file:
        raise damaged(file, f"it is the manifest of {manifest.id}")
    return manifest


def decode_proof(data: bytes, file: str) -> ProofRecord:
    """The proof record in the bytes of ``file``; raises as :func:`decode_manifest`."""
    record = decode_fields(data, file, record_fields.read_proof_record)
    if not names.belongs(file, record.backup):
        raise damaged(file, f"it is a proof of {record.backup}")
    return record


def decode_prune(data: bytes, file: str) -> PruneRecord:
    """The prune record in the bytes of ``file``; raises as :func:`decode_manifest`."""
    record = decode_fields(data, file, record_fields.read_prune_record)
    if names.record_file(record.id) != file:
        raise damaged(file, f"it is the record of {record.id}")
    return record


def decode_intent(data: bytes, file: str) -> Intent:
    """The intent in the bytes of ``file``; raises as :func:`decode_manifest`."""
    intent = decode_fields(data, file, record_fields.read_intent)
    if names.intent_file(intent.id) != file:
        raise damaged(file, f"it is the intent of {intent.id}")
    return intent


def _text(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a name that are not UTF-8: written as JSON escapes
        return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text).encode("utf-8")


def decode_fields(data: bytes, file: str, read: Callable[[dict[str, Any], str], Decoded]) -> Decoded:
    """What ``read`` makes of the fields in the bytes of ``file``; raises as :func:`decode_manifest`."""
    digest = true_digest(data)
    if digest is None:
        _refuse_newer(data, file)
        raise damaged(file, "its bytes do not match its digest")
    try:
        fields = json.loads(data)
        if fields["schema"] != SCHEMA:
            _refuse_newer(data, file)
            raise ValueError(f"schema {fields['schema']!r}")
        return read(fields, digest)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise damaged(file, f"it holds what no version writes ({error})") from error


def _refuse_newer(data: bytes, file: str) -> None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(
            f"{file} has schema {schema}, and this version reads up to {SCHEMA}",
            "upgrade dbfleet on this host to the version that wrote it",
        )


def damaged(file: str, why: str) -> DamagedError:
    """The error of a file that is not what was written."""
    return DamagedError(f"{file} is damaged: {why}", "get this file back from another copy of the repository")
