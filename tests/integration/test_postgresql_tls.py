"""Connections through TLS: checked to the end, refused clearly where they are not what they should be."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import quote

import pytest
from certificates import Authority
from postgresql_clusters import QUICK
from postgresql_server import Server, ask, own_state, running

from dbfleet.errors import DbfleetError, SourceError
from dbfleet.model import Job, ProofPolicy, Repository, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

__all__ = ["own_state"]

PASSWORD = "t0p: \\secret word"


class Secure(NamedTuple):
    server: Server
    authority: Path
    other: Path
    password_file: str

    def source(self, host: str = "127.0.0.1", authority: Optional[Path] = None, mode: str = "verify-full") -> Source:
        root = quote(str(authority or self.authority), safe="")
        port = self.server.port
        url = f"postgresql://keeper@{host}:{port}/app?sslmode={mode}&sslrootcert={root}&hostaddr=127.0.0.1"
        return Source(url, self.password_file, tools=self.server.bin)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server that lets a role in by TLS and password alone, whose certificate is for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    own = Authority("the fleet's own")
    access = (
        "local all all trust\nhostnossl all keeper 127.0.0.1/32 reject\n"
        "hostssl all keeper 127.0.0.1/32 scram-sha-256\nhostssl replication keeper 127.0.0.1/32 scram-sha-256\n"
    )
    with running(wal_level="replica") as server:
        for path in own.issue(folder):
            shutil.copy(path, server.folder / path.name)
            (server.folder / path.name).chmod(0o600)
            shutil.chown(server.folder / path.name, (server.folder / "data").owner())
        for sql in (
            f"ALTER SYSTEM SET ssl_cert_file = '{server.folder}/server.crt'",
            f"ALTER SYSTEM SET ssl_key_file = '{server.folder}/server.key'",
            "ALTER SYSTEM SET ssl = on",
        ):
            ask(server.source(), sql)
        (server.folder / "data" / "pg_hba.conf").write_text(access)
        server.run("pg_ctl", "-D", str(server.folder / "data"), "-m", "fast", "-w", "-s", "restart")
        server.create("CREATE TABLE items AS SELECT i FROM generate_series(1, 300) i", name="app")
        ask(server.source(), "CREATE ROLE keeper LOGIN REPLICATION CREATEDB")
        secret = PASSWORD.replace("'", "''")
        ask(server.source(), f"ALTER ROLE keeper PASSWORD '{secret}'; GRANT pg_read_all_data TO keeper")
        ask(server.source("app"), "ALTER TABLE items OWNER TO keeper")
        ask(server.source(), "ALTER DATABASE app OWNER TO keeper")
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "password").chmod(0o600)
        yield Secure(
            server,
            own.write(folder / "ca.crt"),
            Authority("another").write(folder / "other.crt"),
            str(folder / "password"),
        )


def job_with(source: Source, folder: Path, method: str = "logical") -> Job:
    return Job("app", Repository(str(folder)), source, method=method, limits=QUICK, proof=ProofPolicy(level="content"))


class Watched:
    """Looks at the arguments of every process, and the environment of PostgreSQL's, until it is over.

    It may miss some: that a tool's are free of the password each time is tested with a tool that tells them.
    """

    def __init__(self, word: str) -> None:
        self._word = word.encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.found: set[str] = set()

    def _watch(self) -> None:
        while not self._over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes()
                    name = Path(line.partition(b"\0")[0].decode("utf-8", "replace")).name
                    if name.startswith("pg_"):
                        line += (process / "environ").read_bytes()
                    if self._word in line:
                        self.found.add(name)
                except OSError:
                    continue  # it has ended
            self._over.wait(0.01)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("method", ["logical", "physical"])
def test_every_session_is_checked_to_the_end(secure: Secure, tmp_path: Path, method: str) -> None:
    """The server lets this role in by TLS alone; no argument and no environment of any process has its password."""
    job = job_with(secure.source(), tmp_path / "backups", method)
    with Watched(PASSWORD) as watched:
        manifest = backup(job).manifest
        if method == "logical":
            restore(job, "latest", to=secure.source().url.replace("/app?", "/back?"))
    assert manifest is not None and not watched.found
    if method == "logical":
        assert ask(secure.server.source("back"), "SELECT count(*) FROM items") == [(300,)]


@pytest.mark.parametrize("method", ["logical", "physical"])
@pytest.mark.parametrize("how", ["authority", "host", "no certificate", "plain"])
def test_what_is_not_what_it_should_be_is_refused(secure: Secure, tmp_path: Path, how: str, method: str) -> None:
    source = {
        "authority": secure.source(authority=secure.other),
        "host": secure.source(host="localhost"),
        "no certificate": secure.source(authority=tmp_path / "nothing"),
        "plain": secure.source(mode="disable"),
    }[how]
    words = {
        "authority": ("certificate", "sslrootcert"),
        "host": ("does not match host name", "sslrootcert"),
        "no certificate": ("does not exist", "sslrootcert"),
        "plain": ("pg_hba.conf", "sslmode"),
    }[how]
    with pytest.raises(SourceError) as caught:
        backup(job_with(source, tmp_path / "backups", method))
    error: DbfleetError = caught.value
    assert words[0] in error.message and words[1] in error.remedy, error
    assert PASSWORD not in str(error) and not (tmp_path / "backups").exists()
