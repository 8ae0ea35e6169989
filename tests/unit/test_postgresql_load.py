"""Plain dumps, line by line, however they are cut into chunks."""

from __future__ import annotations

import pytest

from dbfleet.databases.postgresql.load import harmless, known_to, restricts, unknown_setting, without_meta_commands
from dbfleet.databases.postgresql.tools import Tool
from dbfleet.errors import RefusedError

DUMP = rb"""--
\restrict abc
SET x = 1;
COPY public."a
b" (x, "FROM") FROM stdin;
\\.
1	\N
\.x
\! rm
\..
.
\.
COPY public.empty (x) FROM stdin;
\.
SELECT 'no FROM stdin'
;
CREATE TABLE t (x int);
\unrestrict abc
"""
KEPT = DUMP.replace(b"\\restrict abc\n", b"").replace(b"\\unrestrict abc\n", b"")


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [*range(1, 40), len(DUMP)])
def test_rows_are_passed_over_and_nothing_is_lost(size: int) -> None:
    assert b"".join(harmless(cut(DUMP, size), "x.sql")) == KEPT
    assert b"".join(harmless(cut(DUMP.replace(b"\n", b"\r\n"), size), "x.sql")) == KEPT.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("line", [rb"\connect other", rb"\! rm -rf x", rb"\i /etc/passwd", rb"\c - - - -", rb"\."])
@pytest.mark.parametrize("place", [b"SET x = 1;\n", b"CREATE TABLE t (x int);\n", b"\\.\nCOPY"])
def test_commands_of_psql_are_refused(size: int, line: bytes, place: bytes) -> None:
    dump = DUMP.replace(place, place.replace(b"COPY", b"") + line + b"\n" + (b"COPY" if b"COPY" in place else b""))
    with pytest.raises(RefusedError, match="psql command"):
        list(harmless(cut(dump, size), "x.sql"))


def test_a_command_at_the_very_end_is_refused() -> None:
    with pytest.raises(RefusedError):
        list(harmless([b"SELECT 1;\n\\q"], "x.sql"))


def test_definitions_lose_only_restrictions() -> None:
    assert without_meta_commands("a\n\\restrict x\nb\n\\unrestrict x\n\\other") == "a\nb\n\\other"


@pytest.mark.parametrize(
    ("version", "known"), [("15.13", False), ("15.18", True), ("18.0", True), ("17.5", False), ("13.22", True)]
)
def test_which_psql_can_be_restricted(version: str, known: bool) -> None:
    assert restricts(Tool("psql", version)) is known


def test_the_setting_that_an_older_server_does_not_have_is_left_out_once() -> None:
    setting = b"SET transaction_timeout = 0;\n"
    body = b"CREATE FUNCTION f() AS $$\n" + setting + b"$$;\nCOPY t FROM stdin;\n" + setting + b"\\.\n"
    for size in (1, 7, 1000):
        assert b"".join(harmless(cut(b"--\n" + setting + body, size), "x.sql", "transaction_timeout")) == b"--\n" + body
        assert b"".join(harmless(cut(setting + body, size), "x.sql")) == setting + body
    assert [unknown_setting(17, 16), unknown_setting(18, 13)] == ["transaction_timeout"] * 2
    assert [unknown_setting(16, 13), unknown_setting(18, 17)] == ["", ""]
    assert known_to(16, "--\nSET transaction_timeout = 0;\nX") == "--\nX"
    assert known_to(17, "--\nSET transaction_timeout = 0;\nX") != "--\nX"
