"""Every object and value that SQLite can hold comes back from the .db, from the .sql and by hand (promise 2)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_lab import ask, by_hand, connect, content, job_of, make, own_state, run_sql

from dbfleet.errors import ProofError, SourceError
from dbfleet.model import Compression, Encryption, Job
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state"]

OBJECTS = {
    "strict": """
        CREATE TABLE s(i INT, t TEXT, r REAL, b BLOB, a ANY) STRICT;
        INSERT INTO s VALUES(1, 'one', 1.5, x'00ff', 1), (2, '2', 2, x'', '1'), (3, '', -3e300, NULL, x'31'),
                            (NULL, NULL, NULL, NULL, 1.0);
    """,
    "without rowid": """
        CREATE TABLE w(b TEXT, a INTEGER, v, PRIMARY KEY(a DESC, b)) WITHOUT ROWID;
        INSERT INTO w VALUES('x', 1, NULL), ('y', 1, 2.5), ('x', -9, 'v');
        CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID; INSERT INTO n VALUES('Ab'), ('c');
    """,
    "generated columns": """
        CREATE TABLE g(
            a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL, s TEXT AS ('<' || a || '>') STORED, b DEFAULT 7);
        INSERT INTO g(a) VALUES(1), (2), (NULL); CREATE INDEX gv ON g(v); CREATE UNIQUE INDEX gs ON g(s);
    """,
    "fts5": """
        CREATE VIRTUAL TABLE docs USING fts5(title, body, tokenize='porter unicode61');
        INSERT INTO docs VALUES('Hello', 'running writers'), ('Zwei', 'größer'), ('x', 'y');
        DELETE FROM docs WHERE title = 'x';
        CREATE TABLE article(id INTEGER PRIMARY KEY, text); INSERT INTO article VALUES(5, 'lonely words');
        CREATE VIRTUAL TABLE external USING fts5(text, content='article', content_rowid='id');
        INSERT INTO external(external) VALUES('rebuild');
        CREATE VIRTUAL TABLE contentless USING fts5(a, content=''); INSERT INTO contentless(rowid, a) VALUES(3, 'kept');
    """,
    "fts4": """
        CREATE VIRTUAL TABLE mail USING fts4(subject, body, notindexed=subject);
        INSERT INTO mail VALUES('a', 'the quick fox'), ('b', 'jumps');
        CREATE VIRTUAL TABLE old USING fts3(x); INSERT INTO old VALUES('seek me');
        INSERT INTO mail(mail) VALUES('optimize');
    """,
    "rtree": """
        CREATE VIRTUAL TABLE places USING rtree(id, x0, x1, y0, y1, +name TEXT);
        WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 300)
        INSERT INTO places SELECT i, i, i + 1, -i, i, 'p' || i FROM n;
    """,
    "views and triggers": """
        CREATE TABLE a(x, y); CREATE TABLE log(t, x);
        CREATE VIEW v(p, q) AS SELECT x, y FROM a WHERE x > 'it''s; --';
        CREATE TRIGGER t1 AFTER INSERT ON a BEGIN INSERT INTO log VALUES('in;', new.x); SELECT 1; END;
        CREATE TRIGGER t2 INSTEAD OF INSERT ON v BEGIN INSERT INTO a VALUES(new.p, new.q); END;
        CREATE TRIGGER t3 BEFORE DELETE ON a WHEN old.x = 1 BEGIN SELECT raise(ABORT, 'never'); END;
        INSERT INTO a VALUES(1, 2); INSERT INTO v VALUES(3, 4);
        CREATE VIEW broken AS SELECT * FROM nowhere;
    """,
    "sequences": """
        CREATE TABLE one(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO one VALUES(10, 'a'), (90, 'b');
        DELETE FROM one WHERE id = 90;
        CREATE TABLE two(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO two VALUES(7, 'a');
        CREATE TABLE three(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO three VALUES(8, 'a');
        UPDATE sqlite_sequence SET seq = 2 WHERE name = 'two'; DELETE FROM sqlite_sequence WHERE name = 'three';
        INSERT INTO sqlite_sequence VALUES('gone', 12);
    """,
    "statistics": """
        CREATE TABLE s(a, b); CREATE INDEX sa ON s(a); CREATE INDEX sb ON s(b) WHERE b > 2;
        INSERT INTO s VALUES(1, 1), (1, 2), (2, 3); ANALYZE;
    """,
    "header": "PRAGMA user_version = -77; PRAGMA application_id = 2147483647; CREATE TABLE t(a);",
    "no table at all": "PRAGMA user_version = 3;",
    "a schema without rows": "CREATE TABLE t(a PRIMARY KEY, b CHECK(b > 0), UNIQUE(a, b)); CREATE VIEW v AS SELECT 1;",
    "hidden rowids with gaps": """
        CREATE TABLE h(v); INSERT INTO h(rowid, v) VALUES(-9223372036854775808, 'min'), (5, 'five'),
            (9223372036854775807, 'max'); CREATE TABLE p(k TEXT PRIMARY KEY); INSERT INTO p(rowid, k) VALUES(44, 'x');
    """,
    "columns named rowid": """
        CREATE TABLE r1(rowid, v); INSERT INTO r1(_rowid_, rowid, v) VALUES(9, 'a', 1);
        CREATE TABLE r2(rowid TEXT, _rowid_, v); INSERT INTO r2(oid, rowid, _rowid_) VALUES(8, 'a', 'b');
        CREATE TABLE r3(rowid, _rowid_, oid); INSERT INTO r3 VALUES('a', 'b', 'c'), ('b', 'a', 'c');
        CREATE TABLE r4(oid INTEGER PRIMARY KEY, rowid TEXT); INSERT INTO r4 VALUES(3, 'x');
        CREATE TABLE r5(id INTEGER PRIMARY KEY DESC, v); INSERT INTO r5(rowid, id, v) VALUES(70, 1, 2);
    """,
    "odd names": """
        CREATE TABLE "quo""te"("a""b", 'c''d', [e f], `g;h`); INSERT INTO "quo""te" VALUES(1, 2, 3, 4);
        CREATE TABLE "new
line"("co
lumn"); INSERT INTO "new
line" VALUES('v');
        CREATE TABLE "../up"("-x"); INSERT INTO "../up" VALUES(1);
        CREATE TABLE "🐘%41?#&"("ü ""'`]"); INSERT INTO "🐘%41?#&" VALUES('é');
        CREATE TABLE "select"("from", "order"); INSERT INTO "select" VALUES(1, 2);
        CREATE TABLE " "(" "); CREATE TABLE ""("");
        CREATE INDEX "in'dex" ON "select"("from"); CREATE VIEW "vi;ew" AS SELECT 1 AS ";";
        CREATE TABLE "main.t"(x); CREATE TABLE sqlitey(x); CREATE TABLE "--"(x); INSERT INTO "--" VALUES('/*');
    """,
    "windows line ends": (
        "CREATE TABLE crlf(\r\n a TEXT DEFAULT 'x\r\ny',\r\n b);\r\nINSERT INTO crlf VALUES('a\r\nb', 'c\rd\n\r\n');"
        "INSERT INTO crlf(b) VALUES(x'0d0a'); CREATE VIRTUAL TABLE f USING fts5(\r\n a\r\n);"
        "CREATE VIEW v AS\r\n SELECT 1; CREATE TRIGGER t AFTER INSERT ON crlf\r\nBEGIN SELECT 'a\r\nb'; END;"
    ),
    "constraints that rows break": """
        CREATE TABLE c(a CHECK(a > 0)); PRAGMA ignore_check_constraints = ON; INSERT INTO c VALUES(-1), (2);
        CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent(id), q REFERENCES gone(x));
        INSERT INTO child VALUES(1, NULL), (2, 3);
    """,
    "a foreign key to no key": "CREATE TABLE p(a, b); CREATE TABLE k(x REFERENCES p(b)); INSERT INTO k VALUES(1);",
    "a module that is not here": """
        CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA writable_schema = ON;
        INSERT INTO sqlite_master VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING nosuch(x)');
        PRAGMA writable_schema = RESET;
    """,
    "functions and expressions": """
        CREATE TABLE j(d TEXT, CHECK(json_valid(d))); INSERT INTO j VALUES('{"a": 1}');
        CREATE INDEX ja ON j(json_extract(d, '$.a')); CREATE INDEX jl ON j(lower(d) COLLATE NOCASE DESC) WHERE d <> '';
        CREATE TABLE d(t DEFAULT CURRENT_TIMESTAMP, u DEFAULT (1 + 1), v DEFAULT -1.5e10); INSERT INTO d DEFAULT VALUES;
    """,
    "altered": """
        CREATE TABLE old(a INT, gone, b TEXT); INSERT INTO old VALUES(1, 2, 'x');
        ALTER TABLE old ADD COLUMN c DEFAULT 5;
        ALTER TABLE old DROP COLUMN gone; ALTER TABLE old RENAME TO "re named"; ALTER TABLE "re named" RENAME a TO "a;";
    """,
}


def all_ways(job: Job, source: Path, tmp_path: Path, *, hand_sql: bool = True) -> None:
    """Back up, verify, and restore from each artifact and by hand; each time every byte of content is there."""
    expected = content(source)
    manifest = backup(job).manifest
    assert manifest is not None
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings
    repository = Path(job.repository.url)
    restored = {"restore": tmp_path / "from db.db"}
    restore(job, "latest", to=str(restored["restore"]))
    restored["by hand"] = by_hand(manifest, repository, tmp_path / "hand")
    sql = [artifact for artifact in manifest.artifacts if artifact.role == "sql"]
    if sql:
        restored["from the .sql"] = tmp_path / "from sql.db"
        copy = tmp_path / "plain.sql.zst"
        copy.write_bytes((repository / sql[0].file).read_bytes())
        if any(key not in ("schema", "encoding", "user_version", "application_id") for key in expected):
            restore(job, str(copy), to=str(restored["from the .sql"]))
        else:
            del restored["from the .sql"]  # a foreign file without a table is refused
        if hand_sql:
            restored[".sql by hand"] = by_hand(manifest, repository, tmp_path / "hand sql", sql=True)
    for way, path in restored.items():
        assert content(path) == expected, way
        assert ask(path, "PRAGMA integrity_check") == ask(source, "PRAGMA integrity_check"), way
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("objects", OBJECTS)
def test_every_object_comes_back_each_way(objects: str, tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", OBJECTS[objects])
    all_ways(job_of(source, tmp_path / "backups"), source, tmp_path)


def test_restored_text_indexes_and_r_trees_still_answer(tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", OBJECTS["fts5"] + OBJECTS["fts4"] + OBJECTS["rtree"])
    job = job_of(source, tmp_path / "backups")
    manifest = backup(job).manifest
    assert manifest is not None
    questions = [
        "SELECT rowid FROM docs('run')",
        "SELECT rowid FROM external('lonely')",
        "SELECT rowid FROM contentless('kept')",
        "SELECT docid FROM mail WHERE mail MATCH 'fox'",
        "SELECT docid FROM old WHERE x MATCH 'seek'",
        "SELECT name FROM places WHERE x0 > 298 ORDER BY id",
        "SELECT rtreecheck('places')",
    ]
    answers = [ask(source, question) for question in questions]
    assert all(answers)
    for sql in (False, True):
        restored = by_hand(manifest, tmp_path / "backups", tmp_path / f"hand {sql}", sql=sql)
        assert [ask(restored, question) for question in questions] == answers
        run_sql(restored, "INSERT INTO docs(docs) VALUES('integrity-check'); INSERT INTO docs VALUES('new', 'words')")
        assert ask(restored, "SELECT title FROM docs('new')") == [("new",)]


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=30),
    st.text(max_size=30),
    st.text(alphabet="'\r\n\0;,()-X\"", max_size=12),
    st.binary(max_size=12).map(lambda data: data.decode("utf-8", "surrogateescape")),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=30))
def test_every_value_is_carried_by_the_sql_to_its_last_bit(
    rows: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("values")
    source = make(folder / "app.db", "CREATE TABLE t(a, b, c); CREATE TABLE u(a TEXT, b NUMERIC, c REAL);")
    with closing(connect(source)) as connection:
        for table in "tu":
            connection.executemany(f"INSERT INTO {table} VALUES(?, ?, ?)", [tuple(map(_bindable, row)) for row in rows])
            text = [
                [isinstance(value, str) and _bindable(value) is not value for value in row] for row in rows
            ]  # what cannot be bound as text went in as a blob
            for number, flags in enumerate(text, 1):
                for column, odd in zip("abc", flags):
                    if odd:
                        connection.execute(
                            f"UPDATE {table} SET {column} = CAST({column} AS TEXT) WHERE rowid = ?", (number,)
                        )
    expected = content(source)
    manifest = backup(job_of(source, folder / "backups")).manifest
    assert manifest is not None
    assert content(by_hand(manifest, folder / "backups", folder / "hand", sql=True)) == expected


def _bindable(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    return value


def test_the_known_hard_values_come_back(tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", "CREATE TABLE v(x); CREATE TABLE r(x REAL); CREATE TABLE i(x INTEGER);")
    hard = [0.1, 1 / 3, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0, 1e22, 1e23]
    hard += [8.41e21, 9.5e-7, 123456789012345.67, 0.30000000000000004, float("inf"), float("-inf"), -0.0, 4.35]
    whole = [0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 10**15]
    with closing(connect(source)) as connection:
        connection.executemany("INSERT INTO v VALUES(?)", [(value,) for value in [*hard, *whole, "1", "1.0", "", b""]])
        connection.executemany("INSERT INTO r VALUES(?)", [(value,) for value in hard])
        connection.executemany("INSERT INTO i VALUES(?)", [(value,) for value in [*whole, "x", 1.5, b"1"]])
        connection.execute("INSERT INTO v VALUES(CAST(x'6100620063' AS TEXT)), (CAST(x'ff00fe80' AS TEXT))")
        connection.execute("INSERT INTO v VALUES(zeroblob(100000)), (printf('%.*c', 300000, ''''))")
    all_ways(job_of(source, tmp_path / "backups"), source, tmp_path)


@pytest.mark.parametrize(
    ("size", "vacuum"), [(512, 0), (1024, 1), (4096, 0), (4096, 2), (8192, 1), (32768, 0), (65536, 0), (65536, 2)]
)
def test_page_sizes_and_auto_vacuum(size: int, vacuum: int, tmp_path: Path) -> None:
    many = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 400)"
    sql = (
        f"CREATE TABLE t(a, b); {many} INSERT INTO t SELECT i, randomblob(i * 3) FROM n; DELETE FROM t WHERE a % 3 = 0;"
    )
    source = make(tmp_path / "app.db", sql, page_size=size, auto_vacuum=vacuum)
    job = job_of(source, tmp_path / "backups")
    all_ways(job, source, tmp_path)
    for way in ("from db.db", "from sql.db"):
        assert ask(tmp_path / way, "PRAGMA auto_vacuum") == [(vacuum,)]
    assert ask(tmp_path / "from db.db", "PRAGMA page_size") == [(size,)]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_utf_16_databases(encoding: str, tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", OBJECTS["odd names"] + OBJECTS["windows line ends"], encoding=f"'{encoding}'")
    with closing(connect(source)) as connection:
        connection.execute("CREATE TABLE u(x, y TEXT)")
        connection.executemany("INSERT INTO u VALUES(?, ?)", [("a\0b", "é🐘\ufeff"), ("\ufeffx", "'\r\n'"), (1, b"\0")])
    all_ways(job_of(source, tmp_path / "backups"), source, tmp_path)


def test_text_that_utf_16_cannot_be_is_refused_by_name_and_kept_by_physical(tmp_path: Path) -> None:
    source = make(
        tmp_path / "app.db",
        "CREATE TABLE fine(a); CREATE TABLE odd(a); INSERT INTO odd VALUES(CAST(x'00d86100' AS TEXT))",
        encoding="'UTF-16le'",
    )
    with pytest.raises(ProofError, match="'odd'.*not valid UTF-16le"):
        backup(job_of(source, tmp_path / "backups"))
    backup(job_of(source, tmp_path / "backups", method="physical"))
    restore(job_of(source, tmp_path / "backups"), "latest", to=str(tmp_path / "new.db"))
    assert ask(tmp_path / "new.db", "SELECT hex(CAST(a AS BLOB)) FROM odd") == [("00D86100",)]


# --- what the .sql cannot carry ---------------------------------------------------------------

UNCARRIED: dict[str, tuple[str, str]] = {
    "a statement that SQLite would write otherwise": (
        "CREATE TABLE fine(a); CREATE TABLE edited(a, b); PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = 'CREATE  TABLE edited(a, b)' WHERE name = 'edited'",
        "edited",
    ),
    "an empty cell that must not be": (
        "CREATE TABLE edited(a); INSERT INTO edited VALUES(NULL); PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = 'CREATE TABLE edited(a NOT NULL)' WHERE name = 'edited'",
        "edited",
    ),
    "a value that its column would convert": (
        "CREATE TABLE edited(a BLOB); INSERT INTO edited VALUES('12'); PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = 'CREATE TABLE edited(a INTEGER)' WHERE name = 'edited'",
        "edited",
    ),
}


def _applications_own(path: Path) -> None:
    with closing(connect(path)) as connection:
        connection.create_collation("shouting", lambda one, other: (one.upper() > other.upper()) - (one < other))
        connection.executescript("CREATE TABLE t(a COLLATE shouting); CREATE INDEX i ON t(a)")
        connection.executemany("INSERT INTO t VALUES(?)", [("b",), ("A",), ("c",)])


@pytest.mark.parametrize("what", UNCARRIED)
def test_an_edited_schema_that_the_sql_cannot_carry_fails_naming_the_object(what: str, tmp_path: Path) -> None:
    sql, named = UNCARRIED[what]
    source = make(tmp_path / "app.db", sql)
    with pytest.raises(ProofError, match=named) as caught:
        backup(job_of(source, tmp_path / "backups"))
    assert "physical" in caught.value.remedy
    assert [file.name for file in (tmp_path / "backups").iterdir()] == [".app.lock"]


def test_a_collation_of_the_application_needs_physical_and_gets_it(tmp_path: Path) -> None:
    source = tmp_path / "app.db"
    _applications_own(source)
    with pytest.raises(ProofError, match="collation.*shouting"):
        backup(job_of(source, tmp_path / "backups"))
    job = job_of(source, tmp_path / "backups", method="physical")
    backup(job)
    for level in ("structure", "restore"):
        (result,) = verify(job, "latest", level)
        assert result.ok, result.findings
    restore(job, "latest", to=str(tmp_path / "new.db"))
    assert ask(tmp_path / "new.db", "SELECT a FROM t NOT INDEXED ORDER BY rowid") == [("b",), ("A",), ("c",)]


@pytest.mark.parametrize("what", UNCARRIED)
def test_physical_keeps_only_the_pages_and_restores_what_the_sql_cannot(what: str, tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", UNCARRIED[what][0])
    job = job_of(source, tmp_path / "backups", method="physical")
    manifest = backup(job).manifest
    assert manifest is not None
    assert [artifact.role for artifact in manifest.artifacts] == ["db"]
    assert verify(job, "latest", "restore")[0].ok
    restore(job, "latest", to=str(tmp_path / "new.db"))
    assert (tmp_path / "new.db").read_bytes() == source.read_bytes()


# --- file names, compressions, encryptions ----------------------------------------------------

FILE_NAMES = [
    "it's.db", 'quo"te.db', "new\nline.db", "-dash.db", "🐘.db", "%41.db", "what?.db", "a?b=c.db", "#1.db",
    "a b .db", "$(touch x).db", "semi;colon.db", "back\\slash.db", "..db", "file:x?mode=memory", "x" * 200, "no-suffix",
    "question?", "ünï&=.db",
]  # fmt: skip


@pytest.mark.parametrize("name", FILE_NAMES)
def test_odd_file_names_are_only_names(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    source = make(folder / name, "CREATE TABLE t(a); INSERT INTO t VALUES('x')", journal_mode="wal")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    restore(job, "latest", to=str(folder / f"new {name}"))
    assert ask(folder / f"new {name}", "SELECT a FROM t") == [("x",)]
    run_sql(source, "UPDATE t SET a = 'y'")
    report = restore(job, "latest", replace=True)
    assert ask(source, "SELECT a FROM t") == [("x",)]
    assert report.kept is not None
    assert ask(report.kept, "SELECT a FROM t") == [("y",)]
    restore(job, "latest", tables=["t"], replace=True)
    left = {path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))}
    assert {entry for entry in left if ".replaced-" not in entry} == {name, f"new {name}"}


@pytest.mark.parametrize("name", [b"caf\xe9.db", b"\xff\xfe"])
def test_a_file_name_that_is_not_utf_8(name: bytes, tmp_path: Path) -> None:
    source = make(tmp_path / os.fsdecode(name), "CREATE TABLE t(a)")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    restore(job, "latest", replace=True)
    assert ask(source, "SELECT count(*) FROM t") == [(0,)]


def recipients(tmp_path: Path) -> tuple[Encryption, dict[str, str]]:
    identity = tmp_path / "identity.txt"
    made = subprocess.run(["age-keygen", "-o", str(identity)], capture_output=True, text=True, check=True)
    identity.chmod(0o600)
    key = made.stderr.split()[-1]
    return Encryption("age", (key,), identity_file=str(identity)), {"AGE_IDENTITY": str(identity)}


def passphrase(tmp_path: Path) -> tuple[Encryption, dict[str, str]]:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    (home / "gpg.conf").write_text(f"batch\npinentry-mode loopback\npassphrase-file {secret}\nquiet\n")
    return Encryption("gpg", passphrase_file=str(secret)), {"GNUPGHOME": str(home)}


@pytest.mark.parametrize(
    ("method", "encryption"),
    [("zstd", None), ("gzip", None), ("none", None), ("zstd", recipients), ("none", recipients), ("gzip", passphrase)],
)
def test_by_hand_through_every_compression_and_encryption(
    method: str, encryption: Callable[[Path], tuple[Encryption, dict[str, str]]] | None, tmp_path: Path
) -> None:
    source = make(tmp_path / "app.db", OBJECTS["strict"] + OBJECTS["odd names"])
    chosen, environ = encryption(tmp_path) if encryption else (Encryption(), {})
    job = job_of(source, tmp_path / "backups", compression=Compression(method), encryption=chosen)
    manifest = backup(job).manifest
    assert manifest is not None
    for sql in (False, True):
        restored = by_hand(manifest, tmp_path / "backups", tmp_path / f"hand {sql}", sql=sql, **environ)
        assert content(restored) == content(source)
    (result,) = verify(job, "latest", "restore")
    assert result.ok, result.findings


def test_a_database_larger_than_any_batch(tmp_path: Path) -> None:
    """Many batches, long texts full of semicolons and line ends, rows of very different sizes."""
    source = make(tmp_path / "app.db", "CREATE TABLE code(id INTEGER PRIMARY KEY, text, extra)")
    with closing(connect(source)) as connection:
        connection.execute("BEGIN")
        for number in range(3000):
            text = f"int x{number} = 'y';\r\n" * (number % 40) + "END;\n" * (number % 11)
            extra = os.urandom(40_000) if number % 500 == 0 else None
            connection.execute("INSERT INTO code VALUES(?, ?, ?)", (number, text, extra))
        connection.execute("COMMIT")
    all_ways(job_of(source, tmp_path / "backups"), source, tmp_path)


def test_a_row_too_long_for_a_statement_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbfleet.databases.sqlite.dump.LONGEST_STATEMENT", 100_000)  # the real limit is 1 GB
    source = make(tmp_path / "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1), (zeroblob(60000))")
    with pytest.raises(ProofError, match="table 't': one of its rows is too long"):
        backup(job_of(source, tmp_path / "backups"))


def test_an_application_function_in_an_index_is_named(tmp_path: Path) -> None:
    source = tmp_path / "app.db"
    with closing(connect(source)) as connection:
        connection.create_function("shout", 1, str.upper, deterministic=True)
        connection.executescript("CREATE TABLE t(a); CREATE INDEX i ON t(shout(a)); INSERT INTO t VALUES('x')")
    with pytest.raises((ProofError, SourceError), match="shout"):
        backup(job_of(source, tmp_path / "backups"))


def test_sqlite_is_the_one_of_this_python() -> None:
    """The STRICT and FTS cases above mean something only where SQLite has them."""
    assert sqlite3.sqlite_version_info >= (3, 37)
