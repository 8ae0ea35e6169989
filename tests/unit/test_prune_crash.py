"""Promises 1 and 3: a prune or sync that ends at any moment leaves complete backups and what is swept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.memory_store import Killed, MemoryStore
from unit.samples import (
    content,
    job,
    make_manifest,
    make_proof,
    moment,
    store_backup,
    store_chain,
    store_proof,
    store_series,
)

from dbfleet import manifests, names
from dbfleet.catalog import read_catalog
from dbfleet.errors import BusyError, RefusedError
from dbfleet.operations import prune as prune_module
from dbfleet.operations.prune import prune
from dbfleet.operations.sync import sync

NOW = moment(20)
BYSTANDERS = {
    "app_backup_20240101_000000.sql": b"a dump of an older script",
    "app2_backup_20250101_030000.db": b"of another job",
    "app_backup_backup_20250101_030000.db": b"of yet another job",
    "notes.txt": b"by hand",
}


@pytest.fixture(autouse=True)
def stores(monkeypatch, tmp_path) -> dict[str, MemoryStore]:
    made = {url: MemoryStore(url) for url in ("memory://repository", "memory://archive")}
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # hundreds of runs; nothing here is durable
    monkeypatch.setattr("dbfleet.stores.registry.open_store", lambda url, **modes: made[url])
    return made


def fill(store: MemoryStore) -> None:
    chain = store_chain(store, [0, 1, 2])
    single = store_backup(store, make_manifest(moment(3), previous=chain[-1].digest))
    second = store_backup(store, make_manifest(moment(4), previous=single.digest))
    child = store_backup(store, make_manifest(moment(5), previous=second.digest, parent=second.id))
    newest = store_backup(store, make_manifest(moment(19), previous=child.digest))
    store_proof(store, make_proof(chain[0], ok=True))
    store_proof(store, make_proof(newest, ok=True))
    store.objects.update(BYSTANDERS)
    store.objects[chain[0].id + ".sql.unpacked"] = b"somebody's own copy beside a backup"


def check_invariants(store: MemoryStore, now_good: set[str]) -> None:
    """Whatever is listed is complete and restorable, and what nobody here wrote is there."""
    catalog = read_catalog(store, "app")
    assert catalog.known_bad == catalog.unreadable == {}
    for backup, manifest in catalog.manifests.items():
        for artifact in manifest.artifacts:
            assert store.objects[artifact.file] == content(backup, artifact.file[len(backup) :])
    assert now_good <= set(catalog.ids)


def crash_everywhere(
    run: Callable[[], object],
    prepare: Callable[[], list[MemoryStore]],
    check: Callable[[], None],
    check_end: Callable[[], None],
) -> int:
    """Kill a run after every number of changes, and the run after it early on; then let one end.

    Returns how many changes there are.
    """
    for allowed in range(1000):
        shared = prepare()
        ended = killed_after(allowed, run, shared)
        check()
        killed_after(allowed % 7, run, shared)
        check()
        run()
        check()
        check_end()
        if ended:
            return allowed
    raise AssertionError("it never ends")


def killed_after(changes: int, run: Callable[[], object], shared: list[MemoryStore]) -> bool:
    """Run until that many changes were made in all stores together; returns whether it ended by itself."""
    budget = Budget(changes)
    for store in shared:
        store.change = budget.change  # type: ignore[method-assign]
    try:
        run()
    except Killed:
        return False
    else:
        return True
    finally:
        for store in shared:
            del store.change
            store.locked.clear()


class Budget:
    """Changes that may still be made before the process is killed."""

    def __init__(self, allowed: int) -> None:
        self.left = allowed

    def change(self, what: str) -> None:
        if self.left == 0:
            raise Killed(what)
        self.left -= 1


def test_a_prune_that_is_killed_anywhere_is_finished_by_the_next(stores):
    here, archive = stores.values()
    asked = job(keep_last=3, archive_after=10 * 86400, archive_to="memory://archive")

    def prepare() -> list[MemoryStore]:
        for store in (here, archive):
            store.objects.clear()
            store.partial.clear()
        fill(here)
        return [here, archive]

    def check() -> None:
        check_invariants(here, {"app_backup_20250120_030000"})
        check_invariants(archive, set())
        assert BYSTANDERS.items() <= here.objects.items()
        both = {*read_catalog(here, "app").ids, *read_catalog(archive, "app").ids}
        assert {names.backup_id("app", moment(day)) for day in (4, 5, 19)} <= both

    def check_end() -> None:
        left = set(here.objects) - set(BYSTANDERS)
        own = {name for name in left if not name.startswith(("app_backup_20250120_030000", "app_prune_"))}
        assert own == {"app_backup_20250101_030000.sql.unpacked"}
        assert here.partial == archive.partial == {}
        assert not [name for name in (*here.objects, *archive.objects) if name.endswith(".intent")]
        assert list(read_catalog(archive, "app").ids) == [names.backup_id("app", moment(d)) for d in (4, 5)]
        assert read_catalog(here, "app").findings() == read_catalog(archive, "app").findings() == []

    assert crash_everywhere(lambda: prune(asked, now=NOW), prepare, check, check_end) > 40


def test_a_sync_that_is_killed_anywhere_is_finished_by_the_next(stores):
    here, there = stores.values()

    def prepare() -> list[MemoryStore]:
        for store in (here, there):
            store.objects.clear()
            store.partial.clear()
        fill(here)
        store_backup(here, make_manifest(moment(19.5), previous=None))
        prune(job(keep_last=2), now=NOW)
        store_chain(here, [-9, -8])
        store_series(here, [-7, -6, -5])
        return [here, there]

    before = {}

    def check() -> None:
        check_invariants(there, set())
        assert read_catalog(there, "app").findings() == []
        before.setdefault("here", dict(here.objects))
        assert here.objects == before["here"]

    def check_end() -> None:
        assert read_catalog(there, "app").ids == read_catalog(here, "app").ids
        wanted = {name for name in here.objects if name not in BYSTANDERS and not name.endswith("unpacked")}
        assert set(there.objects) == wanted
        assert there.partial == {}

    assert crash_everywhere(lambda: sync(job(), "memory://archive"), prepare, check, check_end) > 20
    assert sync(job(), "memory://archive").copied == ()


def test_only_leftovers_of_the_job_itself_are_swept(stores):
    here, _archive = stores.values()
    store_series(here, [0])
    here.partial = {
        f".{name}.partial": b"half"
        for name in ("app_backup_20250102_030000.db", "app_backup_backup_20250102_030000.db", "app_backup_mine.db")
    }
    intent = manifests.Intent("app_backup_backup_20250103_030000", "backup", NOW, {})
    here.objects[names.intent_file(intent.id)] = manifests.encode(intent)
    assert prune(job(keep_last=1), now=NOW).swept == (".app_backup_20250102_030000.db.partial",)
    assert len(here.partial) == 2
    assert names.intent_file(intent.id) in here.objects


def test_a_dry_run_says_what_will_be_done_and_does_nothing(stores):
    here, _archive = stores.values()
    fill(here)
    asked = job(keep_last=3, archive_after=10 * 86400, archive_to="memory://archive")
    here.objects["app_backup_20241231_000000.db"] = b"half a backup"
    before = dict(here.objects)
    planned = prune(asked, dry_run=True, now=NOW)
    assert here.objects == before
    assert planned == prune(asked, now=NOW)
    assert [gone.id[-15:-7] for gone in planned.removed] == ["20250104", "20250103", "20250102", "20250101"]
    assert [moved.id[-15:-7] for moved in planned.archived] == ["20250106", "20250105"]
    assert planned.archived[0].to == "memory://archive"
    assert planned.to_json()["kept"] == [
        {"id": "app_backup_20250120_030000", "reasons": ["keep_last 1 of 3", "newest good backup"]}
    ]


def test_the_plan_that_was_made_is_the_one_that_is_done(stores, monkeypatch):
    here, _archive = stores.values()
    made = store_series(here, range(5))
    plans = []
    decide = prune_module.decide
    monkeypatch.setattr(prune_module, "decide", lambda *given: plans.append(decide(*given)) or plans[-1])
    report = prune(job(keep_last=2), now=NOW)
    assert len(plans) == 1
    assert report.removed == plans[0].removed
    assert [gone.id for gone in report.removed] == [made[2].id, made[1].id, made[0].id]


def test_a_chain_with_a_damaged_member_stays_where_it_is(stores):
    here, archive = stores.values()
    fill(here)
    member = names.backup_id("app", moment(5))
    here.objects[member + ".sql"] = content(member, ".sql").replace(b"b", b"c")
    asked = job(keep_last=3, archive_after=10 * 86400, archive_to="memory://archive")
    report = prune(asked, now=NOW)
    assert report.archived == ()
    assert [finding.object for finding in report.findings] == [member]
    assert {names.backup_id("app", moment(day)) for day in (4, 5, 19)} == set(read_catalog(here, "app").ids)
    assert not [name for name in archive.objects if name.startswith(member)]


def test_an_archived_copy_that_went_bad_keeps_the_original(stores):
    here, archive = stores.values()
    fill(here)
    sync(job(), "memory://archive")
    member = names.backup_id("app", moment(4))
    archive.objects[member + ".db"] = content(member, ".db").replace(b"b", b"c")
    report = prune(job(keep_last=3, archive_after=10 * 86400, archive_to="memory://archive"), now=NOW)
    assert report.archived == ()
    assert member in read_catalog(here, "app").ids


def test_the_archive_itself_archives_nothing(stores):
    here, _archive = stores.values()
    fill(here)
    report = prune(job(keep_last=3, archive_after=1, archive_to="memory://repository"), now=NOW)
    assert (report.archived, len(report.kept)) == ((), 3)


def test_nothing_is_touched_when_time_runs_backwards_or_another_works(stores):
    here, _archive = stores.values()
    fill(here)
    here.partial[".app_backup_20250102_030000.db.partial"] = b"half"
    before = dict(here.objects)
    with pytest.raises(RefusedError):
        prune(job(keep_last=1), now=moment(18))
    with here.lock("app"), pytest.raises(BusyError):
        prune(job(keep_last=1), now=NOW)
    assert here.objects == before
    assert here.partial


def test_damaged_manifests_and_what_they_may_need_stay(stores):
    here, _archive = stores.values()
    chain = store_chain(here, [0, 1, 2])
    store_backup(here, make_manifest(moment(3), previous=chain[-1].digest))
    file = names.manifest_file(chain[2].id)
    here.objects[file] = here.objects[file].replace(b"sqlite", b"sqlitf")
    report = prune(job(keep_last=1), now=NOW)
    assert report.removed == ()
    assert len(read_catalog(here, "app").ids) == 4
