"""Which class protects which kind of URL: one line a database."""

from __future__ import annotations

from ..errors import UsageError
from ..model import Source
from ..urls import without_credentials
from .base import Database
from .sqlite.connection import url_of
from .sqlite.database import SqliteDatabase

SCHEMES: dict[str, type[Database]] = {
    "sqlite": SqliteDatabase,
}


def open_database(source: Source) -> Database:
    """The database at ``source.url``. Raises ``UsageError`` for a URL that no database answers to."""
    scheme, separator, _rest = source.url.partition("://")
    database = SCHEMES.get(scheme.lower()) if separator else None
    if database is None:
        raise UsageError(
            f"source.url {without_credentials(source.url)!r} does not begin with a known database",
            f"begin it with {', '.join(f'{name}://' for name in SCHEMES)}, such as sqlite:////var/lib/app/app.db",
        )
    return database(source)


def url_of_file(path: str) -> str:
    """The URL of the database in the file ``path``, which need not be there yet."""
    return url_of(path)
