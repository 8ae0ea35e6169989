"""Backups of PostgreSQL and MySQL by a host with Windows: their programs for Windows, under Wine.

What such a host stores is the same as elsewhere, and is restored by either.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mysql8_wine import PROGRAMS, WineServer
from mysql_server import content
from postgresql_clusters import REPLICATION, started
from postgresql_server import Server, ask, dump, running
from test_windows import PYTHON, Windows, windows_path

from dbfleet.model import Job, Limits, ProofPolicy, Repository, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore

POSTGRESQL = Path(__file__).parents[2] / "build" / "windows" / "postgresql" / "bin"
SAMPLE = """
CREATE TABLE people(id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, note bytea);
INSERT INTO people(name, note) SELECT 'näme ' || i || E'\\r\\nline\\x1aend', '\\x000d0a1a'::bytea
    FROM generate_series(1, 500) i;
CREATE FUNCTION two() RETURNS text LANGUAGE plpgsql AS E'BEGIN\\r\\n  RETURN E''\\x1a'';\\nEND';
COMMENT ON TABLE people IS E'two\\r\\nlines';
SELECT lo_from_bytea(0, '\\x0d0a1a');
"""
ROUTINES = (
    "CREATE TABLE people(id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), note BLOB) COMMENT 'two\r\nlines'",
    "INSERT INTO people(name, note) VALUES('n\u00e4me\r\nline\x1aend', 0x000D0A1A), (NULL, NULL)",
    "CREATE PROCEDURE two() BEGIN\r\n  SELECT 'a\nb\r\nc\x1ad';\nEND",
    "CREATE TRIGGER trimmed BEFORE INSERT ON people FOR EACH ROW BEGIN\r\n SET new.name = trim(new.name);\r\nEND",
    "CREATE VIEW names AS SELECT name FROM people",
)
# Wine never ends a server that has made its data directory, and its disks are no Windows'.
SERVER = """
import ctypes, subprocess, sys, threading, time
own = ["--console", "--innodb-use-native-aio=0", "--innodb-flush-method=normal"]
own.append("--log-error-verbosity=3")
if "--version" in sys.argv:
    sys.exit(subprocess.run([PROGRAM, "--version"]).returncode)
if "--initialize-insecure" in sys.argv:
    own.append("--no-monitor")
argv = [PROGRAM, sys.argv[1], *own, *sys.argv[2:]]
child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

