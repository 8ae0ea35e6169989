"""Logging in as an account that may manage others: by default as the server's own administrator, on its socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from ..databases.mysql.address import address_of as mysql_address
from ..databases.mysql.server import Session
from ..databases.postgresql.address import read_address
from ..errors import UsageError
from ..model import Source
from .acting import acting_as
from .base import AccountServer
from .mysql import MysqlAccounts
from .postgresql import PostgresqlAccounts

# Where Debian, Red Hat and the projects themselves put sockets.
POSTGRESQL_FOLDERS = ("/var/run/postgresql", "/tmp")
MYSQL_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")
POSTGRESQL_ACCOUNT = "postgres"
SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


def default_url(engine: str) -> str:
    """The server of this host, on the socket that is there."""
    if engine == "postgresql":
        found = [folder for folder in POSTGRESQL_FOLDERS if os.path.exists(f"{folder}/.s.PGSQL.5432")]
        return f"postgresql:///postgres?host={(found or POSTGRESQL_FOLDERS)[0]}"
    there = [path for path in MYSQL_SOCKETS if os.path.exists(path)]
    return f"mysql://root@localhost/?unix_socket={(there or MYSQL_SOCKETS)[0]}"


def engine_of(url: str) -> str:
    """``postgresql`` or ``mysql``. Raises ``UsageError`` for another URL."""
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise UsageError(f"{scheme}:// is no server that has accounts", "write postgresql:// or mysql://")
    return SCHEMES[scheme]


@contextmanager
def accounts_at(
    url: str, *, password_file: Optional[str] = None, system_user: Optional[str] = None
) -> Iterator[AccountServer]:
    """The accounts of the server at ``url``; the login is made as ``system_user`` of this host where one is given."""
    source = Source(url, password_file)
    if engine_of(url) == "mysql":
        with acting_as(system_user):
            session = Session(mysql_address(source).at(""))
        with session:
            yield MysqlAccounts(session)
        return
    with PostgresqlAccounts(read_address(source), system_user) as accounts:
        yield accounts
