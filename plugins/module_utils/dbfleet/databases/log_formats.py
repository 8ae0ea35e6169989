"""Which class knows the files of which engine's log: what needs only those loads no database."""

from __future__ import annotations

from ..errors import UsageError
from .logs import LogFormat


def _postgresql() -> LogFormat:
    from .postgresql.wal_format import WalFormat

    return WalFormat()


def _mysql() -> LogFormat:
    from .mysql.binlog_format import BinlogFormat

    return BinlogFormat()


FORMATS = {"postgresql": _postgresql, "mysql": _mysql}


def log_format_of(engine: str) -> LogFormat:
    """The files of the engine's log. Raises ``UsageError`` for an engine whose log is not archived."""
    if engine not in FORMATS:
        raise UsageError(f"this version keeps no log of {engine}", "upgrade dbfleet")
    return FORMATS[engine]()
