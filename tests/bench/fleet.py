"""A simulated fleet: what the playbook `backup` costs a controller for each host, over a bare call of the module.

Usage: fleet.py [--hosts N] [--forks N,N] [--only NAME] [--markdown FILE]

Every host is this machine, reached by Ansible's local connection, with an SQLite database and a repository of its
own. So the numbers hold what a controller does and what small backups cost, and no network. CPU seconds (user and
system) are compared rather than wall-clock ones, because other work on the machine moves those; what runs detached
(the playbook's backups) is not in them, so those are the controller's own. The memory is that of the largest
process, which is the one that holds the inventory.
"""

import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from ansible_runs import PLAYBOOK, lay_out  # noqa: E402

BARE = [
    {
        "name": "Bare",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Back up",
                "dbfleet.recovery.backup": {
                    key: "{{ dbfleet_jobs[0]." + key + " }}" for key in ("name", "source", "repository")
                },
            }
        ],
    }
]


class Cost(NamedTuple):
    """What one run of ansible-playbook took."""

    wall: float
    cpu: float
    memory: int  # bytes
    tasks: float  # of each host but the first, which also does what runs once


def build(folder: Path, hosts: int) -> None:
    """The databases, the inventory and the bare play."""
    inventory = {}
    for number in range(hosts):
        host = f"host{number:05d}"
        with sqlite3.connect(folder / f"{host}.db") as database:
            database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)")
            database.executemany("INSERT INTO t (word) VALUES (?)", [(f"word {n}",) for n in range(1000)])
        database.close()
        job = {
            "name": "app",
            "source": {"url": f"sqlite:///{folder}/{host}.db"},
            "repository": {"url": f"file://{folder}/repositories/{host}"},
        }
        inventory[host] = {"dbfleet_jobs": [job]}
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "inventory.json").write_text(json.dumps({"all": {"vars": common, "hosts": inventory}}))
    (folder / "bare.yml").write_text(json.dumps(BARE))


def play(folder: Path, forks: int, *words: str) -> Cost:
    """Run ansible-playbook, and say what it took."""
    shutil.rmtree(folder / "repositories", ignore_errors=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DBFLEET_", "ANSIBLE_"))},
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_HOME": str(folder / ".ansible"),
        "ANSIBLE_NOCOLOR": "true",
        "DBFLEET_STATE_DIR": str(folder / "state"),
        "HOME": str(folder),
    }
    begun = time.monotonic()
    line = [PLAYBOOK, "-i", "inventory.json", *words]
    with open(folder / "output", "wb") as output:
        child = subprocess.Popen(line, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _pid, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    text = (folder / "output").read_text()
    if status:
        said = [line for line in text.splitlines() if line.startswith(("fatal:", "failed:", "[ERROR]"))]
        raise SystemExit("ansible-playbook failed:\n" + "\n".join(said[:5] or [text[-3000:]]))
    recap = re.findall(r"ok=(\d+) +changed=\d+ +unreachable=0 +failed=0 +skipped=(\d+)", text)[1:]
    tasks = sum(int(ok) + int(skipped) for ok, skipped in recap) / max(len(recap), 1)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, tasks)


def tables(hosts: int, measured: list[tuple[str, int, Cost]]) -> str:
    """The numbers as Markdown."""
    lines = [
        f"{hosts} hosts, each with one SQLite database of 1,000 rows.",
        "",
        "| what | forks | tasks a host | CPU a host | wall a host | largest process |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, forks, cost in measured:
        lines.append(
            f"| {name} | {forks} | {cost.tasks:.0f} | {cost.cpu / hosts:.2f} s | {cost.wall / hosts:.2f} s "
            f"| {cost.memory / 2**20:.0f} MiB |"
        )
    return "\n".join(lines) + "\n"


def main(words: Optional[list[str]] = None) -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--forks", default="5,25", help="comma-separated")
    parser.add_argument("--only", action="append", default=[], help="the name of what is measured")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    asked = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="dbfleet-fleet-", dir="/var/tmp"))
    try:
        lay_out(folder / "collections")
        build(folder, asked.hosts)
        playbook = "dbfleet.recovery.backup"
        measured = []
        for forks in map(int, asked.forks.split(",")):
            for name, line in (
                ("the module alone", ["bare.yml"]),
                ("the playbook, attached", [playbook, "-e", "dbfleet_async=0"]),
                ("the playbook", [playbook]),
            ):
                if asked.only and name not in asked.only:
                    continue
                measured.append((name, forks, play(folder, forks, *line)))
                print(tables(asked.hosts, measured[-1:]).splitlines()[-1], flush=True)
        text = tables(asked.hosts, measured)
        print(text)
        if asked.markdown:
            asked.markdown.write_text(text)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
