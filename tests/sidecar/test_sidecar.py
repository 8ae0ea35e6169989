"""The sidecar in podman, by its compose file: a database in a volume and two on the network, lost and had back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BASE = os.environ.get("DBFLEET_SIDECAR_BASE", "localhost/dbfleet-sidecar-base:bookworm")
IMAGE = "localhost/dbfleet-sidecar:test"
COMPOSE = Path(__file__).parents[2] / "containers" / "sidecar" / "compose.yaml"
PODMAN_COMPOSE = Path(sys.executable).with_name("podman-compose")
NETWORKED = ("billing", "shop")
PASSWORD = "s3cr3t of the sidecar"
MAKE_FILE = """
import os, sqlite3
database = sqlite3.connect("/data/app.db")
database.execute("PRAGMA journal_mode = wal")
database.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, body TEXT)")
database.executemany("INSERT INTO prompts (body) VALUES (?)", [(f"prompt {n}",) for n in range(500)])
database.commit()
database.close()
os.chown("/data/app.db", 10001, 10001)
os.chown("/data", 10001, 10001)
"""
READ_FILE = "import sqlite3; print(sqlite3.connect('/data/app.db').execute('SELECT * FROM prompts').fetchall())"
SERVER = """
mariadb-install-db --no-defaults --user=mysql --datadir=/srv/data --auth-root-authentication-method=socket >/dev/null
exec mariadbd --no-defaults --user=mysql --datadir=/srv/data --socket=/tmp/sock --bind-address=0.0.0.0
"""
MAKE_SERVER = f"""
CREATE USER keeper@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO keeper@'%' WITH GRANT OPTION;
CREATE DATABASE billing;
USE billing;
CREATE TABLE invoices (id INT PRIMARY KEY, total DECIMAL(10,2), note VARCHAR(50));
INSERT INTO invoices SELECT seq, seq * 1.25, CONCAT('invoice ', seq) FROM seq_1_to_300;
"""
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
CLUSTER = rf"""
as_postgres="{" ".join(AS_POSTGRES)}"
programs=/usr/lib/postgresql/15/bin
install -d -m 700 -o postgres /srv/data /srv/socket
$as_postgres $programs/initdb -D /srv/data >/dev/null
echo "host all all all scram-sha-256" >>/srv/data/pg_hba.conf
exec $as_postgres $programs/postgres -D /srv/data \
  -c listen_addresses='*' -c unix_socket_directories=/srv/socket
