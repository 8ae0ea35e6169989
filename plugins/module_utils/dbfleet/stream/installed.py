"""The tools that are installed on this host, and the packages that bring those which are not."""

from __future__ import annotations

from ..errors import ToolError

PACKAGES = {
    "gpg": "gnupg",
    "psql": "postgresql-client",
    "pg_dump": "postgresql-client",
    "pg_dumpall": "postgresql-client",
    "pg_restore": "postgresql-client",
    "pg_basebackup": "postgresql-client",
    "pg_receivewal": "postgresql-client",
    "pg_verifybackup": "postgresql",
    "pg_combinebackup": "postgresql",
    "pg_ctl": "postgresql",
    "pg_amcheck": "postgresql",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "mariadb": "mariadb-client",
    "mariadb-dump": "mariadb-client",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariadb-backup": "mariadb-backup",
    "xtrabackup": "percona-xtrabackup-80",
    "mysqldump": "mysql-client or mariadb-client",
    "mysql": "mysql-client or mariadb-client",
}


def find_tool(name: str) -> str:
    """The path of the command ``name``. Raises ``ToolError`` that names the package to install."""
    import shutil

    path = shutil.which(name)
    if path is None:
        package = PACKAGES.get(name, name)
        raise ToolError(f"the command {name} is not installed", f"install the package {package}")
    return path
