"""Whole MariaDB servers for tests of physical backups: sources, and restored data directories that run."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
from conformance_jobs import made
from mysql_server import LEDGER, USER, AnyServer, LocalServer, MariadbProcess, Server, content
from waiting import wait_until

from dbfleet.catalog import read_catalog
from dbfleet.model import Compression, Job, Limits, Manifest, ProofPolicy, Repository, Source
from dbfleet.stores.registry import open_store

QUICK = Limits(lock_wait=5, min_free="0")
SLOW = Limits(lock_wait=5, min_free="0", bandwidth=4 * 2**20)
ITEMS = (
    *LEDGER,
    "CREATE TABLE items(id INT PRIMARY KEY, name VARCHAR(80), amount INT)",
    "CREATE INDEX items_by_name ON items(name)",
    "INSERT INTO items SELECT seq, concat('name ', seq), seq * seq FROM seq_1_to_300",
    "CREATE TABLE `odd $ü/`(id INT PRIMARY KEY) PARTITION BY HASH(id) PARTITIONS 2",
    "INSERT INTO `odd $ü/` SELECT seq FROM seq_1_to_10",
    "CREATE TABLE words(id INT PRIMARY KEY, t TEXT, FULLTEXT KEY(t))",
    "INSERT INTO words VALUES(1, 'hello world')",
    "CREATE SEQUENCE numbers",
    "CREATE TABLE old(id INT PRIMARY KEY, t TEXT) ENGINE=MyISAM",
    "INSERT INTO old SELECT seq, 'x' FROM seq_1_to_50",
    "CREATE TABLE safer(id INT PRIMARY KEY, t TEXT) ENGINE=Aria",
    "INSERT INTO safer SELECT seq, 'x' FROM seq_1_to_50",
    "CREATE VIEW named AS SELECT name FROM items WHERE name <> ''",
)


def counted(job: Job) -> Manifest:
    """A backup whose rows were counted: on a busy machine snapshots begin too late now and then, and it says so."""
    for _attempt in range(5):
        manifest = made(job)
        if manifest.proof.level != "none":
            return manifest
        assert any("not counted" in note for note in manifest.notes), manifest.notes
    raise AssertionError("no rows were counted in five backups")


def copied(*options: str) -> Server:
    """A server with a database ``app`` and a few kinds of tables."""
    server = Server(*options)
    server.ask("CREATE DATABASE app CHARACTER SET utf8mb4")
    server.script("app", *ITEMS)
    return server


def copy_job(socket: Path | str, repository: Path, **changed: Any) -> Job:
    """A physical backup of the whole server behind ``socket``."""
    fields: dict[str, Any] = {"method": "physical", "proof": ProofPolicy(level="content"), "limits": QUICK, **changed}
    return Job("app", Repository(str(repository)), Source(f"mysql://root@localhost/?unix_socket={socket}"), **fields)


def job_of(server: Server, repository: Path, **changed: Any) -> Job:
    """A physical backup of the whole server."""
    return copy_job(server.socket, repository, **changed)


def slow_job(server: Server, repository: Path, **changed: Any) -> Job:
    """One that takes seconds, so that something can happen meanwhile."""
    return job_of(server, repository, limits=SLOW, compression=Compression("none"), **changed)


def data_of(server: Server) -> Path:
    return server.folder / "data"


def nothing_is_listed(job: Job) -> bool:
    return not read_catalog(open_store(job.repository.url), "app").files


class EndsInOrder(LocalServer):
    """A server that can be ended so that its files are whole."""

    def begin(self) -> None:
        """Start it, or leave nothing behind."""
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def stop(self) -> None:
        """End it in order."""
        with suppress(pymysql.Error):
            self.ask("SHUTDOWN")
        if self._process is not None:
            self._process.wait()
            self._process = None


class Restored(EndsInOrder, MariadbProcess):
    """A server on a data directory that is there already."""

    def __init__(self, data: Path, options: tuple[str, ...] = ()) -> None:
        super().__init__((f"--datadir={data}", "--skip-log-bin", *options))
        self.begin()


@contextmanager
def started(data: Path, *options: str) -> Iterator[Restored]:
    """A server on a restored data directory, with nothing but its own settings and ``options``."""
    server = Restored(data, options)
    try:
        yield server
    finally:
        server.stop()
        server.remove()


def everything(server: AnyServer) -> Any:
    """All of the database ``app``."""
    return content(server, "app")


@contextmanager
def meanwhile(act: Callable[[], object], server: Server) -> Iterator[None]:
    """Run ``act`` when a backup of ``server`` has begun to send."""
    running = "SELECT 1 FROM information_schema.processlist WHERE user = 'root' AND id <> connection_id() LIMIT 1"

    def wait_and_act() -> None:
        wait_until(lambda: copying(server))
        assert server.ask(running)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def copying(server: LocalServer, tool: str = "mariadb-backup") -> list[int]:
    """The processes of the tool that copy this very server."""
    found = subprocess.run(["pgrep", "-x", tool], stdout=subprocess.PIPE, text=True, check=False)
    numbers = []
    for number in map(int, found.stdout.split()):
        with suppress(OSError):
            if os.path.samefile(f"/proc/{number}/cwd", server.folder / "data"):
                numbers.append(number)
    return numbers


def by_hand(manifest: Manifest, repository: Path, folder: Path) -> Path:
    """Run the manifest's own commands in a shell, with none of this project's code; the data directory they made."""
    shutil.copytree(repository, folder)
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail"],
        input="\n".join(manifest.restore_with),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (manifest.restore_with, done.stderr[-2000:])
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{USER}:", str(folder)], check=True)
    return folder / "restored"


def checkpoint_of(server: AnyServer) -> int:
    """How far InnoDB's files are."""
    return int(server.ask("SHOW GLOBAL STATUS LIKE 'Innodb_lsn_last_checkpoint'")[0][1])
