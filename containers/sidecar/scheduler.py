"""The scheduler of the sidecar: runs the command's verbs on the calendars of a file, one at a time.

Usage: scheduler.py run | health

``run`` is what the container does. It reads ``/etc/dbfleet/schedule.json``, runs what is due, and goes on until it
is told to end by SIGTERM, which it passes on. ``health`` is for the health check: it fails when the scheduler has
stopped looking at its clock, or when ``dbfleet health`` finds something.

The schedule is a list of jobs as ``schedule_jobs`` of the role ``dbfleet.recovery.schedule``, read by the same code;
times are those of the container (``TZ``). A run that was missed while the container was not there is made up for,
and a job whose backup never ran is backed up at once. When each run began is kept in the volume of the state, so an
update of the image misses nothing.

Why not cron: Debian's needs root, and tells nobody what its jobs print. This is a loop of a few lines over calendars
that the collection reads anyway.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from schedule_words import calendars, schedules  # noqa: E402

COMMAND = [sys.executable, str(HERE / "dbfleet.pyz")]
SCHEDULE = Path(os.environ.get("DBFLEET_CONFIG_DIR", "/etc/dbfleet")) / "schedule.json"
STATE = Path(os.environ.get("DBFLEET_STATE_DIR", "/var/lib/dbfleet")) / "scheduled"
DEFAULTS = {"user": "sidecar", "backup": "daily 01:00", "verify": "weekly sun 03:00", "prune": "daily 05:00"}
LOOK = 5.0  # seconds between two looks at the clock
STALE = 60.0  # seconds without one after which something is wrong


def main(words: Sequence[str]) -> int:
    """Do what the container, or its health check, asks for."""
    if list(words) == ["run"]:
        return Scheduler(STATE).run()
    if list(words) == ["health"]:
        return health(STATE)
    print(__doc__, file=sys.stderr)
    return 2


def read_schedule(path: Path, installed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The runs that ``path`` asks for; without it, every installed job on the default calendars."""
    jobs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else sorted(installed)
    missing = [name for name in map(name_of, jobs) if name not in installed]
    if missing:
        raise schedules.ScheduleError(f"no job {', '.join(missing)} is installed: put its file into jobs.d")
    runs: list[dict[str, Any]] = schedules.scheduled_runs(
        jobs, host=os.uname().nodename, kind="sidecar", defaults=DEFAULTS, installed=installed
    )
    raw = [run["name"] for run in runs if run["raw"]]
    if raw:
        raise schedules.ScheduleError(f"{', '.join(raw)}: write the calendar in the common notation")
    return runs


def name_of(job: Any) -> str:
    """The name of an entry of the schedule."""
    return str(job.get("name", "")) if isinstance(job, Mapping) else str(job)


def installed_jobs(folder: Path) -> dict[str, str]:
    """The text of each job file by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}


def last_due(calendar: calendars.Calendar, now: datetime) -> datetime:
    """The latest moment, not after ``now``, at which ``calendar`` asks for a run."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for _day in range(32):
        if asks_for(calendar, day):
            moments = [day + timedelta(minutes=m) for m in range(calendar.minute, calendars.DAY, calendar.every)]
            due = [moment for moment in moments if moment <= now]
            if due:
                return due[-1]
        day = (day - timedelta(hours=12)).replace(hour=0)
    raise AssertionError("every calendar asks for a run within 32 days")


def asks_for(calendar: calendars.Calendar, day: datetime) -> bool:
    """Whether ``calendar`` has a run on ``day``."""
    if calendar.day is not None:
        return day.day == calendar.day
    return calendar.weekday is None or (day.weekday() + 1) % 7 == calendar.weekday


class Scheduler:
    """The loop: what is due runs, one after the other; between two looks it sleeps."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self.child: Optional[subprocess.Popen[bytes]] = None
        self.ending = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.end)
        self.memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            runs = read_schedule(SCHEDULE, installed_jobs(SCHEDULE.parent / "jobs.d"))
        except (schedules.ScheduleError, calendars.CalendarError, ValueError) as error:
            say(f"{SCHEDULE}: {error}")
            return 2
        for run in runs:
            say(f"{run['name']}: {run['calendar_text']}")
        while not self.ending:
            self.beat()
            for run in runs:
                if not self.ending and self.is_due(run, datetime.now()):
                    self.start(run)
            if not self.ending:
                time.sleep(LOOK)
        return 0

    def is_due(self, run: Mapping[str, Any], now: datetime) -> bool:
        """Whether ``run`` was asked for since it last began. A verb that never ran waits, a backup does not."""
        began = self.memory / run["name"]
        if not began.exists():
            if run["verb"] == "backup":
                return True
            began.touch(mode=0o600)
        return began.stat().st_mtime < last_due(run["at"], now).timestamp()

    def start(self, run: Mapping[str, Any]) -> None:
        """Run one verb, and wait for its end. What it says is the container's log."""
        (self.memory / run["name"]).touch(mode=0o600)
        say(f"{run['name']}: begins")
        self.child = subprocess.Popen([*COMMAND, *run["arguments"]], stdin=subprocess.DEVNULL)
        while True:
            if self.ending:
                self.child.terminate()
            try:
                code = self.child.wait(timeout=LOOK)
                break
            except subprocess.TimeoutExpired:
                self.beat()
        self.child = None
        say(f"{run['name']}: {'done' if code == 0 else f'failed with exit code {code}'}")

    def beat(self) -> None:
        """Show the health check that the clock is looked at."""
        (self.memory / "heartbeat").touch(mode=0o600)

    def end(self, _number: int, _frame: Any) -> None:
        """End soon: what runs is told to clean up."""
        self.ending = True
        if self.child is not None:
            self.child.terminate()


def health(memory: Path) -> int:
    """What the health check of the container asks: 0 for well."""
    try:
        silence = time.time() - (memory / "heartbeat").stat().st_mtime
    except FileNotFoundError:
        silence = float("inf")
    if silence > STALE:
        say("the scheduler does not look at its clock any more")
        return 1
    return 1 if subprocess.run([*COMMAND, "health"], check=False).returncode else 0


def say(text: str) -> None:
    """One line of the container's log."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
