"""PostgreSQL as a database among others: the promises that every kind of database keeps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest.register_assert_rewrite("conformance_databases", "conformance_jobs")

from conformance_databases import DatabaseConformance, DatabaseLab  # noqa: E402
from postgresql_server import Server, ask, dump, own_state, server, writing  # noqa: E402

from dbfleet.model import Source  # noqa: E402

__all__ = ["own_state", "server"]

ITEMS = """
CREATE TABLE items(id serial PRIMARY KEY, name text, amount integer);
CREATE TABLE others(id integer PRIMARY KEY, name text);
CREATE INDEX items_by_name ON items(name);
CREATE VIEW named AS SELECT name FROM items WHERE name <> '';
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.name := trim(new.name); RETURN new; END $$;
CREATE TRIGGER items_cut BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION cut();
INSERT INTO items(name, amount) SELECT 'name ' || i, i * i FROM generate_series(1, 300) i;
INSERT INTO others SELECT id, name FROM items WHERE id < 20;
CREATE TABLE ledger(number bigint PRIMARY KEY, noise text);
CREATE TABLE total(count bigint, last bigint);
INSERT INTO total VALUES(0, 0);
"""


class PostgresqlLab(DatabaseLab):
    can_increment = False
    methods = ("logical",)
    items = "public.items"

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self) -> Source:
        return self._server.create(ITEMS)

    def nowhere(self) -> Source:
        return self._server.source(self._server.new_name())

    def kept(self, place: str) -> Source:
        return self._server.source(place)

    def ask(self, source: Source, sql: str) -> list[tuple[Any, ...]]:
        return ask(source, sql + " CASCADE" if sql.startswith("DROP TABLE") else sql)

    def content(self, source: Source) -> Any:
        return dump(self._server, source)

    def writing(self, source: Source) -> AbstractContextManager[Any]:
        return writing(source)

    def check_ledger(self, source: Source) -> int:
        ((rows, last, count, told),) = ask(
            source,
            "SELECT (SELECT count(*) FROM ledger), (SELECT coalesce(max(number), 0) FROM ledger), count, last "
            "FROM total",
        )
        assert rows == last == count == told
        return int(last)


class TestPostgresql15(DatabaseConformance):
    @pytest.fixture
    def lab(self, server: Server) -> DatabaseLab:
        return PostgresqlLab(server)
