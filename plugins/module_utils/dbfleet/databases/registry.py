"""Which classes protect which kind of URL: one function a kind of database.

Each is imported when a job names it: a run that needs SQLite does not load two servers' worth of code.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import UsageError
from ..model import LogSettings, Manifest, Source
from ..urls import without_credentials
from .base import Database
from .logs import LogSource

Kinds = tuple[type[Database], ...]  # of one engine; the first one answers for methods that none of them has


def _sqlite() -> Kinds:
    from .sqlite.database import SqliteDatabase

    return (SqliteDatabase,)


def _postgresql() -> Kinds:
    from .postgresql.cluster import PostgresqlCluster
    from .postgresql.database import PostgresqlDatabase

    return PostgresqlDatabase, PostgresqlCluster


def _mysql() -> Kinds:
    from .mysql.database import MysqlDatabase
    from .mysql.physical import MysqlServer

    return MysqlDatabase, MysqlServer


# By the scheme of their URLs. An engine's own name is one of its schemes.
ENGINES = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}
OF_FILES = "sqlite"  # what is meant where nothing but a path tells what a file is


def open_database(source: Source, method: str = "logical") -> Database:
    """The database at ``source.url``. Raises ``UsageError`` for a URL that no database answers to."""
    scheme, separator, rest = source.url.partition("://")
    scheme = scheme.lower().partition("+")[0]  # SQLAlchemy's URLs name the application's driver as well
    if not separator or scheme not in ENGINES:
        raise UsageError(
            f"source.url {without_credentials(source.url)!r} does not begin with a known database",
            f"begin it with {', '.join(f'{name}://' for name in ENGINES)}, such as sqlite:////var/lib/app/app.db",
        )
    kinds = ENGINES[scheme]()
    kind = next((kind for kind in kinds if method in kind.methods), kinds[0])
    return kind(replace(source, url=f"{scheme}://{rest}"))


def kind_of(manifest: Manifest) -> type[Database]:
    """The class of the database that a backup is of. Raises ``UsageError`` for one that is not known."""
    for kind in ENGINES[manifest.engine]() if manifest.engine in ENGINES else ():
        if kind.engine == manifest.engine and manifest.method in kind.methods:
            return kind
    raise UsageError(
        f"{manifest.id} is a {manifest.method} backup of {manifest.engine}, which this version does not know",
        "upgrade dbfleet",
    )


def log_source_of(source: Source, name: str, settings: LogSettings) -> LogSource:
    """The transaction log of ``source`` for the archiver of job ``name``. Raises ``UsageError`` where it has none."""
    return open_database(source, "physical").log_source(name, settings)


def kind_of_files() -> type[Database]:
    """The class of a database that is a file, of which nothing else is known."""
    return ENGINES[OF_FILES]()[0]
