"""A backup that is taken from a standby while its primary is written."""

from __future__ import annotations

from pathlib import Path

from postgresql_server import ask, job_of, own_state, running, wait_until

from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state"]


def test_a_standby_is_backed_up_like_a_primary(tmp_path: Path) -> None:
    with running(wal_level="replica", access="local replication all trust\n") as primary:
        source = primary.create(
            "CREATE TABLE items(id serial, name text); INSERT INTO items(name) SELECT i FROM generate_series(1, 999) i;"
            "CREATE UNLOGGED TABLE fast(x int); INSERT INTO fast VALUES (1)",
            name="app",
        )
        with primary.standby() as standby:
            wait_until(lambda: ask(standby.source(), "SELECT 1 FROM pg_database WHERE datname = 'app'"))
            ask(source, "CREATE TABLE late AS SELECT 1 AS x")
            wait_until(lambda: ask(standby.source("app"), "SELECT 1 FROM pg_class WHERE relname = 'late'"))
            job = job_of(standby.source("app"), tmp_path / "backups")
            manifest = backup(job).manifest
            assert manifest is not None and manifest.position["standby"] is True
            assert {name: table.rows for name, table in manifest.proof.tables.items()} == {
                "public.items": 999,
                "public.late": 1,
                "public.fast": 0,
            }
        assert restore(job, "latest", to=primary.url("from standby")).proven
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
