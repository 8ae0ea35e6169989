"""Tables whose values the dump tool may write as they are stored, and some where it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server")

import mysql_server  # noqa: E402
from mysql_server import Server, job_of, own_state  # noqa: E402

from dbfleet.databases.mysql import lanes, snapshot  # noqa: E402
from dbfleet.databases.mysql.columns import Traits  # noqa: E402
from dbfleet.databases.mysql.lanes import split  # noqa: E402
from dbfleet.databases.mysql.server import Session  # noqa: E402
from dbfleet.databases.mysql.streams import DATA_HEAD  # noqa: E402
from dbfleet.model import Compression, Job, Manifest  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402

__all__ = ["own_state"]

VERBATIM = {"texts", "numbers", "Old3", "few", "documents"}
TABLES = (
    "CREATE TABLE texts (id INT PRIMARY KEY, short VARCHAR(400), full LONGTEXT, kind ENUM('é', '''', '\\\\')"
    " CHARACTER SET utf8mb4, some SET('a', 'ü') CHARACTER SET utf8mb4, plain CHAR(9) CHARACTER SET ascii)"
    " CHARACTER SET utf8mb4",
    "CREATE TABLE numbers (id BIGINT UNSIGNED PRIMARY KEY, a DECIMAL(30,9), b DOUBLE, c FLOAT, d DATETIME(6), e DATE,"
    " f TIME(3), g TIMESTAMP NULL, h YEAR, i BOOL)",
    "CREATE TABLE Old3 (id INT PRIMARY KEY, t TEXT CHARACTER SET utf8mb3)",
    "CREATE TABLE few (id INT PRIMARY KEY)",
    "CREATE TABLE raw (id INT PRIMARY KEY, b BLOB, t TEXT CHARACTER SET utf8mb4)",
    "CREATE TABLE bits (id INT PRIMARY KEY, b BIT(9))",
    "CREATE TABLE latin (id INT PRIMARY KEY, t TEXT CHARACTER SET latin1)",
    "CREATE TABLE wide (id INT PRIMARY KEY, t TEXT CHARACTER SET utf16)",
    "CREATE TABLE `nämé` (id INT PRIMARY KEY, t TEXT CHARACTER SET utf8mb4)",
    "CREATE TABLE columns_ (id INT PRIMARY KEY, `cölumn` TEXT CHARACTER SET utf8mb4)",
    "CREATE TABLE places (id INT PRIMARY KEY, p POINT)",
    "CREATE TABLE documents (id INT PRIMARY KEY, d JSON)",
    "INSERT INTO numbers VALUES (18446744073709551615, -123456789.987654321, 1e-300, 1.5, '2026-01-01 00:00:00.000001',"
    " '9999-12-31', '-838:59:59', '2026-03-29 02:30:00', 2155, 1),"
    " (0, NULL, -0.0, NULL, NULL, NULL, NULL, NULL, NULL, 0)",
    "INSERT INTO few VALUES (1), (2)",
    "INSERT INTO raw VALUES (1, 0x00FF27, 'é')",
    "INSERT INTO bits VALUES (1, b'100000001')",
    "INSERT INTO places VALUES (1, POINT(1, 2))",
    'INSERT INTO documents VALUES (1, \'{"a": "é"}\')',
)
# Every byte that means something to somebody, next to characters of each length.
AWKWARD = (
    *("", " ", "'", '"', "\\", "\\'", "''", "`", "%", "\0", "\n", "\r", "\r\n", "\t", "\x1a", "\x1b", "\x7f", "\x80"),
    *(
        "é",
        "é'",
        "ÿ\\",
        "€",
        "€\n'",
        "\u2028",
        "\ufeff",
        "😀",
        "😀'",
        "\\😀\\",
        "INSERT INTO `x`",
        "\nINSERT INTO `x` VALUES",
    ),
    "".join(map(chr, range(128))),
    "".join(map(chr, range(0x80, 0x180))),
)


def fill(server: Server, database: str) -> None:
    """Make ``database`` with all tables."""
    server.ask(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
    server.script(database, *TABLES)
    with server.connect(database, charset="utf8mb4") as connection, connection.cursor() as cursor:
        for number, text in enumerate(AWKWARD):
            kind = ("é", "'", "\\")[number % 3]
            cursor.execute(
                "INSERT INTO texts VALUES (%s, %s, %s, %s, 'a,ü', %s)",
                (number, text, text * 50, kind, text[:9] if text.isascii() else None),
            )
            if not any(ord(each) > 0xFFFF for each in text):
                cursor.execute("INSERT INTO Old3 VALUES (%s, %s)", (number, text))
            for table in ("`nämé`", "columns_", "wide"):
                cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", (number, text))
        cursor.execute("INSERT INTO latin VALUES (1, 'é')")
        connection.commit()


def statements(job: Job, manifest: Manifest) -> list[bytes]:
    """Every INSERT of the artifacts."""
    folder = Path(job.repository.url)
    texts = [(folder / one.file).read_bytes() for one in manifest.artifacts if one.role == "data"]
    assert texts and all(text.startswith(DATA_HEAD) for text in texts)
    return sorted(one for text in texts for one in split(text[len(DATA_HEAD) :]))


def test_it_is_byte_for_byte_what_the_tool_writes_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql_server.server()
    job = job_of(server.url("alike"), tmp_path / "backups")
    seen: list[frozenset[str]] = []
    real = snapshot.read_traits

    def watched(session: Session, database: str) -> Traits:
        traits = real(session, database)
        seen.append(traits.verbatim)
        return traits

    def none(session: Session, database: str) -> Traits:
        return replace(real(session, database), verbatim=frozenset())

    monkeypatch.setattr(lanes, "LARGE", 0)  # a process of its own for however few
    monkeypatch.setattr(snapshot, "read_traits", watched)
    fill(server, "alike")
    job = replace(job, compression=Compression("none"))
    manifest = made(job)
    assert seen[-1] == VERBATIM
    monkeypatch.setattr(snapshot, "read_traits", none)
    assert statements(job, made(job)) == statements(job, manifest)
    restore(job, manifest.id, to=server.url("alike_back"))
    for name in ("texts", "Old3"):
        rows = [server.ask(f"SELECT * FROM {name} ORDER BY id", database) for database in ("alike", "alike_back")]
        assert rows[0] == rows[1] and len(rows[0]) > 20, name
