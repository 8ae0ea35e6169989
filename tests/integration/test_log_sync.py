"""Copies of log archives: what is there alone brings back any moment, and nothing damaged spreads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from log_archivers import archiver, shelf_of
from postgresql_clusters import cluster, content, started
from postgresql_logs import KEEPS, SMALL, log_job, switched, wait_until_kept, wal_of, write_log
from postgresql_server import Server, ask, own_state, wait_until
from rooms import room

from dbfleet.model import Job, Repository
from dbfleet.operations.backup import backup
from dbfleet.operations.log_files import push
from dbfleet.operations.log_status import status
from dbfleet.operations.restore import restore
from dbfleet.operations.sync import sync
from dbfleet.stores.file import FileStore
from dbfleet.targets import target_of

__all__ = ["own_state", "room"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    with cluster(settings=KEEPS, initdb=SMALL) as server:
        yield server


def at(job: Job, repository: Path) -> Job:
    return replace(job, repository=Repository(str(repository)))


def pushed(job: Job, server: Server, number: int) -> str:
    """A finished file of log in the archive; its name."""
    write_log(server, number, rows=50)
    name = switched(server)
    push(job, str(wal_of(server) / name))
    return name


def content_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def log_of(repository: Path) -> dict[str, bytes]:
    return {name: data for name, data in content_of(repository).items() if name.startswith("app_log/")}


def test_a_copy_alone_brings_back_a_moment(source: Server, room: Path, tmp_path: Path) -> None:
    """Copied while the archiver runs and beginnings take each other's place; the original is gone afterwards."""
    job = log_job(source, tmp_path / "backups")
    offsite = tmp_path / "offsite"
    with archiver(job):
        wait_until(lambda: ask(source.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
        write_log(source, 0, rows=100)
        backup(job)
        write_log(source, 1)
        wait_until_kept(job, source)
        first = sync(job, str(offsite))
        assert first.findings == () and first.log.files > 1
        ask(source.source("app"), "UPDATE items SET amount = amount + 1")
        expected = content(source, source.source("app"))
        ask(source.source(), "SELECT pg_sleep(0.05)")
        ((moment,),) = ask(source.source(), "SELECT clock_timestamp()::text")
        ask(source.source("app"), "UPDATE items SET amount = 0")
        wait_until_kept(job, source)
        second = sync(job, str(offsite))
        assert second.findings == () and second.log.files >= 1
    third = sync(job, str(offsite), dry_run=True)
    sync(job, str(offsite))
    before = content_of(offsite)
    again = sync(job, str(offsite))
    assert (again.log.files, again.log.size_bytes, again.findings) == (0, 0, ())
    assert again.log.present == third.log.files + third.log.present
    assert content_of(offsite) == before
    shelf = shelf_of(at(job, offsite))
    assert shelf.orphans() == [] and list(shelf.superseded()) == []
    here = log_of(tmp_path / "backups")
    assert log_of(offsite).items() <= here.items()
    left_out = {name.rpartition("/")[2][:24] for name in here.keys() - log_of(offsite).keys()}
    needed = {name.rpartition("/")[2][:24] for name in log_of(offsite)}
    assert not left_out or max(left_out) < min(needed), "only log from before the backup stays behind"

    shutil.rmtree(tmp_path / "backups")
    there = at(job, offsite)
    assert status(there)["log_archive"]["gaps"] == []
    restore(there, "latest", to=str(room / "data"), target=target_of(time=moment))
    with started(source, room / "data") as restored:
        assert content(source, restored) == expected


def test_what_is_damaged_or_missing_is_found_and_the_rest_goes(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    names = [pushed(job, source, 10 + number) for number in range(5)]
    (folder,) = (tmp_path / "backups" / "app_log").iterdir()
    flipped, missing, unread, good, last = names
    data = bytearray((folder / f"{flipped}.zst").read_bytes())
    data[-9] ^= 1
    (folder / f"{flipped}.zst").write_bytes(data)
    (folder / f"{missing}.zst").unlink()
    (folder / f"{unread}.json").write_bytes(b"{}")
    offsite = tmp_path / "offsite"
    planned = sync(job, str(offsite), dry_run=True)
    assert planned.log.files == 4 and not offsite.exists()
    report = sync(job, str(offsite))
    assert report.log.files == 2 and {one.object for one in report.findings} == {flipped, missing, unread}
    assert set(shelf_of(at(job, offsite)).names()) == {good, last}
    assert {Path(name).stem for name in log_of(offsite)} == {good, last} and len(log_of(offsite)) == 4

    (there,) = (offsite / "app_log").iterdir()
    (there / f"{good}.zst").write_bytes(b"short")
    report = sync(job, str(offsite))
    assert f"at the target: app_log/{folder.name}/{good}.zst has 5 bytes" in str(report.findings)
    (there / f"{good}.zst").unlink()
    (there / f"{good}.json").unlink()
    report = sync(job, str(offsite))
    assert report.log.files == 1 and good not in {one.object for one in report.findings}


def test_an_interrupted_copy_goes_on_where_it_stopped(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = log_job(source, tmp_path / "backups")
    names = [pushed(job, source, 20 + number) for number in range(3)]
    offsite = tmp_path / "offsite"
    real, uploads = FileStore.upload, []

    def upload(store: FileStore, name: str) -> object:
        uploads.append(name)
        if name.endswith(f"{names[1]}.json") and "offsite" in store.url:
            raise KeyboardInterrupt
        return real(store, name)

    monkeypatch.setattr(FileStore, "upload", upload)
    with pytest.raises(KeyboardInterrupt):
        sync(job, str(offsite))
    monkeypatch.setattr(FileStore, "upload", lambda store, name: uploads.append(name) or real(store, name))
    (there,) = (offsite / "app_log").iterdir()
    assert sorted(path.name for path in there.iterdir()) == [f"{names[0]}.json", f"{names[0]}.zst", f"{names[1]}.zst"]
    (there / "000000010000000F00000000.zst").write_bytes(b"of a crash")
    (there / f".{names[2]}.zst.partial").write_bytes(b"of a crash")
    uploads.clear()
    report = sync(job, str(offsite))
    assert report.log.files == 2
    assert [Path(name).name for name in uploads if "app_log" in name] == [
        f"{names[1]}.json",
        f"{names[2]}.zst",
        f"{names[2]}.json",
    ]
    assert log_of(offsite) == log_of(tmp_path / "backups")


def test_another_archive_of_the_same_server_is_found_and_left(source: Server, tmp_path: Path) -> None:
    job = log_job(source, tmp_path / "backups")
    name = pushed(job, source, 30)
    offsite = tmp_path / "offsite"
    push(at(job, offsite), str(wal_of(source) / name))
    before = content_of(offsite)
    report = sync(job, str(offsite))
    assert [one.object for one in report.findings] == [name] and "another log archive" in report.findings[0].problem
    assert content_of(offsite) == before
