"""Whole MySQL servers for tests of physical backups: sources, and restored data directories that run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mysql8_native import NativeServer
from mysql8_server import KIND
from mysql_copies import EndsInOrder, copy_job
from mysql_server import LEDGER

from dbfleet.model import Job

# Percona has it for Linux alone, and Debian does not have it.
copied_here = pytest.mark.skipif(
    KIND is not NativeServer or shutil.which("xtrabackup") is None, reason="no xtrabackup beside this MySQL"
)
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
ITEMS = (
    *LEDGER,
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(80), amount INT)",
    "CREATE INDEX items_by_name ON items(name)",
    f"INSERT INTO items {NUMBERS} SELECT i, concat('name ', i), i * i FROM n",
    "CREATE TABLE `odd $ü/`(id INT PRIMARY KEY) PARTITION BY HASH(id) PARTITIONS 2",
    f"INSERT INTO `odd $ü/` {NUMBERS} SELECT i FROM n",
    "CREATE TABLE words(id INT PRIMARY KEY, t TEXT, j JSON, FULLTEXT KEY(t))",
    "INSERT INTO words VALUES(1, 'hello world', '[1, 2]')",
    "CREATE TABLE old(id INT PRIMARY KEY, t TEXT) ENGINE=MyISAM",
    f"INSERT INTO old {NUMBERS} SELECT i, 'x' FROM n",
    "CREATE VIEW named AS SELECT name FROM items WHERE name <> ''",
)
RESTORED = """[mysqld]
port={port}
bind-address=127.0.0.1
mysqlx=0
skip-log-bin
innodb_buffer_pool_size=64M
datadir={data}
tmpdir={folder}
socket={folder}/s
"""


def copied(settings: str = "") -> NativeServer:
    """A server with a database ``app`` and a few kinds of tables."""
    server = NativeServer(settings)
    server.ask("CREATE DATABASE app CHARACTER SET utf8mb4")
    server.script("app", *ITEMS)
    return server


def job_of(server: NativeServer, repository: Path, **changed: Any) -> Job:
    """A physical backup of the whole server."""
    return copy_job(server.folder / "s", repository, **changed)


class Restored(EndsInOrder):
    """A server on a data directory that is there already."""

    patience = 60

    def __init__(self, data: Path, settings: str = "") -> None:
        super().__init__("mysql")
        text = RESTORED.format(port=self.port, data=data, folder=self.folder)
        (self.folder / "my.ini").write_text(text + settings)
        self.begin()

    def command(self) -> list[str]:
        return [shutil.which("mysqld") or "/usr/sbin/mysqld", f"--defaults-file={self.folder}/my.ini"]

    def at(self) -> dict[str, Any]:
        return {"unix_socket": str(self.folder / "s")}


@contextmanager
def started(data: Path, settings: str = "") -> Iterator[Restored]:
    """A server on a restored data directory, with nothing but its own settings."""
    server = Restored(data, settings)
    try:
        yield server
    finally:
        server.stop()
        server.remove()
