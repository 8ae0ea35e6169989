"""Accounts for backups in MySQL and MariaDB: what the logical backup needs of them, and nothing that writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Optional

from ..databases.mysql.privileges import read_by_copying
from ..databases.mysql.server import Session, quoted
from ..errors import NotFoundError, RefusedError, SourceError
from .base import Account, AccountServer, Step
from .password_file import new_password

# To read rows and definitions, and to hold tables that no snapshot covers.
READING = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES")
NATIVE = "mysql_native_password"
EVERYTHING = "*"
Place = tuple[str, str]  # database and table as in GRANT … ON, quoted
SERVER: Place = (EVERYTHING, EVERYTHING)
# What standing accounts may have and we take away; more than that belongs to another kind of account.
HARMLESS = {
    *READING,
    "USAGE",
    "RELOAD",
    "REPLICATION CLIENT",
    "BINLOG MONITOR",
    "REPLICATION SLAVE",
    "PROCESS",
    "BACKUP_ADMIN",
    "SHOW_ROUTINE",
    "SHOW CREATE ROUTINE",
}
VALIDATION = (
    "SELECT 1 FROM information_schema.plugins"
    " WHERE plugin_type = 'PASSWORD VALIDATION' AND plugin_status = 'ACTIVE' LIMIT 1"
)
OFF_THE_LOG, ON_THE_LOG = "SET SESSION sql_log_off = 1", "SET SESSION sql_log_off = 0"  # the log of all queries
GRANTS = (
    "SELECT '*', '*', privilege_type, is_grantable FROM information_schema.user_privileges WHERE grantee = {0}"
    " UNION ALL SELECT table_schema, '*', privilege_type, is_grantable"
    " FROM information_schema.schema_privileges WHERE grantee = {0}"
    " UNION ALL SELECT table_schema, table_name, privilege_type, is_grantable"
    " FROM information_schema.table_privileges WHERE grantee = {0}"
)


def literal(text: str) -> str:
    """``text`` as an SQL string: backslashes are read as escapes in the sessions that we open."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def pattern(database: str) -> str:
    """``database`` as GRANT reads it, for which ``_`` and ``%`` are wildcards."""
    return database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


