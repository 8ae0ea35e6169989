"""Physical backups of MariaDB that must fail, restores that must be refused, and what they leave behind: nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies")

from conformance_jobs import made  # noqa: E402
from isolation import beside  # noqa: E402
from mysql_copies import (  # noqa: E402
    checkpoint_of,
    copied,
    copying,
    counted,
    data_of,
    job_of,
    nothing_is_listed,
    slow_job,
    started,
    wait_until,
)
from mysql_server import Server, own_state  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.databases.mysql.address import Address  # noqa: E402
from dbfleet.errors import BusyError, CapacityError, DbfleetError, ProofError, SourceError, ToolError  # noqa: E402
from dbfleet.model import Limits, ProofPolicy, Source  # noqa: E402
from dbfleet.operations.backup import backup  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state", "room"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    server = copied("--innodb-page-size=16K")
    server.script("app", "CREATE TABLE filler AS SELECT seq, repeat(md5(seq), 20) AS t FROM seq_1_to_20000")
    yield server
    server.remove()


def wrapped(folder: Path, script: str, name: str = "mariadb-backup") -> str:
    """A folder of tools in which ``name`` is a shell script; ``$tool`` is the real one, and tells its version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    real = shutil.which(name)
    path.write_text(f'#!/bin/bash\ntool={real}\n[ "$1" = --version ] && exec $tool --version\n{script}\n')
    path.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('$tool "$@"; exit 1', "exit status 1"),
        ('$tool "$@" 2>/dev/null', "without 'completed OK!'"),
        ('$tool "$@" | head -c 5000000', "without 'completed OK!'|ends in the middle"),
        ('$tool "$@" 2>/dev/null | head -c 5000000; echo "x completed OK!" >&2', "ends in the middle"),
        ("exit 0", "wrote nothing"),
        ("echo hello; echo completed OK! >&2", "no piece of a file|ends in the middle"),
        ('echo "Error: No space left on device" >&2; exit 1', "No space left"),
    ],
)
def test_a_tool_that_fails_fails_the_backup(source: Server, tmp_path: Path, script: str, words: str) -> None:
    job = job_of(source, tmp_path / "backups")
    job = replace(job, source=replace(job.source, tools=wrapped(tmp_path / "tools", script)))  # type: ignore[type-var]
    with pytest.raises(DbfleetError, match=words):
        backup(job)
    assert nothing_is_listed(job)


def test_a_tool_that_is_killed_fails_the_backup(source: Server, tmp_path: Path) -> None:
    job = slow_job(source, tmp_path / "backups")
    script = '$tool "$@" & wait_for=$!; sleep 0.5; kill -9 $wait_for; wait $wait_for'
    job = replace(job, source=replace(job.source, tools=wrapped(tmp_path / "tools", script)))  # type: ignore[type-var]
    with pytest.raises(ToolError, match="exit status 137"):
        backup(job)
    assert nothing_is_listed(job)
    assert not copying(source)


@pytest.mark.parametrize("said", ["10.4.34", "11.4.2", "10.12.1"])
def test_a_tool_of_another_series_is_refused(source: Server, room: Path, tmp_path: Path, said: str) -> None:
    job = job_of(source, tmp_path / "backups")
    made(job)
    folder = tmp_path / "tools"
    wrapped(folder, "exit 1")
    (folder / "mariadb-backup").write_text(f"#!/bin/sh\necho 'mariadb-backup based on MariaDB server {said}-MariaDB'\n")
    wrong = replace(job, source=replace(job.source, tools=str(folder)))  # type: ignore[type-var]
    with pytest.raises(ToolError, match=f"needs the tool of that version, but .* is of version {said}") as caught:
        backup(wrong)
    [(version,)] = source.ask("SELECT VERSION()")
    series = ".".join(version.split(".")[:2])
    assert series in caught.value.remedy
    with pytest.raises(ToolError, match="needs the tool of that version"):
        restore(wrong, "latest", to=str(room / "data"))
    assert not list(room.iterdir())


