"""What MySQL and MariaDB say when something fails, in our words: what, on which object, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from ...errors import BusyError, CapacityError, DbfleetError, NotFoundError, SourceError, ToolError

# Server and client error codes (MariaDB manual, "MariaDB Error Codes").
UNREACHABLE = (2002, 2003, 2005)
LOST = (2006, 2013, 2055, 1053, 1927, 1152, 1158, 1159, 1160, 1161, 1184)
BY_SETTING = 1290  # running with the --option so it cannot execute this statement
DENIED = (1044, 1142, 1143, 1227, 1370, 1410, 1419, BY_SETTING, 3879, 3530)
NO_TABLE = 1146
CHANGED = (1412, NO_TABLE, 1054)
DAMAGED = (126, 127, 145, 1034, 1035, 1194, 1195, 1877)
FULL = (1021, 1114, 1041, 28)
NO_DATABASE = 1049
BAD_LOGIN = (1045, 1698, 1129, 1130, 1820, 1862, 3118)
NEEDS_TLS = 3159
LOCKED = (1205, 3572)
PACKET = 1153
DEFINER = 1449
BAD_VIEW = 1356
ENDED = 1317
TOO_LONG = {1969: "max_statement_time", 3024: "max_execution_time"}

_CODES = (
    re.compile(r"\bERROR (\d{3,4})\b"),  # the client: ERROR 1064 (42000) at line 3: …
    re.compile(r"\b[Ee]rror:? (\d{3,4}):"),  # the dump tools: Got error: 1045: …, Error 1412: …
    re.compile(r"\((\d{3,4})\)\s*$", re.MULTILINE),  # Couldn't execute '…': … (1356)
)


class ChangedError(SourceError):
    """A table was altered or dropped while it was read."""


def code_in(words: str) -> Optional[int]:
    """The error code that a tool's words contain."""
    if "Couldn't find table" in words:
        return NO_TABLE  # mysqldump says it without the server's code
    for pattern in _CODES:
        found = pattern.search(words)
        if found:
            return int(found[1])
    return None


def explain(code: int, text: str, what: str) -> Optional[DbfleetError]:
    """The error of ``code`` about ``what`` (``database 'app' at db1:3306``); ``None`` if it says nothing new."""
    if code in UNREACHABLE:
        return SourceError(f"{what}: the server cannot be reached: {text}", "start it, or correct host, port or socket")
    if code in BAD_LOGIN:
        return SourceError(f"{what}: the server refuses the login: {text}", "check the user and source.password_file")
    if code == NEEDS_TLS:
        return SourceError(f"{what}: the server refuses the login: {text}", "add ?ssl_mode=required to source.url")
    if code == NO_DATABASE:
        return NotFoundError(f"{what}: {text}", "check the database in source.url")
    if code == BY_SETTING:
        return _explain_setting(text, what)
    if code in DENIED:
        return SourceError(f"{what}: a privilege is missing: {text}", "grant it to the account of source.url")
    if code in LOCKED:
        return BusyError(f"{what}: a lock was not free in time: {text}", "end what holds it, or raise limits.lock_wait")
    return _explain_failure(code, text, what)


def _explain_setting(text: str, what: str) -> DbfleetError:
    if "strict-password-validation" in text:  # accounts are restored with the hashes of their passwords
        remedy = "SET GLOBAL strict_password_validation = OFF there for the time of the restore"
    else:
        remedy = "change that setting of the server, or choose another server"
    return SourceError(f"{what}: a setting of the server refuses it: {text}", remedy)


def _explain_failure(code: int, text: str, what: str) -> Optional[DbfleetError]:
    if code in LOST:
        return SourceError(f"{what}: the connection was lost: {text}", "see the server's log, and start again")
    if code in CHANGED:
        return ChangedError(
            f"{what}: a table was altered or dropped meanwhile: {text}", "start again when no migration is running"
        )
    if code in DAMAGED:
        return SourceError(f"{what} is damaged: {text}", "run CHECK TABLE on it, and restore the newest good backup")
    if code in FULL:
        return CapacityError(f"{what}: the server has no room left: {text}", "free space on the server")
    if code == PACKET:
        return SourceError(
            f"{what}: a row is larger than the server takes: {text}", "raise the server's max_allowed_packet"
        )
    if code == BAD_VIEW:
        return SourceError(f"{what}: a view is broken: {text}", "repair or drop the view")
    if code == DEFINER:
        return SourceError(f"{what}: {text}", "create that account, or give the object another definer")
    if code == ENDED:
        return SourceError(f"{what}: the server ended the query: {text}", "see who ended it, and start again")
    if code in TOO_LONG:
        limit = TOO_LONG[code]
        return SourceError(
            f"{what}: the server gave the query no more time ({limit}): {text}",
            f"SET GLOBAL {limit} = 0 on that server, or take newer client tools, which begin with that",
        )
    return None


def tool_failure(tool: str, code: int, words: str, what: str) -> DbfleetError:
    """The error of a tool that ended with exit status ``code`` and these last ``words``."""
    said = " / ".join(line.strip() for line in words.splitlines() if line.strip())[-500:]
    number = code_in(words)
    known = explain(number, said, what) if number is not None else None
    return known or ToolError(
        f"{tool} failed with exit status {code} on {what}{': ' + said if said else ''}",
        "nothing of what it wrote was kept; cure what it says and start again",
    )


def translate(error: BaseException, what: str) -> DbfleetError:
    """The driver's ``error`` about ``what``."""
    code, text = error_of(error)
    if "'cryptography' package is required" in text:  # the driver says so for caching_sha2_password without TLS
        return ToolError(
            f"{what}: the Python package cryptography is missing, which logging in without TLS needs",
            "install python3-cryptography, connect by a socket, or with TLS: ?ssl_mode=required in the URL",
        )
    return explain(code, text, what) or SourceError(f"{what}: {text}", "see the server's message")


def code_behind(error: DbfleetError) -> int:
    """The code of the server's error that became ``error``; 0 where there was none."""
    return error_of(error.__cause__)[0] if error.__cause__ is not None else 0


def error_of(error: BaseException) -> tuple[int, str]:
    """Code and text of a driver's error; code 0 where it has none."""
    arguments = error.args
    if len(arguments) >= 2 and isinstance(arguments[0], int):
        return arguments[0], str(arguments[1])
    if isinstance(error, OSError):
        return 2013, str(error)
    return 0, str(error) or type(error).__name__


@contextmanager
def server_errors(what: str) -> Iterator[None]:
    """Turn what the driver raises inside into our errors about ``what``."""
    try:
        yield
    except DbfleetError:
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: the driver lacks a package for a way to log in
        raise translate(error, what) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "pymysql":
            raise
        raise translate(error, what) from error
