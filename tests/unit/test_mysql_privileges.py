"""What an account may do, read from what the server says of it."""

from __future__ import annotations

import pytest

from dbfleet.databases.mysql.privileges import missing_privileges, parse_grants
from dbfleet.databases.mysql.server import version_of

MARIADB = version_of("10.11.6-MariaDB")
MYSQL = version_of("8.0.29")
READS = "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON {} TO `u`@`%`"


def missing(*lines: str, version: object = MYSQL, database: str = "app", routines: bool = True) -> list[str]:
    return missing_privileges(parse_grants(lines), version, database, routines=routines)  # type: ignore[arg-type]


def test_everything_everywhere_is_enough() -> None:
    assert not missing("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", version=MARIADB)
    assert not missing(READS.format("*.*"))
    assert not missing("GRANT ALL PRIVILEGES ON `app`.* TO `u`@`%`")  # EXECUTE shows the routines' names


@pytest.mark.parametrize(
    ("version", "more", "lacks"),
    [
        (MYSQL, "GRANT BACKUP_ADMIN,SHOW_ROUTINE ON *.* TO `u`@`%`", "SHOW_ROUTINE ON *.*"),
        (version_of("8.0.19"), "GRANT SELECT ON *.* TO `u`@`%`", "SELECT ON *.*"),
        (version_of("5.7.44"), "GRANT SELECT ON `mysql`.`proc` TO `u`@`%`", "SELECT ON mysql.proc"),
        (MARIADB, "GRANT SELECT ON `mysql`.* TO `u`@`%`", "SELECT ON mysql.proc"),
        (MARIADB, "GRANT SHOW CREATE ROUTINE ON `app`.* TO `u`@`%`", "SELECT ON mysql.proc"),
        (MARIADB, "GRANT EXECUTE ON *.* TO `u`@`%`", "SELECT ON mysql.proc"),
    ],
)
def test_routines_that_would_not_be_shown(version: object, more: str, lacks: str) -> None:
    assert missing(READS.format("`app`.*"), version=version) == [lacks]
    assert not missing(READS.format("`app`.*"), more, version=version)
    assert not missing(READS.format("`app`.*"), version=version, routines=False)


def test_what_does_not_count() -> None:
    lines = (
        "GRANT USAGE ON *.* TO `u`@`%`",
        "GRANT SELECT (`a`, `b`), SHOW VIEW ON `app`.`t` TO `u`@`%`",
        "GRANT TRIGGER ON `app`.`t` TO `u`@`%`",
        "GRANT EXECUTE ON PROCEDURE `app`.`p` TO `u`@`%`",
        "GRANT `role`@`%` TO `u`@`%`",
        "GRANT PROXY ON ``@`` TO `u`@`%`",
        "REVOKE SELECT ON `app`.* FROM `u`@`%`",
    )
    found = missing(*lines)
    assert found == [f"{one} ON `app`.*" for one in ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")] + [
        "SHOW_ROUTINE ON *.*"
    ]


@pytest.mark.parametrize(
    ("granted", "database", "covered"),
    [
        ("`app\\_1`.*", "app_1", True),
        ("`app\\_1`.*", "appx1", False),
        ("`app_1`.*", "appx1", True),
        ("`a%`.*", "app", True),
        ("`a%`.*", "bapp", False),
        ("`o``dd .(`.*", "o`dd .(", True),
        ("`app`.*", "app\n", False),
    ],
)
def test_databases_are_patterns(granted: str, database: str, covered: bool) -> None:
    assert (not missing(READS.format(granted), database=database, routines=False)) is covered
