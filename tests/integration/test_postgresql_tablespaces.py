"""Physical backups of servers with tablespaces, which come in one stream of the server: what must fail, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_clusters import QUICK, cluster, content, data_of, give, job_of, started
from postgresql_server import USUAL, Server, ask, own_state
from rooms import room
from test_postgresql_physical_faults import meanwhile, nothing_is_listed, slow_job

from dbfleet.databases.postgresql import cluster as cluster_module
from dbfleet.databases.postgresql import cluster_stream
from dbfleet.databases.postgresql.replication import Tablespace
from dbfleet.errors import CapacityError, DbfleetError, NotFoundError, ProofError, RefusedError, SourceError, UsageError
from dbfleet.model import Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.scratch import scratch_base

__all__ = ["own_state", "room"]


@contextmanager
def two_spaces(major: int) -> Iterator[Server]:
    with cluster(major) as server:
        for number in range(2):
            place = server.folder / f"space{number}"
            place.mkdir()
            give(place)
            ask(server.source(), f"CREATE TABLESPACE space{number} LOCATION '{place}'")
            ask(
                server.source("app"),
                f"CREATE TABLE far{number} TABLESPACE space{number} AS SELECT i FROM generate_series(1, 50000) i",
            )
        yield server


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    with two_spaces(USUAL) as server:
        yield server


def test_nothing_is_copied_to_this_host_first(
    source: Server, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only one artifact may be worked on at a time, whatever order the server has."""
    largest = 0
    write = cluster_stream.ClusterStream.write

    def watched(self: cluster_stream.ClusterStream, data: bytes) -> None:
        nonlocal largest
        found = sum(path.stat().st_size for path in Path(scratch_base()).rglob("*") if path.is_file())
        largest = max(largest, found)
        write(self, data)

    monkeypatch.setattr(cluster_stream.ClusterStream, "write", watched)
    job = job_of(source, tmp_path / "backups", limits=replace(QUICK, parallel=1))
    manifest = backup(job).manifest
    assert manifest is not None and largest < 10000
    assert [one.role for one in manifest.artifacts] == ["base", "tablespace", "tablespace"]
    restore(job, "latest", to=str(room / "data"))
    with started(source, room / "data") as restored:
        assert content(source, restored) == content(source, source.source("app"))


