"""Physical backups of whole PostgreSQL servers: full ones, their restores, and what must fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_clusters import (
    by_hand,
    cluster,
    content,
    data_of,
    give,
    job_of,
    started,
)
from postgresql_server import USUAL, Server, ask, own_state, wait_until
from rooms import room

from dbfleet.databases.postgresql.quoting import literal
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state", "room"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    with cluster() as server:
        yield server


def test_unlogged_tables_come_back_empty_as_its_notes_say(source: Server, room: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    manifest = backup(job).manifest
    assert manifest is not None and not any("unlogged" in note for note in manifest.notes)
    ask(source.source("app"), "CREATE UNLOGGED TABLE passing AS SELECT 1 AS x")
    try:
        manifest = backup(job).manifest
        assert manifest is not None
        (note,) = (note for note in manifest.notes if "unlogged" in note)
        assert note.endswith(": in app")
        assert restore(job, "latest", to=str(room / "data")).proven
        with started(source, room / "data") as restored:
            assert ask(restored, "SELECT count(*) FROM passing") == [(0,)]
    finally:
        ask(source.source("app"), "DROP TABLE passing")


def test_a_chain_restores_every_state_it_went_through_on_18(room: Path, tmp_path: Path) -> None:
    with cluster(18) as server:
        job = job_of(server, tmp_path / "backups", type="auto")
        states = []
        for step in range(2):
            manifest = backup(job).manifest
            assert manifest is not None
            assert manifest.type == ("incremental" if step else "full"), manifest.notes
            states.append((manifest, content(server, server.source("app"))))
            ask(server.source("app"), f"UPDATE items SET amount = amount + 1 WHERE id % 7 = {step}")
            ask(server.source("app"), f"CREATE TABLE more{step} AS SELECT i FROM generate_series(1, 1000) i")
        assert all(result.findings == () for result in verify(job, "all", "restore"))
        for number, (manifest, expected) in enumerate(states):
            restore(job, manifest.id, to=str(room / f"data{number}"))
            with started(server, room / f"data{number}") as restored:
                assert content(server, restored) == expected
        data = by_hand(server, states[-1][0], tmp_path / "backups", room / "hand")
        give(room / "hand")
        with started(server, data) as restored:
            assert content(server, restored) == states[-1][1]


@pytest.mark.parametrize("major", sorted({15, 17, USUAL}))
def test_tablespaces_come_back_elsewhere(major: int, room: Path, tmp_path: Path) -> None:
    """With paths that hold spaces and quotes, in a chain where the server can."""
    with cluster(major) as server:
        for number, name in enumerate(["plain", "odd = \\ ü"]):
            place = server.folder / name
            place.mkdir()
            give(place)
            ask(server.source(), f"CREATE TABLESPACE space{number} LOCATION {literal(str(place))}")
            ask(
                server.source("app"),
                f"CREATE TABLE far{number} TABLESPACE space{number} AS SELECT i FROM generate_series(1, 5000) i",
            )
        job = job_of(server, tmp_path / "backups", type="auto")
        backup(job)
        ask(server.source("app"), "INSERT INTO far1 SELECT 7")
        manifest = backup(job).manifest
        assert manifest is not None and manifest.type == ("incremental" if major >= 17 else "full")
        assert [one.role for one in manifest.artifacts] == ["base", "tablespace", "tablespace"]
        expected = content(server, server.source("app"))
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        for name in ("data", "da=ta it's"):
            report = restore(job, "latest", to=str(room / name))
            assert any("tablespaces are in" in note for note in report.notes)
            with started(server, room / name) as restored:
                assert content(server, restored) == expected
                ((place,),) = ask(
                    restored, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space1'"
                )
            assert Path(place).parent == room / f"{name}.tablespaces"
        data = by_hand(server, manifest, tmp_path / "backups", room / "hand")
        give(room / "hand")
        with started(server, data) as restored:
            assert content(server, restored) == expected


def test_a_standby_is_backed_up_and_restores_to_a_primary(room: Path, tmp_path: Path) -> None:
    with cluster(17) as primary, primary.standby() as standby:
        source = standby.source("app")
        wait_until(lambda: ask(standby.source(), "SELECT 1 FROM pg_database WHERE datname = 'app'"))
        wait_until(lambda: ask(source, "SELECT 1 FROM total"))
        job = job_of(standby, tmp_path / "backups", type="auto")
        backup(job)
        ask(primary.source("app"), "CREATE TABLE late AS SELECT 1 AS x; CHECKPOINT")
        wait_until(lambda: ask(source, "SELECT 1 FROM pg_class WHERE relname = 'late'"))
        ask(standby.source(), "CHECKPOINT")
        manifest = backup(job).manifest
        assert manifest is not None and manifest.position["standby"] is True
        expected = content(primary, source)
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        report = restore(job, "latest", to=str(room / "data"))
        assert any("standby.signal" in note for note in report.notes)
        with started(primary, room / "data") as restored:
            assert content(primary, restored) == expected
            assert ask(restored, "SELECT pg_is_in_recovery()") == [(False,)]
        standby.run("pg_ctl", "-D", str(data_of(standby)), "-w", "-s", "promote")
        ask(source, "CHECKPOINT")
        manifest = backup(job).manifest
        assert manifest is not None and manifest.type == "full"
        assert any(note.startswith("full: ") and "timeline 2" in note for note in manifest.notes), manifest.notes
        assert backup(job).manifest.type == "incremental"  # type: ignore[union-attr]
