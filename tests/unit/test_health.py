"""Health: what is wrong with a job is found from names and records alone, and nothing is found where all is well."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from samples import make_proof, moment, store_series

from dbfleet import audit_log, manifests, names
from dbfleet.audit import audited
from dbfleet.audit_log import AuditLog, LastRun, read_audit
from dbfleet.errors import RepositoryError
from dbfleet.model import HealthPolicy, Job, Limits, Manifest, Repository
from dbfleet.operations.health import health
from dbfleet.stores.file import FileStore

DAILY = HealthPolicy(max_age=26 * 3600, max_unverified=8 * 86400)


class Host:
    """A repository, the job that writes there, and the audit log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.store = FileStore(str(self.folder))
        self.job = Job("app", Repository(str(self.folder)), limits=Limits(min_free="0"), health=DAILY)
        self.log = AuditLog("audit.jsonl")

    def backups(self, days: Sequence[float]) -> list[Manifest]:
        self.store.prepare()
        return store_series(self.store, days)

    def proof(self, manifest: Manifest, *, ok: bool = True, days: float = 0.1) -> None:
        record = make_proof(manifest, ok=ok, days=days)
        self.store.put(names.proof_file(manifest.id, record.finished_at), manifests.encode(record))

    def look(self, day: float) -> dict[str, Any]:
        return health(self.job, self.log, moment(day)).to_json()

    def problems(self, day: float) -> list[str]:
        return [finding["problem"] for finding in self.look(day)["findings"]]

    def last(self, result: str, day: float, error: Optional[str] = None, pid: int = 0) -> None:
        at = moment(day).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.log.last[("backup", "app", str(self.folder))] = LastRun(at, result, error, pid)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_job_that_does_what_it_should_is_healthy(host: Host) -> None:
    made = host.backups([0, 1, 2])
    host.proof(made[1])
    host.last("done", 2)
    seen = host.look(2.5)
    assert (seen["ok"], seen["findings"]) == (True, [])
    assert seen["newest_good"]["id"] == made[2].id
    assert seen["newest_good"]["age_seconds"] == 43199
    assert (seen["verified"]["ok"], seen["verified"]["backup"]) == (True, made[1].id)
    assert seen["room"]["needed_bytes"] == made[2].size_bytes
    assert seen["last_run"]["result"] == "done"


def test_no_repository_and_no_backup_are_findings(host: Host) -> None:
    assert "is not there: it has no backup" in host.problems(0)[0]
    host.store.prepare()
    assert host.problems(0) == ["it has no backup that can be relied on"]


def test_a_backup_grows_too_old(host: Host) -> None:
    host.backups([0])
    assert host.problems(1) == []
    assert host.problems(1.2) == ["its newest good backup is 28 h 47 min old, and health.max_age is 26 h 0 min"]
    host.job = replace(host.job, health=HealthPolicy(max_age=0))
    assert host.problems(1.2) == []


def test_the_newest_backup_does_not_count_when_it_is_bad(host: Host) -> None:
    made = host.backups([0, 1, 2])
    host.proof(made[2], ok=False)
    seen = host.look(2.2)
    assert seen["newest_good"]["id"] == made[1].id
    assert {finding["object"] for finding in seen["findings"]} == {"app", made[2].id}


def test_silence_of_verifications_is_told_from_youth(host: Host) -> None:
    made = host.backups(range(9))
    assert host.problems(8.01) == [
        "no backup was verified for 8 d (health.max_unverified): none ever passed",
    ]
    host.proof(made[0], days=0.5)
    assert host.problems(8.1) == []
    host.job = replace(host.job, health=replace(DAILY, max_age=0))
    assert "the last verification that passed is 9 d ago" in host.problems(9.6)[0]


def test_a_gap_in_the_chain_of_manifests_shows(host: Host) -> None:
    made = host.backups([0, 1, 2])
    (host.folder / names.manifest_file(made[1].id)).unlink()
    assert any("the backup before it is gone" in problem for problem in host.problems(2.1))


