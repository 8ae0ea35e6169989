"""What goes wrong with a PostgreSQL backup: each a clear line, and nothing left behind."""

from __future__ import annotations

import os
import stat
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_server import (
    Server,
    ask,
    connect,
    free_port,
    ident,
    job_of,
    own_state,
    psql,
    running,
    server,
    wait_until,
)

from dbfleet.errors import BusyError, DbfleetError, KeyMaterialError, NotFoundError, SourceError, ToolError, UsageError
from dbfleet.model import Job, Limits, ProofPolicy, Source
from dbfleet.operations.backup import backup

__all__ = ["own_state", "server"]

ITEMS = """
CREATE TABLE items(id serial PRIMARY KEY, name text);
INSERT INTO items(name) SELECT 'name ' || i FROM generate_series(1, 300) i;
CREATE TABLE secret(x text); INSERT INTO secret VALUES ('s');
"""


def fails(job: Job, kind: type[DbfleetError], *words: str) -> DbfleetError:
    """The backup fails with one line that holds ``words`` and a remedy, and leaves nothing."""
    with pytest.raises(kind) as caught:
        backup(job)
    text = str(caught.value)
    assert "\n" not in text and caught.value.remedy
    for word in words:
        assert word in text, text
    repository = Path(job.repository.url)
    assert not repository.exists() or [path.name for path in repository.iterdir()] in ([], [".app.lock"])
    return caught.value


def role(server: Server, name: str, *grants: str, password: str = "pa:ss\\word'") -> None:
    ask(server.source(), f"CREATE ROLE {ident(name)} LOGIN PASSWORD '{password.replace(chr(39), chr(39) * 2)}'")
    for grant in grants:
        ask(server.source(), grant)


# --- reaching the server ----------------------------------------------------------------------


def test_a_server_that_is_down(tmp_path: Path) -> None:
    port = free_port()
    source = Source(f"postgresql://me:hidden@127.0.0.1:{port}/app")
    error = fails(job_of(source, tmp_path / "backups"), SourceError, f"127.0.0.1:{port}", "cannot be reached")
    assert "hidden" not in str(error)
    fails(job_of(Source("postgresql:///app?host=/nowhere"), tmp_path / "backups"), SourceError, "/nowhere")