@pytest.mark.parametrize("how", ["cut", "stopped"])
def test_a_stream_that_ends_early_fails_it(source: Server, tmp_path: Path, how: str) -> None:
    job = slow_job(source, tmp_path / "backups")

    def act() -> None:
        if how == "cut":
            ask(source.source(), "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        else:
            source.stop()

    try:
        with meanwhile(act, source), pytest.raises(DbfleetError, match="ended the backup"):
            backup(job)
    finally:
        if how == "stopped":
            source.start()
    assert nothing_is_listed(job)


def test_a_store_that_fails_ends_the_servers_work(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow_job(source, tmp_path / "backups")
    give_part = cluster_stream.ClusterStream._give

    def full(self: cluster_stream.ClusterStream, data: bytes) -> None:
        if self._present is self.base.part:
            raise CapacityError("the disk is full", "free space")
        give_part(self, data)

    monkeypatch.setattr(cluster_stream.ClusterStream, "_give", full)
    with pytest.raises(CapacityError, match="the disk is full"):
        backup(job)
    assert nothing_is_listed(job)
    assert not ask(source.source(), "SELECT 1 FROM pg_replication_slots")


@pytest.mark.parametrize("what", ["created", "dropped"])
def test_a_tablespace_that_comes_or_goes_is_told(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """As if it had happened between our look and the server's."""
    real = cluster_module.tablespaces

    def seen(address: object) -> list[Tablespace]:
        found = real(address)  # type: ignore[arg-type]
        return found[:1] if what == "created" else [*found, Tablespace(99, "/gone")]

    monkeypatch.setattr(cluster_module, "tablespaces", seen)
    job = job_of(source, tmp_path / "backups")
    with pytest.raises(SourceError, match=f"a tablespace was {what}"):
        backup(job)
    assert nothing_is_listed(job)


def test_a_damaged_page_in_a_tablespace_fails_it_and_names_the_file(tmp_path: Path) -> None:
    with cluster() as server:
        place = server.folder / "space"
        place.mkdir()
        give(place)
        ask(server.source(), f"CREATE TABLESPACE space LOCATION '{place}'")
        ask(server.source("app"), "CREATE TABLE far TABLESPACE space AS SELECT i FROM generate_series(1, 5000) i")
        ((file,),) = ask(server.source("app"), "SELECT pg_relation_filepath('far')")
        server.run("pg_ctl", "-D", str(data_of(server)), "-m", "fast", "-w", "-s", "stop")
        with open(data_of(server) / file, "r+b") as page:
            page.seek(4000)
            page.write(b"\xff\x00\xaa")
        server.start()
        job = job_of(server, tmp_path / "backups")
        with pytest.raises(ProofError, match=os.path.basename(file)):
            backup(job)
        assert nothing_is_listed(job)


# --- where they are put -------------------------------------------------------------------------


def places_of(source: Source) -> dict[str, str]:
    rows = ask(source, "SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname ~ '^space'")
    return {str(name): str(place) for name, place in rows}


@pytest.mark.parametrize("major", sorted({15, 17, USUAL}))
def test_each_is_put_where_it_is_told(source: Server, room: Path, tmp_path: Path, major: int) -> None:
    """Into a folder that is there (such as a mount point) and one that is not, named by the old folder or by number."""
    with two_spaces(major) if major != USUAL else nullcontext(source) as server:
        job = job_of(server, tmp_path / "backups", type="auto")
        backup(job)
        if major >= 17:
            ask(server.source("app"), "INSERT INTO far1 SELECT 7")
            assert backup(job).manifest.type == "incremental"  # type: ignore[union-attr]
        ((oid,),) = ask(server.source(), "SELECT oid FROM pg_tablespace WHERE spcname = 'space1'")
        (room / "mount" / "lost+found").mkdir(parents=True)
        new = {str(server.folder / "space0"): str(room / "mount"), str(oid): str(room / "a=b ü")}
        report = restore(job, "latest", to=str(room / "data"), tablespaces=new)
        assert sum("tablespace" in note for note in report.notes) == 2
        with started(server, room / "data") as restored:
            assert content(server, restored) == content(server, server.source("app"))
            assert places_of(restored) == {"space0": str(room / "mount"), "space1": str(room / "a=b ü")}
        assert sorted(path.name for path in room.iterdir()) == ["a=b ü", "data", "mount"]
        assert len(list((room / "mount").iterdir())) == 2 and len(list((room / "a=b ü").iterdir())) == 1
        restore(job, "latest", to=str(room / "part"), tablespaces={str(oid): str(room / "one")})
        with started(server, room / "part") as restored:
            assert content(server, restored) == content(server, server.source("app"))


def test_places_that_cannot_be_are_refused_and_left_alone(source: Server, room: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    backup(job)
    old = str(source.folder / "space0")
    (room / "full").mkdir()
    (room / "full" / "precious").write_text("x")
    (room / "file").write_text("x")
    for new, error, words in (
        ("relative", UsageError, "relative path"),
        (str(room / "no" / "folder"), NotFoundError, "does not exist"),
        (str(room / "full"), RefusedError, "not empty"),
        (str(room / "file"), RefusedError, "is a file"),
        (str(room / "data" / "inside"), UsageError, "one inside the other"),
        (str(room), UsageError, "one inside the other"),
    ):
        with pytest.raises(error, match=words):
            restore(job, "latest", to=str(room / "data"), tablespaces={old: new})
    with pytest.raises(UsageError, match="name two folders|puts"):
        restore(job, "latest", to=str(room / "data"), tablespaces={old: str(room / "x"), "99": str(room / "x")})
    with pytest.raises(UsageError, match="has no tablespace '/elsewhere'") as caught:
        restore(job, "latest", to=str(room / "data"), tablespaces={"/elsewhere": str(room / "x"), old: str(room / "y")})
    assert old in caught.value.remedy
    assert sorted(path.name for path in room.iterdir()) == ["file", "full"]


def test_what_was_put_there_is_taken_back_where_the_swap_fails(
    source: Server, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.postgresql import cluster_restoration

    job = job_of(source, tmp_path / "backups")
    backup(job)

    def fails(*_args: object) -> None:
        raise OSError("as if the disk had gone")

    monkeypatch.setattr(cluster_restoration, "swap", fails)
    with pytest.raises(OSError, match="as if"):
        restore(job, "latest", to=str(room / "data"), tablespaces={str(source.folder / "space0"): str(room / "new")})
    assert not list(room.iterdir())
