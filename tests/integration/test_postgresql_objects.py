"""Every kind of object that a PostgreSQL database has goes through a backup and comes back."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_server import USUAL, Server, ask, by_hand, dump, ident, job_of, own_state, psql, running, server
from postgresql_server import connect as session

from dbfleet.databases.postgresql.address import read_address
from dbfleet.databases.postgresql.connection import connect, pin
from dbfleet.databases.postgresql.schema import describe
from dbfleet.errors import RefusedError
from dbfleet.model import ProofPolicy, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state", "server"]

FOLDER = Path(__file__).parent
SAMPLE = (FOLDER / "postgresql_sample.sql").read_text(encoding="utf-8")
SAMPLE_18 = (FOLDER / "postgresql_sample_18.sql").read_text(encoding="utf-8")
ODD = "odd \"name\"; -- 'x' \\ é🦊"


def roles(server: Server) -> None:
    for role in ("app owner", "reader"):
        if not ask(server.source(), f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
            ask(server.source(), f"CREATE ROLE {ident(role)}")


def sample(server: Server, name: str) -> Source:
    roles(server)
    source = server.create(name=name)
    psql(server, source, SAMPLE + (SAMPLE_18 if server.major >= 18 else ""))
    ask(source, f'ALTER DATABASE {ident(name)} SET search_path TO app, "odd one", public')
    ask(source, f"ALTER ROLE reader IN DATABASE {ident(name)} SET work_mem TO '5MB'")
    ask(source, f'ALTER DATABASE {ident(name)} OWNER TO "app owner"')
    ask(source, f"COMMENT ON DATABASE {ident(name)} IS 'it''s odd'")
    ask(
        source,
        f"REVOKE CONNECT ON DATABASE {ident(name)} FROM PUBLIC; GRANT CONNECT ON DATABASE {ident(name)} TO reader",
    )
    return source


def described(source: Source) -> list[str]:
    with connect(read_address(source)) as connection:
        pin(connection)
        return sorted(describe(connection))


PROPERTIES = (
    "SELECT pg_get_userbyid(datdba), datacl::text, shobj_description(d.oid, 'pg_database'), datcollate, encoding, "
    "(SELECT array_agg(setrole::regrole || ': ' || setconfig::text ORDER BY setrole) FROM pg_db_role_setting "
    "WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = current_database()"
)


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("major", [15, 17, 18])
def test_every_kind_of_object_comes_back(
    major: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, the server writes some expressions otherwise than before; from then on dumps are the same text."""
    with running(major) as server:
        monkeypatch.setenv("PATH", f"{server.bin}:{os.environ['PATH']}")
        source = sample(server, ODD)
        properties = ask(source, PROPERTIES)
        job = job_of(source, tmp_path / "backups", format=form)
        first = backup(job).manifest
        assert first is not None
        target = server.source("new one")
        assert restore(job, "latest", to=target.url).proven
        assert described(target) == described(source)
        assert ask(target, PROPERTIES) == properties

        expected = dump(server, target)
        again = replace(job, name="again", source=target)
        second = backup(again).manifest
        assert second is not None
        assert second.proof.tables == first.proof.tables
        assert second.proof.schema_sha256 == first.proof.schema_sha256
        restore(again, "latest", to=server.url("newer one"))
        assert dump(server, server.source("newer one")) == expected
        assert dump(server, by_hand(server, first, tmp_path / "backups", tmp_path / "hand")) == expected
        assert [result.findings for result in verify(job, "all", "restore")] == [()]

        ask(source, "DROP SCHEMA app CASCADE")
        restore(job, first.id, replace=True)
        assert dump(server, source) == expected
        assert ask(source, PROPERTIES) == properties
        assert not [name for name in server.databases() if name.startswith("dbfleet_")]


