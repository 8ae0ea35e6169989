"""Running SQL text as it comes in, statement by statement, into a database built for it."""

from __future__ import annotations

import codecs
import sqlite3
from collections.abc import Iterable, Iterator

from ...errors import DamagedError


def load(chunks: Iterable[bytes], path: str, name: str) -> None:
    """Run the statements of ``chunks`` (UTF-8) in the new database file ``path``.

    The text is data of unknown origin: it may not attach other files, and extensions stay
    disabled. Raises ``DamagedError`` naming ``name`` and the first statement that fails.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.set_authorizer(_deny_other_files)
        for number, statement in enumerate(statements(chunks, name), 1):
            try:
                connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise DamagedError(
                    f"statement {number} of {name!r} fails: {error} in {statement.strip()[:60]!r}",
                    "restore the .db of this backup, or another backup",
                ) from error
        if connection.in_transaction:
            raise DamagedError(f"{name!r} ends inside a transaction: it was cut off", "restore another backup")
    finally:
        connection.close()


def _deny_other_files(action: int, _first: object, _second: object, _database: object, _trigger: object) -> int:
    return sqlite3.SQLITE_DENY if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH) else sqlite3.SQLITE_OK


def statements(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """The complete statements of ``chunks``, as ``sqlite3_complete`` tells them apart."""
    pending: list[str] = []
    for line in _lines(chunks, name):
        pending.append(line)
        if line.rstrip().endswith(";"):
            text = "".join(pending)
            if sqlite3.complete_statement(text):
                yield text
                pending = []
    rest = "".join(pending).strip()
    if rest and not all(line.startswith("--") for line in rest.splitlines()):
        raise DamagedError(f"{name!r} ends in the middle of a statement: {rest[:60]!r}", "restore another backup")


def _lines(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    try:
        for chunk in chunks:
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            yield from (line + "\n" for line in lines)
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DamagedError(
            f"{name!r} is not UTF-8 at byte {error.start} of a part of it",
            "load it with the sqlite3 shell: sqlite3 NEW.db < FILE",
        ) from error
    if rest:
        yield rest
