"""Restores into PostgreSQL: all or nothing, beside what is there, and single tables into what lives."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import made
from postgresql_server import Server, ask, connect, dump, ident, job_of, own_state, running, server, wait_until
from test_postgresql_faults import recording

from dbfleet.errors import (
    BusyError,
    DbfleetError,
    KeyMaterialError,
    NotFoundError,
    ProofError,
    RefusedError,
    UsageError,
)
from dbfleet.model import Job, ProofPolicy, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state", "server"]

SHOP = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE people(id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'ok');
CREATE TABLE orders(id serial PRIMARY KEY, person integer REFERENCES people ON DELETE CASCADE, total numeric,
    double numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE INDEX orders_by_person ON orders(person);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger ran'; END $$;
CREATE TABLE log(at date, what text) PARTITION BY RANGE (at);
CREATE TABLE log_2023 PARTITION OF log FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE log_2024 PARTITION OF log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW rich AS SELECT name, total FROM people JOIN orders ON orders.person = people.id;
INSERT INTO people(name) SELECT 'p' || i FROM generate_series(1, 50) i;
INSERT INTO orders(person, total) SELECT 1 + i % 50, i FROM generate_series(1, 200) i;
INSERT INTO log SELECT '2023-06-01'::date + i * 5, 'l' || i FROM generate_series(1, 100) i;
CREATE TRIGGER never AFTER INSERT OR DELETE OR TRUNCATE ON orders EXECUTE FUNCTION touched();
CREATE SCHEMA "Odd.Schema";
CREATE TABLE "Odd.Schema"."it's; -- odd"(x integer);
INSERT INTO "Odd.Schema"."it's; -- odd" VALUES (1), (2);
CREATE TABLE "Odd.Schema".people(x integer);
"""


@pytest.fixture
def shop(server: Server) -> Source:
    return server.create(SHOP)


@pytest.fixture
def job(shop: Source, tmp_path: Path) -> Job:
    return job_of(shop, tmp_path / "backups")


def name_of(source: Source) -> str:
    return str(ask(source, "SELECT current_database()")[0][0])


@contextmanager
def nothing_left(server: Server) -> Iterator[None]:
    before = server.databases()
    yield
    assert server.databases() == before


# --- whole databases --------------------------------------------------------------------------


def test_the_planner_knows_what_it_knew(job: Job, shop: Source, server: Server) -> None:
    """Statistics of every table, of partitioned ones both as a whole and by their partitions."""
    ask(shop, "CREATE MATERIALIZED VIEW totals AS SELECT person, sum(total) FROM orders GROUP BY person")
    made(job)
    ask(shop, "ANALYZE")
    restored = server.source(server.new_name())
    restore(job, "latest", to=restored.url)
    mine = (
        "SELECT schemaname, tablename, attname, inherited, n_distinct FROM pg_stats "
        "WHERE schemaname !~ '^pg_|information_schema' ORDER BY 1, 2, 3, 4"
    )
    assert ask(restored, mine) == ask(shop, mine) != []
    assert ("public", "log", "what", True) in [row[:4] for row in ask(restored, mine)]
    assert ask(restored, "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'pg_catalog'") == [(True,)]


def test_a_statement_that_fails_leaves_nothing(server: Server, job: Job, shop: Source, tmp_path: Path) -> None:
    expected = dump(server, shop)
    made(job)
    tools = recording(
        server,
        tmp_path,
        'for a; do [ "${a%%=*}" = --dbname ] && psql -X -q -d "${a#--dbname=}" -c "CREATE TABLE orders()"; done',
        "pg_restore",
    )
    for target in (None, server.url("not made")):
        with nothing_left(server), pytest.raises(DbfleetError, match='relation "orders" already exists') as caught:
            restore(
                replace(job, source=replace(shop, tools=str(tools))), "latest", to=target, replace=True
            ) if target is None else restore_with(job, target, tools)
        assert "\n" not in str(caught.value) and "nothing was changed" in str(caught.value)
    assert dump(server, shop) == expected


