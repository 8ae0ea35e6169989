"""Where a PostgreSQL server is: the URL, as libpq reads it, and its secrets apart from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ...errors import ToolError, UsageError
from ...host import host_name
from ...model import Source
from ...secret_files import password_in
from ...urls import without_credentials

SCHEMES = ("postgresql", "postgres")
MANUAL = "the parameters are those of libpq (PostgreSQL manual, 34.1.2)"
PASSFILE = "pgpass"


@dataclass(frozen=True)
class Address:
    """libpq's connection parameters without the password, which is never printed."""

    parameters: Mapping[str, str]
    password: Optional[str] = field(default=None, repr=False)

    @property
    def database(self) -> Optional[str]:
        """The name of the database, where the URL gives one."""
        return self.parameters.get("dbname")

    @property
    def place(self) -> str:
        """The server, for people: ``db1:5432``, a socket's folder, or a service's name."""
        given = self.parameters
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "")
        if not host and "service" in given:
            return f"service {given['service']}"
        if not host or host.startswith(("/", "@")):
            return host or "the local socket"
        return f"{host}:{given['port']}" if "port" in given else host

    @property
    def host(self) -> str:
        """The host's name: this one's for a socket."""
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or os.environ.get("PGHOST", "")
        return host_name() if not host or host.startswith(("/", "@")) else host

    def of(self, database: str) -> Address:
        """The same server, another database."""
        return replace(self, parameters={**self.parameters, "dbname": database})

    def conninfo(self, **more: str) -> str:
        """The parameters as a connection string (manual, 34.1.1.1) without the password: it may be an argument."""
        return " ".join(f"{name}={quoted_value(value)}" for name, value in {**self.parameters, **more}.items())

    def secret_conninfo(self, **more: str) -> str:
        """The parameters with the password, for the driver in this process alone."""
        if self.password is not None:
            more = {**more, "password": self.password}
        return self.conninfo(**more)

    def environment(self, folder: str) -> dict[str, str]:
        """What a tool needs to find the password, which is written to a private file in ``folder``."""
        if self.password is None:
            return {}
        path = os.path.join(folder, PASSFILE)
        escaped = self.password.replace("\\", "\\\\").replace(":", "\\:")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"*:*:*:*:{escaped}\n")
        return {"PGPASSFILE": path}

    def url(self) -> str:
        """A URL without the password that means the same, for users' own commands."""
        from urllib.parse import quote, urlencode

        rest = {name: value for name, value in self.parameters.items() if name not in ("dbname", "password")}
        database = quote(self.parameters.get("dbname", ""), safe="")
        return f"postgresql:///{database}" + (f"?{urlencode(rest, quote_via=quote)}" if rest else "")


def read_address(source: Source) -> Address:
    """The address that ``source`` gives. Raises ``UsageError`` for what libpq cannot read."""
    driver = import_driver()
    scheme, mark, rest = source.url.partition("://")
    if not mark or scheme.lower() not in SCHEMES:
        raise UsageError(
            f"source.url {without_credentials(source.url)!r} names no PostgreSQL server",
            "write postgresql://user@host/database",
        )
    try:
        parameters = driver.extensions.parse_dsn(f"postgresql://{rest}")
    except driver.Error as error:
        # libpq's message repeats the URL, and with it the password: only the name of a parameter is shown
        found = str(error)
        unknown = found.split('"')[1] if "invalid URI query parameter" in found else ""
        what = f"has a parameter that libpq does not know: {unknown!r}" if unknown else "cannot be read by libpq"
        raise UsageError(
            f"source.url {without_credentials(source.url)!r} {what}",
            f"correct it (special characters are written as %xx); {MANUAL}",
        ) from None
    if "sslpassword" in parameters:
        raise UsageError("source.url holds sslpassword", "use a key file without a passphrase, readable by its owner")
    password = parameters.pop("password", None)
    if source.password_file is not None:
        password = password_in(source.password_file, "source.password_file")
    return Address(parameters, password)


def quoted_value(value: str) -> str:
    """``value`` as one value of a connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def import_driver() -> Any:
    """psycopg2. Raises ``ToolError`` that names the package."""
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError:
        raise ToolError(
            "the Python package psycopg2 is not installed for the Python that runs this",
            "install python3-psycopg2 (Debian, Red Hat) or pip install psycopg2-binary",
        ) from None
    return psycopg2
