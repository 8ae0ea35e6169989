"""``kill -9`` at random moments: what is listed is complete, databases are the old or the new, the next run works.

Each attempt is a forked child that is killed after a random part of the time that the operation takes. Backups,
restores, prunes and syncs are killed two hundred times each, in all the ways that they have together.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from conformance_jobs import made
from isolation import ended, forked
from sqlite_lab import ask, content, job_of, own_state, run_sql, sample

from dbfleet import names
from dbfleet.catalog import Catalog, read_catalog
from dbfleet.model import Compression, Job, Retention
from dbfleet.operations.backup import backup
from dbfleet.operations.prune import prune
from dbfleet.operations.restore import restore
from dbfleet.operations.sync import sync
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store
from dbfleet.units import utc_now

__all__ = ["own_state"]


def killed_at_random(
    moments: int, act: Callable[[], object], prepare: Callable[[int], None], check: Callable[[int], None]
) -> None:
    """Kill ``moments`` runs of ``act``, each after ``prepare`` and before ``check``, all over its duration."""
    prepare(0)
    begun = time.monotonic()
    assert ended(forked(act)) == 0, "it fails by itself"
    longest = time.monotonic() - begun
    killed = 0
    for number in range(moments):
        prepare(number)
        child = forked(act)
        time.sleep(random.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        if ended(child) == -signal.SIGKILL:
            killed += 1
            longest *= 1.03
        else:  # it was over: the machine has become faster
            longest *= 0.88
        check(number)
    assert killed > moments / 2, "most of them were over before they could be killed"


def check_listed(job: Job) -> Catalog:
    """Every backup that is listed can be read and has every byte of its artifacts."""
    catalog = read_catalog(open_store(job.repository.url), job.name)
    assert not catalog.unreadable
    for manifest in catalog.manifests.values():
        for artifact in manifest.artifacts:
            assert sha256(Path(job.repository.url, artifact.file).read_bytes()).hexdigest() == artifact.sha256
    assert not catalog.known_bad
    return catalog


def check_tidy(job: Job) -> None:
    """No file in the repository that no manifest, record or lock explains."""
    catalog = check_listed(job)
    expected = {f".{job.name}.lock", *catalog.prune_files}
    for manifest in catalog.manifests.values():
        expected |= {names.manifest_file(manifest.id), *(artifact.file for artifact in manifest.artifacts)}
        expected |= set(catalog.proof_files(manifest.id))
    assert set(os.listdir(job.repository.url)) == expected


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sample(tmp_path / "app.db", rows=120, journal_mode="wal")


@pytest.fixture
def job(source: Path, tmp_path: Path) -> Job:
    return job_of(source, tmp_path / "backups", compression=Compression("none"))


def link_tree(source: Path, target: Path) -> None:
    """A copy whose files share their bytes: nothing in a repository is ever changed in place."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)


@pytest.mark.parametrize("kind", ["auto", "full"])
def test_killed_backups(kind: str, job: Job, source: Path, tmp_path: Path) -> None:
    job = replace(job, type=kind)
    if kind == "full":
        run_sql(source, "PRAGMA journal_mode = delete")
    pristine = tmp_path / "pristine"
    first = made(job)
    link_tree(tmp_path / "backups", pristine)
    states = {"before": content(source)}

    def prepare(number: int) -> None:
        if number % 20 == 0:  # leftovers pile up for a while
            link_tree(pristine, tmp_path / "backups")
        run_sql(source, f"UPDATE prompts SET score = {number} WHERE id = 7")
        states["now"] = content(source)

    def check(number: int) -> None:
        catalog = check_listed(job)
        assert first.id in catalog.ids
        assert content(source) == states["now"]
        if number % 20 == 9:
            prune(replace(job, retention=Retention(keep_last=999)), now=utc_now() + timedelta(hours=1))
            check_tidy(job)
        if number % 20 == 19:
            last = made(job)
            assert verify(job, last.id, "restore")[0].ok
            check_tidy(job)
            assert all(result.ok for result in verify(job, "all", "restore"))
            assert [
                path.name for path in (tmp_path / "scratch").iterdir() if path.stat().st_mtime < time.time() - 60
            ] == []

    killed_at_random(100, lambda: backup(job), prepare, check)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_killed_restores(mode: str, job: Job, source: Path, tmp_path: Path) -> None:
    made(job)
    old = sample(tmp_path / "old.db", rows=90, journal_mode=mode)
    folder = tmp_path / "target"
    folder.mkdir()
    target = folder / "app.db"
    contents = {"old": content(old), "new": content(source)}
    seen = set()

    def prepare(number: int) -> None:
        for path in folder.iterdir():
            if not path.name.endswith(".partial"):
                path.unlink()
        shutil.copy(old, target)

    def check(number: int) -> None:
        found = content(target)
        state = next((name for name, expected in contents.items() if expected == found), None)
        assert state is not None, "neither the old nor the new"
        assert ask(target, "PRAGMA integrity_check") == [("ok",)]
        kept = list(folder.glob("app.db.replaced-*"))
        assert len(kept) == 1 or (not kept and state == "old")
        assert all(content(path) == contents["old"] for path in kept)
        seen.add((state, bool(kept)))
        if number % 40 == 39:
            restore(job, "latest", to=str(target), replace=True)
            assert content(target) == contents["new"]
            assert not list(folder.glob(".*")), "the next restore sweeps"

    killed_at_random(80, lambda: restore(job, "latest", to=str(target), replace=True), prepare, check)
    assert {state for state, _has_kept in seen} == {"old", "new"}


