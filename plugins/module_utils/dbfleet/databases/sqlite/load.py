"""Running SQL text as it comes in, statement by statement, into a database built for it."""

from __future__ import annotations

import codecs
import re
import sqlite3
from collections.abc import Iterable, Iterator

from ...errors import CapacityError, DamagedError, DbfleetError, RefusedError


def load(chunks: Iterable[bytes], path: str, name: str) -> None:
    """Run the statements of ``chunks`` (UTF-8) in the new database file ``path``.

    The text is data of unknown origin: it may not attach other files, and extensions stay
    disabled. Raises ``DamagedError`` naming ``name`` and the first statement that fails,
    ``RefusedError`` for one that reaches outside, ``CapacityError`` where there is no room.
    """
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=0)  # each is run once, and long
    guard = _Guard()
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.set_authorizer(guard)
        for number, statement in enumerate(statements(chunks, name), 1):
            try:
                connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise _failure(error, guard, f"statement {number} of {name!r}", statement, path) from error
        if connection.in_transaction:
            raise DamagedError(f"{name!r} ends inside a transaction: it was cut off", "restore another backup")
    finally:
        connection.close()


class _Guard:
    """Says no to what SQL text of unknown origin must not do, and why."""

    def __init__(self) -> None:
        self.outside = False
        self.taken_back = False

    def __call__(self, action: int, first: object, *_: object) -> int:
        if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
            self.outside = True
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_TRANSACTION and first == "ROLLBACK":
            self.taken_back = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _failure(error: Exception, guard: _Guard, which: str, statement: str, path: str) -> DbfleetError:
    shown = f"{statement.strip()[:60]!r}"
    if guard.outside:
        return RefusedError(
            f"{which} would open another file: {shown}", "do not trust this file; restore another backup"
        )
    if guard.taken_back:  # what the sqlite3 shell writes at the end of a dump that met errors
        return DamagedError(
            f"{which} takes back everything before it: the dump says that it failed", "restore another backup"
        )
    if "full" in str(error):
        return CapacityError(
            f"no room left to write {path!r}: {error}", "free space there, or restore elsewhere with --to"
        )
    return DamagedError(f"{which} fails: {error} in {shown}", "restore the .db of this backup, or another backup")


# --- from text to statements ------------------------------------------------------------------

_MARK = re.compile(r"['\"`\[;]|--|/\*")
_ENDS = {"'": "'", '"': '"', "`": "`", "[": "]", "--": "\n", "/*": "*/"}
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_TRIGGER = re.compile(rf"{_SPACE}*create{_SPACE}+(?:(?:temp|temporary){_SPACE}+)?trigger\b", re.IGNORECASE | re.DOTALL)


def statements(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """The complete statements of ``chunks``, each with its semicolon; every character is looked at once.

    Raises ``DamagedError`` where the text ends before a statement does, or is no text.
    """
    pending: list[str] = []
    closing = ""  # what ends the string, name or comment that we are in
    held = ""  # the last character, where it may be the first half of a mark
    for text in _texts(chunks, name):
        text, held = held + text, ""
        start = position = 0
        while True:
            if closing:
                end = text.find(closing, position)
                if end < 0:
                    held = text[-1:] if closing == "*/" and text[position:].endswith("*") else ""
                    break
                position, closing = end + len(closing), ""
            mark = _MARK.search(text, position)
            if mark is None:
                held = text[-1:] if text[position:].endswith(("-", "/")) else ""
                break
            position = mark.end()
            if mark[0] != ";":
                closing = _ENDS[mark[0]]
                continue
            pending.append(text[start:position])
            statement = "".join(pending)
            if _TRIGGER.match(statement) and not sqlite3.complete_statement(statement):
                pending = [statement]
            else:
                yield statement
                pending = []
            start = position
        pending.append(text[start : len(text) - len(held)])
    rest = "".join(pending) + held
    if _COMMENT.sub("", rest).strip():
        raise DamagedError(
            f"{name!r} ends in the middle of a statement: {rest.strip()[:60]!r}", "restore another backup"
        )


def _texts(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    begun = False
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            if "\0" in text:
                raise DamagedError(f"{name!r} holds a NUL byte: it is not SQL text", "restore another backup")
            if text:
                yield text if begun else text.lstrip("\ufeff")  # a byte order mark
                begun = True
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DamagedError(
            f"{name!r} is not UTF-8 at byte {error.start} of a part of it",
            "load it with the sqlite3 shell: sqlite3 NEW.db < FILE",
        ) from error
