"""Coverage: databases are found by what they are, and a job counts only for what it really protects."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import mysql_server, postgresql_server
from integration.postgresql_server import own_state, server

from dbfleet.coverage import logins
from dbfleet.coverage.cover import Covered, compare, jobs_of, protections, repositories
from dbfleet.coverage.found import Found, Search, search_mysql, search_postgresql, search_sqlite
from dbfleet.coverage.logins import search_by_logins, search_usual_ports

NOWHERE = {"DBFLEET_CONFIG_DIR": "/nowhere"}
__all__ = ["own_state", "server"]


def by_name(covered: list[Covered]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {one.found.name: (one.jobs, one.partly) for one in covered}


def job(name: str, url: str, **changed: object) -> dict[str, object]:
    source = {"url": url, **{key: changed.pop(key) for key in ("databases", "tables") if key in changed}}
    return {"name": name, "source": source, "repository": {"url": "/backups"}, **changed}


def compared(search: Search, *jobs: dict[str, object]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    read, wrong = jobs_of(jobs, NOWHERE)
    made, unclear = protections(read)
    assert (wrong, unclear) == ([], [])
    return by_name(compare(search.found, made))


@pytest.fixture
def cluster() -> Iterator[postgresql_server.Server]:
    with postgresql_server.running() as one:
        for name in ("app", "other", 'odd "name"', "app_before_restore_20250823_103000"):
            one.create(name=name)
        yield one


def test_databases_of_postgresql(cluster: postgresql_server.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "postgres")
    search = Search()
    search_postgresql(search, [str(cluster.folder), "/nowhere"], None)
    assert [one for one in search.problems if str(cluster.folder) in one.object] == []
    nobody = compared(search)
    assert set(nobody) == {"app", "other", 'odd "name"'}  # an empty database postgres needs no job
    assert set(nobody.values()) == {((), ())}
    local = f"postgresql://u:secret@localhost:{cluster.port}"
    assert compared(search, job("a", f"{local}/app"))["app"] == (("a",), ())
    assert compared(search, job("a", cluster.url("app")))["app"] == (("a",), ())
    assert compared(search, job("a", cluster.url("app"), tables=["one"]))["app"] == ((), ("a",))
    assert compared(search, job("a", f"postgresql://u@localhost:{cluster.port + 1}/app"))["app"] == ((), ())
    assert compared(search, job("a", f"postgresql://u@db.example.org:{cluster.port}/app"))["app"] == ((), ())
    everything = compared(search, job("all", f"{local}/postgres", databases=["*"]), job("a", f"{local}/app"))
    assert everything == {"app": (("a", "all"), ()), "other": (("all",), ()), 'odd "name"': (("all",), ())}
    postgresql_server.ask(cluster.source(), "CREATE TABLE here (n int)")
    search = Search()
    search_postgresql(search, [str(cluster.folder)], None)
    assert "postgres" in compared(search)


def test_databases_of_mariadb() -> None:
    maria = mysql_server.server()
    for name in ("app", "other"):
        maria.ask(f"CREATE OR REPLACE DATABASE {name}")
    try:
        search = Search()
        search_mysql(search, [maria.socket, maria.socket, "/nowhere"], "root")
        assert search.problems == []
        assert (
            compared(search).items() >= {"app": ((), ()), "other": ((), ())}.items()
        )  # other tests have databases there
        by_socket = job("a", f"mysql://u@localhost/app?unix_socket={maria.socket}")
        assert compared(search, by_socket)["app"] == (("a",), ())
        assert compared(search, job("a", maria.url("app")))["app"] == (("a",), ())
        assert compared(search, job("a", "mysql://u@db.example.org/app"))["app"] == ((), ())
        assert compared(search, job("a", maria.url(""), databases=["*"]))["other"] == (("a",), ())
        closed = Search()
        search_mysql(closed, [maria.socket], "stranger")
        assert "refuses the login" in closed.problems[0].problem
    finally:
        for name in ("app", "other"):
            maria.ask(f"DROP DATABASE {name}")


def test_servers_without_a_socket_are_asked_with_the_login_of_a_job(cluster: postgresql_server.Server) -> None:
    postgresql_server.ask(cluster.source(), "ALTER ROLE postgres PASSWORD 'open sesame'")
    url = f"postgresql://postgres:{{}}@localhost:{cluster.port}/app"
    read, _wrong = jobs_of([job("wrong", url.format("no")), job("app", url.format("open%20sesame"))], NOWHERE)
    search = Search()
    search_by_logins(search, read, protections(read)[0])
    found = by_name(compare(search.found, protections(read)[0]))
    assert (search.problems, found.keys()) == ([], {"app", "other", 'odd "name"'})
    assert (found["app"], found["other"]) == ((("app", "wrong"), ()), ((), ()))
    refused = Search()
    search_by_logins(refused, read[:1], protections(read[:1])[0])
    assert [one.object for one in refused.problems] == [f"PostgreSQL, port {cluster.port}"]
    assert "open" not in str(refused.problems) and refused.found == []


def test_a_job_s_login_is_not_used_where_a_socket_led(
    cluster: postgresql_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", "postgres")
    read, _wrong = jobs_of([job("app", f"postgresql://stranger@localhost:{cluster.port}/app")], NOWHERE)
    search = Search()
    search_postgresql(search, [str(cluster.folder)], None)
    before = list(search.found)
    search_by_logins(search, read, protections(read)[0])
    assert len(before) == 3 and search.found == before
    assert [one for one in search.problems if "port" in one.object] == []


def test_mariadb_by_its_port() -> None:
    maria = mysql_server.server()
    maria.ask("CREATE OR REPLACE DATABASE other")
    read, _wrong = jobs_of([job("app", maria.url("app"))], NOWHERE)
    search = Search()
    search_by_logins(search, read, protections(read)[0])
    maria.ask("DROP DATABASE other")
    assert search.problems == [] and by_name(compare(search.found, protections(read)[0]))["other"] == ((), ())


def test_a_server_that_nothing_leads_into_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("localhost", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(logins, "USUAL_PORTS", {"mysql": port})
        search = Search()
        search_usual_ports(search)
        assert [(one.object, "MySQL or MariaDB" in one.problem) for one in search.problems] == [(f"port {port}", True)]
        search = Search(asked={("mysql", "socket /run/mysqld/mysqld.sock")})
        search_usual_ports(search)
        assert search.problems == []
    search = Search()
    search_usual_ports(search)
    assert search.problems == []


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sqlite3.connect(path).execute("CREATE TABLE t (n)").connection.close()
    return path


def test_files_of_sqlite_are_known_by_what_they_hold(tmp_path: Path) -> None:
    app, odd = make(tmp_path / "srv/app/app.db"), make(tmp_path / "srv/it's odd\nä")
    kept, left_out = make(tmp_path / "srv/backups/kept.db"), make(tmp_path / "srv/cache/left.db")
    make(tmp_path / "srv/app/app.db.replaced-20250823T103000Z")
    make(tmp_path / "srv/app/app.db.replaced-20250823T103000Z-2")
    (tmp_path / "srv/fake.db").write_text("no database")
    (tmp_path / "srv/empty.db").touch()
    (tmp_path / "srv/link.db").symlink_to(app)
    (tmp_path / "srv/round").symlink_to(tmp_path / "srv")
    os.mkfifo(tmp_path / "srv/pipe.db")
    one = {"name": "kept", "source": {"url": f"sqlite:///{app}"}, "repository": {"url": f"file://{kept.parent}"}}
    read, _wrong = jobs_of([one], NOWHERE)
    search = Search()
    search_sqlite(search, [str(tmp_path / "srv"), "/nowhere"], [str(left_out.parent), *repositories(read)])
    assert by_name(compare(search.found, protections(read)[0])) == {str(app): (("kept",), ()), str(odd): ((), ())}
    assert [problem.object for problem in search.problems] == ["/nowhere"]


def test_installed_jobs_count_and_broken_ones_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "jobs.d"
    folder.mkdir()
    for name, text in (("good", json.dumps(job("good", "sqlite:////srv/good.db"))), ("broken", "{")):
        (folder / f"{name}.json").write_text(text)
        (folder / f"{name}.json").chmod(0o600)
    environ = {"DBFLEET_CONFIG_DIR": str(tmp_path)}
    read, wrong = jobs_of([{"name": "good", "job": "good"}, {"name": "gone", "job": "gone"}], environ)
    assert [one.name for one in read] == ["good"]
    assert sorted(one.object for one in wrong) == ["job broken", "job gone"]
    found = [Found("sqlite", "/srv/good.db"), Found("sqlite", "/srv/other.db")]
    covered = compare(found, protections(read)[0])
    assert [(one.found.name, one.jobs) for one in covered] == [("/srv/other.db", ()), ("/srv/good.db", ("good",))]
