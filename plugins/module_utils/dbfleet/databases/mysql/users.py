"""Accounts as SQL, where the dump tool does not write them: those of MySQL 8, and everybody's of MariaDB.

MySQL's dump tool has no option for accounts, as MariaDB's has (``--system=users``).
The server itself says what makes an account (``SHOW CREATE USER``) and what it may do (``SHOW GRANTS``); password
hashes are written in hexadecimal, because those of ``caching_sha2_password`` hold any byte (MySQL manual,
"print_identified_with_as_hex"). Roles are accounts as well, so all of them are made before anything is granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..base import ArtifactStream, Sink
from .server import Session

# Made by every server for itself (MySQL manual, "Reserved Accounts").
RESERVED = ("mysql.sys", "mysql.session", "mysql.infoschema")
_CREATE = re.compile(r"CREATE USER ")
_DEFAULT_ROLE = re.compile(r" DEFAULT ROLE ((?:`(?:[^`]|``)*`@`(?:[^`]|``)*`,?)+)")


class UsersStream(ArtifactStream):
    """``users.sql``: statements that leave accounts that are there as they are, but for what they are granted."""

    role = "users"
    suffix = "/users.sql"

    def __init__(self, session: Session) -> None:
        self._session = session

    def pump(self, sink: Sink) -> None:
        """Write the accounts, their privileges, their default roles."""
        for statement in account_statements(self._session):
            sink.write(statement.encode() + b";\n")


def account_statements(session: Session) -> Iterator[str]:
    """The statements that make the accounts of the server, in an order in which they can be run.

    Raises ``SourceError`` where the account may not read them: it needs SELECT on the database mysql.
    """
    if session.variable("print_identified_with_as_hex") is not None:  # not in 5.7, whose hashes are text
        session.run("SET print_identified_with_as_hex = ON")
    marks = ", ".join(["%s"] * len(RESERVED))
    accounts = session.rows(f"SELECT user, host FROM mysql.user WHERE user NOT IN ({marks}) ORDER BY 1, 2", *RESERVED)
    shown = [_account(*account) for account in accounts]
    defaults = []
    yield "SET NAMES utf8mb4"
    for account in shown:
        made = str(session.row(f"SHOW CREATE USER {account}")[0])
        roles = _DEFAULT_ROLE.search(made)
        if roles is not None:
            made = made.replace(roles[0], "", 1)
            defaults.append(f"ALTER USER {account} DEFAULT ROLE {roles[1]}")
        yield _CREATE.sub("CREATE USER IF NOT EXISTS ", made, count=1)
    for account in shown:
        for (grant,) in session.rows(f"SHOW GRANTS FOR {account}"):
            yield str(grant)
    yield from defaults


def public_grants(session: Session) -> list[str]:
    """What MariaDB grants to everybody (from 10.11 on), which its dump tool leaves out."""
    if not session.row("SELECT 1 FROM mysql.user WHERE user = 'PUBLIC' AND host = '' AND is_role = 'Y'"):
        return []
    return [str(grant) for (grant,) in session.rows("SHOW GRANTS FOR PUBLIC")]


def _account(user: Any, host: Any) -> str:
    return "@".join("'" + str(part).replace("\\", "\\\\").replace("'", "\\'") + "'" for part in (user, host))
