"""Side by side with what people do by hand and with a peer, in one run: `make bench`.

Usage: run.py [--gib N] [--runs N] [--only NAME …] [--scratch DIR] [--markdown FILE]

Every contestant starts as a whole process on the same database, all of them in turn, round after
round, after a round that is not counted; medians are compared, so a machine that slows down slows
all of them. The page cache is warm for all. Times are wall-clock seconds; memory is the largest
sum of resident memory of a command's whole process tree, sampled every 20 ms.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYZ = HERE.parent.parent / "build" / "dbfleet.pyz"
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Contestant:
    """A command, what must be gone before each run, and what was measured."""

    name: str
    command: str
    fresh: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    stored: int = 0
    keeps: str = ""  # what it leaves, to be weighed

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Bench:
    """One database, one scratch folder, groups of contestants."""

    def __init__(self, scratch: Path, gib: float, runs: int, only: list[str]) -> None:
        self.scratch = scratch
        self.runs = runs
        self.only = only
        self.groups: dict[str, list[Contestant]] = {}
        self.environment = {**os.environ, "DBFLEET_STATE_DIR": str(scratch / "state"), "DBFLEET_SCRATCH": str(scratch)}
        self.databases = {}
        for mode in ("wal", "delete"):
            path = scratch / f"{mode}.db"
            if not path.exists():
                print(f"making {path.name} ({gib} GiB)", flush=True)
                subprocess.run([sys.executable, HERE / "database.py", path, str(gib), mode], check=True)
            self.databases[mode] = path

    def wants(self, title: str) -> bool:
        """Whether the group was asked for."""
        return not self.only or any(word in title for word in self.only)

    def group(self, title: str, *contestants: Contestant) -> None:
        """Measure ``contestants`` in turn."""
        if not self.wants(title):
            return
        print(f"== {title}", flush=True)
        for number in range(self.runs + 1):
            for one in contestants:
                for path in one.fresh:
                    target = self.scratch / path
                    shutil.rmtree(target, ignore_errors=True)
                    target.unlink(missing_ok=True)
                seconds, memory = self.measure(one.command)
                if number:
                    one.seconds.append(seconds)
                    one.memory = max(one.memory, memory)
        for one in contestants:
            one.stored = weigh(self.scratch / one.keeps) if one.keeps else 0
            print(f"   {one.name:58} {one.median:7.2f} s  {one.memory / 2**20:6.0f} MiB", flush=True)
        self.groups[title] = list(contestants)

    def measure(self, command: str) -> tuple[float, int]:
        """Wall-clock seconds of ``command``, and the peak memory of its processes together."""
        os.sync()
        begun = time.monotonic()
        child = subprocess.Popen(
            ["bash", "-c", f"set -eo pipefail; {command}"],
            cwd=self.scratch,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        peak = [0]
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(child.pid, peak, done))
        watcher.start()
        _output, words = child.communicate()
        seconds = time.monotonic() - begun
        done.set()
        watcher.join()
        if child.returncode:
            raise SystemExit(f"{command}\nfailed: {words.decode()}")
        return seconds, peak[0]


def watch(root: int, peak: list[int], done: threading.Event) -> None:
    """Sum the resident memory of ``root`` and all of its descendants, again and again."""
    while not done.wait(0.02):
        parents: dict[int, int] = {}
        resident: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    resident[int(entry.name)] = int((entry / "statm").read_text().split()[1]) * PAGE
                except (OSError, IndexError):
                    continue
        family = {root}
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in family} - family
            family |= more
            grown = bool(more)
        if len(family) > 1 and shell_of(root):
            family.remove(root)  # the shell that starts a contestant is not the contestant's
        peak[0] = max(peak[0], sum(resident.get(pid, 0) for pid in family))


def shell_of(pid: int) -> bool:
    """Whether the process is still the shell, and has not become what it was to run."""
    try:
        return (Path("/proc") / str(pid) / "comm").read_text().strip() == "bash"
    except OSError:
        return False


def weigh(path: Path) -> int:
    """Bytes of a file or of a folder's files."""
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size if path.exists() else 0


def dbfleet(verb: str, rest: str) -> str:
    """A command line of ours."""
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(PYZ))} {verb} {rest}"


