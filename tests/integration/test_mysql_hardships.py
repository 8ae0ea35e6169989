"""What servers and disks do to backups of MariaDB: full disks, small packets, old data, crashes, TLS; all real."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conformance_jobs import made

pytest.register_assert_rewrite("mysql_server", "mysql_tls")

import mysql_server  # noqa: E402
from isolation import ended, forked, in_child  # noqa: E402
from mysql_server import QUICK, Server, content, job_of, own_state  # noqa: E402
from mysql_tls import certificates, check_tls  # noqa: E402

from dbfleet.catalog import read_catalog  # noqa: E402
from dbfleet.databases.mysql.address import address_of  # noqa: E402
from dbfleet.databases.mysql.measure import measure_table  # noqa: E402
from dbfleet.databases.mysql.server import Session  # noqa: E402
from dbfleet.errors import CapacityError, ProofError, SourceError  # noqa: E402
from dbfleet.model import Compression, Job, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402
from dbfleet.stores.registry import open_store  # noqa: E402

__all__ = ["own_state"]

numbers = itertools.count(1)
SMALL = 2**20
PATIENT = replace(QUICK, lock_wait=60)


@pytest.fixture
def server() -> Server:
    return mysql_server.server()


@pytest.fixture
def database(server: Server) -> str:
    name = f"hard_{next(numbers)}"
    server.ask(f"CREATE DATABASE {name}")
    return name


@pytest.fixture
def job(server: Server, database: str, tmp_path: Path) -> Job:
    return job_of(server.url(database), tmp_path / "backups", limits=PATIENT)


def fill(server: Server, database: str, rows: int) -> None:
    """Rows that no compression makes small."""
    server.script(
        database,
        "CREATE TABLE filled(id INT PRIMARY KEY, v VARCHAR(2000), KEY(v(20)))",
        "INSERT INTO filled SELECT seq, concat_ws('', sha2(seq, 512), sha2(-seq, 512), sha2(seq + 0.5, 512),"
        f" sha2(seq * 3, 512)) FROM seq_1_to_{rows}",
    )


def unchanged(server: Server, database: str, before: object) -> None:
    """The target is as it was, and nothing is left beside it."""
    assert content(server, database) == before
    assert not [name for name in server.databases() if name.startswith(f"{database}_")]


# --- no room ----------------------------------------------------------------------------------


def test_a_full_disk_of_the_repository_fails_the_backup_and_the_last_good_one_stays(
    server: Server, database: str, job: Job, tmp_path: Path
) -> None:
    (tmp_path / "backups").mkdir()
    fill(server, database, 500)
    uncompressed = replace(job, compression=Compression("none"))

    def act() -> None:
        first = made(uncompressed)
        files = sorted(path.name for path in Path(job.repository.url).rglob("*"))
        server.ask("INSERT INTO filled SELECT id + 1000, v FROM filled", database)
        server.ask("INSERT INTO filled SELECT id + 10000, concat(v, v) FROM filled", database)
        with pytest.raises(CapacityError) as caught:
            backup(uncompressed)
        assert caught.value.remedy
        catalog = read_catalog(open_store(job.repository.url), job.name)
        assert list(catalog.manifests) == [first.id]
        assert sorted(path.name for path in Path(job.repository.url).rglob("*")) == files
        restore(uncompressed, first.id, to=server.url(f"{database}_first"))

    in_child(act, disk=(str(tmp_path / "backups"), "size=700k"))
    assert server.ask("SELECT count(*) FROM filled", f"{database}_first") == [(500,)]


def test_a_server_without_room_refuses_a_restore_and_keeps_what_it_has(server: Server, database: str, job: Job) -> None:
    """All tables in one file that may not grow: the server's own error for a full disk."""
    fill(server, database, 24_000)
    manifest = made(job)
    full = Server("--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:20M")
    try:
        full.ask("CREATE DATABASE app")
        full.script("app", "CREATE TABLE filled(id INT PRIMARY KEY)", "INSERT INTO filled VALUES(1)")
        before = content(full, "app")
        with pytest.raises(CapacityError, match="no room left"):
            restore(job, manifest.id, to=full.url("app"), replace=True)
        unchanged(full, "app", before)
    finally:
        full.remove()


# --- rows, packets, modes ---------------------------------------------------------------------


