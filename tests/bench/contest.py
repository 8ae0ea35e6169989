"""Contests: commands that do the same work, measured in turn.

Every contestant starts as a whole process on the same database, all of them in turn, round after
round, after a round that is not counted; medians are compared, so a machine that slows down slows
all of them. The page cache is warm for all. Times are wall-clock seconds; memory is the largest
sum of resident memory of a command's whole process tree, sampled every 20 ms of its first run. The
others are not watched: looking takes a share of a core from a command that wants all of them.
"""

import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The servers of the integration tests, and the engine that those use.
sys.path[:0] = [str(HERE.parent / "integration"), str(HERE.parent.parent / "plugins" / "module_utils")]
PYZ = HERE.parent.parent / "build" / "dbfleet.pyz"
ANSIBLE = f"ansible localhost -c local -e ansible_python_interpreter={shlex.quote(sys.executable)}"
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
    keeps: str = ""  # what it leaves, to be weighed: names with spaces between them
    slow: bool = False  # left out of the round that does not count

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Bench:
    """One scratch folder, groups of contestants."""

    def __init__(self, scratch: Path, gib: float, runs: int, only: list[str]) -> None:
        self.scratch = scratch
        self.gib = gib
        self.runs = runs
        self.only = only
        self.groups: dict[str, list[Contestant]] = {}
        self.versions: list[str] = []
        self.environment = {**os.environ, "DBFLEET_STATE_DIR": str(scratch / "state"), "DBFLEET_SCRATCH": str(scratch)}

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
                if not number and one.slow:
                    continue
                for path in one.fresh:
                    target = self.scratch / path
                    shutil.rmtree(target, ignore_errors=True)
                    target.unlink(missing_ok=True)
                seconds, memory = self.measure(one.command, watched=not one.memory)
                one.memory = one.memory or memory
                if number:
                    one.seconds.append(seconds)
        for one in contestants:
            one.stored = sum(weigh(self.scratch / kept) for kept in one.keeps.split())
            print(f"   {one.name:58} {one.median:7.2f} s  {one.memory / 2**20:6.0f} MiB", flush=True)
        self.groups[title] = list(contestants)

    def measure(self, command: str, *, watched: bool = False) -> tuple[float, int]:
        """Wall-clock seconds of ``command``, and if ``watched`` the peak memory of its processes together."""
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
        if watched:
            watcher.start()
        _output, words = child.communicate()
        seconds = time.monotonic() - begun
        done.set()
        if watched:
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


def markdown(bench: Bench) -> str:
    """The results as the tables of docs/benchmarks.md."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), "?")
    lines = [
        f"Measured on {time.strftime('%Y-%m-%d')} with {bench.runs} counted runs of each; "
        f"databases of {bench.gib:g} GiB; {os.cpu_count()} cores ({cpu}), Linux {platform.release()}, "
        + ", ".join([f"Python {platform.python_version()}", *bench.versions])
        + ".",
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
