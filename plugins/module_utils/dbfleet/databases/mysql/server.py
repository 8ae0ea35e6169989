"""Connections to a MySQL or MariaDB server, and what is known of it: flavour, version, identity."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Optional, TypeVar

from ...errors import DbfleetError
from .address import Address
from .driver import connect
from .faults import DENIED, code_behind, server_errors

CONNECT_TIMEOUT = 20
LONG = 7 * 24 * 3600  # seconds: no session of ours ends because it had to wait
NO_LIMIT = 2**64 - 1  # of sql_select_limit
# Whatever the server's settings are, every statement is committed, no answer is cut, refused or ended early, and
# accounts stand quoted in the definitions of triggers and events, as the server keeps them.
STEADY = (
    "autocommit = 1, sql_quote_show_create = 1, sql_safe_updates = 0, sql_big_selects = 1,"
    f" sql_select_limit = {NO_LIMIT}"
    " /*!50708 , max_execution_time = 0 */ /*M!100307 , max_statement_time = 0, alter_algorithm = 'DEFAULT',"
    " idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0, idle_write_transaction_timeout = 0 */"
)
# The same text and numbers whatever the server's, client's or user's settings are.
SESSION = (
    "SET time_zone = '+00:00', sql_mode = '', character_set_results = utf8mb4, "
    f"wait_timeout = {LONG}, net_write_timeout = 3600, net_read_timeout = 3600, group_concat_max_len = 1048576, "
    + STEADY
)
# What a server may forbid or do to new tables, though a dump holds others, and how a session is rid of it.
RULES = {
    "restrict_fk_on_non_standard_key": "OFF",  # MySQL 8.4: no foreign keys to what is no whole unique key
    "sql_require_primary_key": "OFF",  # MySQL 8.0.13
    "sql_generate_invisible_primary_key": "OFF",  # MySQL 8.0.30
    "enforce_storage_engine": "NULL",  # MariaDB
}
SYSTEM = ("information_schema", "performance_schema", "mysql", "sys")
Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class Version:
    """What a server is: ``flavour`` is ``mariadb`` or ``mysql``, ``number`` such as ``(10, 11, 19)``."""

    flavour: str
    number: tuple[int, ...]
    text: str

    @property
    def shown(self) -> str:
        """``MariaDB 10.11.19``."""
        name = "MariaDB" if self.flavour == "mariadb" else "MySQL"
        return f"{name} {'.'.join(map(str, self.number))}"


def version_of(text: str) -> Version:
    """The version that ``SELECT version()`` gave."""
    numbers = text.partition("-")[0].split(".")
    return Version(flavour_of(text), tuple(int(part) for part in numbers if part.isdigit()), text)


def flavour_of(text: str) -> str:
    """The flavour that a version's text tells, as a server or a manifest writes it."""
    return "mariadb" if "mariadb" in text.lower() else "mysql"


