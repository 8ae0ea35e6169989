"""Tables and schemas out of physical backups into a database that lives on, by way of a scratch cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from postgresql_clusters import cluster, job_of
from postgresql_server import Server, ask, own_state

from dbfleet.errors import CapacityError, DbfleetError, NotFoundError, RefusedError, UsageError
from dbfleet.model import Job
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state"]

SHOP = """
CREATE SCHEMA "odd Schema";
CREATE SCHEMA sales;
CREATE TYPE mood AS ENUM('good', 'bad');
CREATE TABLE customers(id integer PRIMARY KEY, name text UNIQUE, mood mood);
INSERT INTO customers VALUES(1, 'Ann', 'good'), (2, 'Böb', 'bad');
CREATE TABLE sales.orders(id bigint GENERATED ALWAYS AS IDENTITY, customer integer REFERENCES customers,
    day date NOT NULL, double numeric GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (day);
CREATE TABLE sales.orders_2024 PARTITION OF sales.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE sales.orders_rest PARTITION OF sales.orders DEFAULT;
CREATE INDEX orders_by_day ON sales.orders(day);
INSERT INTO sales.orders(customer, day) SELECT 1 + i % 2, date '2024-12-01' + i FROM generate_series(1, 61) i;
CREATE TABLE sales."na me;"("co l" text, CHECK ("co l" <> 'no'));
INSERT INTO sales."na me;" VALUES('x');
CREATE TABLE "odd Schema".lone(a integer);
INSERT INTO "odd Schema".lone VALUES(42);
CREATE MATERIALIZED VIEW sales.totals AS SELECT count(*) FROM sales.orders;
"""
ORDERS = "SELECT id, customer, day, double FROM sales.orders ORDER BY id"


class Shop(NamedTuple):
    server: Server
    job: Job


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server whose database goes on after its backup was taken."""
    with cluster() as server:
        ask(server.source("app"), SHOP)
        job = job_of(server, tmp_path_factory.mktemp("backups"))
        backup(job)
        yield Shop(server, job)


def test_what_was_dropped_comes_back_whole(shop: Shop) -> None:
    app = shop.server.source("app")
    rows = ask(app, ORDERS)
    ask(app, 'DROP MATERIALIZED VIEW sales.totals; DROP TABLE sales.orders; DELETE FROM sales."na me;"')
    report = restore(shop.job, "latest", tables=["sales.orders", 'sales."na me;"'])
    assert report.proven and report.rows == 62 and report.kept is None
    assert ask(app, ORDERS) == rows and len(rows) == 61
    assert ask(app, 'SELECT * FROM sales."na me;"') == [("x",)]
    assert ask(app, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'sales' AND indexdef ~ 'day'") == [(3,)]
    with pytest.raises(Exception, match="foreign key"):
        ask(app, "INSERT INTO sales.orders(customer, day) VALUES (3, '2024-05-05')")
    ((number,),) = ask(app, "INSERT INTO sales.orders(customer, day) VALUES (1, '2024-05-05') RETURNING id")
    assert number > 61
    assert not ask(shop.server.source(), "SELECT 1 FROM pg_stat_activity WHERE application_name ~ 'dbfleet'")


def test_a_schema_comes_back_whole_and_keeps_what_it_replaces(shop: Shop) -> None:
    app = shop.server.source("app")
    ask(app, "UPDATE sales.orders SET customer = 2; UPDATE customers SET name = 'Carl' WHERE id = 1")
    with pytest.raises(RefusedError, match="already has rows"):
        restore(shop.job, "latest", tables=["sales.*"])
    report = restore(shop.job, "latest", tables=["sales.*"], replace=True)
    assert report.rows == 62 and "orders_before_restore_" in str(report.kept)
    assert ask(app, "SELECT count(*), count(*) FILTER (WHERE customer = 1) FROM sales.orders") == [(61, 30)]
    assert ask(app, "SELECT name FROM customers WHERE id = 1") == [("Carl",)]  # another schema's: not touched
    ask(app, 'DROP TABLE "odd Schema".lone')
    restore(shop.job, "latest", tables=["odd Schema.*", "lone"])
    assert ask(app, 'SELECT a FROM "odd Schema".lone') == [(42,)]


def test_they_go_into_another_database_where_the_cluster_has_only_one(shop: Shop) -> None:
    other = shop.server.create("CREATE TABLE customers(id integer PRIMARY KEY, name text, mood text)", name="other")
    target = other.url.replace("'", "")
    with pytest.raises(DbfleetError, match=r"foreign key|does not exist"):
        restore(shop.job, "latest", to=target, tables=["sales.orders"])
    restore(shop.job, "latest", to=target, tables=["customers"])
    assert ask(other, "SELECT id, name FROM customers ORDER BY id") == [(1, "Ann"), (2, "Böb")]


def test_what_is_not_there_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="the backup has no table 'nothing'") as caught:
        restore(shop.job, "latest", tables=["nothing"])
    assert "sales.orders" in caught.value.remedy
    with pytest.raises(NotFoundError, match="no table 'nowhere"):
        restore(shop.job, "latest", tables=["nowhere.*"])
    with pytest.raises(NotFoundError, match="no database 'gone'"):
        restore(shop.job, "latest", to=shop.server.url("gone"), tables=["customers"])
    with pytest.raises(UsageError, match="data directory"):
        restore(shop.job, "latest", to="/tmp/nothing-here", tables=["customers"])
    with pytest.raises(UsageError, match="tablespaces elsewhere"):
        restore(shop.job, "latest", tables=["customers"], tablespaces={"/a": "/b"})
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10000))
    with pytest.raises(CapacityError, match="needs .* which has 9.8 KiB free"):
        restore(shop.job, "latest", tables=["customers"])


def test_which_database_is_meant_must_be_clear(tmp_path: Path) -> None:
    """And the tables are those of the newest backup of a chain."""
    with cluster(17) as server:
        server.create("CREATE TABLE items(id integer)", name="second")
        server.create("CREATE TABLE items(id integer, name text, amount integer)", name="third")
        job = job_of(server, tmp_path / "backups", type="auto")
        backup(job)
        ask(server.source("app"), "INSERT INTO items(name) VALUES ('late')")
        assert backup(job).manifest.type == "incremental"  # type: ignore[union-attr]
        ask(server.source("app"), "DROP TABLE items")
        assert restore(job, "latest", tables=["items"]).rows == 301
        ask(server.source(), "CREATE DATABASE fourth")
        with pytest.raises(NotFoundError, match="no database 'fourth': it has 'app', 'second', 'third'"):
            restore(replace(job, source=server.source("fourth", tools=server.bin)), "latest", tables=["items"])
