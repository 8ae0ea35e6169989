"""Single tables out of physical backups of MariaDB, into a living server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies")

from conformance_jobs import made  # noqa: E402
from mysql_copies import copied, everything, job_of  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402

from dbfleet.errors import DbfleetError, NotFoundError, RefusedError, UsageError  # noqa: E402
from dbfleet.model import Job  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402

__all__ = ["own_state"]

MORE = (
    "CREATE TABLE parents(id INT PRIMARY KEY, name VARCHAR(40) UNIQUE)",
    "INSERT INTO parents VALUES(1, 'one'), (2, 'two')",
    "CREATE TABLE children(id INT PRIMARY KEY, parent INT, bytes BLOB, f DOUBLE,"
    " FOREIGN KEY (parent) REFERENCES parents(id))",
    "INSERT INTO children VALUES(1, 1, x'00ff0a27', 0.1), (2, 2, NULL, -1e300)",
    "CREATE TABLE seen(id INT)",
    "CREATE TRIGGER told AFTER INSERT ON children FOR EACH ROW INSERT INTO seen VALUES(NEW.id)",
)
TABLES = ["children", "items", "odd $ü/", "old"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    server = copied()
    server.script("app", *MORE)
    yield server
    server.remove()


def target(job: Job, database: str) -> str:
    assert job.source is not None
    return job.source.url.replace("/?", f"/{database}?")


def rows(server: Server, database: str = "app") -> dict[str, Any]:
    return {name: server.ask(f"SELECT * FROM `{database}`.`{name}` ORDER BY 1") for name in TABLES}


def definitions(server: Server, database: str = "app") -> list[Any]:
    return [server.ask(f"SHOW CREATE TABLE `{database}`.`{name}`") for name in TABLES]


def test_tables_come_back_as_they_were_and_the_rest_stays(source: Server, tmp_path: Path) -> None:
    """From a chain; what was there is kept beside, and refused to be replaced unless that is asked for."""
    job = job_of(source, tmp_path / "backups", type="auto")
    made(job)
    source.script("app", "INSERT INTO items VALUES(5000, 'in the increment', 1)")
    assert made(job).type == "incremental"
    expected, defined, before = rows(source), definitions(source), everything(source)
    source.script("app", "DELETE FROM items", "DROP TABLE `odd $ü/`", "DROP TRIGGER told", "DELETE FROM children")
    source.script("app", "TRUNCATE old", "INSERT INTO words VALUES(7, 'stays')", "INSERT INTO items VALUES(1, 'x', 1)")
    to = target(job, "app")
    with pytest.raises(RefusedError, match="already has rows"):
        restore(job, "latest", to=to, tables=TABLES)
    assert len(source.ask("SELECT * FROM app.items")) == 1
    report = restore(job, "latest", to=to, tables=TABLES, replace=True)
    assert report.proven and report.rows == sum(map(len, expected.values())) and report.kept
    assert rows(source) == expected and definitions(source) == defined
    assert [row[0] for row in source.ask(f"SELECT id FROM `{report.kept}`.items")] in ([1], ["1"])
    assert len(source.ask("SELECT 1 FROM app.words WHERE id = 7")) == 1
    source.script("app", "DELETE FROM words WHERE id = 7", f"DROP DATABASE `{report.kept}`")
    assert everything(source) == before
    source.script("app", "INSERT INTO children VALUES(9, 1, NULL, 0)")
    assert len(source.ask("SELECT 1 FROM app.seen WHERE id = 9")) == 1


def test_another_database_can_take_the_tables_of_the_only_one(source: Server, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    made(job)
    source.ask("CREATE DATABASE other")
    try:
        report = restore(job, "latest", to=target(job, "other"), tables=["items", "old"])
        assert report.kept is None
        for name in ("items", "old"):
            assert source.ask(f"SELECT * FROM other.{name} ORDER BY 1") == source.ask(
                f"SELECT * FROM app.{name} ORDER BY 1"
            )
    finally:
        source.ask("DROP DATABASE other")


def test_what_cannot_be_done_is_refused_and_nothing_is_left(source: Server, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    made(job)
    before = source.ask("SHOW DATABASES"), everything(source)
    source.ask("CREATE DATABASE third")
    source.ask("CREATE DATABASE fourth")

    def refusal(to: str, tables: list[str]) -> DbfleetError:
        with pytest.raises(DbfleetError) as caught:
            restore(job, "latest", to=to, tables=tables)
        return caught.value

    try:
        assert isinstance(refusal(target(job, "third"), ["nobody"]), NotFoundError)
        assert isinstance(refusal(target(job, "fifth"), ["items"]), NotFoundError)
        assert isinstance(refusal(target(job, ""), ["items"]), UsageError)
        error = refusal(str(tmp_path / "data"), ["items"])
        assert isinstance(error, UsageError) and "data directory" in error.message
        made(job)  # of a server with several databases
        error = refusal(target(job, "third"), ["items"])
        assert isinstance(error, NotFoundError) and "'third'" not in error.remedy
    finally:
        source.ask("DROP DATABASE third")
        source.ask("DROP DATABASE fourth")
    assert (source.ask("SHOW DATABASES"), everything(source)) == before
    assert not (tmp_path / "data").exists()
