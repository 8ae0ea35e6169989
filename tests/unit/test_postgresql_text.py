"""PostgreSQL's addresses, names, expressions and preambles, without a server."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dbfleet.databases.postgresql.address import Address, read_address
from dbfleet.databases.postgresql.database import PostgresqlDatabase, file_stem
from dbfleet.databases.postgresql.expressions import reduced
from dbfleet.databases.postgresql.preamble import Preamble, decode
from dbfleet.databases.postgresql.quoting import literal, quoted, spelled, split_list
from dbfleet.databases.postgresql.tools import Tool, reason
from dbfleet.errors import DamagedError, KeyMaterialError, UsageError
from dbfleet.model import Artifact, Source
from dbfleet.stores.names import check_name

ODD = "odd \"name\"; -- 'x' \\ é🦊\n$1 %s"


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://me@h:5433/d", {"user": "me", "host": "h", "port": "5433", "dbname": "d"}),
        ("postgres://h/d?sslmode=verify-full&sslrootcert=/c", {"sslmode": "verify-full", "sslrootcert": "/c"}),
        ("postgresql:///d?host=/run/pg&service=s", {"host": "/run/pg", "service": "s", "dbname": "d"}),
        ("postgresql://%2Frun%2Fpg/a%20b", {"host": "/run/pg", "dbname": "a b"}),
        ("postgresql://h1:1,h2:2/d?target_session_attrs=any", {"host": "h1,h2", "port": "1,2"}),
        ("POSTGRESQL://[::1]/d", {"host": "::1"}),
    ],
)
def test_urls_are_read_as_libpq_reads_them(url: str, parameters: dict[str, str]) -> None:
    found = read_address(Source(url)).parameters
    assert {name: found[name] for name in parameters} == parameters


def test_passwords_stay_apart(tmp_path: Path) -> None:
    address = read_address(Source("postgresql://me:p%40ss@h/d"))
    assert address.password == "p@ss"
    assert "p@ss" not in repr(address) + address.conninfo() + address.url()
    assert "password='p@ss'" in address.secret_conninfo()
    file = tmp_path / "password"
    file.write_text("a:b\\c\nsecond line\n")
    address = read_address(Source("postgresql://me:old@h/d", str(file)))
    path = address.environment(str(tmp_path))["PGPASSFILE"]
    assert Path(path).read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    file.write_text("\n")
    with pytest.raises(KeyMaterialError):
        read_address(Source("postgresql://h/d", str(file)))


def test_values_of_connection_strings_are_quoted() -> None:
    from psycopg2.extensions import parse_dsn

    parameters = {"dbname": ODD, "user": "it's \\", "application_name": ""}
    assert parse_dsn(Address(parameters).conninfo()) == parameters
    assert read_address(Source(Address(parameters).url())).parameters["dbname"] == ODD


@pytest.mark.parametrize("url", ["mysql://h/d", "postgresql://h/d?sslpassword=x", "postgresql://h/d?schema=x"])
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        read_address(Source(url))


def test_names_and_values_are_quoted() -> None:
    assert quoted("a", 'b"c') == '"a"."b""c"'
    assert literal("it's") == "'it''s'"
    assert literal("a\\'b") == " E'a\\\\''b'"
    assert spelled("public", "items", "Odd", "a.b") == 'public.items."Odd"."a.b"'
    assert split_list('"$user", public,"a, ""b""" ,x') == ["$user", "public", 'a, "b"', "x"]
    assert split_list("") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "CHECK (((x)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying(3)])::text[])))",
            "CHECK (((x)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
        ),
        ("SELECT t.a,\n    t.b\n   FROM s.t", "SELECT a, b FROM t"),
        ("x::timestamp(3) without time zone > now()", "(x > now())"),
        ("'a::text(1)'::\"Odd Type\"[] || '''::int'", "('a::text(1)' || '''::int')"),
        ("d::double precision + i::interval day to second", "d + i"),
    ],
)
def test_expressions_lose_what_parsing_them_again_changes(before: str, after: str) -> None:
    assert reduced(before) == reduced(after)


