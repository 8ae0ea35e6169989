"""The job, from what people wrote: mappings, the environment, the files of installed jobs.

A *layer* is a flat mapping from key path (``compression.level``) to a checked value. Layers
are read one by one, so that an error can say where it stands, then merged, strongest first
(architecture, chapter 3), and become one :class:`~dbfleet.model.Job`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import UsageError
from .keys import BY_PATH, GROUPS, KEYS, NAME_PATTERN, Key
from .model import (
    Compression,
    Encryption,
    HealthPolicy,
    Job,
    Limits,
    LogSettings,
    ProofPolicy,
    Repository,
    Retention,
    Source,
)
from .values import value_of

Layer = dict[str, Any]

LONGEST_NAME = 100  # file names grow by up to 60 characters, and file systems end at 255
# Variables of this project that are no keys of the job.
OTHER_VARIABLES = ("DBFLEET_CONFIG_DIR", "DBFLEET_STATE_DIR", "DBFLEET_SCRATCH", "DBFLEET_RESTORED", "DBFLEET_BACKUP")


def job_from_mapping(mapping: Mapping[str, Any], *, where: str) -> Job:
    """The job that one nested mapping describes; ``where`` names the mapping in errors.

    Raises ``UsageError`` for unknown keys, impossible values, and keys that do not fit together.
    """
    return job_from_layer(read_mapping(mapping, where=where))


def read_mapping(mapping: Mapping[str, Any], *, where: str) -> Layer:
    """The checked values of a nested mapping; ``None`` counts as not set."""
    layer: Layer = {}
    for path, raw in _leaves(mapping, where):
        if raw is not None:
            layer[path] = value_of(BY_PATH[path], raw, called=f"{path} in {where}")
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """What the environment says of the job.

    ``DATABASE_URL``, ``BACKUP_DIR`` and ``RETENTION_DAYS`` (``retention.keep_within``) are the names
    that applications know; ``DBFLEET_COMPRESSION_LEVEL`` is ``compression.level``, and so on for
    every key, and is stronger than the short name of the same key. A list is one text or a JSON
    list. Empty variables count as not set; an unknown one of ours is a ``UsageError``.
    """
    layer: Layer = {}
    for key in KEYS:
        if key.environment and environ.get(key.environment):
            layer[key.path] = _short_variable(key, environ[key.environment])
    by_variable = {variable(key): key for key in KEYS}
    for name in sorted(environ):
        if not name.startswith("DBFLEET_") or name in OTHER_VARIABLES or not environ[name]:
            continue
        if name not in by_variable:
            raise UsageError(f"{name} in the environment is no key of a job", _nearest(name, tuple(by_variable)))
        key = by_variable[name]
        layer[key.path] = value_of(key, _listed(key, name, environ[name]), called=name)
    return layer


def without_job(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what :func:`read_environment` would read."""
    ours = {key.environment for key in KEYS} | {variable(key) for key in KEYS}
    return {name: value for name, value in environ.items() if name not in ours}


def merge(layers: Sequence[Mapping[str, Any]]) -> Layer:
    """One layer from several, strongest first; lists replace each other, they do not add up."""
    merged: Layer = {}
    for layer in reversed(layers):
        merged.update(layer)
    return merged


def job_from_layer(layer: Mapping[str, Any], *, name_needed: bool = True) -> Job:
    """The job of one merged layer, with defaults for what it leaves out.

    Without a name, it is taken from the source; with ``name_needed`` off, a job with neither has
    the empty name, which stands for every name in the repository. Raises ``UsageError`` that
    says what to set.
    """
    if "repository.url" not in layer:
        raise UsageError(
            "no repository is given",
            "set repository.url (the command: --repository or BACKUP_DIR), or name an installed job",
        )
    job = Job(
        name=_name(layer, name_needed),
        repository=Repository(**_group(layer, "repository")),
        source=Source(**_group(layer, "source")) if "source.url" in layer else None,
        compression=Compression(**_group(layer, "compression")),
        encryption=Encryption(**_group(layer, "encryption")),
        retention=Retention(**_group(layer, "retention")),
        proof=ProofPolicy(**_group(layer, "proof")),
        limits=Limits(**_group(layer, "limits")),
        health=HealthPolicy(**_group(layer, "health")),
        log_archive=LogSettings(**_group(layer, "log_archive")),
        **{path: value for path, value in layer.items() if path in ("method", "type", "format")},
    )
    _check_together(job)
    return job


def check_for_backup(job: Job) -> Source:
    """The source of ``job``; refuses one that can be read but not backed up: no source, half an encryption."""
    if job.source is None:
        raise UsageError(
            "no source is given",
            "set source.url (the command: --source or DATABASE_URL), or name an installed job",
        )
    encryption = job.encryption
    if encryption.method == "none" and (encryption.recipients or encryption.passphrase_file):
        raise UsageError(
            "encryption.method is none, but a key is given: the backup would not be encrypted",
            "set encryption.method to gpg or age, or leave out recipients and passphrase_file",
        )
    if encryption.method == "gpg" and not (encryption.recipients or encryption.passphrase_file):
        raise UsageError(
            "encryption.method is gpg without a key",
            "set encryption.passphrase_file or encryption.recipients",
        )
    if encryption.method == "age" and not encryption.recipients:
        raise UsageError("encryption.method is age without a recipient", "set encryption.recipients")
    return job.source


