"""Connections to PostgreSQL: pinned settings, and the server's errors in our words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from ...errors import BusyError, CapacityError, DbfleetError, NotFoundError, SourceError
from .address import Address, import_driver
from .quoting import literal

APPLICATION = "dbfleet"
MAINTENANCE = ("postgres", "template1")
OLDEST = 130000
# How values are written as text must not depend on the server's or the role's settings (manual, 20.11).
PINNED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "standard_conforming_strings": "on",
}
# Nothing but limits.timeout ends what takes long; a policy that would hide rows is an error instead. What is read
# as a value or kept as text (names in the settings of functions) is the same whatever the server's settings are.
PATIENT = {
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "row_security": "off",
    "default_transaction_read_only": "off",
    "client_min_messages": "error",
    "synchronize_seqscans": "off",
}
LATER = {14: {"idle_session_timeout": "0"}, 17: {"transaction_timeout": "0"}}


def patient(major: int) -> dict[str, str]:
    """What every session at a server of version ``major`` begins with, ours and those of the tools that restore."""
    settings = dict(PATIENT)
    for version, later in LATER.items():
        if major >= version:
            settings.update(later)
    return settings


class Connection:
    """One session in autocommit mode; its statements raise our errors."""

    def __init__(self, address: Address, raw: Any) -> None:
        self.address = address
        self.raw = raw
        self.version: int = raw.server_version
        self.database: str = raw.info.dbname
        self.search_path = ""  # what the database and the role would have had

    @property
    def major(self) -> int:
        """The server's major version: 15."""
        return self.version // 10000

    @property
    def version_text(self) -> str:
        """The server's version: ``15.18``."""
        return str(self.raw.get_parameter_status("server_version")).partition(" ")[0]

    @property
    def encoding(self) -> str:
        """The encoding of the database: ``UTF8``."""
        return str(self.raw.get_parameter_status("server_encoding"))

    @property
    def client_encoding(self) -> str:
        """The encoding in which this session talks: ``UTF8``, or ``LATIN1`` where the database has none."""
        return "LATIN1" if self.encoding == "SQL_ASCII" else "UTF8"

    def rows(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """The answer of one statement; empty where it has none."""
        with self.errors(), self.raw.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description is not None else []

    def value(self, sql: str, values: Any = None) -> Any:
        """The only value of the answer; ``None`` where there is no row."""
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None

    def databases(self, *, closed: bool = False) -> list[str]:
        """The server's databases but the templates of its own, in order; with ``closed`` those that let nobody in."""
        rows = self.rows(
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn <> %s "
            "AND datname NOT IN ('template0', 'template1') ORDER BY 1",
            (closed,),
        )
        return [str(name) for (name,) in rows]

    def run(self, sql: str, values: Any = None) -> None:
        """Run SQL for its effect."""
        with self.errors(), self.raw.cursor() as cursor:
            cursor.execute(sql, values)

    def settings(self, settings: Mapping[str, str]) -> None:
        """Set parameters of this session."""
        self.run(";".join(f"SET SESSION {name} = {literal(value)}" for name, value in settings.items()))

    def cancel(self) -> None:
        """End the statement that runs, from any thread. Never raises."""
        driver = import_driver()
        try:
            self.raw.cancel()
        except driver.Error:
            pass  # the session is gone already

    def close(self) -> None:
        """End the session. Never raises."""
        driver = import_driver()
        try:
            self.raw.close()
        except driver.Error:
            pass

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        driver = import_driver()
        try:
            yield
        except driver.Error as error:
            raise translate(error, self.database, self.address) from error

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(address: Address, *, lock_wait: Optional[int] = None, application: str = APPLICATION) -> Connection:
    """A session with pinned settings.

    Raises ``NotFoundError`` when there is no such database, ``SourceError`` for everything else
    that keeps us out.
    """
    driver = import_driver()
    given = address.parameters
    more = {"client_encoding": "UTF8", "application_name": application}
    if "connect_timeout" not in given:
        more["connect_timeout"] = "15"
    try:
        raw = driver.connect(address.secret_conninfo(**more))
    except driver.Error as error:
        raise _refusal(error, address) from error
    raw.autocommit = True
    connection = Connection(address, raw)
    try:
        if connection.version < OLDEST:
            raise SourceError(
                f"the server at {address.place} is PostgreSQL {connection.version_text}",
                "upgrade it: versions from 13 on are supported",
            )
        if connection.client_encoding != "UTF8":
            raw.set_client_encoding(connection.client_encoding)  # bytes of no known encoding: none may be lost
        # Before anything else: nobody who may write into the database may put a function in our way.
        connection.search_path = str(connection.value("SHOW search_path"))
        connection.run("SET SESSION search_path = ''")
        settings = patient(connection.major)
        if lock_wait is not None:
            settings["lock_timeout"] = f"{max(1, lock_wait * 1000)}ms"
        connection.settings(settings)
    except BaseException:
        connection.close()
        raise
    return connection


def pin(connection: Connection) -> None:
    """Pin how values are written as text."""
    connection.settings(PINNED)


def maintenance(address: Address, *, application: str = APPLICATION, avoid: Collection[str] = ()) -> Connection:
    """A session in a database of the server that is neither the one of ``address`` nor to be avoided."""
    failure: Optional[DbfleetError] = None
    for name in MAINTENANCE:
        if name != address.database and name not in avoid:
            try:
                return connect(address.of(name), application=application)
            except (NotFoundError, SourceError) as error:
                failure = failure or error
    raise failure or NotFoundError(f"the server at {address.place} has no maintenance database")


def exists(address: Address, name: str) -> bool:
    """Whether the server has a database of that name. Raises ``SourceError`` when it cannot be asked."""
    with maintenance(address.of(name)) as connection:
        return bool(connection.value("SELECT EXISTS(SELECT FROM pg_catalog.pg_database WHERE datname = %s)", (name,)))


# What can only mean something else than a missing database: no need to knock again.
CLEAR = (
    "certificate",
    "support SSL",
    "password",
    "authentication",
    "pg_hba",
    "Connection refused",
    "No such file",
    "translate host name",
    "timeout",
)


def _refusal(error: Any, address: Address) -> DbfleetError:
    """Why a session could not be begun. The server may speak any language: whether the database is there is asked."""
    words = _first_line(str(error))
    name = address.database
    if name is not None and name not in MAINTENANCE and not any(word in words for word in CLEAR):
        try:
            missing = not exists(address, name)
        except DbfleetError:
            missing = f'database "{name}" does not exist' in words
        if missing:
            return NotFoundError(
                f"the server at {address.place} has no database {name!r}", "check the database at the end of the URL"
            )
    if "does not exist" in words and "database" in words:
        return NotFoundError(f"PostgreSQL at {address.place}: {words}", "check the database at the end of the URL")
    return no_session(address, words)


def no_session(address: Address, words: str) -> SourceError:
    """The error of a server at ``address`` that lets nobody in, or is not there, in the ``words`` of libpq."""
    if any(word in words for word in ("certificate", "support SSL", "SSL error")):
        return SourceError(
            f"PostgreSQL at {address.place} cannot be trusted: {words}",
            "check sslmode and sslrootcert in the URL, and that the server's certificate is for the host in it",
        )
    if "pg_hba.conf" in words and address.parameters.get("sslmode") == "disable":
        return SourceError(
            f"PostgreSQL at {address.place} does not let this role in without TLS: {words}",
            "write sslmode=verify-full and sslrootcert=… into the URL, or see pg_hba.conf",
        )
    if "password" in words or "authentication" in words:
        return SourceError(
            f"PostgreSQL at {address.place} refuses the login: {words}",
            "check the user in the URL, and source.password_file (or ~/.pgpass)",
        )
    return SourceError(
        f"PostgreSQL at {address.place} cannot be reached: {words}",
        "check that it runs, the host and port of the URL, and pg_hba.conf",
    )


def translate(error: Any, database: str, address: Optional[Address] = None) -> DbfleetError:
    """The server's error in our words, with a remedy (manual, Appendix A)."""
    code = getattr(error, "pgcode", None) or ""
    words = _first_line(str(error))
    if code == "42501":
        return SourceError(
            f"database {database!r}: {words}",
            "grant it to the role that takes the backup, or for reading everything: GRANT pg_read_all_data TO the role",
        )
    if code == "55P03":
        return BusyError(
            f"database {database!r}: {words}", "end the transaction that holds the lock, or raise limits.lock_wait"
        )
    if code.startswith("53"):
        return CapacityError(f"database {database!r}: {words}", "free what the server has too little of")
    if code in ("3D000",):
        return NotFoundError(f"database {database!r}: {words}", "check the database at the end of the URL")
    if not code or code.startswith(("08", "57P")):
        place = f" at {address.place}" if address is not None else ""
        return SourceError(
            f"the connection to database {database!r}{place} was lost: {words}",
            "see the server's log, and start again",
        )
    return SourceError(f"database {database!r}: {words}", "see the server's message")


def _first_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    text = lines[0] if lines else "no reason was given"
    return text.replace("ERROR:  ", "").replace("FATAL:  ", "")