@pytest.mark.parametrize(
    ("one", "other"),
    [("x > 1", "x > 2"), ("x > 'a'", "x > 'A'"), ("x IN (1)", "x IN (1, 2)"), ("f(x)", "g(x)"), ("'a b'", "'ab'")],
)
def test_expressions_keep_what_matters(one: str, other: str) -> None:
    assert reduced(one) != reduced(other)


def preamble() -> Preamble:
    return Preamble(
        ODD,
        15,
        15,
        "UTF8",
        "C.UTF-8",
        "C.UTF-8",
        owner="own er",
        comment="it's\n\\set x",
        grants=("=CONNECT", "reader=TEMPORARY*"),
        settings=(("", 'search_path="$user", app'), ("reader", "my.setting=a, b")),
        roles={"own er": ("LOGIN", "SUPERUSER"), 'r"': ()},
        tables=((1, "public", ODD, "r", None),),
        foreign_keys=((5, 1),),
    )


def test_a_preamble_is_read_back_as_it_was_written() -> None:
    data = preamble().encode()
    assert decode([data[:10], data[10:]], "x.create.sql") == preamble()
    first = data.split(b"\n")[0]
    assert first.startswith(b"-- dbfleet: {") and ODD.encode() not in first


@pytest.mark.parametrize("data", [b"", b"CREATE TABLE x();\n", b"-- dbfleet: {\n", b'-- dbfleet: {"more": 1}\n'])
def test_what_is_no_preamble_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"x\.create\.sql"):
        decode([data], "x.create.sql")


def test_properties_of_a_database_are_quoted() -> None:
    made = preamble().properties('"new"')
    assert 'GRANT CONNECT ON DATABASE "new" TO PUBLIC' in made
    assert 'GRANT TEMPORARY ON DATABASE "new" TO "reader" WITH GRANT OPTION' in made
    assert "ALTER DATABASE \"new\" SET \"search_path\" TO '$user', 'app'" in made
    assert 'ALTER ROLE "reader" IN DATABASE "new" SET "my"."setting" TO \'a, b\'' in made


@pytest.mark.parametrize("name", ["app", "../x", ".hidden", "globals", ODD, "a/b", "-x", "ends ", "x" * 63, "é" * 31])
def test_every_database_has_files_that_can_be_stored(name: str) -> None:
    assert check_name(f"app_backup_20250101_000000{file_stem(name)}.create.sql.zst.gpg")
    assert file_stem("globals") != "/globals"


def test_forms_are_each_a_whole_backup() -> None:
    def artifact(role: str, database: str | None = None) -> Artifact:
        return Artifact(f"f.{role}", role, 0, "", 0, "", database=database)

    one = [artifact("dump"), artifact("create")]
    assert PostgresqlDatabase.forms(one) == [[one[1], one[0]]]
    many = [artifact(role, name) for name in ("a", "b") for role in ("dump", "create")] + [artifact("globals")]
    assert [[(one.role, one.database) for one in form] for form in PostgresqlDatabase.forms(many)] == [
        [("globals", None), ("create", "a"), ("create", "b"), ("dump", "a"), ("dump", "b")]
    ]
    assert PostgresqlDatabase.forms([artifact("sql")]) == [[artifact("sql")]]
    assert PostgresqlDatabase.forms([artifact("create")]) == []


def test_words_of_tools_become_one_reason() -> None:
    words = "pg_dump: error: query failed: ERROR:  permission denied\npg_dump: detail: Query was: LOCK TABLE x\n"
    assert reason(words) == "query failed: ERROR:  permission denied / pg_dump: detail: Query was: LOCK TABLE x"
    assert reason("") == "it gave no reason"
    assert Tool("pg_dump", "18beta1").major == 18


@pytest.mark.parametrize(
    ("tool", "narrow", "superuser", "expected"),
    [
        (13, False, "admin", "admin"),
        (14, False, "", "postgres"),  # a backup that does not tell
        (15, False, "admin", ""),  # pg_dump says it by itself
        (13, True, "admin", ""),
    ],
)
def test_old_dumps_do_not_say_whose_the_schema_public_is(
    tool: int, narrow: bool, superuser: str, expected: str
) -> None:
    made = replace(preamble(), server=13, tool=tool, narrow=narrow, superuser=superuser, roles={"postgres": ()})
    assert made.owner_of_public == expected
