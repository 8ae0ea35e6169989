"""Prune on real folders: what goes, what never does, and what a killed prune leaves (promises 1, 3, 4, 7, 8)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from unit.samples import job, make_manifest, make_proof, moment, store_backup, store_chain, store_proof, store_series

from dbfleet import names, retention
from dbfleet.catalog import read_catalog
from dbfleet.errors import BusyError, NotFoundError
from dbfleet.model import Job, Limits
from dbfleet.operations.lookup import find, listing, open_repository
from dbfleet.operations.prune import prune
from dbfleet.stores.base import Store

NOW = moment(60)
ENGINE = Path(retention.__file__).parent.parent


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def asked(tmp_path) -> Job:
    return job(url=str(tmp_path / "backups"), keep_last=2)


@pytest.fixture
def store(asked) -> Store:
    opened = open_repository(asked)
    opened.prepare()
    return opened


def files(asked: Job) -> set[str]:
    root = Path(asked.repository.url)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_prune_removes_records_and_explains(asked, store, state):
    made = store_series(store, range(5))
    store_proof(store, make_proof(made[0], ok=True))
    report = prune(asked, now=NOW)
    assert [gone.id for gone in report.removed] == [made[2].id, made[1].id, made[0].id]
    assert [kept.id for kept in report.kept] == [made[4].id, made[3].id]
    stamp = NOW.strftime("%Y%m%d_%H%M%S")
    record = json.loads((Path(asked.repository.url) / f"app_prune_{stamp}.json").read_text())
    assert [gone["id"] for gone in record["removed"]] == [gone.id for gone in report.removed]
    assert record["removed"][0]["rule"] == "no rule keeps it: keep_last 2, min_keep 1"
    left = {name for name in files(asked) if name.startswith("app_backup")}
    assert left == {f"{m.id}{end}" for m in made[3:] for end in (".sql", ".db", ".manifest.json")}
    assert read_catalog(store, "app").findings() == []  # the record explains the gap
    assert prune(asked, now=NOW).removed == ()
    results = [json.loads(line)["result"] for line in (state / "audit.jsonl").read_text().splitlines()]
    assert results == ["begun", "removed", "removed", "removed", "done", "begun", "done"]


def test_what_others_wrote_is_never_touched(asked, store):
    root = Path(asked.repository.url)
    store_series(store, range(5))
    store_series(store, range(5), "app2")
    store_series(store, range(5), "app_backup")
    inside = make_manifest(moment(6), suffixes=("/a.sql", "/b.sql"))
    store_backup(store, inside)
    store_backup(store, make_manifest(moment(7), previous=inside.digest))
    store_backup(store, make_manifest(moment(8)))
    (root / inside.id / "mine.txt").write_text("mine")
    (root / "app_backup_20250101_030000.sql.mine").write_text("mine")
    (root / "app_backup_20200101_000000.sql").write_text("a dump of an older script")
    (root / ".app_backup_notes").write_text("mine")
    (root / "app_log").mkdir()
    (root / "app_log" / "000001").write_text("log")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert len(prune(asked, now=NOW).removed) == 6
    gone = {str(path.relative_to(root)) for path in before if not path.exists()}
    days = [names.backup_id("app", moment(day)) for day in range(5)]
    assert gone == {
        *(f"{backup}{end}" for backup in days for end in (".sql", ".db", ".manifest.json")),
        *(f"{inside.id}{end}" for end in ("/a.sql", "/b.sql", ".manifest.json")),
    }


def test_old_chains_move_to_the_archive_and_are_found_there(asked, store, tmp_path):
    chain = store_chain(store, [0, 1, 2])
    newer = store_backup(store, make_manifest(moment(58), previous=chain[-1].digest))
    store_proof(store, make_proof(chain[0], ok=True))
    archive = str(tmp_path / "archive")
    asked = replace(asked, retention=replace(asked.retention, keep_last=9, archive_after=86400, archive_to=archive))
    report = prune(asked, now=NOW)
    assert [moved.id for moved in report.archived] == [link.id for link in reversed(chain)]
    assert [row.id for row in listing(asked)] == [newer.id]
    there = job(url=archive)
    assert [row.state for row in listing(there)] == ["good", "unproven", "unproven"]
    assert find(there, chain[2].id).manifest == chain[2]
    assert read_catalog(store, "app").findings() == []
    assert read_catalog(open_repository(there), "app").findings() == []
    again = prune(asked, now=NOW)
    assert (again.archived, again.removed, again.swept) == ((), (), ())


def test_an_unreachable_archive_removes_nothing(asked, store, tmp_path):
    store_series(store, range(5))
    (tmp_path / "file").write_text("in the way")
    asked = replace(
        asked,
        retention=replace(asked.retention, keep_last=3, archive_after=1, archive_to=str(tmp_path / "file" / "archive")),
    )
    before = files(asked)
    with pytest.raises(Exception, match="file"):
        prune(asked, now=NOW)
    assert files(asked) == before


def test_a_repository_that_is_not_there_is_an_error(asked):
    with pytest.raises(NotFoundError):
        prune(asked, now=NOW)
    with pytest.raises(NotFoundError):
        prune(asked, dry_run=True, now=NOW)


def test_one_operation_at_a_time(asked, store):
    store_series(store, range(5))
    before = files(asked)
    with store.lock("app", shared=True), pytest.raises(BusyError):
        prune(replace(asked, limits=Limits(lock_wait=0)), now=NOW)
    assert files(asked) == before


KILLED = """
import sys
from datetime import datetime
from dbfleet.model import Job, Repository, Retention
from dbfleet.operations.prune import prune
url, archive, now = sys.argv[1:]
rules = Retention(keep_last=30, archive_after=86400, archive_to=archive, keep_within=0)
print("ready", flush=True)
prune(Job("app", Repository(url), retention=rules), now=datetime.fromisoformat(now))
"""


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3])
def test_a_killed_prune_is_finished_by_the_next(asked, store, tmp_path, delay):
    made = store_series(store, [day / 2 for day in range(50)])
    archive = str(tmp_path / "archive")
    command = [sys.executable, "-c", KILLED, asked.repository.url, archive, NOW.isoformat()]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ENGINE)}, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    there = job(url=archive)
    rules = replace(asked.retention, keep_last=30, archive_after=86400, archive_to=archive, keep_within=0)
    for one in (asked, there):
        if Path(one.repository.url).exists():
            assert {row.state for row in listing(one)} <= {"unproven"}  # complete, or not listed
    listed = {row.id for row in listing(asked)}
    if Path(archive).exists():
        listed |= {row.id for row in listing(there)}
    assert {manifest.id for manifest in made[-30:]} <= listed

    prune(replace(asked, retention=rules), now=NOW)
    assert [row.id for row in listing(asked)] == [made[-1].id]
    assert [row.id for row in listing(there)] == [manifest.id for manifest in made[-30:-1]]
    assert {name for name in files(asked) if "prune" not in name} == {
        made[-1].id + end for end in (".sql", ".db", ".manifest.json")
    }
    assert not [name for name in files(there) if name.endswith((".intent", ".partial"))]
    assert read_catalog(store, "app").findings() == []
    assert read_catalog(open_repository(there), "app").findings() == []
