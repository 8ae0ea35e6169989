"""Physical backups of PostgreSQL that must fail, restores that must be refused, and what they leave behind: nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_clusters import check_ledger, cluster, data_of, job_of, started
from postgresql_server import Server, ask, binaries, connect, own_state, running, wait_until
from rooms import room

from dbfleet.catalog import read_catalog
from dbfleet.databases.postgresql.cluster_server import ClusterServer
from dbfleet.errors import DbfleetError, ProofError, SourceError
from dbfleet.model import Compression, Job, Limits, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store

__all__ = ["own_state", "room"]

SLOW = Limits(lock_wait=2, min_free="0", bandwidth=8 * 2**20)


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    with cluster(settings="max_wal_size = 32MB\nmin_wal_size = 32MB\nmax_slot_wal_keep_size = 64MB\n") as server:
        yield server


def slow_job(server: Server, repository: Path) -> Job:
    return job_of(server, repository, limits=SLOW, compression=Compression("none"))


@contextmanager
def meanwhile(act: Callable[[], object], server: Server) -> Iterator[None]:
    """Run ``act`` when a backup of ``server`` has begun to send."""

    def wait_and_act() -> None:
        def sending() -> bool:
            return bool(ask(server.source(), "SELECT 1 FROM pg_stat_replication WHERE state = 'backup'"))

        wait_until(sending)
        time.sleep(0.3)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def nothing_is_listed(job: Job) -> bool:
    return not read_catalog(open_store(job.repository.url), "app").files


def test_log_that_is_removed_during_the_backup_fails_it(source: Server, tmp_path: Path) -> None:
    job = slow_job(source, tmp_path / "backups")

    def remove() -> None:
        for _turn in range(12):
            ask(source.source("app"), "CREATE TABLE x AS SELECT 1; DROP TABLE x; SELECT pg_switch_wal()")
            ask(source.source(), "CHECKPOINT")

    with meanwhile(remove, source), pytest.raises(SourceError, match="removed log") as caught:
        backup(job)
    assert "max_slot_wal_keep_size" in caught.value.remedy
    assert nothing_is_listed(job)


def test_log_that_a_busy_server_would_have_removed_is_kept(source: Server, room: Path, tmp_path: Path) -> None:
    """By a slot, which is gone afterwards."""
    job = slow_job(source, tmp_path / "backups")

    def write() -> None:
        for _turn in range(3):
            ask(source.source("app"), "CREATE TABLE x AS SELECT 1; DROP TABLE x; SELECT pg_switch_wal()")
            ask(source.source(), "CHECKPOINT")

    with meanwhile(write, source):
        backup(job)
    assert not ask(source.source(), "SELECT 1 FROM pg_replication_slots")
    restore(job, "latest", to=str(room / "data"))
    with started(source, room / "data") as restored:
        assert check_ledger(restored) == 0


def test_without_a_slot_it_is_told(tmp_path: Path) -> None:
    with cluster(settings="max_replication_slots = 0\n") as server:
        manifest = backup(job_of(server, tmp_path / "backups")).manifest
    assert manifest is not None and any("wal_keep_size must be enough" in note for note in manifest.notes)


def test_a_connection_that_is_cut_fails_it(source: Server, tmp_path: Path) -> None:
    job = slow_job(source, tmp_path / "backups")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication"
    with meanwhile(lambda: ask(source.source(), cut), source), pytest.raises(DbfleetError, match="ended the backup"):
        backup(job)
    assert nothing_is_listed(job)


def test_a_server_that_is_killed_fails_it_and_the_next_one_works(source: Server, room: Path, tmp_path: Path) -> None:
    job = slow_job(source, tmp_path / "backups")
    try:
        with meanwhile(source.stop, source), pytest.raises(DbfleetError, match="ended the backup"):
            backup(job)
    finally:
        source.start()
    assert nothing_is_listed(job)
    backup(replace(job, limits=replace(SLOW, bandwidth=None)))
    restore(job, "latest", to=str(room / "data"))
    with started(source, room / "data") as restored:
        assert check_ledger(restored) == 0


def test_a_damaged_page_of_the_source_fails_it_and_names_the_file(tmp_path: Path) -> None:
    with cluster() as server:
        ((file,),) = ask(server.source("app"), "SELECT pg_relation_filepath('items')")
        ask(server.source("app"), "CHECKPOINT")
        server.run("pg_ctl", "-D", str(data_of(server)), "-m", "fast", "-w", "-s", "stop")
        with open(data_of(server) / file, "r+b") as page:
            page.seek(4000)
            page.write(b"\xff\x00\xaa")
        server.start()
        job = job_of(server, tmp_path / "backups")
        with pytest.raises(ProofError, match=file):
            backup(job)
        assert nothing_is_listed(job)


def test_what_a_trial_finds_wrong_is_told(tmp_path: Path) -> None:
    """Every file is what the server had: an index that lacks a row is found by amcheck alone."""
    with cluster() as server:
        if server.major < 14:
            pytest.skip("there is no pg_amcheck before 14")
        flags = "UPDATE pg_index SET indisready = {0}, indisvalid = {0} WHERE indexrelid = 'items_by_name'::regclass"
        with closing(connect(server.source("app"))) as session, session.cursor() as cursor:
            cursor.execute("SET allow_system_table_mods = on")
            for sql in (flags.format(False), "INSERT INTO items(name) VALUES ('lost')", flags.format(True)):
                cursor.execute(sql)
        job = job_of(server, tmp_path / "backups")
        backup(job)
        (result,) = verify(job, "latest", "restore")
        assert not result.ok and "items_by_name" in result.findings[0].problem


def test_a_trial_whose_server_is_killed_says_nothing_of_the_backup(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does when memory ends, while every table is read."""
    job = job_of(source, tmp_path / "backups")
    backup(job)
    examine = ClusterServer.examine

    def killed(self: ClusterServer, **more: bool) -> list[str]:
        lines = (Path(self._assembly.data) / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)
        return examine(self, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ClusterServer, "examine", killed)
        with pytest.raises(DbfleetError):
            verify(job, "latest", "restore")
    assert [result.ok for result in verify(job, "latest", "restore")] == [True]