def test_killed_restores_of_tables(job: Job, source: Path, tmp_path: Path) -> None:
    made(job)
    run_sql(source, "UPDATE runs SET output = 'newer'; PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(source, tmp_path / "newer.db")
    target = tmp_path / "target.db"
    questions = ["SELECT * FROM runs", "SELECT * FROM prompts"]
    newer = [ask(tmp_path / "newer.db", question) for question in questions]

    def prepare(number: int) -> None:
        for path in tmp_path.glob("target.db*"):
            path.unlink()
        shutil.copy(tmp_path / "newer.db", target)

    def check(number: int) -> None:
        runs, prompts = (ask(target, question) for question in questions)
        assert prompts == newer[1]
        assert runs == newer[0] or all(row[2] != "newer" for row in runs) and len(runs) == 120
        for kept in tmp_path.glob("target.db.replaced-*"):
            assert ask(kept, questions[0]) == newer[0]

    killed_at_random(40, lambda: restore(job, "latest", to=str(target), tables=["runs"], replace=True), prepare, check)


@pytest.fixture
def series(job: Job, source: Path, tmp_path: Path) -> Path:
    """A repository with two chains and single backups, some verified: the state before each prune or sync."""
    for number in range(8):
        run_sql(source, f"UPDATE prompts SET score = {number}")
        made(replace(job, type="full" if number in (0, 3, 6, 7) else "auto"))
    verify(job, "latest", "checksum")
    link_tree(tmp_path / "backups", tmp_path / "pristine")
    return tmp_path / "pristine"


def test_killed_prunes(job: Job, series: Path, tmp_path: Path) -> None:
    job = replace(job, retention=Retention(keep_last=2))
    now = utc_now() + timedelta(hours=1)
    newest = sorted(path.name for path in series.glob("*.manifest.json"))[-2:]

    def check(number: int) -> None:
        catalog = check_listed(job)
        assert [names.manifest_file(backup) for backup in catalog.ids][-2:] == newest
        if number % 10 == 0:
            prune(job, now=now)
            check_tidy(job)
            assert len(check_listed(job).ids) == 2
            assert all(result.ok for result in verify(job, "all", "checksum")), "every gap is explained"

    killed_at_random(100, lambda: prune(job, now=now), lambda _: link_tree(series, tmp_path / "backups"), check)


def test_killed_archiving_prunes(job: Job, series: Path, tmp_path: Path) -> None:
    """What moves is at its new place before it leaves the old one."""
    archive = tmp_path / "archive"
    policy = Retention(keep_last=99, archive_after=60, archive_to=f"file://{archive}")
    there = job_of(tmp_path / "app.db", archive)
    job = replace(job, retention=policy)
    now = utc_now() + timedelta(hours=1)
    every = {path.name for path in series.glob("*.manifest.json")}

    def prepare(number: int) -> None:
        link_tree(series, tmp_path / "backups")
        shutil.rmtree(archive, ignore_errors=True)

    def check(number: int) -> None:
        held = set(check_listed(job).ids)
        if archive.exists():
            held |= set(check_listed(there).ids)
        assert {names.manifest_file(backup) for backup in held} == every
        if number % 10 == 0:
            prune(job, now=now)
            assert len(check_listed(there).ids) + len(check_listed(job).ids) == len(every)
            check_tidy(job)

    killed_at_random(100, lambda: prune(job, now=now), prepare, check)


def test_killed_syncs(job: Job, series: Path, tmp_path: Path) -> None:
    offsite = tmp_path / "offsite"
    there = job_of(tmp_path / "app.db", offsite)
    before = sorted(os.listdir(tmp_path / "backups"))

    def check(number: int) -> None:
        if offsite.exists():
            check_listed(there)
        assert sorted(os.listdir(tmp_path / "backups")) == before
        if number % 10 == 0:
            report = sync(job, str(offsite))
            assert not report.findings
            check_tidy(there)
            assert len(check_listed(there).ids) == 8
            assert all(result.ok for result in verify(there, "all", "checksum"))

    def prepare(number: int) -> None:
        if number % 4 == 0:  # otherwise what the one before left is what this one meets
            shutil.rmtree(offsite, ignore_errors=True)

    killed_at_random(200, lambda: sync(job, str(offsite)), prepare, check)
