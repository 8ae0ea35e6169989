"""Whether a log archive keeps up with what a MariaDB server can write, beside the load and on the same cores.

Usage: binlog.py [--seconds N] [--clients N] [--max-lag N] [--row-bytes N]

Clients insert rows of random text as fast as the server takes them, all of it into one file of its binary log, and
`dbfleet log-archive run` keeps it. Every half second the server's position is compared with what the repository
holds. Told are bytes of log, CPU seconds, how far the archive was behind, and how long it took at the end.
"""

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
from pathlib import Path

from contest import PYZ, weigh

ROWS = "INSERT INTO written(t) SELECT CONCAT({}) FROM seq_1_to_500"


def main() -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--max-lag", type=int, default=10)
    parser.add_argument("--row-bytes", type=int, default=1000)
    asked = parser.parse_args()
    from mysql_server import Server  # contest says where it is

    server = Server("--binlog-format=ROW", "--innodb-buffer-pool-size=512M")
    with tempfile.TemporaryDirectory(prefix="dbfleet-bench-", dir="/var/tmp") as folder:
        try:
            measure(server, Path(folder), asked)
        finally:
            server.remove()


def measure(server: object, scratch: Path, asked: argparse.Namespace) -> None:
    """Load, archive, compare."""
    from waiting import wait_until

    ask = server.ask  # type: ignore[attr-defined]
    ask("CREATE DATABASE app")
    ask("CREATE TABLE app.written(id BIGINT PRIMARY KEY AUTO_INCREMENT, t TEXT)")
    repository = scratch / "repository"
    repository.mkdir()
    url = f"mysql://root@localhost/?unix_socket={server.socket}"  # type: ignore[attr-defined]
    words = [sys.executable, str(PYZ), "log-archive", "run", "--name", "app", "--source", url]
    words += ["--repository", str(repository), "--log-archive-max-lag", f"{asked.max_lag}s"]
    state = {**os.environ, "DBFLEET_STATE_DIR": str(scratch / "state")}
    archiver = subprocess.Popen(words, env=state, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: end_of(repository) is not None)
    begin = position(ask)
    stop = threading.Event()
    clients = [threading.Thread(target=load, args=(server, asked.row_bytes, stop)) for _number in range(asked.clients)]
    for client in clients:
        client.start()
    behind, began = [], time.monotonic()
    while time.monotonic() - began < asked.seconds:
        time.sleep(0.5)
        behind.append(position(ask) - (end_of(repository) or 0))
    stop.set()
    for client in clients:
        client.join()
    written, took, ended = position(ask) - begin, time.monotonic() - began, time.monotonic()
    wait_until(lambda: (end_of(repository) or 0) >= position(ask), 600)
    caught_up = time.monotonic() - ended
    archiver.send_signal(signal.SIGTERM)
    archiver.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the server is a child as well, but was not waited for
    mib = 2**20
    print(f"written         {written / mib:.0f} MiB in {took:.0f} s: {written / mib / took:.1f} MiB/s")
    print(f"behind          median {statistics.median(behind) / mib:.1f} MiB, most {max(behind) / mib:.1f} MiB")
    print(f"after the load  caught up in {caught_up:.1f} s (max_lag {asked.max_lag} s)")
    print(f"archiver        {used.ru_utime + used.ru_stime:.1f} s of CPU, its receiver and compression with it")
    print(f"stored          {weigh(repository) / mib:.0f} MiB")


def load(server: object, size: int, stop: threading.Event) -> None:
    """Insert rows of ``size`` bytes until ``stop``."""
    text = ", ".join(["MD5(RAND())"] * (size // 32))
    while not stop.is_set():
        server.ask(ROWS.format(text), "app")  # type: ignore[attr-defined]


def position(ask: object) -> int:
    """Bytes of all files of the server's log."""
    return sum(int(row[1]) for row in ask("SHOW BINARY LOGS"))  # type: ignore[operator]


def end_of(repository: Path) -> "int | None":
    """Bytes of the log that the repository holds."""
    from dbfleet.errors import DbfleetError
    from dbfleet.log_catalog import read_logs
    from dbfleet.stores.registry import open_store

    try:
        (shelf,) = read_logs(open_store(str(repository)), "app").values()
        names = [*shelf.names(), *shelf.unfinished()]
        return sum(record.artifact.raw_size_bytes for name in names for record in shelf.pieces(name))
    except (DbfleetError, ValueError, OSError):  # nothing yet, or a piece that is being replaced
        return None


if __name__ == "__main__":
    main()