def test_a_cluster_without_postgres_is_verified(tmp_path: Path) -> None:
    """Neither the usual role nor the usual database need be there."""
    with cluster() as server:
        ask(server.source(), "CREATE ROLE other SUPERUSER LOGIN")
        other = Source(server.url("app", user="other"), tools=server.bin)
        ask(other, 'ALTER ROLE postgres RENAME TO "the boss"')
        ask(other, "DROP DATABASE postgres")
        job = replace(job_of(server, tmp_path / "backups"), source=other)
        backup(job)
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        ask(other, 'ALTER ROLE "the boss" RENAME TO postgres')


# --- who may do it ----------------------------------------------------------------------------


def test_a_role_that_may_only_replicate_can_back_up(source: Server, tmp_path: Path) -> None:
    ask(source.source(), "CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'its: \\secret'")
    secret = tmp_path / "secret"
    secret.write_text("its: \\secret\n", encoding="utf-8")
    secret.chmod(0o600)
    url = f"postgresql://keeper@127.0.0.1:{source.port}/postgres"
    job = replace(job_of(source, tmp_path / "backups"), source=Source(url, str(secret), tools=source.bin))
    assert backup(job).manifest is not None
    ask(source.source(), "ALTER ROLE keeper NOREPLICATION")
    with pytest.raises(SourceError, match="does not let this role replicate") as caught:
        backup(job)
    assert "REPLICATION" in caught.value.remedy
    with pytest.raises(SourceError, match="refuses the login"):
        secret.write_text("wrong\n", encoding="utf-8")
        backup(job)


