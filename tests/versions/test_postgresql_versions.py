"""Servers of PostgreSQL 13, 14 and 16 with the clients of newer ones: backed up, restored, compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_clusters import REPLICATION, data_of, give
from postgresql_server import Server, ask, binaries, by_hand, dump, job_of, own_state, running

from dbfleet.errors import DbfleetError, ToolError
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state"]

CLIENTS = {13: 15, 14: 15, 16: 17}  # of the nearest version that the other tests bring
SAMPLE = """
CREATE SCHEMA app;
CREATE TABLE app.items(id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" UNIQUE,
    twice integer GENERATED ALWAYS AS (length(name) * 2) STORED, at timestamptz DEFAULT now());
CREATE INDEX ON app.items USING gin (to_tsvector('simple', name));
CREATE TABLE app.parts(item integer REFERENCES app.items, day date NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE app.parts_rest PARTITION OF app.parts DEFAULT;
CREATE STATISTICS app.both (dependencies) ON name, at FROM app.items;
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION app.note();
ALTER TABLE app.items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.items USING (name = current_user);
CREATE VIEW app.seen WITH (security_barrier) AS SELECT id, name FROM app.items;
CREATE MATERIALIZED VIEW app.totals AS SELECT count(*) FROM app.items;
CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
CREATE TYPE app.mood AS ENUM ('good', 'bad');
INSERT INTO app.items(name) SELECT 'näme ' || i FROM generate_series(1, 500) i;
INSERT INTO app.parts SELECT id, date '2024-01-01' + id FROM app.items;
SELECT lo_from_bytea(0, 'bytes');
COMMENT ON TABLE app.items IS 'it''s odd';
GRANT SELECT ON app.items TO PUBLIC;
"""


@pytest.fixture(scope="module", params=sorted(CLIENTS))
def old(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of that version, with the programs of the newer one for everything else."""
    with running(request.param, wal_level="replica", access=REPLICATION) as server:
        clients = binaries(CLIENTS[server.major])
        if clients is None:
            pytest.skip(f"no clients of PostgreSQL {CLIENTS[server.major]}")
        server.own, server.bin = server.bin, clients  # type: ignore[attr-defined]
        server.create(SAMPLE, name="app")
        yield server
        server.bin = server.own  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
def test_a_logical_backup_comes_back_equal(old: Server, tmp_path: Path, form: str) -> None:
    source = replace(old.source("app"), tools=old.bin)
    manifest = backup(job_of(source, tmp_path / "backups", format=form)).manifest
    assert manifest is not None and int(manifest.source.server_version.split(".")[0]) == old.major
    target = old.url(f"back {form}")
    assert restore(job_of(source, tmp_path / "backups"), "latest", to=target).proven
    assert dump(old, replace(source, url=target)) == dump(old, source)
    hand = by_hand(old, manifest, tmp_path / "backups", tmp_path / "hand")
    assert dump(old, hand) == dump(old, source)
    ask(old.source(), f'ALTER DATABASE restored RENAME TO "hand {form}"')
    if form == "custom":
        ask(source, "DROP TABLE app.parts")
        report = restore(job_of(source, tmp_path / "backups"), "latest", tables=["app.parts"])
        assert report.rows == 500 and ask(source, "SELECT count(*) FROM app.parts") == [(500,)]


def test_a_physical_backup_is_taken_and_unpacked_only_with_its_own_programs(old: Server, tmp_path: Path) -> None:
    """Also with a tablespace, which versions before 15 cannot stream."""
    place = old.folder / "space"
    place.mkdir()
    give(place)
    source = replace(old.source("app"), tools=old.bin)
    ask(source, f"CREATE TABLESPACE space LOCATION '{place}'")
    ask(source, "CREATE TABLE far TABLESPACE space AS SELECT i FROM generate_series(1, 5000) i")
    job = replace(job_of(source, tmp_path / "backups", method="physical", type="auto"), source=source)
    manifest = backup(job).manifest
    assert manifest is not None and manifest.type == "full"
    assert [one.role for one in manifest.artifacts] == ["base", "tablespace"]
    with pytest.raises(ToolError, match=f"PostgreSQL {old.major} and needs pg_verifybackup of that version"):
        restore(job, "latest", to=str(tmp_path / "data"))
    assert not (tmp_path / "data").exists() and data_of(old).exists()
    ask(source, "DROP TABLE far")
    ask(source, "DROP TABLESPACE space")


@pytest.mark.parametrize("old", [16], indirect=True)
def test_older_clients_are_refused(old: Server, tmp_path: Path) -> None:
    job = job_of(replace(old.source("app"), tools=binaries(15)), tmp_path / "backups")
    for method in ("logical", "physical"):
        with pytest.raises(DbfleetError, match="at least as new"):
            backup(replace(job, method=method))