def test_rows_of_20_mb_pass_a_server_with_a_small_packet_and_a_target_that_is_too_small_says_so(
    server: Server, database: str, job: Job
) -> None:
    with server.set_globally(max_allowed_packet="64 * 1024 * 1024"):
        server.script(
            database,
            "CREATE TABLE large(id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)",
            "INSERT INTO large VALUES(1, repeat(0x00FF27, 7 * 1024 * 1024), 'x'), (2, 'small', repeat('\\'', 4000000))",
        )
        server.ask(f"SET GLOBAL max_allowed_packet = {SMALL}")
        manifest = made(job)
        with pytest.raises(CapacityError, match="table `large` takes 4.*max_allowed_packet of 1.0 MiB") as caught:
            restore(job, manifest.id, to=server.url(f"{database}_back"))
        assert f"{database}_back" not in server.databases()
        statement = caught.value.remedy.partition(" on that server")[0]
        server.ask(statement)  # what it says is what helps
        assert restore(job, manifest.id, to=server.url(f"{database}_back")).proven
        assert content(server, f"{database}_back") == content(server, database)


def test_every_row_of_a_wide_table_counts(server: Server, database: str) -> None:
    """Two rows that differ, whose text together would be longer than the server allows a text to be."""
    columns = [f"c{number} TEXT" for number in range(40)]
    server.ask(f"CREATE TABLE wide(id INT PRIMARY KEY, {', '.join(columns)})", database)
    values = ", ".join(["repeat('x', 65000)"] * 40)
    server.ask(f"INSERT INTO wide VALUES(1, {values}), (2, {values})", database)
    with server.set_globally(max_allowed_packet=str(SMALL)):
        found = []
        for _change in range(2):
            with Session(address_of(Source(server.url(database)))) as session:
                found.append(measure_table(session, database, "wide", "sha256").digest)
            server.ask("UPDATE wide SET c39 = concat(c39, 'y') WHERE id = 2", database)
        assert found[0] != found[1] and found[0] != "0" * 32


def test_zero_dates_and_invalid_defaults_pass_a_strict_server(server: Server, database: str, job: Job) -> None:
    server.script(
        database,
        "CREATE TABLE loose(id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00', t TIMESTAMP NOT NULL DEFAULT"
        " '0000-00-00 00:00:00', e ENUM('a') NOT NULL, v VARCHAR(3) NOT NULL DEFAULT '', n TINYINT, KEY(d), KEY(e))",
        "INSERT INTO loose VALUES(1, '2024-00-00', 0, 'other', 'too long', 999), (2, '2024-02-31', 0, 'a', '', NULL)",
        "CREATE TRIGGER stamped BEFORE INSERT ON loose FOR EACH ROW SET new.d = '0000-00-00'",
    )
    expected = content(server, database)
    with server.set_globally(sql_mode="'TRADITIONAL,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES'"):
        manifest = made(job)
        restore(job, manifest.id, to=server.url(f"{database}_back"))
        assert content(server, f"{database}_back") == expected
        restore(job, manifest.id, replace=True)
        restore(job, manifest.id, tables=["loose"], replace=True)
        assert content(server, database) == expected
        (result,) = verify(job, "latest", "restore")
        assert result.ok, result.findings


def test_text_that_is_invalid_in_its_character_set_is_found_by_verify(server: Server, database: str, job: Job) -> None:
    """As very old servers left it: bytes of latin1 in a column that says it is UTF-8."""
    server.script(
        database,
        "CREATE TABLE source(v VARCHAR(40) CHARACTER SET latin1) ENGINE=MyISAM",
        "CREATE TABLE broken(v VARCHAR(10) CHARACTER SET utf8mb4) ENGINE=MyISAM",
        "INSERT INTO source VALUES(0x636166E9), ('fine')",
        "FLUSH TABLES",
    )
    folder = server.folder / "data" / database
    for kind in ("MYD", "MYI"):
        shutil.copyfile(folder / f"source.{kind}", folder / f"broken.{kind}")
    server.ask("FLUSH TABLES")
    assert ("636166E9",) in server.ask("SELECT hex(v) FROM broken", database)
    manifest = made(job)
    (result,) = verify(job, "latest", "restore")  # no INSERT brings such bytes back, so it is told
    assert "table broken" in f"{result.findings[0].object}: {result.findings[0].problem}"
    with pytest.raises(ProofError, match="table broken: 2 rows as expected, but other content"):
        restore(job, manifest.id, to=server.url(f"{database}_back"))
    assert f"{database}_back" not in server.databases()


# --- crashes ----------------------------------------------------------------------------------


def killed(act: Callable[[], object], moments: int) -> Iterator[bool]:
    """Run ``act`` in children that are killed at moments all over its duration; yields whether one was."""
    begun = time.monotonic()
    assert ended(forked(act)) == 0, "it fails by itself"
    longest = time.monotonic() - begun
    for number in range(moments):
        child = forked(act)
        time.sleep(longest * (number + random.random()) / moments)
        os.kill(child, signal.SIGKILL)
        yield ended(child) == -signal.SIGKILL


