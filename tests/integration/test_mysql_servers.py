"""Several databases, a whole server with its accounts, and chosen tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from conformance_jobs import made  # noqa: E402
from mysql_server import Server, content, job_of, own_state  # noqa: E402

from dbfleet.errors import NotFoundError, RefusedError, SourceError, ToolError, UsageError  # noqa: E402
from dbfleet.model import Job, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)
SAMPLE = (
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(50))",
    "CREATE TABLE cache(id INT PRIMARY KEY)",
    "INSERT INTO items SELECT seq, concat('item ', seq) FROM seq_1_to_100",
    "CREATE VIEW named AS SELECT name FROM items",
    "CREATE TRIGGER cut BEFORE INSERT ON items FOR EACH ROW SET new.name = trim(new.name)",
    "CREATE TRIGGER cached BEFORE INSERT ON cache FOR EACH ROW SET new.id = new.id + 1",
    "CREATE PROCEDURE nothing() BEGIN END",
)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test alone: the whole of it is backed up."""
    server = mysql_server.Server()
    yield server
    server.remove()


@pytest.fixture
def names(server: Server) -> list[str]:
    found = [f"several_{next(numbers)}", f"odd `/ä%{next(numbers)}"]
    for name in found:
        server.ask(f"CREATE DATABASE {mysql_server.quoted(name)}")
        server.script(name, *SAMPLE, f"DELETE FROM items WHERE id > {10 + len(name)}")
    return found


@pytest.fixture
def job(server: Server, tmp_path: Path) -> Job:
    return job_of(server.url(""), tmp_path / "backups")


def test_a_target_that_judges_passwords_says_how_it_takes_accounts(server: Server, names: list[str], job: Job) -> None:
    """Only their hashes are kept, and such a server takes none."""
    server.ask("CREATE USER reader IDENTIFIED BY 'secret'")
    made(replace(job, source=replace(_source(job), databases=("*",))))
    target = mysql_server.Server("--plugin-load-add=simple_password_check", "--strict-password-validation=ON")
    try:
        before = target.databases()
        with pytest.raises(SourceError, match="the accounts: a setting of the server refuses it") as caught:
            restore(job, "latest", to=target.url(""))
        assert "SET GLOBAL strict_password_validation = OFF" in caught.value.remedy
        assert target.databases() == before
        target.ask("SET GLOBAL strict_password_validation = OFF")
        restore(job, "latest", to=target.url(""))
        assert all(content(target, name) == content(server, name) for name in names)
        target.connect(user="reader", password="secret").close()
    finally:
        target.remove()


def test_several_databases_are_one_state_and_come_back_together(server: Server, names: list[str], job: Job) -> None:
    job = replace(job, source=replace(_source(job), databases=tuple(names)))
    expected = {name: content(server, name) for name in names}
    manifest = backup(job).manifest
    assert manifest is not None
    assert {artifact.database for artifact in manifest.artifacts} == set(names)
    assert manifest.proof.tables[f"{names[0]}.items"].rows
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings
    with pytest.raises(RefusedError, match="not empty"):
        restore(job, manifest.id)
    server.ask(f"DROP DATABASE {names[0]}")
    server.ask("UPDATE items SET name = 'newer'", names[1])
    report = restore(job, manifest.id, replace=True)
    assert {name: content(server, name) for name in names} == expected
    assert report.kept is not None and report.kept in server.databases()


def test_a_whole_server_with_its_accounts(server: Server, names: list[str], job: Job) -> None:
    server.ask("CREATE USER 'it''s'@'%' IDENTIFIED BY 'secret'")
    server.ask(f"GRANT SELECT ON {names[0]}.* TO 'it''s'@'%'")
    server.ask(f"GRANT INSERT ON {names[0]}.items TO 'it''s'@'%'")
    server.ask(f"GRANT EXECUTE ON PROCEDURE {names[0]}.nothing TO 'it''s'@'%'")
    server.ask(f"GRANT SHOW VIEW ON {names[0]}.* TO PUBLIC")
    server.ask("CREATE SERVER far FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'there')")
    job = replace(job, source=replace(_source(job), databases=("*",)))
    expected = {name: content(server, name) for name in names}
    try:
        manifest = backup(job).manifest
    finally:
        server.ask(f"REVOKE SHOW VIEW ON {names[0]}.* FROM PUBLIC")
        server.ask("DROP SERVER far")
    assert manifest is not None and "servers that tables refer to (CREATE SERVER) are not kept: far" in manifest.notes
    other = mysql_server.Server()
    try:
        restore(job, "latest", to=other.url(""))
        assert other.ask("SHOW GRANTS FOR PUBLIC") == [(f"GRANT SHOW VIEW ON `{names[0]}`.* TO PUBLIC",)]
        assert {name: content(other, name) for name in names} == expected
        grants = [row[0] for row in other.ask("SHOW GRANTS FOR 'it''s'@'%'")]
        assert sorted(grants) == sorted(row[0] for row in server.ask("SHOW GRANTS FOR 'it''s'@'%'"))
        assert len(grants) == 4
        assert set(other.databases()) == set(server.databases())
    finally:
        other.remove()


def test_when_one_of_several_fails_none_is_replaced(
    server: Server, names: list[str], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.mysql import takeover

    job = replace(job, source=replace(_source(job), databases=tuple(names)))
    backup(job)
    for name in names:
        server.ask("UPDATE items SET name = 'newer'", name)
    expected = {name: content(server, name) for name in names}
    before = server.databases()
    feed = takeover.Built.feed
    seen: list[str] = []

    def failing(self: takeover.Built, place: str, path: str | None, what: str) -> None:
        if place in names and what.startswith("the views"):
            seen.append(place)
            if len(seen) == 2:
                raise ToolError("as if the client had failed", "try again")
        feed(self, place, path, what)

    monkeypatch.setattr(takeover.Built, "feed", failing)
    with pytest.raises(ToolError, match="as if the client"):
        restore(job, "latest", replace=True)
    assert {name: content(server, name) for name in names} == expected
    assert server.databases() == before


def test_chosen_and_excluded_tables(server: Server, names: list[str], job: Job) -> None:
    source = Source(server.url(names[0]), tables=("it*",))
    only = backup(replace(job, source=source)).manifest
    assert only is not None and set(only.proof.tables) == {"items"}
    restore(job, only.id, to=server.url("only"))
    assert {key for key in content(server, "only") if not key.startswith("rows")} == {"table items", "TRIGGER cut"}
    rest = backup(replace(job, source=Source(server.url(names[0]), exclude_tables=("cache",)))).manifest
    assert rest is not None
    restore(job, rest.id, to=server.url("rest"))
    expected = content(server, names[0])
    missing = {"table cache", "rows of cache", "TRIGGER cached"}
    assert content(server, "rest") == {key: value for key, value in expected.items() if key not in missing}


def test_choices_that_cannot_be_meant(server: Server, names: list[str], job: Job) -> None:
    with pytest.raises(NotFoundError, match="no database 'nowhere'"):
        backup(replace(job, source=replace(_source(job), databases=("nowhere",))))
    with pytest.raises(UsageError, match="not in source.databases"):
        backup(replace(job, source=Source(server.url(names[0]), databases=(names[1],))))


def _source(job: Job) -> Source:
    assert job.source is not None
    return job.source
