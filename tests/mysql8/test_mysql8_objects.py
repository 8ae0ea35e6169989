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
    return job_of(server, zoo, tmp_path)


def job_of(server: Mysql8, database: str, folder: Path) -> Job:
    proof = ProofPolicy(level="content", scratch_url=server.scratch)
    return Job("app", Repository(str(folder / "backups")), server.source(database), proof=proof, limits=PATIENT)


# Of each of them alone, a backup failed or could not be restored.
UNFRIENDLY = {
    "max_execution_time": "100",  # ms; the dump tool of 8.0 cannot lift it, and needs some of them on a busy machine
    "autocommit": "0",
    "sql_quote_show_create": "0",
    "sql_require_primary_key": "1",
    "sql_generate_invisible_primary_key": "1",  # from MySQL 8.0.30 on
}


def test_settings_of_a_server_that_end_undo_or_forbid_what_dumps_hold(server: Mysql8, zoo: str, job: Job) -> None:
    expected, manifest = content(server, zoo), made(job)
    with server.set_globally(**UNFRIENDLY):
        restore(job, manifest.id, to=server.url(f"{zoo}_back"))
        restore(job, manifest.id, replace=True)
    assert content(server, f"{zoo}_back") == expected
    assert content(server, zoo) == expected


def test_references_to_keys_that_are_not_unique_come_back(server: Mysql8, tmp_path: Path) -> None:
    """MySQL took them up to 8.0, and from 8.4 on only where a session asks for it."""
    server.ask("CREATE DATABASE loose")
    asked = server.ask("SHOW VARIABLES LIKE 'restrict\\_fk%'")
    server.script(
        "loose",
        *("SET restrict_fk_on_non_standard_key = OFF" for _variable in asked),
        "CREATE TABLE parent(a INT, b INT, PRIMARY KEY(a, b), KEY(b))",
        "CREATE TABLE child(id INT PRIMARY KEY, a INT, b INT, FOREIGN KEY(a) REFERENCES parent(a),"
        " FOREIGN KEY(b) REFERENCES parent(b))",
        "INSERT INTO parent VALUES(1, 1), (1, 2), (2, 2)",
        "INSERT INTO child VALUES(1, 1, 2), (2, 2, 1)",
    )
    job = job_of(server, "loose", tmp_path)
    expected = content(server, "loose")
    manifest = made(job)
    restore(job, manifest.id, to=server.url("loose_back"))
    assert content(server, "loose_back") == expected
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings
    server.ask("DELETE FROM child", "loose_back")
    restore(job, manifest.id, to=server.url("loose_back"), tables=("child",), replace=True)
    assert content(server, "loose_back") == expected


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