def test_a_server_that_allows_no_replication_is_refused(tmp_path: Path) -> None:
    with running(wal_level="replica") as server:
        job = job_of(server, tmp_path / "backups")
        with pytest.raises(SourceError, match="does not let this role replicate") as caught:
            backup(job)
        assert "pg_hba.conf" in caught.value.remedy
    with running(access="local replication all trust\n") as server:
        job = job_of(server, tmp_path / "backups")
        with pytest.raises(SourceError, match=r"max_wal_senders|wal_level"):
            backup(job)
    assert not (tmp_path / "backups").exists()


def test_without_summaries_a_full_backup_says_why(tmp_path: Path) -> None:
    with cluster(17) as server:
        job = job_of(server, tmp_path / "backups", type="auto")
        backup(job)
        ask(server.source("app"), "INSERT INTO items(name) VALUES ('more')")
        ask(server.source(), "CHECKPOINT")
        assert backup(job).manifest.type == "incremental"  # type: ignore[union-attr]
        for sql in ("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()"):
            ask(server.source(), sql)
        wait_until(lambda: ask(server.source(), "SHOW summarize_wal") == [("off",)])
        manifest = backup(job).manifest
        assert manifest is not None and manifest.type == "full" and manifest.parent is None
        assert any(note.startswith("full: summarize_wal is off") for note in manifest.notes)
        ask(server.source("app"), "CREATE TABLE t AS SELECT 1; SELECT pg_switch_wal()")
        ask(server.source(), "CHECKPOINT")
        for sql in ("ALTER SYSTEM SET summarize_wal = on", "SELECT pg_reload_conf()"):
            ask(server.source(), sql)
        wait_until(lambda: ask(server.source(), "SHOW summarize_wal") == [("on",)])
        time.sleep(1)
        for path in (data_of(server) / "pg_wal" / "summaries").iterdir():
            path.unlink()
        manifest = backup(job).manifest
        assert manifest is not None
        assert manifest.type == "full" and any("cannot tell what changed" in note for note in manifest.notes)
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]


# --- restores ---------------------------------------------------------------------------------


def test_a_stale_lock_file_is_no_running_server(source: Server, room: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups")
    backup(job)
    restore(job, "latest", to=str(room / "data"))
    (room / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{room / 'data'}\n")  # our number, not a server
    assert restore(job, "latest", to=str(room / "data"), replace=True).kept


def test_files_that_are_not_the_servers_own_are_found(
    source: Server, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the disk had changed a byte of a restored file: pg_verifybackup compares every one."""
    from dbfleet.databases.postgresql import assembly

    job = job_of(source, tmp_path / "backups")
    backup(job)
    finish = assembly.Assembly.finish

    def damaged(self: assembly.Assembly) -> None:
        with open(os.path.join(self.root, "0", "PG_VERSION"), "r+b") as file:
            file.seek(2)
            file.write(b" ")
        finish(self)

    monkeypatch.setattr(assembly.Assembly, "finish", damaged)
    with pytest.raises(ProofError, match="PG_VERSION"):
        restore(job, "latest", to=str(room / "data"))
    (result,) = verify(job, "latest", "structure")
    assert "PG_VERSION" in result.findings[0].problem
    assert not list(room.iterdir())


def test_programs_of_another_version_are_refused(source: Server, room: Path, tmp_path: Path) -> None:
    other = binaries(17)
    if other is None:
        pytest.skip("no PostgreSQL 17 on this machine")
    job = job_of(source, tmp_path / "backups")
    backup(job)
    wrong = replace(job, source=replace(job.source, tools=other))  # type: ignore[type-var]
    with pytest.raises(DbfleetError, match=f"PostgreSQL {source.major} and needs pg_verifybackup of that version"):
        restore(wrong, "latest", to=str(room / "data"))
    assert not list(room.iterdir())
    with cluster(17) as server:
        old = job_of(server, tmp_path / "old")
        old = replace(old, source=replace(old.source, tools=source.bin))  # type: ignore[type-var]
        with pytest.raises(DbfleetError, match="needs a pg_basebackup at least as new"):
            backup(old)
