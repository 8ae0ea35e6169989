"""MariaDB as a database among others."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest.register_assert_rewrite("conformance_databases", "conformance_jobs", "mysql_server")

import mysql_server  # noqa: E402
from conformance_databases import DatabaseConformance, DatabaseLab  # noqa: E402
from mysql_server import LEDGER, check_ledger, content, own_state, writer  # noqa: E402

from dbfleet.databases.mysql.address import address_of  # noqa: E402
from dbfleet.model import Source  # noqa: E402

__all__ = ["own_state"]

ITEMS = (
    *LEDGER,
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(80), amount INT)",
    "CREATE TABLE others(id INT PRIMARY KEY, name VARCHAR(80))",
    "CREATE INDEX items_by_name ON items(name)",
    "CREATE VIEW named AS SELECT name FROM items WHERE name <> ''",
    "CREATE TRIGGER items_cut BEFORE INSERT ON items FOR EACH ROW SET new.name = trim(new.name)",
    "INSERT INTO items WITH RECURSIVE seqs(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM seqs WHERE seq < 300)"
    " SELECT seq, concat('name ', seq), seq * seq FROM seqs",
    "INSERT INTO others SELECT id, name FROM items WHERE id < 20",
)


class MysqlLab(DatabaseLab):
    can_increment = False
    methods = ("logical",)
    count = 0

    server: mysql_server.AnyServer

    def __init__(self) -> None:
        self.server = mysql_server.server()

    def create(self) -> Source:
        source = self.nowhere()
        name = address_of(source).database
        self.server.ask(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.server.script(name, *ITEMS)
        return source

    def nowhere(self) -> Source:
        MysqlLab.count += 1
        return self.server.source(f"lab_{MysqlLab.count}")

    def kept(self, place: str) -> Source:
        return self.server.source(place)

    def ask(self, source: Source, sql: str) -> list[tuple[Any, ...]]:
        if sql.startswith("DROP INDEX"):
            sql += " ON items"
        return self.server.ask(sql, address_of(source).database)

    def content(self, source: Source) -> Any:
        return content(self.server, address_of(source).database)

    def writing(self, source: Source) -> AbstractContextManager[Any]:
        return writer(self.server, address_of(source).database)

    def check_ledger(self, source: Source) -> int:
        return check_ledger(self.server, address_of(source).database)


class TestMariadb(DatabaseConformance):
    @pytest.fixture
    def lab(self) -> DatabaseLab:
        return MysqlLab()