class Session:
    """One connection, used by one thread at a time."""

    def __init__(self, address: Address, *, lock_wait: Optional[int] = None) -> None:
        self.address = address
        self._lifted: list[str] = []
        self.what = f"database {address.database!r} at {address.place()}" if address.database else address.place()
        with server_errors(self.what):
            self._connection: Any = connect(
                address, self.what, charset="utf8mb4", autocommit=True, connect_timeout=CONNECT_TIMEOUT
            )
            self.run(SESSION)
            if lock_wait is not None:
                self.run(f"SET lock_wait_timeout = {max(1, lock_wait)}, innodb_lock_wait_timeout = {max(1, lock_wait)}")

    @property
    def number(self) -> int:
        """The server's number of this connection."""
        return int(self._connection.thread_id())

    @property
    def flavour(self) -> str:
        """``mariadb`` or ``mysql``, as the server said when it greeted."""
        return flavour_of(str(self._connection.get_server_info()))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The answer of ``sql``: numbers and times as text, as the server writes them."""
        with server_errors(self.what), self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def row(self, sql: str, *values: Any) -> tuple[Any, ...]:
        """The first row of the answer of ``sql``; empty when there is none."""
        found = self.rows(sql, *values)
        return found[0] if found else ()

    def raw_row(self, sql: str) -> tuple[Any, ...]:
        """As :meth:`row`; bytes that are no UTF-8 come as surrogates, as the driver takes them back (PEP 383).

        MariaDB writes the defaults of binary columns into its definitions as they are.
        """
        self._connection.use_unicode = False
        try:
            row = self.row(sql)
        finally:
            self._connection.use_unicode = True
        return tuple(value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in row)

    def run(self, sql: str) -> None:
        """Run one statement."""
        with server_errors(self.what):
            self._connection.query(sql)

    def send(self, sql: bytes) -> None:
        """Run one statement that is bytes already."""
        with server_errors(self.what):
            self._connection.query(sql)

    @contextmanager
    def stream(self, sql: str) -> Iterator[Any]:
        """A driver's cursor over the answer of ``sql`` that keeps no rows in memory; raises what the driver raises."""
        from pymysql.cursors import SSCursor

        cursor = self._connection.cursor(SSCursor)
        try:
            cursor.execute(sql)
            yield cursor
        finally:
            cursor.close()

    def variable(self, name: str) -> Optional[str]:
        """A variable of the server, or ``None`` where it does not have it."""
        row = self.row("SHOW VARIABLES LIKE %s", name.replace("_", r"\_"))
        return str(row[1]) if row else None

    def lift_rules(self) -> None:
        """Let this session make tables as they were dumped, whatever :data:`RULES` are set.

        Where the account may not, the server names the rule once a table breaks it.
        """
        names = ", ".join(f"'{name}'" for name in RULES)
        for name, _value in self.rows(f"SHOW VARIABLES WHERE variable_name IN ({names}) AND value NOT IN ('OFF', '')"):
            try:
                self.run(f"SET SESSION {name} = {RULES[name]}")
            except DbfleetError as error:
                if code_behind(error) not in DENIED:
                    raise
            else:
                self._lifted.append(f"{name} = {RULES[name]}")

    def begin(self) -> str:
        """The SQL with which sessions of the native client begin, to run a dump as it is meant: like this one."""
        return "SET " + ", ".join((STEADY, *self._lifted))

    def status(self, name: str) -> Optional[str]:
        """A status variable of this session."""
        row = self.row("SHOW STATUS LIKE %s", name.replace("_", r"\_"))
        return str(row[1]) if row else None

    def version(self) -> Version:
        """What the server is."""
        return version_of(str(self.row("SELECT version()")[0]))

    def server_identity(self) -> str:
        """MySQL's ``server_uuid``; of MariaDB, which has none, a digest of where its data is, on which machine.

        The machine is ``server_uid``, which MariaDB makes of a network card's address and its port: it stays
        when the host is renamed. Without a card it is ``unknown``, and the host's name has to do.
        """
        uuid = self.variable("server_uuid")
        if uuid:
            return uuid
        machine = self.variable("server_uid")
        if machine in (None, "", "unknown"):
            machine = self.variable("hostname")
        facts = [machine or "", self.variable("datadir") or ""]
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]

    def databases(self) -> list[str]:
        """All databases that are not the server's own."""
        names = [str(row[0]) for row in self.rows("SELECT schema_name FROM information_schema.schemata ORDER BY 1")]
        return [name for name in names if name.lower() not in SYSTEM]

    def close(self) -> None:
        """End the connection. Never raises."""
        with suppress(Exception):  # it was gone already
            self._connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def each_of(
    sessions: Sequence[Session], things: Iterable[Thing], act: Callable[[Session, Thing], Answer]
) -> list[Answer]:
    """``act`` for each of ``things``, in their order, by whichever of ``sessions`` is free. Raises what ``act`` did."""
    from concurrent.futures import ThreadPoolExecutor

    queue = list(things)[::-1]
    found: list[Answer] = []

    def work(session: Session) -> None:
        while True:
            try:
                thing = queue.pop()
            except IndexError:
                return
            found.append(act(session, thing))

    with ThreadPoolExecutor(max_workers=len(sessions)) as pool:
        for done in [pool.submit(work, session) for session in sessions]:
            done.result()
    return found


def end_sessions(address: Address, numbers: Sequence[int]) -> None:
    """End connections of ours and what they are doing, from another thread. Never raises."""
    with suppress(DbfleetError), Session(address.at("")) as session:  # or the server is gone, and they with it
        for number in numbers:
            with suppress(DbfleetError):  # it may have ended by itself
                session.run(f"KILL {number}")