@pytest.mark.parametrize("major", [major for major in (17, 18) if major > USUAL])
def test_a_backup_of_an_old_server_is_restored_to_a_newer_server(
    server: Server, major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(major) as newer:
        source = sample(server, f"for {major}")
        roles(newer)
        job = job_of(source, tmp_path / "backups")
        manifest = backup(job).manifest
        assert manifest is not None
        monkeypatch.setenv("PATH", f"{newer.bin}:{os.environ['PATH']}")
        assert restore(job, "latest", to=newer.url("new one")).proven
        target = newer.source("new one")
        assert sorted(set(described(source)) ^ set(described(target))) == []
        again = backup(replace(job, name="again", source=target)).manifest
        assert again is not None and again.proof.tables == manifest.proof.tables
        with pytest.raises(RefusedError, match=f"the backup is of PostgreSQL {major}, the target is {USUAL}"):
            restore(replace(job, name="again", source=target), "latest", to=server.url("older"))


# Of each of them alone, a backup failed, or its restore failed or brought other values.
UNFRIENDLY = {
    "default_transaction_read_only": "on",
    "client_encoding": "latin1",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "lock_timeout": "1",
}


def test_settings_of_a_role_that_spoil_what_it_reads_or_writes(server: Server, tmp_path: Path) -> None:
    source = sample(server, "unfriendly")
    ask(source, "CREATE TABLE lists(id int PRIMARY KEY, words text[])")
    ask(source, "INSERT INTO lists VALUES (1, ARRAY[NULL, 'NULL'])")
    expected = described(source)
    job = job_of(source, tmp_path / "backups")
    with closing(session(server.source())) as before, before.cursor() as cursor:
        try:
            for name, value in UNFRIENDLY.items():
                cursor.execute(f"ALTER ROLE postgres SET {name} = {value}")
            backup(job)
            restore(job, "latest", to=server.url("friendly"))
            restore(job, "latest", replace=True)
            assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        finally:
            for name in UNFRIENDLY:
                cursor.execute(f"ALTER ROLE postgres RESET {name}")
    assert described(source) == described(server.source("friendly")) == expected
    assert dump(server, source) == dump(server, server.source("friendly"))
    assert ask(source, "SELECT words[1] IS NULL, words[2] FROM lists") == [(True, "NULL")]


@pytest.mark.parametrize(("encoding", "word"), [("LATIN1", "é"), ("EUC_JP", "表")])
def test_names_and_text_in_another_encoding(server: Server, encoding: str, word: str, tmp_path: Path) -> None:
    source = server.create(options=f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    ask(source, f"CREATE TABLE {word}({word} text PRIMARY KEY DEFAULT '{word}'); COMMENT ON TABLE {word} IS '{word}'")
    ask(source, f"INSERT INTO {word} VALUES ('{word}'), ('plain'); CREATE TABLE other(id int)")
    expected = described(source)
    job = job_of(source, tmp_path / "backups")
    backup(job)
    chosen = replace(job, name="chosen", source=replace(source, tables=(word,)))
    manifest = backup(chosen).manifest
    assert manifest is not None and [table.rows for table in manifest.proof.tables.values()] == [2]
    ask(source, f"DROP TABLE {word}")
    restore(job, "latest", tables=[word])
    assert described(source) == expected
    restore(job, "latest", replace=True)
    assert described(source) == expected
    restore(chosen, "latest", to=server.url(f"chosen {encoding}"))
    assert ask(server.source(f"chosen {encoding}"), f"SELECT * FROM {word} ORDER BY 1") == [("plain",), (word,)]


def test_a_trial_on_a_server_that_the_job_names(server: Server, tmp_path: Path) -> None:
    with running() as other:
        job = job_of(
            sample(server, "for a trial"),
            tmp_path / "backups",
            proof=ProofPolicy(level="content", scratch_url=other.url("postgres")),
        )
        backup(job)
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        assert other.databases() == {"postgres"}
        assert ask(other.source(), "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'") == [("postgres",)]
