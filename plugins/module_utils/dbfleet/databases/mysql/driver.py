"""Connections by PyMySQL, of every version that distributions have: 0.10 (RHEL 9), 1.0 (Debian 12), 1.1 and later.

What TLS must be is decided here and not left to the driver: before 1.0 it has no options for it; before 1.2 it logs in
without TLS where the server, or who stands between, offers none; and no version looks at the name in a certificate
unless it is given a file of authorities.
"""

from __future__ import annotations

import ssl
from typing import Any

from ...errors import SourceError, ToolError
from .address import Address

SSL = 0x800  # what a server says when it offers TLS (manual, "Capabilities Flags": CLIENT_SSL)


def connect(address: Address, what: str, **options: Any) -> Any:
    """A connection of the driver to ``address``, called ``what`` in errors.

    Raises ``ToolError`` without the driver, ``SourceError`` where TLS cannot be as ``address`` asks for, and whatever
    the driver raises.
    """
    try:
        from pymysql import VERSION
        from pymysql.connections import Connection
        from pymysql.converters import encoders
    except ImportError:
        raise ToolError(
            "MySQL and MariaDB need the Python package PyMySQL, which is not installed",
            "install python3-pymysql, or pip install PyMySQL",
        ) from None

    class Guarded(Connection):  # type: ignore[misc]
        """Does not log in where there must be TLS and is none."""

        def _request_authentication(self) -> None:
            if address.requires_tls and not self.server_capabilities & SSL:
                raise SourceError(
                    f"{what}: the server offers no TLS, which the URL asks for",
                    "turn TLS on at the server, or choose ssl_mode=preferred or disabled",
                )
            super()._request_authentication()

    return Guarded(
        conv=dict(encoders),  # values of answers stay the text that the server writes
        **address.driver_options(),
        **tls_options(address, what, tuple(VERSION[:2])),
        **options,
    )


def tls_options(address: Address, what: str, version: tuple[int, ...]) -> dict[str, Any]:
    """What a driver of ``version`` must be told of TLS. Raises ``SourceError`` for files that are of no use."""
    if address.without_tls:
        return {"ssl_disabled": True} if version >= (1, 0) else {}
    if address.requires_tls or (address.tls_mode and version < (1, 2)):  # which from then on prefers it by itself
        return {"ssl": _context(address, what)}
    return {}


def _context(address: Address, what: str) -> ssl.SSLContext:
    files = dict(address.tls_files)
    try:
        if address.verifies() or "ssl_ca" in files:
            context = ssl.create_default_context(cafile=files.get("ssl_ca"))
        else:  # the system's authorities take long to read, and nobody would ask them
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = address.tls_mode == "verify_identity"
        if not address.verifies():
            context.verify_mode = ssl.CERT_NONE
        if "ssl_cert" in files:
            context.load_cert_chain(files["ssl_cert"], files.get("ssl_key"))
    except (OSError, ValueError) as error:
        named = ", ".join(f"{key}={path}" for key, path in files.items())
        raise SourceError(f"{what}: TLS cannot be had with {named}: {error}", "check these files") from error
    return context