def test_percona_is_not_taken_for_mariadb(source: Server, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("mariadb-backup", "mariabackup"):
        (folder / name).write_text("#!/bin/sh\necho 'xtrabackup version 8.0.35-30 based on MySQL server 8.0.35' >&2\n")
        (folder / name).chmod(0o755)
    job = job_of(source, tmp_path / "backups")
    with pytest.raises(ToolError, match="is not the tool of MariaDB"):
        backup(replace(job, source=replace(job.source, tools=str(folder))))  # type: ignore[type-var]


def test_a_damaged_page_fails_the_backup_and_shows_nobody_its_rows(tmp_path: Path) -> None:
    server = copied()
    try:
        server.script("app", "CREATE TABLE secret AS SELECT seq, repeat('TOPSECRET', 20) AS t FROM seq_1_to_2000")
        server.script("app", "FLUSH TABLES secret FOR EXPORT", "UNLOCK TABLES")
        with open(data_of(server) / "app" / "secret.ibd", "r+b") as file:
            file.seek(5 * 16384 + 4000)
            file.write(b"\xff\x00\xaa" * 5)
        job = job_of(server, tmp_path / "backups")
        with pytest.raises(ProofError, match=r"damaged page in (\./)?app/secret.ibd") as caught:
            backup(job)
        assert "TOPSECRET" not in str(caught.value)
        assert nothing_is_listed(job)
    finally:
        server.remove()


def test_what_a_trial_finds_wrong_is_told(source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tool had lost rows of a table without a word; and as if it had damaged a table."""
    from dbfleet.databases.mysql.prepared import Prepared

    job = job_of(source, tmp_path / "backups")
    made(job)
    finish = Prepared.finish

    def cut(self: Prepared) -> None:
        finish(self)
        with open(os.path.join(self.data, "app", "old.MYD"), "r+b") as file:
            file.truncate(100)

    monkeypatch.setattr(Prepared, "finish", cut)
    (result,) = verify(job, "latest", "structure")
    assert not result.ok and "app.old" in result.findings[0].problem

    def page(self: Prepared) -> None:
        finish(self)
        with open(os.path.join(self.data, "app", "filler.ibd"), "r+b") as file:
            file.seek(16384 * 70 + 3000)  # the first ones of a table are not all in use
            file.write(b"\xff\x00\xaa" * 50)

    monkeypatch.setattr(Prepared, "finish", page)
    (result,) = verify(job, "latest", "structure")
    assert not result.ok, "a damaged page was not found"


def test_a_trial_whose_server_is_killed_says_nothing_of_the_backup(
    source: Server, tmp_path: Path, own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does when memory ends, while every table is read."""
    from dbfleet.databases.mysql import physical_restoration

    job = job_of(source, tmp_path / "backups")
    made(job)
    check = physical_restoration.check_tables

    def killed(address: Address, parallel: int) -> list[str]:
        (pid,) = own_state.rglob("trial.pid")
        os.kill(int(pid.read_text()), signal.SIGKILL)
        return check(address, parallel)

    with monkeypatch.context() as patch:
        patch.setattr(physical_restoration, "check_tables", killed)
        with pytest.raises(ToolError, match="was killed"):
            verify(job, "latest", "restore")
    assert [result.ok for result in verify(job, "latest", "restore")] == [True]


# --- who may do it, and where -----------------------------------------------------------------


def test_a_least_privileged_account_can_back_up(source: Server, tmp_path: Path) -> None:
    """What it lacks is named before anything is written; without SELECT no rows are claimed."""
    secret = tmp_path / "secret"
    secret.write_text('it\'s: \\a "secret"\n', encoding="utf-8")
    secret.chmod(0o600)
    password = "it''s: \\\\a \"secret\""  # noqa: S105
    source.script(
        "app", f"CREATE USER keeper@localhost IDENTIFIED BY '{password}'", "GRANT PROCESS ON *.* TO keeper@localhost"
    )
    job = job_of(source, tmp_path / "backups")
    url = f"mysql://keeper@localhost/?unix_socket={source.socket}"
    job = replace(job, source=Source(url, str(secret)))
    with pytest.raises(SourceError, match="lacks RELOAD, LOCK TABLES, BINLOG MONITOR") as caught:
        backup(job)
    assert "GRANT RELOAD" in caught.value.remedy and not (tmp_path / "backups").exists()
    source.script("app", "GRANT RELOAD, LOCK TABLES, BINLOG MONITOR ON *.* TO keeper@localhost")
    manifest = made(job)
    assert manifest.proof.tables == {} and any("lacks SELECT" in note for note in manifest.notes)
    source.script("app", "GRANT SELECT ON *.* TO keeper@localhost")
    assert counted(job).proof.tables["app.items"].rows == 300
    assert all(result.findings == () for result in verify(job, "latest", "restore"))
    secret.write_text("wrong\n", encoding="utf-8")
    with pytest.raises(SourceError, match="refuses the login"):
        backup(job)


def test_another_servers_directory_is_not_copied(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host whose own server has its data where the one at the URL has it."""
    from dbfleet.databases.mysql.server import Session

    other = copied()
    try:
        source.script("app", "UPDATE filler SET t = md5(t)", "SET GLOBAL innodb_max_dirty_pages_pct = 0")
        wait_until(lambda: checkpoint_of(source) > checkpoint_of(other))
        variable = Session.variable

        def elsewhere(self: Session, name: str) -> object:
            return str(data_of(other)) if name == "datadir" else variable(self, name)

        monkeypatch.setattr(Session, "variable", elsewhere)
        with pytest.raises(SourceError, match="belongs to another server"):
            backup(job_of(source, tmp_path / "backups"))
        monkeypatch.setattr(Session, "variable", lambda self, name: "/nowhere" if name == "datadir" else None)
        with pytest.raises(SourceError, match="cannot be read here"):
            backup(job_of(source, tmp_path / "backups"))
    finally:
        other.remove()


def test_a_lock_that_is_not_free_in_time_is_told(source: Server, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups", limits=Limits(lock_wait=1, min_free="0"))
    with closing(source.connect("app")) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLES items WRITE")
        with pytest.raises(BusyError, match="lock"):
            backup(job)
    assert nothing_is_listed(job)
    assert made(job)


# --- ends of the world ------------------------------------------------------------------------


def test_a_server_that_dies_fails_the_backup_and_the_next_one_works(tmp_path: Path) -> None:
    server = copied()
    try:
        job = slow_job(server, tmp_path / "backups")
        run = beside(_expect_failure, job)
        wait_until(lambda: copying(server))
        server.kill()
        run.join()
        assert run.exitcode == 0
        assert nothing_is_listed(job)
        server.start()
        assert made(replace(job, limits=Limits(lock_wait=5, min_free="0")))
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    finally:
        server.remove()


def _expect_failure(job: object) -> None:
    try:
        backup(job)  # type: ignore[arg-type]
    except DbfleetError as error:
        os._exit(0 if error.kind in ("tool", "source", "proof") else 3)
    os._exit(4)


def test_a_full_disk_fails_the_restore_and_leaves_nothing(
    source: Server, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First while the files are unpacked, then while the tool replays the log."""
    import resource

    job = job_of(source, tmp_path / "backups", proof=ProofPolicy("none"))
    made(job)
    with suppress(ValueError):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(CapacityError, match="cannot write"):
            restore(job, "latest", to=str(room / "data"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(room.iterdir())
    tools = wrapped(tmp_path / "tools", 'echo "Error: No space left on device" >&2; exit 1')
    full = replace(job, source=replace(job.source, tools=tools))  # type: ignore[type-var]
    with pytest.raises(CapacityError, match="No space left"):
        restore(full, "latest", to=str(room / "data"))
    assert not list(room.iterdir())
    restore(job, "latest", to=str(room / "data"))
    with started(room / "data") as restored:
        assert restored.ask("SELECT count(*) FROM app.items") == [(300,)]
