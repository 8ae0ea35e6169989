"""What the digests of tables are, told without the code under test, and that old ones are still understood."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from mysql_server import Server, job_of, own_state  # noqa: E402

from dbfleet.databases.mysql import snapshot  # noqa: E402
from dbfleet.databases.mysql.address import address_of  # noqa: E402
from dbfleet.databases.mysql.measure import measure, measure_table  # noqa: E402
from dbfleet.databases.mysql.server import Session  # noqa: E402
from dbfleet.model import Source  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

LONG = "word " * 20000


@pytest.fixture
def server() -> Server:
    return mysql_server.server()


@pytest.fixture
def database(server: Server) -> str:
    server.ask("CREATE OR REPLACE DATABASE digests")
    server.script(
        "digests",
        "CREATE TABLE items(a INT, b LONGTEXT, c VARCHAR(9))",
        "INSERT INTO items VALUES(1, 'one', '9'), (2, NULL, NULL), (2, NULL, NULL)",
        f"INSERT INTO items VALUES(3, '{LONG}', '')",
    )
    return "digests"


@pytest.mark.parametrize(("name", "prefix"), [("sha256", "sha256:"), ("md5", "")])
def test_a_digest_is_the_sum_of_what_the_rows_hash_to(server: Server, database: str, name: str, prefix: str) -> None:
    def hashed(data: bytes) -> str:
        return hashlib.new(name, data).hexdigest()

    rows = [f"1,{hashed(b'one')},1:9".encode(), *[b"2,n,n"] * 2, f"3,{hashed(LONG.encode())},0:".encode()]
    total = sum(int(hashed(row)[:16], 16) for row in rows)
    with Session(address_of(Source(server.url(database)))) as session:
        assert measure_table(session, database, "items", name) == (4, f"{prefix}{total:032x}")


def test_a_backup_that_was_proven_by_md5_is_restored_and_verified(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "measure", partial(measure, hash_name="md5"))
    job = job_of(server.url(database), tmp_path / "backups")
    manifest = made(job)
    assert ":" not in str(manifest.proof.tables["items"].digest)
    assert restore(job, manifest.id, to=server.url("digests_back")).proven
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings
