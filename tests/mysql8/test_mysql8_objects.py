"""Every kind of object, type and account of MySQL 8.0 goes through a backup and comes back as it was."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql8_server  # noqa: E402
from mysql8_server import PATIENT, Mysql8  # noqa: E402
from mysql8_zoo import HISTOGRAM, OBJECTS, TABLES  # noqa: E402
from mysql_server import IMPLIED, content, own_state  # noqa: E402

from dbfleet.model import Job, ProofPolicy, Repository  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)


@pytest.fixture
def server() -> Mysql8:
    return mysql8_server.server()


@pytest.fixture
def zoo(server: Mysql8) -> str:
    name = f"zoo_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name} CHARACTER SET latin2 COLLATE latin2_croatian_ci")
    server.script(name, *TABLES, *OBJECTS)
    return name


@pytest.fixture
def job(server: Mysql8, zoo: str, tmp_path: Path) -> Job:
    proof = ProofPolicy(level="content", scratch_url=server.scratch)
    return Job("app", Repository(str(tmp_path / "backups")), server.source(zoo), proof=proof, limits=PATIENT)


def test_everything_comes_back(server: Mysql8, zoo: str, job: Job) -> None:
    server.ask(HISTOGRAM, zoo)
    expected, dumped = content(server, zoo), server.dump(zoo)
    manifest = made(job)
    assert manifest.proof.tables["no_key"].rows == 5
    restore(job, manifest.id, to=server.url(f"{zoo}_back"))
    assert content(server, f"{zoo}_back") == expected
    again = server.dump(f"{zoo}_back").replace(f"{zoo}_back".encode(), zoo.encode())
    assert _plain(again) == _plain(dumped)
    assert b"UPDATE HISTOGRAM ON `v` WITH 8 BUCKETS" in again
    assert not [name for name in server.databases() if "_dbfleet_" in name]
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings


def test_what_json_cannot_say_is_told(server: Mysql8, job: Job, zoo: str) -> None:
    """A dump writes documents as text: a DECIMAL inside comes back as a number of JSON."""
    server.ask("INSERT INTO documents(id, j) VALUES(0x05, json_object('d', 1.50))", zoo)
    manifest = made(replace(job, source=server.source(zoo, tables=("documents",))))
    assert any("keeps JSON as text (in documents" in note for note in manifest.notes)
    assert restore(job, manifest.id, to=server.url(f"{zoo}_json")).proven
    assert server.ask("SELECT j FROM documents WHERE left(id, 1) = 0x05", f"{zoo}_json") == [('{"d": 1.5}',)]


def _plain(dump: bytes) -> str:
    """MySQL shows a column's character set beside its collation, which implies it, when it was once written so."""
    return IMPLIED.sub(r"\1", dump.decode("utf-8", "surrogateescape"))
