"""Roles for backups in PostgreSQL (manual, chapter 22 and 22.5 "Predefined Roles")."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Optional

from ..databases.postgresql.address import Address, import_driver
from ..databases.postgresql.connection import Connection, connect
from ..databases.postgresql.quoting import literal, quoted
from ..errors import NotFoundError, RefusedError, SourceError
from .acting import acting_as
from .base import Account, AccountServer, Step

READ_ALL = "pg_read_all_data"
READ_ALL_SINCE = 140000
ITERATIONS = 4096  # what PostgreSQL itself uses (manual, 20.3, scram_iterations)
# What of a role is kept, in the order in which it is asked for, and how ALTER ROLE says it.
ATTRIBUTES = {
    "login": "LOGIN",
    "inherits": "INHERIT",
    "create_databases": "CREATEDB",
    "replication": "REPLICATION",
    "bypass_row_security": "BYPASSRLS",
}
# Before version 14 every table is granted by itself.
CLOSED = """
SELECT n.nspname, pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE'),
       count(c.oid) FILTER (WHERE NOT pg_catalog.has_table_privilege(%(role)s, c.oid, 'SELECT')),
       ARRAY(SELECT DISTINCT o.rolname::text FROM pg_catalog.pg_class t JOIN pg_catalog.pg_roles o ON o.oid = t.relowner
             WHERE t.relnamespace = n.oid AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_default_acl d, LATERAL pg_catalog.aclexplode(d.defaclacl) x
                 WHERE d.defaclrole = t.relowner AND d.defaclnamespace = n.oid AND d.defaclobjtype = 'r'
                 AND x.privilege_type = 'SELECT' AND x.grantee = pg_catalog.to_regrole(%(quoted)s)))
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY n.oid, n.nspname ORDER BY 1
"""


class PostgresqlAccounts(AccountServer):
    """See :class:`AccountServer`; sessions are opened as ``system_user`` and closed with the context."""

    def __init__(self, address: Address, system_user: Optional[str] = None) -> None:
        self._address = address
        self._system_user = system_user
        self._stack = ExitStack()
        self._sessions: dict[str, Connection] = {}
        self._main: Connection

    def __enter__(self) -> PostgresqlAccounts:
        import_driver()  # as ourselves: another account may not see where it is installed
        with acting_as(self._system_user):
            self._main = self._stack.enter_context(connect(self._address))
        self._sessions[self._main.database] = self._main
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def standing(self, account: Account) -> Optional[Mapping[str, Any]]:
        """See the protocol."""
        found = self._main.rows(
            "SELECT oid, rolsuper OR rolcreaterole, rolcanlogin, rolinherit, rolcreatedb, rolreplication, rolbypassrls "
            "FROM pg_catalog.pg_roles WHERE rolname = %s",
            (account.name,),
        )
        if not found:
            return None
        number, powerful, *values = found[0]
        member_of = [
            str(name)
            for (name,) in self._main.rows(
                "SELECT r.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid "
                "WHERE m.member = %s ORDER BY 1",
                (number,),
            )
        ]
        standing = dict(zip(ATTRIBUTES, values))
        others = [name for name in member_of if name != READ_ALL]
        if powerful or others:
            what = "may do more than any backup needs" if powerful else f"is a member of {others[0]}"
            raise RefusedError(
                f"the role {account.name} is there and {what}: it is no account for backups",
                "choose another name, or take that away from it",
            )
        if not standing["create_databases"] and not account.create_databases:
            self._refuse_owner(account, number)
        standing["reads_all"] = READ_ALL in member_of
        standing["may_connect_to"] = [
            str(name)
            for (name,) in self._main.rows(
                "SELECT d.datname FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(d.datacl) x "
                "WHERE x.grantee = %s AND x.privilege_type = 'CONNECT' ORDER BY 1",
                (number,),
            )
        ]
        if self._main.version < READ_ALL_SINCE:
            standing["reads_all"] = not any(self._closed(account, name) for name in self._names(account))
        return standing

    def _refuse_owner(self, account: Account, number: int) -> None:
        owned = self._main.value(
            "SELECT count(*) FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass "
            "AND refobjid = %s AND deptype = 'o'",
            (number,),
        )
        if owned:
            raise RefusedError(
                f"the role {account.name} is there and owns {owned} objects: it is no account for backups",
                "choose another name, or give the objects to another role (REASSIGN OWNED)",
            )

    def wanted(self, account: Account) -> Mapping[str, Any]:
        """See the protocol."""
        return {
            "login": True,
            "inherits": True,
            "create_databases": account.create_databases,
            "replication": account.replication,
            "bypass_row_security": account.bypass_row_security,
            "reads_all": True,
            "may_connect_to": self._names(account),
        }

    def _names(self, account: Account) -> list[str]:
        there = self._main.databases()
        missing = sorted(set(account.databases) - set(there))
        if missing:
            raise NotFoundError(
                f"the server at {self._address.place} has no database {missing[0]!r}", "correct the list of databases"
            )
        return [name for name in there if not account.databases or name in account.databases]

    def knows(self, account: Account, password: str) -> bool:
        """See the protocol. Where password hashes may not be read, a login is tried."""
        if self._main.value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"):
            kept = self._main.value("SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %s", (account.name,))
            return kept is not None and matches(str(kept), account.name, password)
        address = Address({**self._address.parameters, "user": account.name}, password)
        try:
            connect(address).close()
        except SourceError:
            return False
        return True

    def steps(self, account: Account, password: Optional[str]) -> Sequence[Step]:
        """See the protocol."""
        standing, wanted, role = self.standing(account), self.wanted(account), quoted(account.name)
        steps: list[Step] = []
        if standing is None:
            steps.append(self._step(f"create the role {account.name}", f"CREATE ROLE {role} LOGIN"))
            standing = {"login": True, "inherits": True}
        words = [
            word if wanted[name] else f"NO{word}"
            for name, word in ATTRIBUTES.items()
            if bool(standing.get(name)) != wanted[name]
        ]
        if words:
            steps.append(
                self._step(f"make the role {account.name} {', '.join(words)}", f"ALTER ROLE {role} {' '.join(words)}")
            )
        steps += self._reading(account, bool(standing.get("reads_all")))
        has = standing.get("may_connect_to", [])
        for name in wanted["may_connect_to"]:
            if name not in has:
                shown = f"let {account.name} connect to database {name}"
                steps.append(self._step(shown, f"GRANT CONNECT ON DATABASE {quoted(name)} TO {role}"))
        for name in has:
            if name not in wanted["may_connect_to"]:
                shown = f"no longer let {account.name} connect to database {name}"
                steps.append(self._step(shown, f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM {role}"))
        if password is not None:
            # The server gets the verifier alone, so that no statement in its log holds a password.
            sql = f"ALTER ROLE {role} PASSWORD {literal(verifier(password))}"
            steps.append(self._step(f"give {account.name} the password of its file", sql))
        return steps

    def _reading(self, account: Account, reads_all: bool) -> list[Step]:
        role = quoted(account.name)
        if reads_all:
            return []
        if self._main.version >= READ_ALL_SINCE:
            return [self._step(f"let {account.name} read all data", f"GRANT {READ_ALL} TO {role}")]
        return [
            Step(f"let {account.name} read database {name}", partial(self._open, account, name))
            for name in self._names(account)
        ]

    def _open(self, account: Account, database: str) -> None:
        role = quoted(account.name)
        connection = self._session(database)
        for schema, owners in self._closed(account, database).items():
            place = quoted(schema)
            connection.run(f"GRANT USAGE ON SCHEMA {place} TO {role}")
            connection.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {role}")
            connection.run(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {place} TO {role}")
            for owner in owners:
                start = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(owner)} IN SCHEMA {place} GRANT SELECT ON"
                connection.run(f"{start} TABLES TO {role}")
                connection.run(f"{start} SEQUENCES TO {role}")

    def _closed(self, account: Account, database: str) -> dict[str, list[str]]:
        """Schemas in which the role may not read all, each with the owners whose new tables it could not read."""
        values = {"role": account.name, "quoted": quoted(account.name)}
        return {
            str(schema): list(owners)
            for schema, usage, closed, owners in self._session(database).rows(CLOSED, values)
            if not usage or closed or owners
        }

    def removal(self, account: Account) -> Sequence[Step]:
        """See the protocol."""
        number = self._main.value("SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s", (account.name,))
        self._refuse_owner(account, number)
        return [Step(f"drop the role {account.name}", partial(self._drop, account))]

    def _drop(self, account: Account) -> None:
        role = quoted(account.name)
        found = self._main.rows(
            "SELECT DISTINCT d.datname FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid "
            "WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = pg_catalog.to_regrole(%s)",
            (role,),
        )
        with_grants = [str(name) for (name,) in found]
        for name in [self._main.database, *with_grants]:
            self._session(name).run(f"DROP OWNED BY {role}")  # nothing but grants, as was seen before
        self._main.run(f"DROP ROLE {role}")

    def _step(self, shown: str, sql: str) -> Step:
        return Step(shown, partial(self._main.run, sql))

    def _session(self, database: str) -> Connection:
        if database not in self._sessions:
            with acting_as(self._system_user):
                self._sessions[database] = self._stack.enter_context(connect(self._address.of(database)))
        return self._sessions[database]


def verifier(password: str) -> str:
    """What PostgreSQL keeps of ``password`` (RFC 5803, and the manual, 53.8 pg_authid)."""
    return _verifier(password, os.urandom(16), ITERATIONS)


def _verifier(password: str, salt: bytes, iterations: int) -> str:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def matches(kept: str, role: str, password: str) -> bool:
    """Whether ``kept`` is what PostgreSQL keeps of ``password``."""
    if kept.startswith("SCRAM-SHA-256$"):
        iterations, _colon, salt = kept.split("$")[1].partition(":")
        return hmac.compare_digest(_verifier(password, base64.b64decode(salt), int(iterations)), kept)
    return False  # an MD5 hash is replaced by a better one
