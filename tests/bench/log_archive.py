"""Whether a log archive keeps up with what a server can write, beside the load and on the same cores.

Usage: log_archive.py mariadb|postgresql [--seconds N] [--clients N] [--max-lag N] [--row-bytes N]

MariaDB: clients insert rows of random text as fast as the server takes them, all of it into one file of its binary
log. PostgreSQL: pgbench's own transactions, whose commits wait for the disk. `dbfleet log-archive run` keeps the log.
Every half second the server's position is compared with what the repository holds. Told are bytes of log, CPU
seconds, how far the archive was behind, and how long it took at the end.
"""

import abc
import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from contest import PYZ, weigh

ROWS = "INSERT INTO written(t) SELECT CONCAT({}) FROM seq_1_to_500"
DURABLE = "fsync = on\nsynchronous_commit = on\nmax_wal_size = 4GB\n"
SCALE = "20"  # of pgbench's tables: 300 MB


class Writer(abc.ABC):
    """A server under load. ``words`` are the options of our command that say where it is."""

    words: tuple[str, ...]

    @abc.abstractmethod
    def load(self, clients: int, row_bytes: int, seconds: float) -> str:
        """Let it write for so long; what is to be told of that."""

    @abc.abstractmethod
    def position(self) -> int:
        """Bytes of its log."""

    @abc.abstractmethod
    def kept(self, repository: Path) -> "int | None":
        """Up to which position the repository holds it; ``None`` as long as that cannot be told."""


class Mariadb(Writer):
    """A binary log of rows."""

    def __init__(self, stack: ExitStack) -> None:
        from mysql_server import Server  # contest says where it is

        self._server = Server("--binlog-format=ROW", "--innodb-buffer-pool-size=512M")
        stack.callback(self._server.remove)
        self._server.ask("CREATE DATABASE app")
        self._server.ask("CREATE TABLE app.written(id BIGINT PRIMARY KEY AUTO_INCREMENT, t TEXT)")
        self.words = ("--source", f"mysql://root@localhost/?unix_socket={self._server.socket}")

    def load(self, clients: int, row_bytes: int, seconds: float) -> str:
        """Insert rows of ``row_bytes``."""
        text = ", ".join(["MD5(RAND())"] * (row_bytes // 32))
        ends = time.monotonic() + seconds

        def insert() -> None:
            while time.monotonic() < ends:
                self._server.ask(ROWS.format(text), "app")

        threads = [threading.Thread(target=insert) for _number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return f"{clients} clients"

    def position(self) -> int:
        """Of all files."""
        return sum(int(row[1]) for row in self._server.ask("SHOW BINARY LOGS"))

    def kept(self, repository: Path) -> "int | None":
        """Of all files and pieces."""
        from log_archivers import shelf_of
        from mysql_server import job_of

        shelf = shelf_of(job_of("mysql://localhost/app", repository))
        names = [*shelf.names(), *shelf.unfinished()]
        return sum(record.artifact.raw_size_bytes for name in names for record in shelf.pieces(name)) or None


class Postgresql(Writer):
    """Write-ahead log of pgbench's transactions."""

    def __init__(self, stack: ExitStack) -> None:
        from postgresql_clusters import cluster

        self._server = stack.enter_context(cluster(settings=DURABLE))
        self._place = ("-h", str(self._server.folder), "-p", str(self._server.port), "-U", "postgres")
        self._pgbench("-i", "-q", "-s", SCALE)
        self.words = ("--method", "physical", "--source", self._server.url(), "--source-tools", self._server.bin)

    def load(self, clients: int, row_bytes: int, seconds: float) -> str:
        """Transactions as pgbench makes them."""
        said = self._pgbench("-c", str(clients), "-j", "2", "-T", str(round(seconds)))
        (rate,) = [line for line in said.splitlines() if line.startswith("tps")]
        return f"{clients} clients, {rate}"

    def _pgbench(self, *options: str) -> str:
        argv = [os.path.join(self._server.bin, "pgbench"), *options, *self._place, "app"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def position(self) -> int:
        """What is on its disk."""
        from postgresql_logs import position

        return position(self._server)

    def kept(self, repository: Path) -> "int | None":
        """Up to the last record that says something."""
        from postgresql_clusters import job_of
        from postgresql_logs import kept_up_to

        return kept_up_to(job_of(self._server, repository)) or None


def main() -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("mariadb", "postgresql"))
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--max-lag", type=int, default=10)
    parser.add_argument("--row-bytes", type=int, default=1000)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dbfleet-bench-", dir="/var/tmp"))
        writer = Mariadb(stack) if asked.engine == "mariadb" else Postgresql(stack)
        measure(writer, Path(folder), asked)


def measure(writer: Writer, scratch: Path, asked: argparse.Namespace) -> None:
    """Load, archive, compare."""
    from waiting import wait_until

    repository = scratch / "repository"
    repository.mkdir()
    words = [sys.executable, str(PYZ), "log-archive", "run", "--name", "app", *writer.words]
    words += ["--repository", str(repository), "--log-archive-max-lag", f"{asked.max_lag}s"]
    state = {**os.environ, "DBFLEET_STATE_DIR": str(scratch / "state")}
    archiver = subprocess.Popen(words, env=state, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_for(position: int) -> None:
        """Until it is kept; what follows the last record is nothing."""
        wait_until(lambda: (kept(writer, repository) or 0) >= position - 64, 600)

    wait_for(writer.position())
    begin, began = writer.position(), time.monotonic()
    done = threading.Event()
    behind = []

    def look() -> None:
        while not done.wait(0.5):
            behind.append(writer.position() - (kept(writer, repository) or begin))

    watcher = threading.Thread(target=look)
    watcher.start()
    load = writer.load(asked.clients, asked.row_bytes, asked.seconds)
    done.set()
    watcher.join()
    end, took, ended = writer.position(), time.monotonic() - began, time.monotonic()
    wait_for(end)
    caught_up = time.monotonic() - ended
    before = resource.getrusage(resource.RUSAGE_CHILDREN)  # clients that have ended; the server has not
    archiver.send_signal(signal.SIGTERM)
    archiver.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    mib = 2**20
    written = end - begin
    print(f"load            {load}")
    print(f"written         {written / mib:.0f} MiB in {took:.0f} s: {written / mib / took:.1f} MiB/s")
    print(f"behind          median {statistics.median(behind) / mib:.1f} MiB, most {max(behind) / mib:.1f} MiB")
    print(f"after the load  caught up in {caught_up:.1f} s (max_lag {asked.max_lag} s)")
    print(f"archiver        {used:.1f} s of CPU, its receiver and compression with it")
    print(f"stored          {weigh(repository) / mib:.0f} MiB")


def kept(writer: Writer, repository: Path) -> "int | None":
    """As :meth:`Writer.kept`; ``None`` also where there is nothing yet, or a piece is being replaced."""
    from dbfleet.errors import DbfleetError

    try:
        return writer.kept(repository)
    except (DbfleetError, ValueError, OSError):
        return None


if __name__ == "__main__":
    main()
