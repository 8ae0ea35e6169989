"""MariaDB servers for tests, and what they hold, told without the code under test."""

from __future__ import annotations

import atexit
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
import pytest
from waiting import wait_until

from dbfleet.model import Job, Limits, ProofPolicy, Repository, Source

LAID_OUT = ("--innodb-data", "--innodb-undo", "--innodb-log-group", "--aria-log-dir", "--lower-case")  # from the start
QUICK = Limits(lock_wait=2, min_free="0")
USER = "mysql"


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class AnyServer:
    """A server of this test run on a port of its own, with the account ``root`` without a password."""

    clients: tuple[str, str]  # the native client and the native dump tool
    dump_options: tuple[str, ...] = ()
    log_status, log_reset = "SHOW MASTER STATUS", "RESET MASTER"
    port: int
    tools: str | None = None  # their folder, where it is not on the PATH
    scratch: str | None = None  # where trials are, when the engine cannot start a server of this kind itself

    def start(self) -> None:
        """Start it again."""
        raise NotImplementedError

    def kill(self) -> None:
        """As a crash does."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it lets us in."""
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True

    def connect(self, database: str | None = None, **options: Any) -> Any:
        return pymysql.connect(**{"user": "root", "autocommit": True, "database": database, **self.at(), **options})

    def at(self) -> dict[str, Any]:
        """What the driver must know to reach it."""
        return {"host": "127.0.0.1", "port": self.port}

    def ask(self, sql: str, database: str | None = None, *, mode: str = "PIPES_AS_CONCAT") -> list[tuple[Any, ...]]:
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = %s", (mode,))
            cursor.execute(sql)
            return list(cursor.fetchall())

    def script(self, database: str, *statements: str, mode: str = "") -> None:
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = %s", (mode,))
            for statement in statements:
                cursor.execute(statement)

    @contextmanager
    def set_globally(self, **values: str) -> Iterator[None]:
        """Global variables, of those that the server knows, while this lasts."""
        known = {name: value for name, value in values.items() if self.ask(f"SHOW VARIABLES LIKE '{name}'")}
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            try:
                for name, value in known.items():
                    cursor.execute(f"SET GLOBAL {name} = {value}")
                yield
            finally:
                for name in known:
                    cursor.execute(f"SET GLOBAL {name} = DEFAULT")

    def url(self, database: str, user: str = "root") -> str:
        return f"mysql://{user}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def source(self, database: str, **more: Any) -> Source:
        return Source(self.url(database), tools=self.tools, **more)

    def options(self) -> list[str]:
        """What the native tools must know to reach it."""
        return ["--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}", "--user=root"]

    def native(self, tool: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """What a native tool says."""
        path = str(Path(self.tools) / tool) if self.tools else tool
        done = subprocess.run(
            [path, "--no-defaults", *self.options(), *arguments], input=stdin, check=True, stdout=subprocess.PIPE
        )
        return done.stdout

    def client(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What the native client says."""
        return self.native(self.clients[0], *arguments, stdin=stdin)

    def databases(self) -> set[str]:
        return {row[0] for row in self.ask("SHOW DATABASES")}

    def dump(self, database: str) -> bytes:
        """The whole database as the native tool writes it, in an order that does not depend on its past."""
        arguments = ["--routines", "--events", "--triggers", "--hex-blob", "--skip-comments", "--order-by-primary"]
        return self.native(self.clients[1], *arguments, *self.dump_options, "--", database)


class LocalServer(AnyServer):
    """A process of this host, with a folder and a port of its own; as root it runs as ``USER``."""

    patience = 60  # seconds in which it must answer

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"dbfleet-test-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": USER, "group": account.pw_gid, "extra_groups": []}

    def command(self) -> list[str]:
        """What runs it."""
        raise NotImplementedError

    def run(self, *options: str) -> subprocess.Popen[bytes]:
        """Its program with more ``options``; what it says goes into a file of its folder."""
        with open(self.folder / "output", "ab") as output:
            return subprocess.Popen(
                [*self.command(), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._as,
            )

    def start(self) -> None:
        self._process = self.run()
        wait_until(self._is_up, self.patience)

    def _is_up(self) -> bool:
        if self.answers():
            return True
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "output").read_text()[-2000:]
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it, and remove what it holds."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class MariadbProcess(LocalServer):
    """MariaDB on the data in its folder, unless ``settings`` name others."""

    clients = ("mariadb", "mariadb-dump")
    patience = 30

    def __init__(self, settings: tuple[str, ...] = ()) -> None:
        super().__init__("mariadb")
        self.settings = settings
        self.socket = str(self.folder / "s")

    def command(self) -> list[str]:
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'pid'}",
            f"--log-bin={self.folder / 'data' / 'binlog'}",
            "--server-id=1",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=128M",
            *self.settings,
        ]

    def at(self) -> dict[str, Any]:
        return {"unix_socket": self.socket}

    def options(self) -> list[str]:
        return [f"--socket={self.socket}", "--user=root"]


class Server(MariadbProcess):
    """A MariaDB server: own data, port and socket."""

    def __init__(self, *options: str) -> None:
        super().__init__(options)
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--tmpdir={self.folder}",  # a starting server deletes the temporary tables there, whosever they are
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                *(option for option in options if option.startswith(LAID_OUT)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )
        self.start()
        atexit.register(self.remove)


_servers: dict[tuple[str, ...], Server] = {}


def server(*options: str) -> Server:
    """A running server with ``options``, one of each kind in a test process."""
    if options not in _servers:
        _servers[options] = Server(*options)
    return _servers[options]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """State of this test only, and a scratch folder that a server's user may enter; nothing may be left in it."""
    scratch = Path(tempfile.mkdtemp(prefix="dbfleet-test-"))
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DBFLEET_SCRATCH", str(scratch))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no test here cuts the power
    yield scratch
    left = list(scratch.iterdir())
    shutil.rmtree(scratch)
    assert not left


def job_of(url: str, repository: Path | str, **changed: Any) -> Job:
    """A job that measures the whole content and gives up on locks soon."""
    fields: dict[str, Any] = {"proof": ProofPolicy(level="content"), "limits": QUICK, **changed}
    return Job("app", Repository(str(repository)), Source(url), **fields)


# --- what a database holds --------------------------------------------------------------------

DEFINITIONS = (
    ("VIEW", "SELECT table_name FROM information_schema.views WHERE table_schema = %s", 1),
    (
        "PROCEDURE",
        "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'PROCEDURE' AND routine_schema = %s",
        2,
    ),
    (
        "FUNCTION",
        "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'FUNCTION' AND routine_schema = %s",
        2,
    ),
    ("TRIGGER", "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s", 2),
    ("EVENT", "SELECT event_name FROM information_schema.events WHERE event_schema = %s", 3),
)


IMPLIED = re.compile(r" CHARACTER SET \w+( COLLATE \w+)")


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def content(server: AnyServer, database: str, *, events: bool = True) -> dict[str, Any]:
    """Every definition and every row."""
    found: dict[str, Any] = {}
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("SHOW FULL TABLES")
        for name, kind in sorted(cursor.fetchall()):
            if kind == "VIEW":
                continue
            cursor.execute(f"SHOW CREATE TABLE {quoted(name)}")
            found[f"table {name}"] = cursor.fetchone()[1]
            if kind != "SEQUENCE":
                cursor.execute(f"SELECT * FROM {quoted(name)}")
                found[f"rows of {name}"] = sorted(cursor.fetchall(), key=repr)
        for kind, listing, column in DEFINITIONS:
            if kind == "EVENT" and not events:
                continue
            cursor.execute(listing, (database,))
            for (name,) in sorted(cursor.fetchall()):
                cursor.execute(f"SHOW CREATE {kind} {quoted(name)}")
                found[f"{kind} {name}"] = cursor.fetchone()[column]
    # A default that takes a sequence names its database, whatever it is; and MySQL shows a column's character set
    # beside its collation, which implies it, when it was once written so.
    return {
        key: IMPLIED.sub(r"\1", value.replace(f"`{database}`.", "")) if isinstance(value, str) else value
        for key, value in found.items()
    }


# --- an application that keeps writing --------------------------------------------------------

LEDGER = (
    "CREATE TABLE ledger(number INT PRIMARY KEY, note VARCHAR(80)) ENGINE=InnoDB",
    "CREATE TABLE total(count INT, last INT) ENGINE=InnoDB",
    "INSERT INTO total VALUES(0, 0)",
)
WRITER = """
import json, pymysql, sys
connection = pymysql.connect(**json.loads(sys.argv[1]), user="root", database=sys.argv[2], autocommit=False)
cursor = connection.cursor()
cursor.execute("SELECT last FROM total")
number = cursor.fetchone()[0]
connection.commit()
while True:
    number += 1
    cursor.execute("INSERT INTO ledger VALUES(%s, %s)", (number, "x" * (number % 80)))
    cursor.execute("UPDATE total SET count = count + 1, last = %s", (number,))
    connection.commit()
"""


@contextmanager
def writer(server: AnyServer, database: str) -> Iterator[None]:
    """Another process that keeps committing to a ledger."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, json.dumps(server.at()), database], stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 10
        while not server.ask("SELECT count FROM total", database)[0][0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
        assert process.poll() is None, process.stderr and process.stderr.read()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def check_ledger(server: AnyServer, database: str) -> int:
    """Whether the ledger is the state of one commit; returns its last number."""
    ((rows, last, count, told),) = server.ask(
        "SELECT count(number), coalesce(max(number), 0), max(total.count), max(total.last) FROM total LEFT JOIN ledger"
        " ON 1 = 1",
        database,
    )
    assert rows == last == count == told, (rows, last, count, told)
    return int(last)
