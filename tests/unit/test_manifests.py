"""Promise: no changed byte of a manifest or record goes unnoticed, and a newer file is not called damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.samples import START, make_manifest, make_proof, moment

from dbfleet import manifests, names
from dbfleet.errors import DamagedError, DbfleetError
from dbfleet.model import Proof, PruneRecord, QueryProof, Removal, TableProof

MANIFEST = make_manifest(START)
FILE = names.manifest_file(MANIFEST.id)


def prune_record() -> PruneRecord:
    gone = (Removal(MANIFEST.id, MANIFEST.digest, "rule"), Removal("a_backup_20250101_000000", "d", "r", "file:///a"))
    return manifests.seal(PruneRecord("app_prune_20250202_030000", "app", moment(32), gone, previous="p"))


def test_everything_comes_back_as_it_was():
    assert manifests.decode_manifest(manifests.encode(MANIFEST), FILE) == MANIFEST
    proof = make_proof(MANIFEST, ok=False)
    file = names.proof_file(proof.backup, proof.finished_at)
    assert manifests.decode_proof(manifests.encode(proof), file) == proof
    record = prune_record()
    assert manifests.decode_prune(manifests.encode(record), names.record_file(record.id)) == record
    intent = manifests.seal(manifests.Intent(MANIFEST.id, "backup", START, {MANIFEST.id: (MANIFEST.id + ".db",)}))
    assert manifests.decode_intent(manifests.encode(intent), names.intent_file(intent.id)) == intent


@given(
    text=st.text(st.characters(), max_size=20),  # lone surrogates too: names that are not UTF-8
    rows=st.integers(0, 2**63),
    micros=st.integers(0, 10**9),
)
def test_any_text_number_and_time_comes_back(text, rows, micros):
    manifest = manifests.seal(
        replace(
            MANIFEST,
            finished_at=START + timedelta(microseconds=micros),
            proof=Proof("content", {text: TableProof(rows, text)}, text, (QueryProof(text, rows, text),), text),
            tools={text: text},
            restore_with=(text,),
            position={text: [rows, None, 1.5, {text: text}]},
            notes=(text, ""),
        )
    )
    data = manifests.encode(manifest)
    data.decode("utf-8")  # any reader of JSON can read it
    assert manifests.decode_manifest(data, FILE) == manifest
    assert manifests.encode(manifests.decode_manifest(data, FILE)) == data


@pytest.mark.parametrize("kind", ["manifest", "proof", "prune"])
def test_every_flipped_byte_is_noticed(kind):
    proof, record = make_proof(MANIFEST, ok=True), prune_record()
    made, decode, file = {
        "manifest": (MANIFEST, manifests.decode_manifest, FILE),
        "proof": (proof, manifests.decode_proof, names.proof_file(proof.backup, proof.finished_at)),
        "prune": (record, manifests.decode_prune, names.record_file(record.id)),
    }[kind]
    data = manifests.encode(made)
    for place in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            flipped = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
            with pytest.raises((DamagedError, manifests.NewerSchemaError)) as caught:
                decode(flipped, file)
            assert file in caught.value.message
            # only a digit of the schema can look like a newer one
            assert caught.type is DamagedError or b'"schema": 1,' not in flipped


@given(cut=st.integers(0, 2000), tail=st.binary(max_size=5))
def test_truncated_or_extended_bytes_are_damage(cut, tail):
    data = manifests.encode(MANIFEST)
    changed = data[:cut] + tail
    if changed != data:
        with pytest.raises(DamagedError):
            manifests.decode_manifest(changed, FILE)


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_damage_and_no_crash(data):
    with pytest.raises(DbfleetError):
        manifests.decode_manifest(data, FILE)


def test_deeply_nested_bytes_are_damage_and_no_crash():
    with pytest.raises(DamagedError):
        manifests.decode_manifest(b"[" * 200_000, FILE)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_newer_schema_is_not_damage(sealed):
    if sealed:
        data = manifests.encode(replace(MANIFEST, schema=2))
    else:  # a newer version may compute its digest in another way
        fields = json.loads(manifests.encode(MANIFEST))
        data = json.dumps({**fields, "schema": 2, "something": "new"}).encode()
    with pytest.raises(manifests.NewerSchemaError) as caught:
        manifests.decode_manifest(data, FILE)
    assert "upgrade dbfleet" in caught.value.remedy
    assert not isinstance(caught.value, DamagedError)


def forged(**changed) -> bytes:
    """Bytes with a right digest that no version would write."""
    fields = {**json.loads(manifests.encode(MANIFEST)), **changed}
    digest = fields.pop("digest")
    body = json.dumps(fields, indent=1).encode()[:-2]
    data = body + b',\n "digest": "' + digest.encode() + b'"\n}\n'
    from hashlib import sha256

    return data.replace(digest.encode(), sha256(body + b"\n}\n").hexdigest().encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"extra": 1},
        {"artifacts": [{"file": "x"}]},
        {"schema": 0},
        {"schema": True},
        {"id": "other_backup_20250101_030000"},
        {"id": "../x"},
        {"name": "other"},
        {"started_at": "2025-01-01"},
        {"notes": [1]},
        {"tools": []},
        {"parent": 5},
    ],
)
def test_forged_fields_are_damage(changed):
    with pytest.raises(DamagedError):
        manifests.decode_manifest(forged(**changed), FILE)
    manifests.decode_manifest(forged(), FILE)  # and the forger works


@pytest.mark.parametrize(
    "file", ["other_backup_20250101_000000.db", MANIFEST.id, MANIFEST.id + "2.db", MANIFEST.id + "/../../etc/passwd"]
)
def test_a_manifest_cannot_name_files_of_others(file):
    artifact = json.loads(manifests.encode(MANIFEST))["artifacts"][0]
    with pytest.raises(DamagedError):
        manifests.decode_manifest(forged(artifacts=[{**artifact, "file": file}]), FILE)


def test_a_manifest_under_another_name_is_damage():
    with pytest.raises(DamagedError, match="it is the manifest of"):
        manifests.decode_manifest(manifests.encode(MANIFEST), "app_backup_20250102_030000.manifest.json")


def test_the_digest_covers_everything_but_itself():
    assert manifests.seal(replace(MANIFEST, digest="anything")) == MANIFEST
    assert manifests.claimed_digest(manifests.encode(MANIFEST)) == MANIFEST.digest
    assert manifests.seal(replace(MANIFEST, notes=())).digest != MANIFEST.digest


@pytest.mark.parametrize(
    ("file", "job"),
    [
        ("app_backup_20250101_000000.db.zst", "app"),
        ("app_backup_backup_20250101_000000.db", "app_backup"),
        ("app_backup_20250101_000000_backup_20250102_000000.db", "app_backup_20250101_000000"),
        ("app_backup_20250101_000000/a.sql", "app"),
        ("app_backup_20250101_000000", None),
        ("app_backup_20250101_0000001.db", None),
        ("App_backup_20250101_000000.db", None),
        ("app_backup_２０２５0101_000000.db", None),
        ("notes.txt", None),
    ],
)
def test_a_file_name_has_one_owner(file, job):
    owned = names.of_backup(file)
    assert (owned.job if owned else None) == job


def test_a_taken_name_is_bumped_by_a_second():
    taken = {"app_backup_20250101_030000", "app_backup_20250101_030001"}
    assert names.unused(lambda at: names.backup_id("app", at), START, taken) == "app_backup_20250101_030002"