def follow():
    # Python's own way to ask for the parent is unknown to Wine.
    about = (ctypes.c_void_p * 6)()
    ctypes.WinDLL("ntdll").NtQueryInformationProcess(ctypes.c_void_p(-1), 0, about, ctypes.sizeof(about), None)
    kernel = ctypes.WinDLL("kernel32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.WaitForSingleObject(ctypes.c_void_p(kernel.OpenProcess(0x100000, False, about[5])), -1)
    child.kill()

threading.Thread(target=follow, daemon=True).start()
said = b""
for line in child.stderr:
    said += line
    sys.stderr.buffer.write(line)
    sys.stderr.flush()
    if "--initialize-insecure" in sys.argv and b"Bootstrapping complete" in said and b"Shutdown completed" in said:
        child.kill()
        child.wait()
        sys.exit(0)
sys.exit(child.wait())
"""


@dataclass
class Host:
    """A host with Windows, and one job there."""

    windows: Windows

    def install(self, url: str, tools: Path, **more: Any) -> Job:
        """Install the job, and give the same one for this system."""
        folder = self.windows.folder
        (folder / "password").write_text("ge heim\n", encoding="utf-8")
        source = {"url": url, "tools": windows_path(tools), "password_file": windows_path(folder / "password")}
        repository = {"url": "file:///" + windows_path(folder / "backups").replace("\\", "/").replace("'", "%27")}
        job = {"name": "app", "source": source, "repository": repository, "proof": {"level": "content"}, **more}
        jobs = folder / "conf" / "jobs.d"
        jobs.mkdir(parents=True, exist_ok=True)
        (jobs / "app.json").write_text(json.dumps(job), encoding="utf-8")
        return Job(
            "app",
            Repository(str(folder / "backups")),
            Source(url, password_file=str(folder / "password")),
            proof=ProofPolicy(level="content"),
            limits=Limits(lock_wait=60, min_free="0"),
        )

    def run(self, *words: str) -> Any:
        """What the command answers; a failure is the test's."""
        done = self._start(*words)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def fail(self, *words: str) -> tuple[int, str]:
        """How it fails."""
        done = self._start(*words)
        assert done.returncode, done.stdout
        return done.returncode, done.stdout + done.stderr

    def _start(self, *words: str) -> Any:
        environ = {"DBFLEET_CONFIG_DIR": "conf", "DATABASE_URL": "", "BACKUP_DIR": ""}
        return self.windows.run(str(PYTHON), "build/dbfleet.pyz", *words, "--job", "app", "--json", **environ)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    return Host(Windows(tmp_path))


# --- PostgreSQL -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    with running(wal_level="replica", access=REPLICATION) as server:
        ask(server.source(), "CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'ge heim'")
        server.create(SAMPLE, name="app")
        yield server


def there(server: Server, database: str) -> str:
    """The URL by which Windows reaches it."""
    return f"postgresql://keeper@127.0.0.1:{server.port}/{database}"


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
def test_postgresql_goes_there_and_back(host: Host, postgresql: Server, form: str) -> None:
    job = host.install(there(postgresql, "app"), POSTGRESQL, format=form)
    expected = dump(postgresql, postgresql.source("app"))
    stored = host.run("backup")["backup"]
    assert stored["proof"]["level"] == "content"
    assert [one["ok"] for one in host.run("verify", "latest", "--level", "restore")["results"]] == [True]
    assert host.run("restore", "latest", "--to", there(postgresql, f"w_{form}"))["restored"]["proven"]
    assert dump(postgresql, postgresql.source(f"w_{form}")) == expected
    assert restore(job, "latest", to=there(postgresql, f"l_{form}")).proven
    assert dump(postgresql, postgresql.source(f"l_{form}")) == expected
    assert backup(job).manifest is not None  # of this system, for that one
    assert host.run("restore", "latest", "--to", there(postgresql, f"o_{form}"))["restored"]["proven"]
    assert dump(postgresql, postgresql.source(f"o_{form}")) == expected


def test_a_whole_cluster_is_kept_by_windows(host: Host, postgresql: Server) -> None:
    host.install(there(postgresql, "app"), POSTGRESQL, method="physical")
    expected = dump(postgresql, postgresql.source("app"))
    stored = host.run("backup")["backup"]["id"]
    assert [one["ok"] for one in host.run("verify", "latest", "--level", "checksum")["results"]] == [True]
    code, said = host.fail("verify", "latest", "--level", "restore")
    assert code == 1 and "on Windows no server is started" in said
    assert [one["state"] for one in host.run("list")["backups"]] == ["good"]
    host.run("restore", stored, "--to", "data restored")
    data = postgresql.folder / "restored"
    shutil.copytree(host.windows.folder / "data restored", data)
    for folder, _folders, files in os.walk(data):
        os.chmod(folder, 0o700)
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            shutil.chown(path, "postgres" if os.geteuid() == 0 else os.geteuid())
    with started(postgresql, data) as source:
        assert dump(postgresql, source) == expected


def test_what_windows_cannot_do_is_said_in_one_line(host: Host, postgresql: Server) -> None:
    host.install(there(postgresql, "app"), POSTGRESQL, method="physical")
    code, said = host.fail("log-archive", "run")
    assert code == 2 and "on Windows no log archive is kept running" in said and "Traceback" not in said


# --- MySQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mysql() -> Iterator[WineServer]:
    server = WineServer()
    server.ask("CREATE DATABASE app")
    for statement in ROUTINES:
        server.ask(statement, "app")
    server.ask("CREATE USER keeper@localhost IDENTIFIED WITH mysql_native_password BY 'ge heim'")
    server.ask("GRANT ALL ON *.* TO keeper@localhost WITH GRANT OPTION")
    yield server
    server.remove()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """The programs for Windows; around the server one that Wine needs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for path in PROGRAMS.iterdir():
        if path.suffix == ".dll" or path.name in ("mysql.exe", "mysqldump.exe"):
            (folder / path.name).symlink_to(path)
    (folder / "server.py").write_text(f"PROGRAM = {windows_path(PROGRAMS / 'mysqld.exe')!r}\n{SERVER}")
    (folder / "mysqld.bat").write_text(f'@"{windows_path(PYTHON)}" "{windows_path(folder / "server.py")}" %*\r\n')
    return folder


def test_mysql_goes_there_and_back(host: Host, mysql: WineServer, tools: Path) -> None:
    url = f"mysql://keeper@127.0.0.1:{mysql.port}"
    host.install(f"{url}/app", tools)
    expected = content(mysql, "app")
    stored = host.run("backup")["backup"]
    assert stored["proof"]["level"] == "content"
    assert host.run("restore", "latest", "--to", f"{url}/back")["restored"]["proven"]
    assert content(mysql, "back") == expected
    with closing(mysql.connect("app")) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM people")
        connection.commit()
    assert host.run("restore", "latest", "--table", "people", "--replace")["restored"]["proven"]
    assert content(mysql, "app") == expected
    for level in ("structure", "restore"):
        assert [one["ok"] for one in host.run("verify", "latest", "--level", level)["results"]] == [True]