def backups(bench: Bench) -> None:
    """Backing up one database, and restoring it."""
    wal, delete = bench.databases["wal"], bench.databases["delete"]
    by_hand_db = "sqlite3 {0} '.backup copy.db' && zstd -q -T0 -3 -f copy.db -o copy.db.zst && sha256sum copy.db.zst"
    by_hand_sql = "sqlite3 {0} .dump | zstd -q -T0 -3 -f -o copy.sql.zst && sha256sum copy.sql.zst"
    for mode, path in (("WAL mode", wal), ("rollback mode", delete)):
        bench.group(
            f"backup, .db only, {mode}",
            Contestant(
                "dbfleet, method physical",
                dbfleet("backup", f"--source sqlite:///{path} --repository db --name app --method physical"),
                ("db",),
                keeps="db",
            ),
            Contestant(
                "by hand: .backup, zstd -T0 -3, sha256sum",
                by_hand_db.format(path),
                ("copy.db", "copy.db.zst"),
                keeps="copy.db.zst",
            ),
            Contestant("zstd -T0 -3 of the idle file alone", f"zstd -q -T0 -3 -f {path} -o idle.zst", keeps="idle.zst"),
        )
    both = dbfleet("backup", f"--source sqlite:///{wal} --repository both --name app")
    bench.group(
        "backup, .db and .sql",
        Contestant("dbfleet, method logical, zstd 3", both, ("both",), keeps="both"),
        Contestant(
            "dbfleet, method logical, zstd 1",
            both.replace("--repository both", "--repository quick") + " --compression-level 1",
            ("quick",),
            keeps="quick",
        ),
        Contestant(
            "by hand: both pipelines, one after the other",
            f"{by_hand_db.format(wal)} && {by_hand_sql.format(wal)}",
            ("copy.db", "copy.db.zst", "copy.sql.zst"),
        ),
        Contestant("PromptPilot: .dump | gzip", f"sqlite3 {wal} .dump | gzip > old.sql.gz", keeps="old.sql.gz"),
    )
    borgmatic(bench, wal)
    shutil.rmtree(bench.scratch / "both", ignore_errors=True)
    bench.measure(dbfleet("backup", f"--source sqlite:///{wal} --repository both --name app"))
    bench.group(
        "restore",
        Contestant(
            "dbfleet restore to a new path, proven",
            dbfleet("restore", "latest --repository both --name app --to sqlite:///restored.db"),
            ("restored.db",),
        ),
        Contestant(
            "by hand: zstd -d, quick_check",
            "zstd -q -d -f both/*.db.zst -o restored.db && sqlite3 restored.db 'PRAGMA quick_check'",
            ("restored.db",),
        ),
    )


def borgmatic(bench: Bench, path: Path) -> None:
    """The peer's first and second run, with its SQLite hook."""
    tool = shutil.which("borgmatic")
    if tool is None:
        print("== borgmatic is not installed: left out (pip install borgmatic, apt install borgbackup)")
        return
    config = bench.scratch / "borgmatic.yaml"
    database = {"name": "app", "path": str(path)}
    config.write_text(
        json.dumps(
            {
                "repositories": [{"path": str(bench.scratch / "borg.repo")}],
                "sqlite_databases": [database],
                "source_directories": [],
                "unknown_unencrypted_repo_access_is_ok": True,
            }
        )
    )
    bench.environment.update(
        BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes", BORG_BASE_DIR=str(bench.scratch / "borg")
    )
    make = f"borg init -e none {bench.scratch}/borg.repo"
    create = f"{tool} -c {config} create"
    bench.group("borgmatic, first run", Contestant("borgmatic create", f"{make} && {create}", ("borg.repo", "borg")))
    ours = dbfleet("backup", f"--source sqlite:///{path} --repository many --name app")
    increment = ours + " --type auto"
    bench.measure(increment)
    bench.group(
        "second and later runs",
        Contestant("dbfleet, full, .db and .sql", ours, keeps=""),
        Contestant("dbfleet, full, .db only", ours.replace("many", "many2") + " --method physical"),
        Contestant("dbfleet, incremental, nothing changed", increment.replace("many", "many3")),
        Contestant("borgmatic create", create),
    )


def repositories(bench: Bench, counts: tuple[int, ...] = (10_000, 100_000)) -> None:
    """Listing and planning in repositories with many backups."""
    for count in (count for count in counts if bench.wants(f"a repository of {count} backups")):
        folder = bench.scratch / f"repository{count}"
        if not folder.exists():
            subprocess.run([sys.executable, HERE / "repository.py", folder, str(count)], check=True)
        bench.group(
            f"a repository of {count} backups",
            Contestant("dbfleet list", dbfleet("list", f"--repository {folder} --name app")),
            Contestant("dbfleet prune --dry-run", dbfleet("prune", f"--dry-run --repository {folder} --name app")),
        )
    (bench.scratch / "empty").mkdir(exist_ok=True)
    bench.group(
        "start-up",
        Contestant("dbfleet --version", dbfleet("--version", "")),
        Contestant("dbfleet list of an empty repository", dbfleet("list", "--repository empty --name app")),
        Contestant("python3 -c pass", f"{shlex.quote(sys.executable)} -c pass"),
    )


def markdown(bench: Bench, gib: float) -> str:
    """The results as the tables of docs/benchmarks.md."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), "?")
    lines = [
        f"Measured on {time.strftime('%Y-%m-%d')} with {bench.runs} counted runs of each; {gib:g} GiB database; "
        f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}.",
    ]
    for title, contestants in bench.groups.items():
        lines += ["", f"### {title[0].upper()}{title[1:]}", "", "| command | median | min – max | memory | stored |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for one in contestants:
            stored = f"{one.stored / 2**20:.0f} MiB" if one.stored else ""
            name = one.name.replace("|", "&#124;")
            spread = f"{min(one.seconds):.2f} – {max(one.seconds):.2f}"
            lines.append(f"| {name} | {one.median:.2f} s | {spread} | {one.memory / 2**20:.0f} MiB | {stored} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    asked = parser.parse_args()
    scratch = asked.scratch or Path(tempfile.mkdtemp(prefix="dbfleet-bench-", dir="/var/tmp"))
    scratch.mkdir(exist_ok=True)
    try:
        bench = Bench(scratch.resolve(), asked.gib, asked.runs, asked.only)
        backups(bench)
        repositories(bench)
        tables = markdown(bench, asked.gib)
        print(tables)
        if asked.markdown:
            asked.markdown.write_text(tables)
    finally:
        if asked.scratch is None:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