def check_name(name: str, *, called: str) -> str:
    """``name`` if it can be the name of a job."""
    if not re.fullmatch(NAME_PATTERN, name) or name.startswith("-") or len(name) > LONGEST_NAME:
        raise UsageError(
            f"{called}: {name!r} cannot name a job",
            f"use 1 to {LONGEST_NAME} of a-z, 0-9, _ and -, not starting with -",
        )
    return name


def name_from_url(url: str) -> str:
    """The name for a job on ``url``: the file's stem or the database's name, made to fit; may be empty."""
    scheme, _colon, rest = url.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    host, _slash, path = rest.partition("/")
    last = re.split(r"[/\\]", path)[-1]
    if "%" in last:
        from urllib.parse import unquote

        last = unquote(last)
    if scheme.startswith("sqlite"):
        last = last.rpartition(".")[0] or last
    elif not last:
        last = host.rpartition("@")[2].partition(":")[0]
    fitted = re.sub(r"[^a-z0-9_-]+", "_", last.lower()).strip("_-")
    return fitted[:LONGEST_NAME]


def variable(key: Key) -> str:
    """``DBFLEET_COMPRESSION_LEVEL``."""
    return "DBFLEET_" + key.path.replace(".", "_").upper()


def unknown_key(path: str, where: str) -> UsageError:
    """The error for a key that does not exist, with the nearest one that does."""
    leaf = path.rpartition(".")[2]
    same = [known for known in BY_PATH if known.rpartition(".")[2] == leaf]
    remedy = f"did you mean {same[0]}?" if same else _nearest(path, (*BY_PATH, *GROUPS))
    return UsageError(f"{path} in {where} is no key of a job", remedy)


# --- reading -------------------------------------------------------------------------------


def _leaves(mapping: Mapping[str, Any], where: str) -> list[tuple[str, Any]]:
    if not isinstance(mapping, Mapping):
        raise UsageError(f"{where} is not a mapping", "write the keys of a job, such as source and repository")
    leaves: list[tuple[str, Any]] = []
    for head, value in mapping.items():
        head = str(head)
        if head in GROUPS:
            leaves.extend(_group_leaves(head, value, where))
        elif head in BY_PATH and "." not in head:
            leaves.append((head, value))
        else:
            raise unknown_key(head, where)
    return leaves


def _group_leaves(group: str, value: Any, where: str) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, Mapping):
        fields = ", ".join(key.field for key in KEYS if key.group == group)
        raise UsageError(f"{group} in {where} is not a mapping", f"its keys are {fields}")
    for field in value:
        if f"{group}.{field}" not in BY_PATH:
            raise unknown_key(f"{group}.{field}", where)
    return [(f"{group}.{field}", item) for field, item in value.items()]


def _short_variable(key: Key, text: str) -> Any:
    if key.environment != "RETENTION_DAYS":
        return value_of(key, text, called=str(key.environment))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"RETENTION_DAYS: {text!r} is not a positive whole number", "write days, such as 30")
    return int(text) * 86400


def _listed(key: Key, name: str, text: str) -> Any:
    if key.kind != "list" or not text.lstrip().startswith("["):
        return text
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name}: not a JSON list ({error})", 'write ["one", "two"], or one text') from None


def _nearest(word: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "the reference of the command lists every key"


# --- the whole job -------------------------------------------------------------------------


def _name(layer: Mapping[str, Any], needed: bool) -> str:
    if "name" in layer:
        return check_name(layer["name"], called="name")
    derived = name_from_url(layer.get("source.url", ""))
    if not derived and needed:
        raise UsageError(
            "the job has no name, and its source does not suggest one",
            "set name (the command: --name), or name an installed job",
        )
    return derived


def _group(layer: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {BY_PATH[path].field: value for path, value in layer.items() if BY_PATH[path].group == group}


def _check_together(job: Job) -> None:
    retention, compression, encryption = job.retention, job.compression, job.encryption
    if retention.archive_after is not None and not retention.archive_to:
        raise UsageError("retention.archive_after is set without retention.archive_to", "say where to move backups to")
    if retention.archive_to and retention.archive_after is None:
        raise UsageError("retention.archive_to is set without retention.archive_after", "say from which age on")
    if compression.method == "gzip" and compression.level is not None and not 1 <= compression.level <= 9:
        raise UsageError(f"compression.level: {compression.level} is out of gzip's range", "write 1 to 9")
    if encryption.method == "age" and encryption.passphrase_file:
        raise UsageError(
            "encryption.passphrase_file is set, but age works with recipients",
            "set encryption.recipients (to read: encryption.identity_file), or choose gpg",
        )
    if encryption.recipients and encryption.passphrase_file:
        raise UsageError("encryption.recipients and encryption.passphrase_file are both set", "choose one of the two")
