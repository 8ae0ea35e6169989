"""Sync between real folders: everything arrives whole, nothing there is replaced, nothing damaged spreads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from unit.samples import job, make_manifest, make_proof, moment, store_backup, store_chain, store_proof, store_series

from dbfleet import manifests, names
from dbfleet.catalog import read_catalog
from dbfleet.errors import BusyError, CapacityError, NotFoundError, UsageError
from dbfleet.model import Job, Limits
from dbfleet.operations.lookup import listing, open_repository
from dbfleet.operations.prune import prune
from dbfleet.operations.sync import sync
from dbfleet.stores.base import Store


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def asked(tmp_path) -> Job:
    return job(url=str(tmp_path / "backups"))


@pytest.fixture
def store(asked) -> Store:
    opened = open_repository(asked)
    opened.prepare()
    return opened


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "offsite"


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_everything_arrives_and_a_second_run_copies_nothing(asked, store, target):
    made = store_series(store, range(4))
    nested = store_backup(store, make_manifest(moment(5), previous=made[-1].digest, suffixes=("/a.sql", "/b.sql")))
    store_proof(store, make_proof(made[1], ok=True))
    prune(replace(asked, retention=job(keep_last=4).retention), now=moment(9))
    planned = sync(asked, str(target), dry_run=True)
    assert not target.exists()
    report = sync(asked, str(target))
    assert [copy.id for copy in report.copied] == [copy.id for copy in planned.copied]
    assert content_of(target) == content_of(Path(asked.repository.url))
    assert report.to_json()["synced"]["size_bytes"] == sum(m.size_bytes for m in (*made[1:], nested))
    assert read_catalog(open_repository(job(url=str(target))), "app").findings() == []
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o600}

    again = sync(asked, str(target))
    assert (again.copied, again.records, again.present) == ((), (), 4)
    file = store_proof(store, make_proof(made[2], ok=False))
    assert sync(asked, str(target)).records == (file,)
    assert content_of(target) == content_of(Path(asked.repository.url))


def test_what_the_target_has_besides_stays(asked, store, target):
    store_series(store, range(2))
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    other = open_repository(job(url=str(target)))
    store_series(other, [40])
    store_series(other, [40], "other")
    before = content_of(target)
    sync(asked, str(target))
    assert before.items() <= content_of(target).items()


def test_the_source_itself_is_refused(asked, store, tmp_path):
    store_series(store, range(2))
    os.symlink(asked.repository.url, tmp_path / "link")
    for to in (
        asked.repository.url,
        asked.repository.url + "/",
        "file://" + asked.repository.url,
        str(tmp_path / "link"),
    ):
        with pytest.raises(UsageError, match="itself"):
            sync(asked, to)


def test_damaged_and_bad_backups_do_not_spread(asked, store, target):
    root = Path(asked.repository.url)
    good, flipped, short, bad, unread = store_series(store, range(5))
    data = bytearray((root / f"{flipped.id}.db").read_bytes())
    data[5] ^= 1
    (root / f"{flipped.id}.db").write_bytes(data)
    (root / f"{short.id}.db").write_bytes(b"short")
    store_proof(store, make_proof(bad, ok=False))
    (root / names.manifest_file(unread.id)).write_bytes(b"{}")
    report = sync(asked, str(target))
    assert [copy.id for copy in report.copied] == [good.id]
    assert {finding.object for finding in report.findings} == {flipped.id, short.id, bad.id, unread.id}
    assert {name.partition(".")[0] for name in content_of(target)} == {good.id}


def test_an_incremental_does_not_go_without_its_chain(asked, store, target):
    chain = store_chain(store, [0, 1, 2])
    path = Path(asked.repository.url) / f"{chain[1].id}.sql"
    path.write_bytes(path.read_bytes().replace(b"b", b"c"))
    report = sync(asked, str(target))
    assert [copy.id for copy in report.copied] == [chain[0].id]
    assert [finding.object for finding in report.findings] == [chain[1].id, chain[2].id]


def test_another_backup_of_the_same_name_is_found_and_left(asked, store, target):
    made = store_series(store, [0, 1])
    other = open_repository(job(url=str(target)))
    other.prepare()
    store_backup(other, manifests.seal(replace(made[0], notes=("another",))))
    before = content_of(target)
    report = sync(asked, str(target))
    assert [copy.id for copy in report.copied] == [made[1].id]
    assert [finding.object for finding in report.findings] == [made[0].id]
    assert before.items() <= content_of(target).items()


def test_a_file_in_the_way_is_never_replaced(asked, store, target):
    made = store_series(store, [0])
    target.mkdir()
    (target / f"{made[0].id}.db").write_bytes(b"mine")
    report = sync(asked, str(target))
    assert report.copied == ()
    assert [finding.object for finding in report.findings] == [made[0].id]
    assert content_of(target) == {f"{made[0].id}.db": b"mine"}


def test_a_target_without_room_is_refused_before_it_is_full(asked, store, target):
    store_series(store, [0])
    with pytest.raises(CapacityError, match="min_free"):
        sync(replace(asked, limits=Limits(min_free="999P")), str(target))
    assert not [name for name in content_of(target) if name.endswith(".manifest.json")]


def test_two_syncs_to_one_target_wait_for_each_other(asked, store, target):
    store_series(store, [0])
    target.mkdir()
    there = open_repository(job(url=str(target)))
    with there.lock("app"), pytest.raises(BusyError):
        sync(replace(asked, limits=Limits(lock_wait=0)), str(target))
    assert listing(job(url=str(target))) == []


def test_a_source_that_is_not_there_is_an_error(asked, target):
    with pytest.raises(NotFoundError):
        sync(asked, str(target))
    assert not target.exists()