def restore_with(job: Job, target: str, tools: Path) -> Any:
    return restore(replace(job, source=Source(target, tools=str(tools))), "latest")


def test_the_password_of_the_job_is_given_to_its_own_account_only(server: Server, job: Job, shop: Source) -> None:
    """As on a host that was rebuilt, where the account of backups is not there yet."""
    made(job)
    lost = Source(server.url(name_of(shop), user="keeper"), password_file="/nonexistent/password")
    there = server.new_name()
    with pytest.raises(KeyMaterialError, match="/nonexistent/password"):
        restore(replace(job, source=lost), "latest", to=server.url(there, user="keeper"))
    restore(replace(job, source=lost), "latest", to=server.url(there))
    assert ask(server.source(there), "SELECT count(*) FROM people") == [(50,)]


def test_restoring_twice_doubles_nothing(server: Server, job: Job, shop: Source) -> None:
    made(job)
    expected = dump(server, shop)
    kept = [restore(job, "latest", replace=True).kept for _time in range(2)]
    assert dump(server, shop) == expected
    assert len(set(kept)) == 2 and all(f"{name_of(shop)}_before_restore_" in str(name) for name in kept)
    assert dump(server, server.source(str(kept[0]))) == expected


def test_connected_clients_are_ended_only_where_they_are_replaced(server: Server, job: Job, shop: Source) -> None:
    made(job)
    ask(shop, "UPDATE people SET name = 'newer'")
    stop = threading.Event()
    refused: list[str] = []

    def client() -> None:
        """An application that comes back at once whenever its connection ends."""
        while not stop.is_set():
            try:
                with closing(connect(shop, connect_timeout=5)) as own, own.cursor() as cursor:
                    while not stop.is_set():
                        cursor.execute("SELECT name FROM people WHERE id = 1")
                        refused.append(cursor.fetchone()[0])
                        time.sleep(0.005)
            except Exception:
                pass

    threads = [threading.Thread(target=client) for _one in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(refused) > 5)
    try:
        report = restore(job, "latest", replace=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert report.kept and ask(shop, "SELECT name FROM people WHERE id = 1") == [("p1",)]
    assert ask(server.source(report.kept), "SELECT DISTINCT name FROM people") == [("newer",)]
    assert set(refused) <= {"newer", "p1"}


def test_an_empty_target_in_use_is_refused_naming_who(server: Server, job: Job) -> None:
    made(job)
    empty = server.create()
    with closing(connect(empty, application_name="the app")), pytest.raises(BusyError, match="the app") as caught:
        restore(job, "latest", to=empty.url)
    assert "in use by postgres" in str(caught.value)
    before = server.databases()
    report = restore(job, "latest", to=empty.url)
    assert report.kept is None and server.databases() == before
    assert ask(empty, "SELECT count(*) FROM people") == [(50,)]


def test_a_prepared_transaction_keeps_the_old_database_reachable(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbfleet.databases.postgresql.side.CLIENT_PATIENCE", 1.0)
    with running(settings="max_prepared_transactions = 5\n") as own:
        shop = own.create(SHOP)
        job = replace(job, source=shop)
        made(job)
        ask(shop, "BEGIN; UPDATE people SET name = 'x'; PREPARE TRANSACTION 'held'")
        before = own.databases()
        with pytest.raises(DbfleetError) as caught:
            restore(job, "latest", replace=True)
        assert "prepared" in str(caught.value) or "in use" in str(caught.value) or "accessed" in str(caught.value)
        assert own.databases() == before and ask(shop, "SELECT count(*) FROM people") == [(50,)]


def test_what_a_crash_left_is_swept_and_what_lives_is_not(server: Server, job: Job) -> None:
    made(job)
    dead, alive, mine = "dbfleet_restore_0123456789ab", "dbfleet_restore_ba9876543210", "dbfleet_restore_of_mine"
    for name in (dead, alive, mine):
        ask(server.source(), f"CREATE DATABASE {name}")
    with closing(connect(server.source(), application_name=alive)):
        restore(job, "latest", to=server.url("swept"))
        assert not {dead} & server.databases() and {alive, mine} <= server.databases()
    for name in (alive, mine):
        ask(server.source(), f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        ("CREATE ROLE gone; ALTER TABLE people OWNER TO gone", "the role gone"),
        ("CREATE ROLE reader; GRANT SELECT ON people TO reader", "the role reader"),
    ],
)
def test_what_the_target_lacks_is_named_before_anything_is_changed(
    job: Job, make: str, word: str, server: Server
) -> None:
    with running() as other:
        source = other.create(SHOP)
        ask(source, make)
        job = replace(job, source=source)
        made(job)
        with nothing_left(server), pytest.raises(RefusedError, match=word):
            restore(job, "latest", to=server.url("lacking"))
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]


