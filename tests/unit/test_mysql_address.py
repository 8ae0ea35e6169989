"""URLs of MySQL and MariaDB, and the option files that their tools read."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import Any, Optional

import pytest

from dbfleet.databases.mysql.address import address_of, write_option_file
from dbfleet.databases.mysql.driver import tls_options
from dbfleet.databases.mysql.server import quoted, version_of
from dbfleet.errors import KeyMaterialError, SourceError, UsageError
from dbfleet.model import Source


def test_a_url_is_taken_apart() -> None:
    address = address_of(
        Source("mysql://us%40er:p%2Fw@db1:3307/my%20app?charset=utf8mb4&ssl_mode=VERIFY_CA&ssl_ca=/ca")
    )
    assert (address.host, address.port, address.user, address.password) == ("db1", 3307, "us@er", "p/w")
    assert address.database == "my app" and address.tls_mode == "verify_ca" and address.verifies()
    assert "p/w" not in repr(address) and "p%2Fw" not in repr(address) and "p/w" not in address.url()


@pytest.mark.parametrize("key", ["unix_socket", "socket"])
def test_a_socket(key: str) -> None:
    address = address_of(Source(f"mariadb://root@localhost/app?{key}=/run/mysqld/mysqld.sock"))
    assert address.socket == "/run/mysqld/mysqld.sock" and "host" not in address.driver_options()
    assert address_of(Source(address.url())).socket == address.socket


@pytest.mark.parametrize(
    "url",
    ["mysql://h:no/app", "mysql://h/app?ssl_mode=what", "mysql://h/app?read_default_file=/etc/my.cnf"],
)
def test_what_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_of(Source(url))
    assert caught.value.remedy


def test_the_password_file_wins_and_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from file \nsecond line\n")
    assert address_of(Source("mysql://u:url@h/d", str(tmp_path / "password"))).password == "from file "
    with pytest.raises(KeyMaterialError):
        address_of(Source("mysql://u@h/d", str(tmp_path / "nowhere")))


def test_an_option_file_is_ours_alone_and_quotes_what_it_holds(tmp_path: Path) -> None:
    address = address_of(Source("mysql://u@h/d?ssl_mode=required"))
    one, two = (write_option_file(str(tmp_path), address, flavour) for flavour in ("mariadb", "mysql"))
    for flavour, plain in (("mariadb", one), ("mysql", two)):  # both clients read the same group
        with_more = write_option_file(str(tmp_path), address, flavour, begin="SET SESSION x = OFF")
        assert Path(with_more).read_text() == Path(plain).read_text() + '[mysql]\ninit-command="SET SESSION x = OFF"\n'
    assert one != two and stat.S_IMODE(os.stat(one).st_mode) == 0o600
    assert "\nssl\n" in Path(one).read_text() and "ssl-mode=REQUIRED" in Path(two).read_text()
    odd = address_of(Source("mysql://u:%22%5C%0A%23@h/d")).option_file("mariadb")
    assert 'password="\\"\\\\\\n#"\n' in odd


def test_versions_of_both_flavours() -> None:
    maria = version_of("10.11.19-MariaDB-0+deb12u1-log")
    assert (maria.flavour, maria.number, maria.shown) == ("mariadb", (10, 11, 19), "MariaDB 10.11.19")
    assert version_of("8.0.36").shown == "MySQL 8.0.36"
    assert version_of("5.7.44-log").number == (5, 7, 44)


def test_names_are_data() -> None:
    assert quoted("a`b") == "`a``b`"


SOCKET = "mysql://u@localhost/app?unix_socket=/run/s"
TCP = "mysql://u@db1/app"


@pytest.mark.parametrize(
    ("url", "before_1", "before_1_2", "newer"),
    [
        (TCP, None, None, None),
        (f"{TCP}?ssl_mode=disabled", None, "off", "off"),
        (SOCKET, None, "off", "off"),  # it needs none unless it is asked for
        (f"{TCP}?ssl_mode=preferred", "any", "any", None),
        (f"{SOCKET}&ssl_mode=required", "any", "any", "any"),
        (f"{TCP}?ssl_mode=required", "any", "any", "any"),
        (f"{TCP}?ssl_mode=verify_ca", "authority", "authority", "authority"),
        (f"{TCP}?ssl_mode=verify_identity", "name", "name", "name"),
    ],
)
def test_tls_is_what_the_url_says_whatever_the_driver(
    url: str, before_1: Optional[str], before_1_2: Optional[str], newer: Optional[str]
) -> None:
    for version, expected in (((0, 10), before_1), ((1, 0), before_1_2), ((1, 1), before_1_2), ((1, 2), newer)):
        assert _shown(tls_options(address_of(Source(url)), "it", version)) == expected


def _shown(options: dict[str, Any]) -> Optional[str]:
    """How much the driver is told to check of a server."""
    if not options:
        return None
    if "ssl_disabled" in options:
        return "off"
    context = options["ssl"]
    checked = context.verify_mode != ssl.CERT_NONE
    return {(False, False): "any", (True, False): "authority", (True, True): "name"}[checked, context.check_hostname]


def test_files_of_tls_that_are_of_no_use_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"ssl_ca={tmp_path}/none"):
        tls_options(address_of(Source(f"{TCP}?ssl_ca={tmp_path}/none")), "it", (1, 1))
