"""The role of the documentation: it is made by the page's own SQL, and backs up all that the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from postgresql_clusters import QUICK
from postgresql_server import ask, own_state, psql, running

from dbfleet.errors import SourceError
from dbfleet.model import Job, ProofPolicy, Repository, Source
from dbfleet.operations.backup import backup

__all__ = ["own_state"]

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"
CONTENT = """
CREATE SCHEMA closed; REVOKE ALL ON SCHEMA closed FROM PUBLIC;
CREATE TABLE closed.items AS SELECT i FROM generate_series(1, 10) i;
CREATE SEQUENCE closed.numbers; SELECT nextval('closed.numbers');
CREATE VIEW closed.seen AS SELECT * FROM closed.items;
CREATE MATERIALIZED VIEW closed.totals AS SELECT count(*) FROM closed.items;
CREATE FUNCTION closed.double(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 * 2';
"""


def test_the_documented_role_suffices(tmp_path: Path) -> None:
    (sql,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    secret = tmp_path / "secret"
    secret.write_text("choose one\n", encoding="utf-8")
    secret.chmod(0o600)
    with running(wal_level="replica", access="host replication dbfleet 127.0.0.1/32 scram-sha-256\n") as server:
        server.create(CONTENT, name="promptpilot")
        ask(server.source(), "REVOKE CONNECT ON DATABASE promptpilot FROM PUBLIC")
        psql(server, server.source(), sql)
        ((superuser, creates, bypasses),) = ask(
            server.source(), "SELECT rolsuper, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = 'dbfleet'"
        )
        assert not (superuser or creates or bypasses)
        source = Source(f"postgresql://dbfleet@127.0.0.1:{server.port}/promptpilot", str(secret), tools=server.bin)
        proof = ProofPolicy(level="content")

        def take(name: str, method: str = "logical", **changed: object) -> list[str]:
            repository = Repository(str(tmp_path / name))
            chosen = Source(source.url, source.password_file, tools=source.tools, **changed)  # type: ignore[arg-type]
            manifest = backup(Job(name, repository, chosen, method=method, proof=proof, limits=QUICK)).manifest
            assert manifest is not None
            return list(manifest.notes)

        take("one")
        assert not any("without passwords" in note for note in take("all", databases=("*",)))
        take("cluster", method="physical")
        for object_, change in (
            (
                "closed.guarded",
                "CREATE TABLE closed.guarded(i integer); ALTER TABLE closed.guarded ENABLE ROW LEVEL SECURITY",
            ),
            ("large object", "DROP TABLE closed.guarded; SELECT lo_create(0)"),
        ):
            psql(server, server.source("promptpilot"), change)
            with pytest.raises(SourceError) as caught:
                take("refused")
            assert object_.rpartition(".")[2] in caught.value.message, caught.value
        assert not list((tmp_path / "refused").glob("*.manifest.json"))