def test_a_lost_artifact_shows(host: Host) -> None:
    made = host.backups([0, 1])
    (host.folder / made[1].artifacts[0].file).unlink()
    assert any("is missing" in problem for problem in host.problems(1.1))


def test_a_backup_of_the_future_shows(host: Host) -> None:
    host.backups([0, 3])
    assert host.problems(2) == ["it was made in the future"]


def test_how_the_last_run_ended_is_told_until_a_newer_backup_is_there(host: Host) -> None:
    host.backups([0, 1])
    host.last("failed", 1.2, "capacity")
    assert "its last backup failed at 2025-01-02T07:48:00Z (capacity)" in host.problems(1.3)
    host.last("begun", 1.2, pid=-1)
    assert "never ended" in host.problems(1.3)[0]
    assert host.look(1.3)["last_run"]["result"] == "killed"
    host.last("begun", 1.2, pid=os.getpid())
    assert host.problems(1.3) == []
    host.last("failed", 0.5, "busy")
    assert host.problems(1.3) == []


def test_too_little_room_for_one_more_backup_shows(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    made = host.backups([0])
    room = 1000 + made[0].size_bytes
    host.job = replace(host.job, limits=Limits(min_free="1000"))
    monkeypatch.setattr(FileStore, "free_bytes", lambda _self: (room, 10**9))
    assert host.problems(0.1) == []
    monkeypatch.setattr(FileStore, "free_bytes", lambda _self: (room - 1, 10**9))
    assert "one more backup needs" in host.problems(0.1)[0]


def test_a_store_that_fails_is_a_finding(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.backups([0])

    def lost(_self: FileStore) -> None:
        raise RepositoryError("connection lost", "try again")

    monkeypatch.setattr(FileStore, "free_bytes", lost)
    assert host.look(0.1)["findings"] == [{"object": "app", "problem": "connection lost", "remedy": "try again"}]


# --- the audit log -------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An audit log of three actions, of which one failed."""
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path))
    job = Job("app", Repository("/backups"))
    with audited("backup", job):
        pass
    with pytest.raises(RepositoryError), audited("backup", job):
        raise RepositoryError("no")
    with audited("verify", job):
        pass
    return tmp_path / "audit.jsonl"


def test_a_log_tells_how_each_verb_ended_last(log: Path) -> None:
    job = Job("app", Repository("/backups"))
    found = read_audit()
    assert (found.entries, found.findings) == (6, [])
    assert found.last_run("backup", job)[1:3] == ("failed", "repository")  # type: ignore[index]
    assert found.last_run("verify", job)[1] == "done"  # type: ignore[index]
    assert found.last_run("backup", Job("app", Repository("/elsewhere"))) is None


@pytest.mark.parametrize("line", range(5))
def test_an_entry_that_was_altered_or_removed_shows(log: Path, line: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    entry = json.loads(lines[line])
    altered = json.dumps({**entry, "user": "somebody else"}).encode() + b"\n"
    log.write_bytes(b"".join([*lines[:line], altered, *lines[line + 1 :]]))
    assert [finding.object for finding in read_audit().findings] == [f"{log} line {line + 2}"]
    if line:  # the head of a log was rotated away
        log.write_bytes(b"".join([*lines[:line], *lines[line + 1 :]]))
        assert [finding.object for finding in read_audit().findings] == [f"{log} line {line + 1}"]


def test_an_entry_that_a_crash_cut_off_is_no_finding(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-20])
    with audited("prune", Job("app", Repository("/backups"))):
        pass
    found = read_audit()
    assert (found.entries, found.findings) == (7, [])


def test_a_log_that_cannot_be_read_is_a_finding(log: Path) -> None:
    log.unlink()
    assert read_audit().findings == []
    log.mkdir()
    assert "cannot be read" in read_audit().findings[0].problem
    assert audit_log.read_audit().to_json()["ok"] is False
