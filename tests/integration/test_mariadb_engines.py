"""Tables of engines that are plugins: trial servers have those of MariaDB's own package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies")

import mysql_copies  # noqa: E402
import mysql_server  # noqa: E402
from conformance_jobs import made  # noqa: E402
from mysql_copies import copied, everything, started  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.errors import ToolError  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state", "room"]

TABLES = (
    "CREATE TABLE packed(id INT, t TEXT) ENGINE=ARCHIVE",
    "INSERT INTO packed VALUES(1, 'x'), (2, 'y')",
    "CREATE TABLE hole(id INT) ENGINE=BLACKHOLE",
    "CREATE TABLE comma(id INT NOT NULL) ENGINE=CSV",
    "INSERT INTO comma VALUES(1)",
    "CREATE TABLE part(id INT) ENGINE=MyISAM",
    "INSERT INTO part VALUES(1)",
    "CREATE TABLE parts(id INT) ENGINE=MERGE UNION=(part)",
)


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    server = copied()
    for library in ("ha_archive", "ha_blackhole"):
        server.ask(f"INSTALL SONAME '{library}'")
    server.script("app", *TABLES)
    yield server
    server.remove()


def test_logical_backups_are_proven_and_restored(source: Server, tmp_path: Path) -> None:
    job = mysql_server.job_of(source.url("app"), tmp_path / "backups")
    made(job)
    expected = everything(source)
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    assert restore(job, "latest", replace=True).proven
    assert everything(source) == expected


def test_a_server_without_the_engine_is_refused_before_it_takes_another(source: Server, tmp_path: Path) -> None:
    job = mysql_server.job_of(source.url("app"), tmp_path / "backups")
    made(job)
    other = mysql_server.server()
    before = other.databases()
    with pytest.raises(ToolError, match="Unknown storage engine 'ARCHIVE'") as failure:
        restore(job, "latest", to=other.url("elsewhere"))
    assert "INSTALL SONAME" in failure.value.remedy
    assert other.databases() == before


def test_physical_backups_are_proven_and_restored(source: Server, room: Path, tmp_path: Path) -> None:
    job = mysql_copies.job_of(source, tmp_path / "backups")
    made(job)
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    assert restore(job, "latest", to=str(room / "data")).proven
    with started(room / "data") as restored:
        assert everything(restored) == everything(source)