def test_a_wrong_password_and_the_right_one(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = server.create(ITEMS)
    name = str(ask(source, "SELECT current_database()")[0][0])
    role(server, "by password", 'GRANT pg_read_all_data TO "by password"')
    url = f"postgresql://by%20password@127.0.0.1:{server.port}/{name.replace(' ', '%20')}"
    file = tmp_path / "password"
    file.write_text("wrong\n")
    job = job_of(Source(url, str(file)), tmp_path / "backups")
    fails(job, SourceError, "refuses the login", "by password", "source.password_file")
    fails(replace(job, source=Source(url)), SourceError, "refuses the login")
    file.write_text("pa:ss\\word'\nmore\n")
    manifest = backup(job).manifest
    assert manifest is not None and manifest.proof.tables["public.items"].rows == 300
    assert "word" not in "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "backups").glob("*.json"))
    with pytest.raises(KeyMaterialError):
        backup(replace(job, source=Source(url, str(tmp_path / "no"))))
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:by password:pa\\:ss\\\\word'\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert backup(replace(job, name="c", source=Source(url))).manifest


def test_a_password_in_the_url_reaches_no_argument(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.create(ITEMS)
    name = str(ask(source, "SELECT current_database()")[0][0])
    role(server, "in url", 'GRANT pg_read_all_data TO "in url"', password="topsecret")
    tools = recording(server, tmp_path, 'tr "\\0" " " </proc/$$/cmdline >>"$0.seen"; env >>"$0.seen"')
    url = f"postgresql://in%20url:topsecret@127.0.0.1:{server.port}/{name.replace(' ', '%20')}"
    assert backup(job_of(Source(url, tools=str(tools)), tmp_path / "backups")).manifest
    seen = (tools / "pg_dump.seen").read_text()
    assert "--dbname=" in seen and "PGPASSFILE=" in seen and "topsecret" not in seen


def test_a_service_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = server.create(ITEMS)
    name = ask(source, "SELECT current_database()")[0][0]
    (tmp_path / "services").write_text(f"[mine]\nhost={server.folder}\nport={server.port}\nuser=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    url = f"postgresql:///{name.replace(' ', '%20')}?service=mine"
    manifest = backup(job_of(Source(url), tmp_path / "backups")).manifest
    assert manifest is not None and manifest.source.database == name


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://h/d?schema=public", "'schema'"),
        ("postgresql://u:hidden@[::1/d", "libpq"),
        ("postgresql://u:hidden@h:99999999999999999999/d?sslmode=wrong", ""),
        ("postgresql://u:hidden@h/d?sslpassword=hidden", "sslpassword"),
    ],
)
def test_a_url_that_cannot_be_read(url: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(DbfleetError) as caught:
        backup(job_of(Source(url), tmp_path / "backups"))
    assert word in str(caught.value) and "hidden" not in str(caught.value)


def test_a_database_that_is_not_there(server: Server, tmp_path: Path) -> None:
    fails(job_of(server.source("no such"), tmp_path / "backups"), NotFoundError, "no database 'no such'")


# --- what may not be read ---------------------------------------------------------------------


def test_a_table_that_may_not_be_read_is_named(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    name = str(ask(source, "SELECT current_database()")[0][0])
    role(server, "some")
    ask(source, 'GRANT SELECT ON items, items_id_seq TO "some"')
    mine = Source(server.url(name, user="some"))
    job = job_of(mine, tmp_path / "backups")
    fails(job, SourceError, "role 'some' may not read table public.secret", "GRANT SELECT", "source.exclude_tables")
    manifest = backup(replace(job, source=replace(mine, exclude_tables=("public.secret",)))).manifest
    assert manifest is not None and set(manifest.proof.tables) == {"public.items"}


def test_row_security_is_an_error_not_a_smaller_backup(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS + "ALTER TABLE items ENABLE ROW LEVEL SECURITY;")
    name = str(ask(source, "SELECT current_database()")[0][0])
    role(server, "limited", "GRANT pg_read_all_data TO limited")
    fails(job_of(Source(server.url(name, user="limited")), tmp_path / "backups"), DbfleetError, "row-level security")


# --- locks, and tables that come and go -------------------------------------------------------


def test_a_lock_is_named_with_its_holder(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    with closing(connect(source, application_name="the migration")) as holder, holder.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE secret IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        fails(job_of(source, tmp_path / "backups"), BusyError, "public.secret", "the migration", "limits.lock_wait")
        assert 1 < time.monotonic() - begun < 10
    assert backup(job_of(source, tmp_path / "backups")).manifest


def test_a_table_dropped_while_it_waits_for_the_lock(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    with closing(connect(source)) as holder, holder.cursor() as cursor:
        cursor.execute("BEGIN; DROP TABLE secret")
        threading.Timer(0.5, lambda: cursor.execute("COMMIT")).start()
        manifest = backup(job_of(source, tmp_path / "backups", limits=Limits(lock_wait=20, min_free="0"))).manifest
    assert manifest is not None and set(manifest.proof.tables) == {"public.items"}


def test_nobody_drops_or_rewrites_a_table_during_the_dump(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    refused: list[str] = []

    def change() -> None:
        with closing(connect(source)) as other, other.cursor() as cursor:
            cursor.execute("SET lock_timeout = 100")
            for sql in ("DROP TABLE secret", "ALTER TABLE items ALTER id TYPE bigint", "TRUNCATE items"):
                with pytest.raises(Exception, match="lock timeout"):
                    cursor.execute(sql)
                refused.append(sql)

    tools = recording(server, tmp_path, "sleep 1.5")
    job = job_of(replace(source, tools=str(tools)), tmp_path / "backups")
    threading.Timer(0.7, change).start()
    manifest = backup(job).manifest
    wait_until(lambda: len(refused) == 3)
    assert manifest is not None and manifest.proof.tables["public.items"].rows == 300


def test_tables_made_during_the_dump_are_not_in_it(server: Server, tmp_path: Path) -> None:
    from dbfleet.operations.restore import restore

    source = server.create(ITEMS)
    tools = recording(server, tmp_path, "sleep 1")
    job = job_of(replace(source, tools=str(tools)), tmp_path / "backups")
    threading.Timer(
        0.7, lambda: psql(server, source, "CREATE TABLE late(x int); INSERT INTO items DEFAULT VALUES;")
    ).start()
    manifest = backup(job).manifest
    assert manifest is not None and "public.late" not in manifest.proof.tables
    wait_until(lambda: ask(source, "SELECT to_regclass('late') IS NOT NULL")[0][0])
    assert restore(job, "latest", to=server.url("without late")).proven


# --- tools ------------------------------------------------------------------------------------


def recording(server: Server, folder: Path, script: str, tool: str = "pg_dump") -> Path:
    """A folder of the server's tools, of which one runs ``script`` first (unless only asked for its version)."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("pg_dump", "pg_restore", "psql", "pg_dumpall"):
        text = script if name == tool else ""
        path = tools / name
        real = os.path.join(server.bin, name)
        path.write_text(
            f'#!/bin/bash\n[ "$1" = --version ] && exec {real} "$@"\nreal={real}\n{text}\nexec $real "$@"\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tools


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('"$real" "$@"; echo "pg_dump: error: late trouble" >&2; exit 1', ("late trouble", "exit status 1")),
        ('"$real" "$@" | head -c 3000; kill -9 $$', ("signal 9",)),
        ('"$real" "$@" | head -c 3000; exit 3', ("exit status 3",)),
        ("exit 0", ("not a single byte",)),
    ],
)
def test_a_tool_that_fails_late_or_is_killed(
    server: Server, script: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    source = server.create(ITEMS)
    tools = recording(server, tmp_path, script)
    fails(job_of(replace(source, tools=str(tools)), tmp_path / "backups"), DbfleetError, *words)


def test_an_old_tool_is_refused_with_what_to_install(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    tools = recording(server, tmp_path, "")
    (tools / "pg_dump").write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 12.4"\n')
    job = job_of(replace(source, tools=str(tools)), tmp_path / "backups")
    fails(job, ToolError, f"the server is PostgreSQL {server.major}", "the newest pg_dump here is 12.4")
    fails(job, ToolError, f"postgresql-client-{server.major}")
    (tools / "pg_dump").unlink()
    fails(job, ToolError, "pg_dump is not installed in", "source.tools")


@pytest.mark.parametrize("whom", ["pg_dump", "dbfleet"])
def test_a_connection_that_is_cut(server: Server, whom: str, tmp_path: Path) -> None:
    source = server.create(
        "CREATE TABLE items(x text); INSERT INTO items SELECT repeat(md5(i::text), 40) FROM generate_series(1, 60000) i"
    )
    name = str(ask(source, "SELECT current_database()")[0][0])
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE %s"
    pattern = "COPY %" if whom == "pg_dump" else "SELECT count(*), coalesce(sum(hash%"

    def cut() -> None:
        with closing(connect(server.source())) as other, other.cursor() as cursor:
            for _attempt in range(3000):
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM ({query}) AS found", (name, pattern))
                if cursor.fetchall():
                    return
                time.sleep(0.002)

    tools = recording(server, tmp_path, "")
    thread = threading.Thread(target=cut)
    thread.start()
    limits = Limits(lock_wait=2, min_free="0", bandwidth=20_000_000)
    fails(job_of(replace(source, tools=str(tools)), tmp_path / "backups", limits=limits), DbfleetError, name)
    thread.join()


def test_a_server_that_goes_down_in_the_middle(tmp_path: Path) -> None:
    with running() as own:
        source = own.create(
            "CREATE TABLE items(x text); INSERT INTO items SELECT md5(i::text) FROM generate_series(1, 400000) i"
        )
        tools = recording(own, tmp_path, '"$real" "$@" & sleep 0.2; wait $!; exit $?')
        limits = Limits(lock_wait=2, min_free="0", bandwidth=300_000)
        timer = threading.Timer(1.0, own.stop)
        timer.start()
        fails(job_of(replace(source, tools=str(tools)), tmp_path / "backups", limits=limits), DbfleetError)
        timer.join()
        own.start()


# --- choices ----------------------------------------------------------------------------------


def test_patterns_that_match_nothing(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    fails(job_of(replace(source, tables=("nosuch",)), tmp_path / "backups"), UsageError, "nosuch", "source.tables")


def test_queries_are_read_only_and_single(server: Server, tmp_path: Path) -> None:
    source = server.create(ITEMS)
    for sql in (
        "SELECT 1; COMMIT; DELETE FROM items",
        "WITH d AS (DELETE FROM items RETURNING 1) SELECT * FROM d",
        "COMMIT",
    ):
        job = job_of(source, tmp_path / "backups", proof=ProofPolicy(queries=(sql,)))
        fails(job, UsageError, "proof.queries")
    assert ask(source, "SELECT count(*) FROM items") == [(300,)]


# --- what others could put in our way ---------------------------------------------------------


def test_functions_of_others_are_never_run(server: Server, tmp_path: Path) -> None:
    """A database whose owner puts functions before the server's own, for a backup that runs as superuser."""
    names = ("current_setting(text)", "set_config(text, text, boolean)", "pg_is_in_recovery()")
    bad = "".join(
        f"CREATE FUNCTION evil.{name} RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'a function of others ran'; END $$;"
        for name in names
    )
    source = server.create(ITEMS + "CREATE SCHEMA evil;" + bad)
    name = str(ask(source, "SELECT current_database()")[0][0])
    ask(source, f"ALTER DATABASE {ident(name)} SET search_path = evil, public, pg_catalog")
    manifest = backup(job_of(source, tmp_path / "backups")).manifest
    assert manifest is not None and manifest.proof.tables["public.items"].rows == 300