class MysqlAccounts(AccountServer):
    """See :class:`AccountServer`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._version = session.version()

    def standing(self, account: Account) -> Optional[Mapping[str, Any]]:
        """See the protocol."""
        if self._authentication(account) is None:
            return None
        grants: dict[Place, set[str]] = {}
        grantee = literal(f"'{account.name}'@'{account.host}'")
        for database, table, privilege, grantable in self._session.rows(GRANTS.format(grantee)):
            place = (str(database), str(table))
            word = str(privilege).upper()
            if word not in HARMLESS or str(grantable).upper() == "YES":
                raise RefusedError(
                    f"the account {_shown(account)} is there and has {word} on {_place(place)}"
                    f"{' for others' if word in HARMLESS else ''}: it is no account for backups",
                    "choose another name, or take that away from it",
                )
            if word != "USAGE":
                grants.setdefault(place, set()).add(word)
        return {"grants": {_place(place): sorted(words) for place, words in sorted(grants.items())}}

    def wanted(self, account: Account) -> Mapping[str, Any]:
        """See the protocol."""
        return {"grants": {_place(place): sorted(words) for place, words in sorted(self._grants(account).items())}}

    def _grants(self, account: Account) -> dict[Place, set[str]]:
        there = set(self._session.databases())
        missing = sorted(set(account.databases) - there)
        if missing:
            raise NotFoundError(
                f"{self._session.what}: there is no database {missing[0]!r}", "correct the list of databases"
            )
        number, mariadb = self._version.number, self._version.flavour == "mariadb"
        grants: dict[Place, set[str]] = {SERVER: {"RELOAD"}}
        grants[SERVER].add("BINLOG MONITOR" if mariadb and number >= (10, 5, 2) else "REPLICATION CLIENT")
        if account.replication:
            grants[SERVER] |= {"REPLICATION SLAVE", "PROCESS", "LOCK TABLES"}
            if not mariadb and number >= (8,):
                grants[SERVER].add("BACKUP_ADMIN")
                for table in read_by_copying(number) if account.databases else ():
                    grants[("performance_schema", table)] = {"SELECT"}
        for name in account.databases:
            grants[(pattern(name), EVERYTHING)] = set(READING)
        if not account.databases:
            grants[SERVER] |= set(READING)
        # Without these, the server shows no routines at all to an account that may not run them.
        if not mariadb and number >= (8, 0, 20):
            grants[SERVER].add("SHOW_ROUTINE")
        elif account.databases:
            grants[("mysql", "proc")] = {"SELECT"}
        return grants

    def knows(self, account: Account, password: str) -> bool:
        """See the protocol. A login is tried where the server keeps what cannot be compared."""
        plugin, kept = self._authentication(account) or ("", "")
        if plugin == NATIVE:
            return kept.upper() == native_hash(password)
        if plugin in ("unix_socket", "auth_socket"):
            return False
        try:
            Session(replace(self._session.address, user=account.name, password=password)).close()
        except SourceError:
            return False
        return True

    def _authentication(self, account: Account) -> Optional[tuple[str, str]]:
        row = self._session.row(
            "SELECT plugin, authentication_string FROM mysql.user WHERE user = %s AND host = %s",
            account.name,
            account.host,
        )
        if not row:
            return None
        return str(row[0] or NATIVE), str(row[1] or "")

    def steps(self, account: Account, password: Optional[str]) -> Sequence[Step]:
        """See the protocol."""
        steps: list[Step] = []
        who = _account(account)
        standing = self.standing(account)
        if standing is None and password is not None:  # it never is without a password
            shown = f"create the account {_shown(account)}"
            steps.append(self._made(shown, who, password))
        wanted = self._grants(account)
        has = self._found(account) if standing is not None else {}
        for place, words in sorted(wanted.items()):
            missing = sorted(words - has.get(place, set()))
            if missing:
                shown = f"let {_shown(account)} {', '.join(missing)} on {_place(place)}"
                steps.append(self._step(shown, f"GRANT {', '.join(missing)} ON {_on(place)} TO {who}"))
        for place, words in sorted(has.items()):
            surplus = sorted(words - wanted.get(place, set()))
            if surplus:
                shown = f"no longer let {_shown(account)} {', '.join(surplus)} on {_place(place)}"
                steps.append(self._step(shown, f"REVOKE {', '.join(surplus)} ON {_on(place)} FROM {who}"))
        if standing is not None and password is not None:
            shown = f"give {_shown(account)} the password of its file"
            steps.append(self._changed(shown, who, password))
        return steps

    def _found(self, account: Account) -> dict[Place, set[str]]:
        grants: dict[Place, set[str]] = {}
        grantee = literal(f"'{account.name}'@'{account.host}'")
        for database, table, privilege, _grantable in self._session.rows(GRANTS.format(grantee)):
            if str(privilege).upper() != "USAGE":
                grants.setdefault((str(database), str(table)), set()).add(str(privilege).upper())
        return grants

    def _made(self, shown: str, who: str, password: str) -> Step:
        if self._wants_words():
            first = f"CREATE USER {who} IDENTIFIED BY {literal(new_password())}"  # seen in the binary log, and replaced
            return self._step(shown, OFF_THE_LOG, first, _set_password(who, password), ON_THE_LOG)
        return self._step(shown, f"CREATE USER {who} {self._identified(password)}")

    def _changed(self, shown: str, who: str, password: str) -> Step:
        if self._wants_words():
            return self._step(shown, OFF_THE_LOG, _set_password(who, password), ON_THE_LOG)
        return self._step(shown, f"ALTER USER {who} {self._identified(password)}")

    def _identified(self, password: str) -> str:
        if self._version.flavour == "mariadb":  # which writes statements into its logs as they are
            return f"IDENTIFIED VIA {NATIVE} USING {literal(native_hash(password))}"
        return f"IDENTIFIED BY {literal(password)}"  # which writes the hash into its logs

    def _wants_words(self) -> bool:
        """Whether MariaDB judges passwords and so takes no hash (manual, ``strict_password_validation``)."""
        return self._session.variable("strict_password_validation") == "ON" and bool(self._session.rows(VALIDATION))

    def removal(self, account: Account) -> Sequence[Step]:
        """See the protocol."""
        return [self._step(f"drop the account {_shown(account)}", f"DROP USER {_account(account)}")]

    def _step(self, shown: str, *statements: str) -> Step:
        return Step(shown, partial(self._run, statements))

    def _run(self, statements: Sequence[str]) -> None:
        for sql in statements:
            self._session.run(sql)


def _set_password(who: str, password: str) -> str:
    """The one statement of which MariaDB writes the hash into its binary log, whatever it was given."""
    return f"SET PASSWORD FOR {who} = PASSWORD({literal(password)})"


def native_hash(password: str) -> str:
    """What ``mysql_native_password`` keeps (MariaDB manual, "Authentication Plugin - mysql_native_password")."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _account(account: Account) -> str:
    return f"{literal(account.name)}@{literal(account.host)}"


def _shown(account: Account) -> str:
    return f"{account.name}@{account.host}"


def _place(place: Place) -> str:
    return ".".join(place)


def _on(place: Place) -> str:
    return ".".join(part if part == EVERYTHING else quoted(part) for part in place)