def test_backups_that_are_killed_leave_nothing_that_counts(server: Server, database: str, job: Job) -> None:
    fill(server, database, 3000)
    for _dead in killed(lambda: backup(job), 6):
        server.ask("INSERT INTO filled SELECT max(id) + 1, 'more' FROM filled", database)  # nobody holds a lock
    catalog = read_catalog(open_store(job.repository.url), job.name)
    assert not catalog.unreadable
    manifest = made(job)
    files = {path.name for path in Path(job.repository.url).rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".partial", ".intent"))]
    assert all(result.ok for result in verify(job, "all", "checksum"))
    restore(job, manifest.id, to=server.url(f"{database}_back"))
    assert content(server, f"{database}_back") == content(server, database)


def test_restores_that_are_killed_leave_the_old_or_the_new(server: Server, database: str, job: Job) -> None:
    fill(server, database, 3000)
    server.script(
        database,
        "CREATE VIEW seen AS SELECT id FROM filled",
        "CREATE TRIGGER cut BEFORE INSERT ON filled FOR EACH ROW SET new.v = trim(new.v)",
    )
    manifest = made(job)
    new = content(server, database)["rows of filled"]
    server.ask("DELETE FROM filled WHERE id > 10", database)
    old = content(server, database)["rows of filled"]
    states = {len(old), len(new)}
    for _dead in killed(lambda: restore(job, manifest.id, replace=True), 6):
        rows = content(server, database).get("rows of filled")
        assert rows in (old, new), "neither the old nor the new"
        for kept in [name for name in server.databases() if "_before_restore_" in name]:
            assert len(content(server, kept).get("rows of filled", ())) in {0, *states}
    restore(job, manifest.id, replace=True)
    assert content(server, database)["rows of filled"] == new
    assert not [name for name in server.databases() if "_dbfleet_" in name]


def test_a_server_that_dies_during_a_restore_keeps_what_it_had(job: Job, database: str, server: Server) -> None:
    fill(server, database, 20_000)
    manifest = made(job)
    target = Server()
    try:
        target.ask("CREATE DATABASE app")
        target.script("app", "CREATE TABLE filled(id INT PRIMARY KEY)", "INSERT INTO filled VALUES(1)", "COMMIT")
        target.ask("FLUSH LOGS")
        before = content(target, "app")

        class Dying:
            def step(self, text: str) -> None:
                if text.startswith("proving"):
                    target.kill()

            def expect(self, total_bytes: object) -> None:
                pass

            def advance(self, count: int) -> None:
                pass

        with pytest.raises(SourceError, match="lost|reached"):
            restore(job, manifest.id, to=target.url("app"), replace=True, progress=Dying())
        target.start()
        assert content(target, "app") == before
        restore(job, manifest.id, to=target.url("app"), replace=True)
        assert content(target, "app") == content(server, database)
        assert not [name for name in target.databases() if "_dbfleet_" in name]
    finally:
        target.remove()


# --- TLS --------------------------------------------------------------------------------------


def test_tls_and_who_the_server_is(tmp_path: Path) -> None:
    with certificates() as files:
        server = Server(f"--ssl-cert={files.certificate}", f"--ssl-key={files.key}", "--require-secure-transport=ON")
        try:
            server.ask("CREATE DATABASE app")
            fill(server, "app", 10)
            check_tls(server, job_of(server.url("app"), tmp_path / "backups", limits=PATIENT), files)
        finally:
            server.remove()


def test_no_login_is_sent_to_a_server_that_is_to_have_tls_and_has_none(server: Server, database: str) -> None:
    """A driver before 1.2 would go on without, as would whoever stands between let it."""
    server.ask("CREATE OR REPLACE USER careful@localhost IDENTIFIED BY 'secret'")
    server.ask("GRANT ALL ON *.* TO careful@localhost")
    for mode in ("required", "verify_ca", "verify_identity"):
        with pytest.raises(SourceError, match="the server offers no TLS") as caught:
            Session(address_of(Source(f"mysql://careful:wrong@127.0.0.1:{server.port}/{database}?ssl_mode={mode}")))
        assert "ssl_mode=preferred" in caught.value.remedy
    for mode in ("disabled", "preferred"):
        Session(
            address_of(Source(f"mysql://careful:secret@127.0.0.1:{server.port}/{database}?ssl_mode={mode}"))
        ).close()
    assert "for user 'careful'" not in (server.folder / "output").read_text()  # no login of it was refused
