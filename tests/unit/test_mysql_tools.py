"""Which native tool fits which server, and what tools and servers say in our words."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbfleet.databases.mysql.faults import code_in, explain, tool_failure
from dbfleet.databases.mysql.server import version_of
from dbfleet.databases.mysql.tools import check_tools, tool_version
from dbfleet.errors import BusyError, CapacityError, DbfleetError, NotFoundError, SourceError, ToolError

SAID = {
    "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)": ("mariadb", (10, 11, 19)),
    "mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)": ("mariadb", (11, 4, 2)),
    "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)": ("mariadb", (10, 11, 19)),
    "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)": ("mysql", (8, 0, 36)),
    "mysqldump  Ver 10.13 Distrib 5.7.44, for linux-glibc2.12 (x86_64)": ("mysql", (5, 7, 44)),
}


def install(folder: Path, words: str, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho '{words}'\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("words", list(SAID))
def test_a_tool_says_what_it_is(words: str, tmp_path: Path) -> None:
    install(tmp_path, words, "tool")
    assert tool_version(str(tmp_path / "tool")) == SAID[words]


@pytest.mark.parametrize(
    ("words", "server", "match"),
    [
        ("mysqldump  Ver 8.0.36 for Linux", "10.11.19-MariaDB", "is not the tool of MariaDB"),
        ("mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB", "8.0.36", "is not the tool of MySQL"),
        ("mysqldump  Ver 10.19 Distrib 10.6.1-MariaDB", "10.11.19-MariaDB", "older than the server"),
    ],
)
def test_a_tool_that_does_not_fit_is_refused(words: str, server: str, match: str, tmp_path: Path) -> None:
    install(tmp_path, words, "mysqldump", "mysql")
    with pytest.raises(ToolError, match=match) as caught:
        check_tools(version_of(server), str(tmp_path))
    assert "source.tools" in caught.value.remedy
    assert check_tools(version_of(words.split()[-1] if "MariaDB" in words else "8.0.36"), str(tmp_path))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ERROR 1064 (42000) at line 3: You have an error", 1064),
        ('mariadb-dump: Got error: 1045: "Access denied" when trying to connect', 1045),
        ("mariadb-dump: Error 1412: Table definition has changed when dumping table `t` at row: 0", 1412),
        ("mysqldump: Couldn't execute 'SHOW FIELDS FROM `v`': View 'a.v' references invalid table(s) (1356)", 1356),
        ('mariadb-dump: Couldn\'t find table: "t"', 1146),
        ("no code", None),
    ],
)
def test_the_code_is_found_in_what_tools_say(words: str, code: int | None) -> None:
    assert code_in(words) == code


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2003, SourceError), (1049, NotFoundError), (1205, BusyError), (1114, CapacityError), (1412, SourceError)],
)
def test_codes_become_errors_with_a_remedy(code: int, kind: type[DbfleetError]) -> None:
    error = explain(code, "said", "database 'app'")
    assert isinstance(error, kind) and error.remedy and "database 'app'" in error.message


def test_a_tool_that_says_nothing_known_is_quoted() -> None:
    error = tool_failure("mariadb-dump", 2, "one\nstrange thing\n", "database 'app'")
    assert isinstance(error, ToolError) and "strange thing" in error.message and "\n" not in str(error)