"""
MAKE_CLUSTER = f"""
CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{PASSWORD}';
CREATE DATABASE shop OWNER keeper;
\\connect shop
SET ROLE keeper;
CREATE TABLE orders (id integer PRIMARY KEY, total numeric, note text);
INSERT INTO orders SELECT i, i * 1.25, 'order ' || i FROM generate_series(1, 400) i;
"""


def podman(*words: str, code: int = 0, stdin: str = "") -> str:
    """``podman WORDS``: its output. Its exit code must be ``code``."""
    done = subprocess.run(["podman", *words], input=stdin, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout


def until(what: Callable[[], Any]) -> Any:
    """The first true answer of ``what``."""
    deadline = time.monotonic() + 300
    while True:
        try:
            answer = what()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            answer = None
        if answer:
            return answer
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.3)


class Place:
    """A network with a server, volumes, and the sidecar."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"dbfleet-{uuid.uuid4().hex[:8]}"
        self.sidecar = f"{self.mark}_backup_1"
        self.server, self.cluster = f"{self.mark}-server", f"{self.mark}-cluster"
        self.data = f"{self.mark}-data"
        self.volumes = [self.data, f"{self.mark}_backups", f"{self.mark}_state"]  # the last two are the composition's
        self.etc = folder
        self.install("app", "sqlite:////data/app.db")
        self.install("billing", "mysql://keeper@db/billing", password_file="/etc/dbfleet/password")
        self.install("shop", "postgresql://keeper@cluster/shop", password_file="/etc/dbfleet/password")
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "schedule.json").write_text(
            json.dumps(
                [{"name": "app", "backup": "daily 02:00"}, *({"name": name, "verify": ""} for name in NETWORKED)]
            )
        )
        for path in (folder / "password", folder / "schedule.json"):
            path.chmod(0o644)
        folder.chmod(0o755)

    def install(self, name: str, url: str, **source: str) -> None:
        """A job file, as the container sees it: of root, and readable."""
        jobs = self.etc / "jobs.d"
        jobs.mkdir(exist_ok=True)
        jobs.chmod(0o755)
        job = {"source": {"url": url, **source}, "repository": {"url": f"file:///backups/{name}"}}
        (jobs / f"{name}.json").write_text(json.dumps(job))
        (jobs / f"{name}.json").chmod(0o644)

    def compose(self, *words: str) -> None:
        """``podman-compose WORDS`` for the compose file."""
        done = subprocess.run(
            [PODMAN_COMPOSE, "--project-name", self.mark, "--file", COMPOSE, *words],
            env={**os.environ, "IMAGE": IMAGE, "ETC": str(self.etc), "APP_VOLUME": self.data, "NETWORK": self.mark},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    def start(self) -> None:
        """The sidecar."""
        self.compose("up", "--detach", "--no-build")

    def dbfleet(self, *words: str, code: int = 0) -> Any:
        """What the command in the sidecar answers."""
        return json.loads(podman("exec", self.sidecar, "dbfleet", *words, "--json", code=code))

    def backups(self, job: str) -> list[Any]:
        return list(self.dbfleet("list", "--job", job)["backups"])

    def file_rows(self) -> str:
        return podman("exec", self.sidecar, "python3", "-c", READ_FILE)

    def sql(self, text: str) -> str:
        return podman("exec", "--interactive", self.server, "mariadb", "--socket=/tmp/sock", "--batch", stdin=text)

    def shop(self, text: str, database: str = "shop") -> str:
        words = (*AS_POSTGRES, "psql", "-h", "/srv/socket", "-XAtd", database)
        return podman("exec", "--interactive", self.cluster, *words, stdin=text)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    podman("network", "create", place.mark)
    try:
        podman("volume", "create", place.data)
        podman("run", "--rm", f"--volume={place.data}:/data", BASE, "python3", "-c", MAKE_FILE)
        for name, alias, script in ((place.server, "db", SERVER), (place.cluster, "cluster", CLUSTER)):
            named = ("--name", name, "--network", place.mark, f"--network-alias={alias}")
            podman("run", "--detach", *named, BASE, "sh", "-c", script)
        until(lambda: place.sql("SELECT 1;") and place.shop("SELECT 1;", "postgres"))
        place.sql(MAKE_SERVER)
        place.shop(MAKE_CLUSTER, "postgres")
        yield place
    finally:
        podman("rm", "--force", "--time=20", "--ignore", place.sidecar, place.server, place.cluster)
        podman("volume", "rm", "--force", *place.volumes)
        podman("network", "rm", "--force", place.mark)


def test_what_is_lost_comes_back(place: Place) -> None:
    file_rows = podman("run", "--rm", f"--volume={place.data}:/data", BASE, "python3", "-c", READ_FILE)
    server_rows = place.sql("SELECT * FROM billing.invoices;")
    shop_rows = place.shop("SELECT * FROM orders;")
    assert server_rows.count("\n") == 301 and shop_rows.count("\n") == 400
    place.start()
    # Nothing was ever backed up, so all are at once.
    until(lambda: all(place.backups(name) for name in ("app", *NETWORKED)))
    podman("healthcheck", "run", place.sidecar)

    assert podman("exec", place.sidecar, "id", "-u").strip() == "10001"
    podman("exec", place.sidecar, "touch", "/usr/local/lib/dbfleet/dbfleet.pyz", code=1)
    assert PASSWORD not in podman("inspect", place.sidecar)

    podman("exec", place.sidecar, "sh", "-c", "rm /data/app.db*")
    place.sql("DROP DATABASE billing;")
    place.shop("DROP TABLE orders;")
    assert place.dbfleet("restore", "latest", "--job", "app")["restored"]["proven"]
    assert place.dbfleet("restore", "latest", "--job", "billing")["restored"]["proven"]
    assert place.dbfleet("restore", "latest", "--job", "shop", "--replace")["restored"]["proven"]
    assert place.file_rows() == file_rows
    assert place.sql("SELECT * FROM billing.invoices;") == server_rows
    assert place.shop("SELECT * FROM orders;") == shop_rows

    # A new container with the same volumes remembers what ran, and is ended cleanly.
    place.compose("stop")
    assert json.loads(podman("inspect", place.sidecar))[0]["State"]["ExitCode"] == 0
    place.compose("down")
    before = [len(place_files(place))]
    place.start()
    until(lambda: "dbfleet-verify-app: weekly sun 03:00" in podman("logs", place.sidecar))
    podman("healthcheck", "run", place.sidecar)
    assert "dbfleet-backup-app: begins" not in podman("logs", place.sidecar)
    assert [len(place_files(place))] == before

    # A damaged backup makes the container unhealthy.
    podman("exec", place.sidecar, "sh", "-c", "for file in /backups/app/*.db.zst; do : >$file; done")
    podman("healthcheck", "run", place.sidecar, code=1)


def place_files(place: Place) -> list[str]:
    """Every file in the repositories."""
    volume = f"--volume={place.volumes[1]}:/backups"
    return podman("run", "--rm", volume, BASE, "find", "/backups", "-type", "f").splitlines()
