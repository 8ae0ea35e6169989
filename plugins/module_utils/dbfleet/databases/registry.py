"""Which classes protect which kind of URL by which method: one function a class.

Each is imported when a job names it: a dump of one server does not load what copies the files of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Callable

from ..errors import UsageError
from ..model import LogSettings, Manifest, Source
from ..urls import without_credentials
from .base import Database
from .logs import LogSource

Loader = Callable[[], type[Database]]


def _sqlite() -> type[Database]:
    from .sqlite.database import SqliteDatabase

    return SqliteDatabase


def _postgresql() -> type[Database]:
    from .postgresql.database import PostgresqlDatabase

    return PostgresqlDatabase


def _postgresql_cluster() -> type[Database]:
    from .postgresql.cluster import PostgresqlCluster

    return PostgresqlCluster


def _mysql() -> type[Database]:
    from .mysql.database import MysqlDatabase

    return MysqlDatabase


def _mysql_server() -> type[Database]:
    from .mysql.physical import MysqlServer

    return MysqlServer


SQLITE = {"logical": _sqlite, "physical": _sqlite}
POSTGRESQL = {"logical": _postgresql, "physical": _postgresql_cluster}
MYSQL = {"logical": _mysql, "physical": _mysql_server}
# By the scheme of their URLs, and by method. An engine's own name is one of its schemes.
ENGINES: Mapping[str, Mapping[str, Loader]] = {
    "sqlite": SQLITE,
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
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
    kinds = ENGINES[scheme]
    kind = kinds.get(method, kinds["logical"])()
    return kind(replace(source, url=f"{scheme}://{rest}"))


def kind_of(manifest: Manifest) -> type[Database]:
    """The class of the database that a backup is of. Raises ``UsageError`` for one that is not known."""
    load = ENGINES.get(manifest.engine, {}).get(manifest.method)
    if load is not None and (kind := load()).engine == manifest.engine and manifest.method in kind.methods:
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
    return ENGINES[OF_FILES]["logical"]()
