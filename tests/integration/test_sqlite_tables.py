"""Single tables into a living database: all of them or none, and nothing else is touched (promise 3)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlite_lab import (
    Application,
    ask,
    content,
    job_of,
    make,
    own_state,
    run_sql,
)

from dbfleet.errors import (
    BusyError,
    NotFoundError,
    ProofError,
    RefusedError,
)
from dbfleet.model import Job
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state"]


SHOP = """
CREATE TABLE customers(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id), note TEXT);
CREATE INDEX orders_by_customer ON orders(customer);
CREATE TABLE log(what); CREATE TRIGGER noted AFTER INSERT ON orders BEGIN INSERT INTO log VALUES(new.id); END;
CREATE TRIGGER gone AFTER DELETE ON orders BEGIN INSERT INTO log VALUES(-old.id); END;
INSERT INTO customers(name) VALUES('a'), ('b'), ('c'); INSERT INTO orders VALUES(1, 1, 'x'), (2, 3, 'y');
CREATE VIRTUAL TABLE notes USING fts5(text); INSERT INTO notes(rowid, text) VALUES(7, 'find me'), (9, 'other');
CREATE TABLE notes_history(x); INSERT INTO notes_history VALUES('an ordinary table');
CREATE TABLE "od""d '; name"("-a b" INTEGER PRIMARY KEY, "c,d"); INSERT INTO "od""d '; name" VALUES(5, 'v');
CREATE TABLE wo(k TEXT PRIMARY KEY, g AS (k || '!')) WITHOUT ROWID; INSERT INTO wo VALUES('k');
CREATE TABLE hidden(v); INSERT INTO hidden(rowid, v) VALUES(12, 'twelve');
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Job, Path]:
    path = make(tmp_path / "shop.db", SHOP, journal_mode="wal")
    job = job_of(path, tmp_path / "backups")
    backup(job)
    return job, path


@pytest.mark.parametrize("table", ["orders", "notes", "od\"d '; name", "wo", "hidden", "customers"])
@pytest.mark.parametrize("state", ["emptied", "dropped", "changed"])
def test_a_table_comes_back_with_its_rows_indexes_and_triggers(table: str, state: str, shop: tuple[Job, Path]) -> None:
    job, path = shop
    expected = content(path)
    name = '"' + table.replace('"', '""') + '"'
    if state == "dropped":
        run_sql(
            path, f"DROP TABLE {name}; DELETE FROM log; INSERT INTO log SELECT id FROM orders"
        ) if table != "orders" else run_sql(path, "DROP TABLE orders")
    elif state == "emptied":
        run_sql(path, f"DELETE FROM {name}; DELETE FROM log WHERE what < 0")
    else:
        column = ask(path, f"SELECT name FROM pragma_table_info('{table.replace(chr(39), chr(39) * 2)}')")[-1][0]
        run_sql(path, "UPDATE {} SET {} = 3".format(name, '"' + column.replace('"', '""') + '"'))
    report = restore(job, "latest", tables=[table], replace=state == "changed")
    assert content(path) == expected
    assert (report.kept is not None) == (state == "changed")
    assert ask(path, "SELECT rowid FROM notes('find')") == [(7,)]
    run_sql(path, "INSERT INTO notes(notes) VALUES('integrity-check'); INSERT INTO orders VALUES(99, 1, '')")
    assert ask(path, "SELECT what FROM log ORDER BY 1 DESC LIMIT 1") == [(99,)], "the trigger is alive"


def test_a_full_text_table_leaves_ordinary_tables_of_a_similar_name_alone(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "UPDATE notes_history SET x = 'newer'; DELETE FROM notes")
    restore(job, "latest", tables=["notes"])
    assert ask(path, "SELECT x FROM notes_history") == [("newer",)]


def test_rows_that_are_there_are_overwritten_only_with_replace_and_then_kept(shop: tuple[Job, Path]) -> None:
    job, path = shop
    os.chmod(path, 0o640)
    run_sql(path, "UPDATE orders SET note = 'newer'; INSERT INTO customers(name) VALUES('d')")
    before = content(path)
    with pytest.raises(RefusedError, match="already has rows"):
        restore(job, "latest", tables=["orders"])
    assert content(path) == before
    report = restore(job, "latest", tables=["orders", "customers"], replace=True)
    assert ask(path, "SELECT note FROM orders") == [("x",), ("y",)]
    assert report.rows == 5
    assert report.kept is not None and content(report.kept) == before
    assert stat.S_IMODE(os.stat(report.kept).st_mode) == 0o640
    run_sql(path, "INSERT INTO customers(name) VALUES('e')")
    assert ask(path, "SELECT max(id) FROM customers") == [(5,)], "no number is given twice"


def test_a_table_whose_references_would_break_is_refused_whole(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "DELETE FROM orders WHERE id = 2; DELETE FROM customers WHERE id = 3; DELETE FROM log")
    before = content(path)
    with pytest.raises(ProofError, match="row 2 of table 'orders' would refer to a row of 'customers'") as caught:
        restore(job, "latest", tables=["orders"], replace=True)
    assert "--table customers" in caught.value.remedy
    assert content(path) == before
    assert not list(path.parent.glob("*.replaced-*"))
    restore(job, "latest", tables=["orders", "customers"], replace=True)
    assert ask(path, "PRAGMA foreign_key_check") == []


def test_references_that_were_broken_before_do_not_stop_a_restore(shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, "CREATE TABLE bad(c REFERENCES customers(id)); INSERT INTO bad VALUES(77); DELETE FROM hidden")
    restore(job, "latest", tables=["hidden"])
    assert ask(path, "SELECT rowid, v FROM hidden") == [(12, "twelve")]


@pytest.mark.parametrize(
    ("change", "table", "match"),
    [
        ("ALTER TABLE orders ADD COLUMN more", "orders", "other columns than the backup's: more"),
        ("ALTER TABLE orders DROP COLUMN note", "orders", "other columns than the backup's: note"),
        ("DROP TABLE notes; CREATE VIRTUAL TABLE notes USING fts5(text, more)", "notes", "made otherwise"),
        ("DROP TABLE hidden; CREATE VIEW hidden AS SELECT 1", "hidden", "is a view"),
        ("SELECT 1", "nowhere", "no table 'nowhere'"),
        ("SELECT 1", "sqlite_sequence", "no table 'sqlite_sequence'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(change: str, table: str, match: str, shop: tuple[Job, Path]) -> None:
    job, path = shop
    run_sql(path, change)
    before = content(path)
    with pytest.raises((RefusedError, NotFoundError), match=match):
        restore(job, "latest", tables=[table], replace=True)
    assert content(path) == before


def test_tables_go_into_a_database_in_use(shop: tuple[Job, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    job, path = shop
    monkeypatch.setattr("dbfleet.databases.sqlite.tables.LOCK_WAIT", 1.0)
    with Application(path, "SELECT 1 FROM orders") as application:
        application.ask("DELETE FROM orders")
        restore(job, "latest", tables=["orders"])
        assert application.ask("SELECT count(*) FROM orders") == "[(2,)]"
        application.ask("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            restore(job, "latest", tables=["orders"], replace=True)


def test_tables_need_a_database_to_go_to(shop: tuple[Job, Path], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        restore(shop[0], "latest", to=str(tmp_path / "new.db"), tables=["orders"])
    assert not (tmp_path / "new.db").exists()
