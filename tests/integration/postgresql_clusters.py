"""Whole PostgreSQL servers for tests of physical backups: sources that can replicate, and restored ones that run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postgresql_server import USUAL, Server, ask, dump, free_port

from dbfleet.model import Job, Limits, Manifest, Repository, Source

QUICK = Limits(lock_wait=2, min_free="0")
REPLICATION = "local replication all trust\nhost replication all 127.0.0.1/32 scram-sha-256\n"
LEDGER = """
CREATE TABLE items(id serial PRIMARY KEY, name text, amount integer);
CREATE INDEX items_by_name ON items(name);
INSERT INTO items(name, amount) SELECT 'name ' || i, i * i FROM generate_series(1, 300) i;
CREATE TABLE ledger(number bigint PRIMARY KEY, noise text);
CREATE TABLE total(count bigint, last bigint);
INSERT INTO total VALUES(0, 0);
"""


@contextmanager
def cluster(major: int = USUAL, *, settings: str = "", initdb: Sequence[str] = ()) -> Iterator[Server]:
    """A server that can be replicated, with page checksums, and a database ``app`` with a ledger."""
    more = "summarize_wal = on\n" if major >= 17 else ""
    server = Server(major, wal_level="replica", settings=more + settings, access=REPLICATION, initdb=initdb)
    try:
        if major < 18:  # later versions have them by themselves
            server.run("pg_ctl", "-D", str(data_of(server)), "-m", "fast", "-w", "-s", "stop")
            server.run("pg_checksums", "--enable", "-D", str(data_of(server)))
            server.start()
        server.create(LEDGER, name="app")
        yield server
    finally:
        server.close()


def job_of(server: Server, repository: Path, **changed: Any) -> Job:
    """A physical backup of the whole server."""
    fields: dict[str, Any] = {"method": "physical", "limits": QUICK, **changed}
    return Job("app", Repository(str(repository)), Source(server.url("app"), tools=server.bin), **fields)


@contextmanager
def started(server: Server, data: Path) -> Iterator[Source]:
    """A server on a restored data directory, with nothing but its own settings; its database ``app``."""
    port = free_port()
    options = f"-p {port} -c unix_socket_directories={server.folder} -c listen_addresses=''"
    for path in data.parents:
        if not path.stat().st_mode & 0o001 and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o011)
    server.run("pg_ctl", "-D", str(data), "-l", str(server.folder / "log.restored"), "-w", "-s", "-o", options, "start")
    try:
        yield Source(server.url("app").replace(f":{server.port}/", f":{port}/"))
    finally:
        server.run("pg_ctl", "-D", str(data), "-m", "fast", "-w", "-s", "stop")


def data_of(server: Server) -> Path:
    return server.folder / "data"


def content(server: Server, source: Source) -> str:
    return dump(server, source)


def by_hand(server: Server, manifest: Manifest, repository: Path, folder: Path) -> Path:
    """Run the manifest's own commands in a shell, with none of this project's code; the data directory they made."""
    shutil.copytree(repository, folder)
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail"],
        input="\n".join(manifest.restore_with),
        cwd=folder,
        env={"PATH": f"{server.bin}:/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr
    if server.major < 15:  # whose pg_basebackup does not pad its last member
        said = "".join(line for line in said.splitlines(keepends=True) if "lone zero block" not in line)
    assert (done.returncode, said) == (0, ""), (manifest.restore_with, done.stderr)
    return folder / "restored"


def give(path: Path) -> None:
    """Let the server's user own everything below ``path``."""
    if os.geteuid() == 0:
        for one in (path, *path.rglob("*")):
            shutil.chown(one, "postgres") if not one.is_symlink() else None


def check_ledger(source: Source) -> int:
    """Whether the ledger is the state of one commit; returns how many rows it has."""
    ((rows, last, count, told),) = ask(
        source,
        "SELECT (SELECT count(*) FROM ledger), (SELECT coalesce(max(number), 0) FROM ledger), count, last FROM total",
    )
    assert rows == last == count == told
    return int(last)