def test_a_missing_extension_is_named(server: Server, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    made(job)
    from dbfleet.databases.postgresql import preamble

    decode = preamble.decode
    monkeypatch.setattr(preamble, "decode", lambda *given: replace(decode(*given), extensions=("postgis",)))
    with nothing_left(server), pytest.raises(RefusedError, match="extension postgis"):
        restore(job, "latest", to=server.url("lacking"))


def test_encodings_and_collations_are_those_of_the_original(server: Server, job: Job) -> None:
    source = server.create(
        "CREATE TABLE t(x text); INSERT INTO t VALUES (convert_from('\\xe9', 'LATIN1'))",
        options="TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    job = replace(job, source=source)
    made(job)
    target = server.source("latin")
    restore(job, "latest", to=target.url)
    question = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
    assert ask(target, question) == ask(source, question) == [("LATIN1", "C")]
    assert ask(target, "SELECT x FROM t") == [("é",)]


def test_bytes_of_no_known_encoding_come_back(server: Server, job: Job) -> None:
    source = server.create(
        "SET client_encoding = 'SQL_ASCII'; CREATE TABLE t(x text); INSERT INTO t VALUES (E'\\xff\\xfe')",
        options="TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    job = replace(job, source=source)
    made(job)
    assert restore(job, "latest", to=server.url("ascii")).proven
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]


def test_a_sequence_that_was_set_back_is_found(server: Server, job: Job, shop: Source) -> None:
    from dbfleet.databases.postgresql.address import read_address
    from dbfleet.databases.postgresql.connection import connect as session
    from dbfleet.databases.postgresql.connection import pin
    from dbfleet.databases.postgresql.measure import measure_query

    manifest = made(job)
    (query,) = [query for query in manifest.proof.queries if query.sql.startswith("/* sequences */")]
    with session(read_address(shop)) as connection:
        pin(connection)
        for sql, same in (("SELECT nextval('orders_id_seq')", True), ("SELECT setval('orders_id_seq', 1)", False)):
            ask(shop, sql.replace("'orders", "'public.orders"))
            connection.run("BEGIN READ ONLY")
            assert (measure_query(connection, query.sql, "").sha256 == query.sha256) is same
            connection.run("ROLLBACK")


@pytest.mark.parametrize("packed", [False, True])
def test_a_plain_dump_of_others_is_restored_beside(
    server: Server, job: Job, shop: Source, packed: bool, tmp_path: Path
) -> None:
    made(job)
    text = dump(server, shop, "--no-owner")
    path = tmp_path / ("theirs.sql.gz" if packed else "theirs.sql")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    target = server.source(f"theirs {packed}")
    report = restore(job, str(path), to=target.url)
    assert not report.proven and dump(server, target, "--no-owner") == text
    for bad, word in (("\\connect postgres\nDROP TABLE x;\n", "psql command"), ("SELECT 1/0;\n", "division by zero")):
        path.write_bytes(gzip.compress((text + bad).encode()) if packed else (text + bad).encode())
        with nothing_left(server), pytest.raises(DbfleetError, match=word):
            restore(job, str(path), to=server.url("never"))


# --- single tables ----------------------------------------------------------------------------


def test_a_missing_table_comes_back_with_all_that_is_its(server: Server, job: Job, shop: Source) -> None:
    made(job)
    expected = dump(server, shop)
    ask(shop, "DROP TABLE orders CASCADE")
    report = restore(job, "latest", tables=["orders"])
    assert report.rows == 200 and report.kept is None
    ask(shop, "CREATE VIEW rich AS SELECT name, total FROM people JOIN orders ON orders.person = people.id")
    assert sorted(dump(server, shop).splitlines()) == sorted(expected.splitlines())


def test_every_sign_of_a_definition_comes_back(server: Server, job: Job, shop: Source) -> None:
    """Python takes more for the end of a line than PostgreSQL does."""
    odd = "a\rb\r\nc\x0bd\x0ce\x1cf\x85g\u2028h\x1ai"
    definition = "SELECT attname, pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute ON attnum = adnum"
    query = f"{definition} AND attrelid = adrelid WHERE adrelid = 'signs'::regclass UNION ALL SELECT conname,"
    query += " pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'signs'::regclass ORDER BY 1"
    ask(shop, f"CREATE TABLE signs(x text DEFAULT '{odd}' CHECK (x <> 'no {odd}')); INSERT INTO signs VALUES ('{odd}')")
    ask(shop, f"COMMENT ON TABLE signs IS '{odd}'")
    before = ask(shop, query)
    assert odd in str(before[0][1])
    for form in ("custom", "directory", "plain"):
        found = replace(job, format=form, repository=replace(job.repository, url=f"{job.repository.url}-{form}"))
        made(found)
        assert restore(found, "latest", to=server.url(f"signs {form}")).proven
        whole = replace(shop, url=server.url(f"signs {form}"))
        assert ask(whole, query) == before and ask(whole, "SELECT x FROM signs") == [(odd,)]
        if form != "plain":
            ask(shop, "DROP TABLE signs")
            restore(found, "latest", tables=["signs"])
            assert ask(shop, query) == before
            assert ask(shop, "SELECT x, obj_description('signs'::regclass) FROM signs") == [(odd, odd)]


def test_a_trial_leaves_no_server_behind(job: Job) -> None:
    made(job)
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    of_ours = os.path.join(os.environ["DBFLEET_SCRATCH"], "dbfleet-scratch")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            assert of_ours not in path.read_text(encoding="utf-8", errors="replace")


def test_rows_are_replaced_with_triggers_and_references_at_rest(server: Server, job: Job, shop: Source) -> None:
    made(job)
    expected = dump(server, shop)
    ask(
        shop,
        "SET session_replication_role = replica; DELETE FROM orders WHERE id > 9; UPDATE people SET name = 'newer'",
    )
    with pytest.raises(RefusedError, match="public.people .* already has rows"):
        restore(job, "latest", tables=["people"])
    report = restore(job, "latest", tables=["people", "public.orders"], replace=True)
    assert report.rows == 250 and report.kept is not None
    kept = report.kept.split(", ")
    assert ask(shop, f"SELECT count(*), min(name) FROM {kept[0]}") == [(50, "newer")]
    assert ask(shop, f"SELECT count(*) FROM {kept[1]}") == [(9,)]
    ask(shop, f"DROP TABLE {report.kept}")
    assert dump(server, shop) == expected


def test_references_that_would_break_undo_everything(server: Server, job: Job, shop: Source) -> None:
    ask(
        shop,
        "SET session_replication_role = replica; DELETE FROM people WHERE id = 7; DELETE FROM orders WHERE person = 7",
    )
    made(job)
    ask(
        shop,
        "SET session_replication_role = replica; INSERT INTO people OVERRIDING SYSTEM VALUE VALUES (7, 'again'); "
        "INSERT INTO orders(person) VALUES (7)",
    )
    expected = dump(server, shop)
    with nothing_left(server), pytest.raises(ProofError, match="refer") as caught:
        restore(job, "latest", tables=["people"], replace=True)
    assert "(7)" in str(caught.value)
    assert dump(server, shop) == expected


def test_partitions_and_odd_names(server: Server, job: Job, shop: Source) -> None:
    made(job)
    expected = dump(server, shop)
    ask(shop, 'DROP TABLE log; TRUNCATE "Odd.Schema"."it\'s; -- odd"')
    report = restore(job, "latest", tables=["log", "Odd.Schema.it's; -- odd"])
    assert report.rows == 102
    assert sorted(dump(server, shop).splitlines()) == sorted(expected.splitlines())
    with pytest.raises(NotFoundError, match="no table 'nowhere'"):
        restore(job, "latest", tables=["nowhere"])


def test_a_name_in_two_schemas_must_be_said_in_full(server: Server, job: Job, shop: Source) -> None:
    ask(shop, 'CREATE SCHEMA second; CREATE TABLE second.thing(x int); CREATE TABLE "Odd.Schema".thing(x int)')
    made(job)
    with pytest.raises(UsageError, match="several schemas"):
        restore(job, "latest", tables=["thing"], replace=True)
    assert restore(job, "latest", tables=["second.thing"], replace=True).rows == 0


def test_other_columns_than_the_backups_are_refused(server: Server, job: Job, shop: Source) -> None:
    made(job)
    ask(shop, "ALTER TABLE people ADD COLUMN later text")
    with nothing_left(server), pytest.raises(RefusedError, match="other columns than the backup's: later"):
        restore(job, "latest", tables=["people"], replace=True)


# --- choices ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "tables"),
    [
        ({"schemas": ("Odd*",)}, set()),
        ({"schemas": ('"Odd.Schema"',)}, {'"Odd.Schema".people', '"Odd.Schema"."it\'s; -- odd"'}),
        (
            {"exclude_schemas": ('"Odd.Schema"',)},
            {"public.people", "public.orders", "public.log_2023", "public.log_2024"},
        ),
        ({"tables": ("public.p*",)}, {"public.people"}),
        ({"exclude_tables": ("public.log*", '"Odd.Schema".*')}, {"public.people", "public.orders"}),
    ],
)
def test_only_what_was_chosen_is_backed_up_and_proven(
    server: Server, job: Job, shop: Source, choice: dict[str, tuple[str, ...]], tables: set[str]
) -> None:
    job = replace(job, source=replace(shop, **choice), proof=ProofPolicy(level="content"))
    if not tables:
        with pytest.raises(UsageError, match="no matching"):
            backup(job)
        return
    if "tables" in choice:
        ask(shop, "ALTER TABLE people ALTER mood DROP DEFAULT, ALTER mood TYPE text")
    assert set(made(job).proof.tables) == tables
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    target = server.source(f"chosen {len(tables)} {len(choice)} {next(iter(choice))}")
    assert restore(job, "latest", to=target.url).proven


# --- several databases, and the whole server --------------------------------------------------


def test_a_whole_server_goes_to_another_one(tmp_path: Path) -> None:
    with running() as here, running() as there:
        ask(
            here.source(),
            'CREATE ROLE "my app" LOGIN PASSWORD \'hidden\'; CREATE ROLE readers; GRANT readers TO "my app"',
        )
        names = ("one", "../odd / name; %s", "globals")
        for name in names:
            ask(here.create(SHOP, name=name), 'ALTER TABLE people OWNER TO "my app"')
        ask(here.source("one"), "INSERT INTO people(name) VALUES ('only here')")
        ask(here.source(), "ALTER DATABASE globals IS_TEMPLATE true")
        ask(here.source(), "CREATE DATABASE closed ALLOW_CONNECTIONS false")
        query = "SELECT count(*) FROM people"
        source = replace(here.source("one"), databases=("*",))
        job = job_of(source, tmp_path / "backups", proof=ProofPolicy(level="content", queries=(query,)))
        manifest = made(job)
        assert {one.database for one in manifest.artifacts if one.role == "dump"} == set(names)
        assert "left out, because they take no connections: closed" in manifest.notes
        assert manifest.proof.tables["one.public.people"].rows == 51
        assert manifest.proof.tables["globals.public.people"].rows == 50
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]

        target = replace(there.source(), databases=("*",))
        with nothing_left(there), pytest.raises(RefusedError, match="lacks the role my app|lacks the role .my app."):
            restore(replace(job, source=target), "latest")
        by_hand = [line for line in manifest.restore_with if line.startswith("# roles")][0].partition(": ")[2]
        run_by_hand(there, tmp_path, [by_hand])
        assert ask(there.source(), "SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'my app'") == [
            (True,)
        ]
        restore(replace(job, source=target), "latest")
        assert there.databases() == {*names, "postgres"}
        templates = "SELECT datname FROM pg_database WHERE datistemplate AND datname !~ '^template' ORDER BY 1"
        for name in names:
            assert dump(there, there.source(name)) == dump(here, here.source(name))
        assert ask(there.source(), templates) == [("globals",)]

        with nothing_left(there), pytest.raises(RefusedError, match="not empty"):
            restore(replace(job, source=target), "latest")
        ask(there.source("one"), "DROP TABLE orders CASCADE")
        report = restore(replace(job, source=target), "latest", replace=True)
        assert report.kept is not None and len(report.kept.split(", ")) == 3
        ask(there.source("one"), "DROP TABLE orders CASCADE")
        assert restore(replace(job, source=there.source("one")), "latest", tables=["orders"]).rows == 200

        for name in names:
            ask(there.source(), f"ALTER DATABASE {ident(name)} IS_TEMPLATE false")
            ask(there.source(), f"DROP DATABASE {ident(name)}")
        run_by_hand(there, tmp_path, [line for line in manifest.restore_with if not line.startswith("#")])
        for name in names:
            assert dump(there, there.source(name)) == dump(here, here.source(name))
        assert ("globals",) in ask(there.source(), templates)


