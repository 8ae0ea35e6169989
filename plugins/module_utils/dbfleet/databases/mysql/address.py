"""Where a MySQL or MariaDB server is: the URL taken apart, and the option file that its tools read.

The tools get everything from one private option file, so that neither a password nor a site's own
``[client]`` settings can change what they do (MariaDB manual, "Configuring MariaDB with Option Files").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Optional
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ...errors import UsageError
from ...model import Source
from ...secret_files import first_line
from ...urls import without_credentials

DEFAULT_PORT = 3306
SOCKETS = ("unix_socket", "socket")
TLS_FILES = ("ssl_ca", "ssl_cert", "ssl_key")
TLS_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
FORMS = "write mysql://USER@HOST:PORT/DATABASE, with ?unix_socket=PATH for a socket"
IGNORED = ("charset", "collation", "connect_timeout", "connection_limit", "pool_timeout", "serverVersion", "timeout")


@dataclass(frozen=True)
class Address:
    """A server, the account to use there, and one of its databases (empty: none)."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    socket: Optional[str] = None
    user: str = ""
    password: str = ""
    database: str = ""
    tls_mode: Optional[str] = None
    tls_files: tuple[tuple[str, str], ...] = ()
    shown: str = ""

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    def at(self, database: str) -> Address:
        """The same server, another database."""
        return replace(self, database=database)

    def place(self) -> str:
        """``host:port`` or the socket, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    def url(self) -> str:
        """A URL that opens it again, without the password."""
        user = quote(self.user, safe="")
        query = f"?unix_socket={quote(self.socket, safe='/')}" if self.socket else ""
        return f"mysql://{user}@{self.host}:{self.port}/{quote(self.database, safe='')}{query}"

    def driver_options(self) -> dict[str, Any]:
        """What PyMySQL takes to find the server and log in."""
        options: dict[str, Any] = {"user": self.user, "password": self.password.encode()}
        if self.socket:
            options["unix_socket"] = self.socket
        else:
            options.update(host=self.host, port=self.port)
        if self.database:
            options["database"] = self.database
        return options

    @property
    def without_tls(self) -> bool:
        """Whether there is to be none. Through a socket the driver would read all authorities, and need none."""
        return self.tls_mode == "disabled" or bool(self.socket and not self.tls_mode and not self.tls_files)

    @property
    def requires_tls(self) -> bool:
        """Whether nobody may log in without it."""
        return not self.without_tls and (self.tls_mode not in (None, "preferred") or bool(self.tls_files))

    def verifies(self) -> bool:
        """Whether the server's certificate is checked."""
        return (self.tls_mode or "").startswith("verify") or "ssl_ca" in dict(self.tls_files)

    def option_file(self, flavour: str) -> str:
        """The text of an option file for the tools of ``flavour``."""
        lines = ["[client]", f"user={_value(self.user)}", f"password={_value(self.password)}"]
        if self.socket:
            # The clients would take another host from MYSQL_HOST, and forget the socket for it.
            lines += ["host=localhost", f"socket={_value(self.socket)}", "protocol=socket"]
        else:
            lines += [f"host={_value(self.host)}", f"port={self.port}", "protocol=tcp"]
        lines += [f"{key.replace('_', '-')}={_value(path)}" for key, path in self.tls_files]
        lines += self._tls_lines(flavour)
        lines.append("default-character-set=utf8mb4")
        return "\n".join(lines) + "\n"

    def _tls_lines(self, flavour: str) -> list[str]:
        if flavour == "mysql":
            mode = self.tls_mode or ("verify_ca" if self.verifies() else None)
            return [f"ssl-mode={mode.upper()}"] if mode else []
        if self.tls_mode == "disabled":
            return ["skip-ssl"]
        if not self.tls_mode and not self.tls_files:
            return []
        return ["ssl", "ssl-verify-server-cert" if self.verifies() else "skip-ssl-verify-server-cert"]


def _value(text: str) -> str:
    """``text`` as the value of an option: quoted, with the escapes that option files know."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def address_of(source: Source) -> Address:
    """The server and database that ``source`` names, with its password.

    Raises ``UsageError`` for a URL that cannot be meant, ``KeyMaterialError`` for a password file that cannot be read.
    """
    shown = without_credentials(source.url)
    try:
        parts = urlsplit(source.url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise UsageError(f"source.url {shown!r} names no port", FORMS) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket = next((options.pop(key) for key in SOCKETS if key in options), None)
    files = tuple((key, options.pop(key)) for key in TLS_FILES if key in options)
    mode = _tls_mode(options, shown)
    unknown = sorted(set(options) - set(IGNORED))
    if unknown:
        known = ", ".join((*SOCKETS, *TLS_FILES, "ssl_mode"))
        raise UsageError(f"source.url {shown!r} has the unknown option {unknown[0]!r}", f"it may have {known}")
    password = unquote(parts.password or "")
    if source.password_file:
        password = first_line(source.password_file, "source.password_file")
    return Address(
        host=unquote(parts.hostname or "localhost"),
        port=port,
        socket=socket,
        user=unquote(parts.username or ""),
        password=password,
        database=unquote(parts.path[1:]),
        tls_mode=mode,
        tls_files=files,
        shown=shown,
    )


def _tls_mode(options: dict[str, str], shown: str) -> Optional[str]:
    mode = options.pop("ssl_mode", options.pop("ssl-mode", None))
    plain = options.pop("ssl", None)
    if mode is None and plain is not None:
        mode = "disabled" if plain.lower() in ("0", "false", "no") else "required"
    if mode is None:
        return None
    mode = mode.lower().replace("-", "_")
    if mode not in TLS_MODES:
        raise UsageError(f"source.url {shown!r} has the unknown ssl_mode {mode!r}", f"choose {', '.join(TLS_MODES)}")
    return mode


def write_option_file(folder: str, address: Address, flavour: str, *, begin: str = "") -> str:
    """Write the option file into the private ``folder``, readable by us alone; returns its path.

    ``begin``: SQL with which sessions of the client begin, those of other tools do not.
    """
    number = 0
    while True:
        path = os.path.join(folder, f"client-{number}.cnf")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(address.option_file(flavour))
            if begin:
                file.write(f'[mysql]\ninit-command="{begin}"\n')  # the group that the clients of both flavours read
        return path
