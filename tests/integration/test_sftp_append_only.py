"""A host whose account at the backup server may add and not remove: backups go through, nothing is destroyed.

The account is restricted as docs/sftp.md says. Whoever prunes has a key of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlite_lab
from sftp_server import APPEND_ONLY, SftpServer
from sftp_server import server as sftp_server
from sqlite_lab import content, job_of, refused, run_sql

from dbfleet.errors import AppendOnlyError, DbfleetError, RepositoryError
from dbfleet.model import Job, Repository, Retention
from dbfleet.operations.backup import backup
from dbfleet.operations.lookup import listing, open_repository
from dbfleet.operations.prune import prune
from dbfleet.operations.restore import restore
from dbfleet.operations.sync import sync
from dbfleet.operations.verify import verify
from dbfleet.stores.sftp import packets as p
from dbfleet.stores.sftp.store import SftpStore

own_state = sqlite_lab.own_state
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    with sftp_server() as running:
        yield running


def job_at(server: SftpServer, source: Path, path: str, key: str, **changed: object) -> Job:
    job = job_of(source, server.url(path), **changed)
    return replace(job, repository=Repository(server.url(path), **server.access(key)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    run_sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t (text) VALUES ('a'), ('b')")
    return path


@pytest.fixture(params=["full", "append_only", "plain"])
def job(request: pytest.FixtureRequest, server: SftpServer, source: Path, tmp_path: Path) -> Job:
    """Backups by every kind of account and server."""
    return job_at(server, source, tmp_path.name, request.param)


def restored(job: Job, backup_id: str, to: Path) -> object:
    restore(job, backup_id, to=f"sqlite:///{to}")
    return content(to)


def test_a_backup_comes_back_the_same(job: Job, source: Path, tmp_path: Path) -> None:
    made = []
    for turn in range(3):
        run_sql(source, f"INSERT INTO t (text) VALUES ('turn {turn}')")
        made.append((backup(job).manifest, content(source)))
    assert [row.state for row in listing(job)] == ["unproven"] * 3
    assert all(result.ok for result in verify(job, "all", "restore"))
    for turn, (manifest, expected) in enumerate(made):
        assert manifest is not None
        assert restored(job, manifest.id, tmp_path / f"restored{turn}.db") == expected


def test_an_incremental_chain_comes_back_the_same(server: SftpServer, source: Path, tmp_path: Path) -> None:
    job = job_at(server, source, tmp_path.name, "append_only", type="auto")
    made = []
    for turn in range(3):
        run_sql(source, f"INSERT INTO t (text) VALUES ('turn {turn}')")
        made.append((backup(job).manifest, content(source)))
    assert [manifest.type for manifest, _content in made if manifest] == ["full", "incremental", "incremental"]
    manifest, expected = made[-1]
    assert manifest is not None
    assert restored(job, manifest.id, tmp_path / "restored.db") == expected


def test_prune_is_refused_with_one_line_and_changes_nothing(server: SftpServer, source: Path, tmp_path: Path) -> None:
    job = job_at(server, source, tmp_path.name, "append_only", retention=Retention(keep_last=1))
    for _turn in range(3):
        backup(job)
    before = files(job)
    refused(AppendOnlyError, "does not permit this account to remove", lambda: prune(job))
    assert files(job) == before
    assert len(prune(job, dry_run=True).removed) == 2
    assert len(listing(job)) == 3
    other = job_at(server, source, tmp_path.name, "full", retention=Retention(keep_last=1))
    report = prune(other)
    assert len(report.removed) == 2
    assert sorted(report.swept) == sorted(name for name in before if name.endswith(".intent"))
    assert not [name for name in files(job) if name.endswith(".intent")]
    assert len(listing(job)) == 1
    backup(job)
    assert all(result.ok for result in verify(job, "all", "checksum"))


def test_what_another_account_left_does_not_stop_a_prune(server: SftpServer, source: Path, tmp_path: Path) -> None:
    """On a backup server the account that prunes is not the host's: it may remove its files, and not open them."""
    if os.geteuid() != 0:
        pytest.skip("the account must not be the one that runs the tests")
    job = job_at(server, source, tmp_path.name, "full", retention=Retention(keep_last=1))
    for _turn in range(2):
        backup(job)
    probe = server.root / tmp_path.name / ".probe"
    probe.write_bytes(b"")
    probe.chmod(0o600)
    assert len(prune(job).removed) == 1
    assert not probe.exists()


def files(job: Job) -> set[str]:
    return {entry.name for entry in open_repository(job).entries()}


def test_what_a_failed_backup_leaves_does_not_stop_the_next(
    server: SftpServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_at(server, source, tmp_path.name, "append_only")
    real = SftpStore._give_name

    def cut(self: SftpStore, name: str, temporary: str, final: str) -> None:
        if name.endswith(".sql.zst"):
            server.cut()
        real(self, name, temporary, final)

    monkeypatch.setattr(SftpStore, "_give_name", cut)
    refused(RepositoryError, "was lost", lambda: backup(job))
    monkeypatch.setattr(SftpStore, "_give_name", real)
    store = open_repository(job)
    left = store.leftovers("app_")
    assert left, "it cannot be removed by this account"
    assert listing(job) == []
    manifest = backup(job).manifest
    assert manifest is not None
    assert [row.id for row in listing(job)] == [manifest.id]
    assert restored(job, manifest.id, tmp_path / "restored.db") == content(source)
    swept = prune(job_at(server, source, tmp_path.name, "full", retention=Retention(keep_last=1))).swept
    assert {entry.name for entry in left} <= set(swept)
    assert store.leftovers("") == []


def test_a_copy_to_an_append_only_account(server: SftpServer, source: Path, tmp_path: Path) -> None:
    local = job_of(source, tmp_path / "local")
    manifest = backup(local).manifest
    assert manifest is not None
    there = server.url(tmp_path.name)
    keys = server.access("append_only")
    job = replace(local, repository=Repository(str(tmp_path / "local"), **keys))
    report = sync(job, there)
    assert [copy.id for copy in report.copied] == [manifest.id]
    assert sync(job, there).present == 1
    remote = job_at(server, source, tmp_path.name, "append_only")
    assert restored(remote, manifest.id, tmp_path / "restored.db") == content(source)


def test_what_such_an_account_can_do_to_a_backup(server: SftpServer, tmp_path: Path) -> None:
    """Everything that a stolen key could try, with file_mode 0400 as docs/sftp.md asks for."""
    if os.geteuid() != 0:
        pytest.skip("the account must not be the one that runs the tests")
    store = server.store(tmp_path.name, "append_only", file_mode=0o400)
    store.prepare()
    store.put("app.manifest.json", b"good")
    path = f"{store.path}/app.manifest.json"
    line = store._line()
    mode = p.number(p.HAS_MODE) + p.number(0o600)
    for act in (
        lambda: line.remove(path),
        lambda: line.move(f"{store.path}/.probe", path),
        lambda: line.rename(f"{store.path}/.probe", path),
        lambda: line.open(path, p.FOR_WRITING),
        lambda: line.open(path, p.FOR_WRITING | p.CREATE | 16),  # cut to nothing
        lambda: line.done(line.ask(p.SETSTAT, p.name(path), mode)),
        lambda: line.rmdir(store.path),
    ):
        with pytest.raises((p.StatusError, DbfleetError)):
            act()
    assert store.read("app.manifest.json") == b"good"


def test_the_page_says_what_is_tested() -> None:
    page = (ROOT / "docs" / "sftp.md").read_text()
    assert APPEND_ONLY in page
    assert re.search(r"file_mode.*0400", page)