def run_by_hand(server: Server, folder: Path, commands: list[str]) -> None:
    import subprocess

    environ = {"PATH": f"{server.bin}:/usr/bin:/bin", "HOME": str(folder)}
    environ.update(PGHOST=str(server.folder), PGPORT=str(server.port), PGUSER="postgres")
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail"],
        input="\n".join(commands),
        cwd=folder / "backups",
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (commands, done.stderr)


def test_some_databases_without_passwords(server: Server, tmp_path: Path) -> None:
    first, second = server.create(SHOP), server.create(SHOP)
    names = (name_of(first), name_of(second))
    job = job_of(replace(first, databases=names), tmp_path / "backups")
    manifest = made(job)
    assert {one.role for one in manifest.artifacts} == {"create", "dump"}
    with pytest.raises(NotFoundError, match="no database 'nowhere'"):
        backup(replace(job, source=replace(first, databases=("nowhere",))))
    expected = dump(server, first), dump(server, second)
    ask(first, "DELETE FROM log")
    restore(job, "latest", replace=True)
    assert (dump(server, first), dump(server, second)) == expected


def test_globals_without_passwords_say_so(tmp_path: Path) -> None:
    with running() as own:
        only = own.create(SHOP, name="only")
        ask(own.source(), "CREATE ROLE lowly LOGIN")
        for schema in ("public", '"Odd.Schema"'):
            ask(only, f"GRANT USAGE ON SCHEMA {schema} TO lowly")
            ask(only, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO lowly")
            ask(only, f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO lowly")
        job = job_of(Source(own.url("only", user="lowly"), databases=("*",)), tmp_path / "backups")
        assert "globals.sql is without passwords: the role may not read them" in made(job).notes
