"""TLS to MySQL 8.0, by its own tools and by the driver, with the login that it has by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_tls")

import mysql8_server  # noqa: E402
from mysql8_server import KIND, job_for  # noqa: E402
from mysql_server import own_state  # noqa: E402
from mysql_tls import certificates, check_tls  # noqa: E402

__all__ = ["own_state"]


def test_tls_and_who_the_server_is(tmp_path: Path) -> None:
    with certificates() as files:
        settings = {"ssl_cert": files.certificate, "ssl_key": files.key, "ssl_ca": files.authority}
        server = mysql8_server.another("".join(f"{name}={KIND.path(file)}\n" for name, file in settings.items()))
        try:
            server.ask("CREATE DATABASE app")
            server.script("app", "CREATE TABLE items(id INT PRIMARY KEY, t TEXT)", "INSERT INTO items VALUES(1, 'x')")
            server.ask("CREATE USER keeper IDENTIFIED WITH caching_sha2_password BY 'secret' REQUIRE SSL")
            server.ask("GRANT ALL ON *.* TO keeper WITH GRANT OPTION")
            (tmp_path / "password").write_text("secret\n")
            source = replace(server.source("app"), password_file=str(tmp_path / "password"))
            check_tls(server, job_for(source, tmp_path), files, user="keeper")
        finally:
            server.remove()
