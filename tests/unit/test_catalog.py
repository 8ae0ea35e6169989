"""Promise: what is listed is complete, what is wrong is found, and nothing damaged stops the rest."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unit.memory_store import MemoryStore
from unit.samples import (
    make_manifest,
    make_proof,
    moment,
    store_backup,
    store_chain,
    store_proof,
    store_series,
)

from dbfleet import manifests, names
from dbfleet.catalog import Catalog, read_catalog
from dbfleet.errors import DamagedError, NotFoundError, UsageError
from dbfleet.model import PruneRecord, Removal
from dbfleet.operations.lookup import list_catalog


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def catalog(store: MemoryStore) -> Catalog:
    return read_catalog(store, "app")


def problems(store: MemoryStore) -> dict[str, str]:
    return {finding.object: finding.problem for finding in catalog(store).findings()}


def flip(store: MemoryStore, file: str, place: int = 40) -> None:
    data = store.objects[file]
    store.objects[file] = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# --- what is listed ---


def test_backups_come_by_time_and_only_of_their_own_job(store):
    store_series(store, [3, 1, 2])
    for other in ("app2", "app_backup", "app-", "my_app"):
        store_series(store, [1], other)
    assert [i[-15:-7] for i in catalog(store).ids] == ["20250102", "20250103", "20250104"]
    assert len(read_catalog(store, None).ids) == 7


def test_artifacts_without_a_manifest_are_no_backup(store):
    manifest = make_manifest(moment(0))
    store_backup(store, manifest)
    del store.objects[names.manifest_file(manifest.id)]
    found = catalog(store)
    assert found.ids == ()
    with pytest.raises(NotFoundError):
        found.manifest(manifest.id)


def test_dumps_of_older_scripts_are_foreign_and_leftovers_are_not(store):
    made = store_series(store, [0])[0]
    for file in (
        "app_backup_20240101_000000.sql",
        "app_backup_20240102_000000.db.gz",
        "app_backup_20240103_000000.sql.gz.gpg",
        "app_backup_20240104_000000.txt",
        "app2_backup_20240101_000000.sql",
        made.id + ".sql.gz",  # unpacked by somebody beside its backup
        "app_backup_20240105_000000.db",  # of a backup that crashed
    ):
        store.put(file, b"x")
    crashed = manifests.Intent("app_backup_20240105_000000", "backup", moment(0), {"app_backup_20240105_000000": None})
    store.put(names.intent_file(crashed.id), manifests.encode(crashed))
    rows = list_catalog(catalog(store))
    assert [(row.state, row.file) for row in rows] == [
        ("foreign", "app_backup_20240101_000000.sql"),
        ("foreign", "app_backup_20240102_000000.db.gz"),
        ("foreign", "app_backup_20240103_000000.sql.gz.gpg"),
        ("unproven", None),
    ]


def test_a_listing_names_every_state(store):
    good, bad, unproven, damaged, truncated = store_series(store, range(5))
    store_proof(store, make_proof(good, ok=True))
    store_proof(store, make_proof(bad, ok=False))
    flip(store, names.manifest_file(damaged.id))
    store.objects[truncated.artifacts[0].file] = b"short"
    rows = list_catalog(catalog(store))
    assert [row.state for row in rows] == ["good", "bad", "unproven", "damaged", "damaged"]
    assert "table users" not in rows[1].reason and "2 rows" in rows[1].reason
    shown = rows[0].to_json()
    assert (shown["id"], shown["state"], shown["verified"]["ok"]) == (good.id, "good", True)
    json.dumps([row.to_json() for row in rows])


def test_a_missing_repository_says_so():
    store = MemoryStore()
    store.exists = False
    with pytest.raises(NotFoundError):
        catalog(store)


# --- damage ---


def test_a_damaged_manifest_is_a_finding_and_the_rest_is_read(store):
    made = store_series(store, [0, 1, 2])
    flip(store, names.manifest_file(made[1].id))
    found = catalog(store)
    assert list(found.manifests) == [made[0].id, made[2].id]
    assert isinstance(found.unreadable[made[1].id], DamagedError)
    assert list(problems(store)) == [made[1].id]  # it is there: no gap as well
    with pytest.raises(DamagedError):
        found.find(made[1].id)


def test_a_manifest_of_a_newer_version_is_not_damaged(store):
    made = store_series(store, [0, 1])
    store.objects[names.manifest_file(made[0].id)] = manifests.encode(replace(made[0], schema=2))
    row = list_catalog(catalog(store))[0]
    assert row.state == "unknown"
    assert "upgrade dbfleet" in row.reason
    assert catalog(store).latest_good().id == made[1].id


def test_a_missing_artifact_makes_a_backup_bad(store):
    made = store_series(store, [0, 1])
    del store.objects[made[1].artifacts[1].file]
    assert catalog(store).latest_good().id == made[0].id
    assert made[1].artifacts[1].file in problems(store)[made[1].id]


def test_what_was_pruned_during_the_listing_is_no_damage(store):
    made = store_series(store, [0, 1])
    found = catalog(store)
    for file in list(store.objects):
        if file.startswith(made[0].id):
            del store.objects[file]
    assert list(found.manifests) == [made[1].id]
    assert found.unreadable == {}
    assert [row.id for row in list_catalog(found)] == [made[1].id]


# --- what verifications say ---


@pytest.mark.parametrize(
    ("proofs", "state"),
    [
        ([], "unproven"),
        ([("checksum", True)], "good"),
        ([("restore", False)], "bad"),
        ([("restore", False), ("checksum", True)], "bad"),
        ([("restore", False), ("structure", True)], "bad"),
        ([("restore", False), ("restore", True)], "good"),
        ([("checksum", False), ("restore", True)], "good"),
        ([("checksum", False), ("structure", True), ("checksum", True)], "good"),
        ([("restore", True), ("checksum", False)], "bad"),
        ([("checksum", False), ("checksum", True), ("restore", False), ("structure", True)], "bad"),
    ],
)
def test_a_failure_counts_until_the_same_or_a_stronger_level_passes(store, proofs, state):
    made = store_series(store, [0])[0]
    for number, (level, ok) in enumerate(proofs):
        store_proof(store, make_proof(made, ok=ok, level=level, days=number + 1))
    assert catalog(store).standing(made.id).state == state
    assert (made.id in catalog(store).known_bad) == (state == "bad")


def test_a_proof_of_another_manifest_does_not_count(store):
    made = store_series(store, [0])[0]
    store_proof(store, make_proof(made, ok=False, manifest_digest="0" * 64))
    assert catalog(store).standing(made.id).state == "unproven"


def test_a_damaged_proof_leaves_doubt_until_a_restore_passes(store):
    made = store_series(store, [0])[0]
    flip(store, store_proof(store, make_proof(made, ok=False, level="checksum", days=1)))
    assert catalog(store).standing(made.id).state == "unknown"
    store_proof(store, make_proof(made, ok=True, level="checksum", days=2))
    assert catalog(store).standing(made.id).state == "unknown"
    assert catalog(store).latest_good() is None
    store_proof(store, make_proof(made, ok=True, level="restore", days=3))
    assert catalog(store).standing(made.id).state == "good"


def test_a_backup_is_no_better_than_the_chain_that_it_needs(store):
    full, first, second = store_chain(store, [0, 1, 2])
    other = store_backup(store, make_manifest(moment(3), previous=second.digest))
    store_proof(store, make_proof(full, ok=False))
    found = catalog(store)
    assert set(found.known_bad) == {full.id, first.id, second.id}
    assert found.latest_good().id == other.id
    del store.objects[names.manifest_file(first.id)]
    assert "missing" in catalog(store).standing(second.id).reason


def test_a_circle_of_parents_ends_and_is_bad(store):
    one, other = make_manifest(moment(0)), make_manifest(moment(1))
    store_backup(store, manifests.seal(replace(one, parent=other.id)))
    store_backup(store, manifests.seal(replace(other, parent=one.id)))
    assert set(catalog(store).known_bad) == {one.id, other.id}
    assert catalog(store).latest_good() is None


# --- gaps ---


def test_a_removed_manifest_is_a_gap_unless_a_prune_record_explains_it(store):
    made = store_series(store, [0, 1, 2])
    assert problems(store) == {}
    del store.objects[names.manifest_file(made[1].id)]
    assert list(problems(store)) == [made[2].id]
    record = PruneRecord("app_prune_20250201_000000", "app", moment(30), (Removal(made[1].id, made[1].digest, "rule"),))
    store.put(names.record_file(record.id), manifests.encode(record))
    assert problems(store) == {}


def test_a_replaced_manifest_is_a_gap(store):
    made = store_series(store, [0, 1, 2])
    store.objects[names.manifest_file(made[1].id)] = manifests.encode(replace(made[1], notes=("forged",)))
    assert list(problems(store)) == [made[2].id]


def test_a_removed_prune_record_is_a_gap(store):
    first = manifests.seal(PruneRecord("app_prune_20250201_000000", "app", moment(30), ()))
    second = PruneRecord("app_prune_20250202_000000", "app", moment(31), (), first.digest)
    store.put(names.record_file(first.id), manifests.encode(first))
    store.put(names.record_file(second.id), manifests.encode(second))
    assert problems(store) == {}
    flip(store, names.record_file(first.id))
    assert list(problems(store)) == [names.record_file(first.id)]
    del store.objects[names.record_file(first.id)]
    assert list(problems(store)) == [second.id]


# --- finding one ---


def test_a_backup_is_found_by_id_artifact_path_and_latest(store):
    made = store_series(store, [0, 1])
    store_proof(store, make_proof(made[1], ok=False))
    found = catalog(store)
    assert found.find("latest").id == made[0].id
    for text in (
        made[1].id,
        made[1].id + ".sql",
        f"backups/{made[1].id}.db",
        f"C:\\backups\\{made[1].id}.db",
        f"/srv/{made[1].id}.manifest.json",
    ):
        assert found.find(text).id == made[1].id
    for text in (made[1].id + ".sql.gz", made[1].id + ".txt", "", "/", "..", made[1].id[:-1]):
        with pytest.raises(NotFoundError):
            found.find(text)


def test_an_artifact_in_a_folder_is_found_if_only_one_backup_has_it(store):
    made = make_manifest(moment(0), suffixes=("/users.sql", "/globals.sql"))
    store_backup(store, made)
    assert catalog(store).find("users.sql").id == made.id
    store_backup(store, make_manifest(moment(1), suffixes=("/users.sql",), previous=made.digest))
    assert catalog(store).find(f"backups/{made.id}/users.sql").id == made.id
    with pytest.raises(UsageError, match="2 backups"):
        catalog(store).find("users.sql")


def test_a_mistyped_id_offers_the_near_ones(store):
    made = store_series(store, [0])[0]
    with pytest.raises(NotFoundError) as caught:
        catalog(store).find(made.id.replace("0300", "0301"))
    assert made.id in caught.value.remedy


def test_latest_reads_no_more_than_it_must(store):
    store_series(store, range(200))
    found = catalog(store)
    before = store.reads
    assert found.latest_good() is not None
    assert store.reads - before <= 2
    assert found.previous_digest() == found.latest_good().digest
    assert store.reads - before <= 2
