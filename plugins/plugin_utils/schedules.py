"""The runs of a host: which verbs of which jobs, when, as whom, and what each may touch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

from . import calendars
from .calendars import Calendar, CalendarError
from .reach import copies_files, has_whole_server, reach, touched

NAME = r"[a-z0-9_][a-z0-9_-]{0,99}"
LOGIN = ("to_identity_file", "to_known_hosts_file", "to_password_file")
LEVELS = ("checksum", "structure", "restore")
# Verb: what its mapping may say besides `at`.
VERBS: Mapping[str, tuple[str, ...]] = {
    "backup": ("type",),
    "verify": ("backup", "level"),
    "prune": (),
    "sync": ("to", *LOGIN),
}
KEYS = ("name", "user", "writable", "log_archive", *VERBS)
KEEP_RUNNING = ("systemd", "launchd")
KINDS = {
    "systemd": calendars.on_calendar,
    "cron": calendars.cron,
    "launchd": calendars.launchd,
    "task_scheduler": calendars.task_scheduler,
}


class ScheduleError(ValueError):
    """Something in the variables that is no schedule."""


def scheduled_runs(
    jobs: Iterable[Union[str, Mapping[str, Any]]],
    *,
    host: str,
    kind: str,
    defaults: Mapping[str, Any],
    spread: Union[str, int] = 0,
    installed: Optional[Mapping[str, Any]] = None,
) -> list[dict[str, Any]]:
    """One mapping for each run of ``jobs`` on ``host``, in order.

    A job is a mapping, or just its name. ``defaults`` has ``user`` and, by verb, what jobs do not say themselves;
    ``installed`` the text of the host's job files by name. From a job's file follow the paths it touches, and
    whether to prune when the job does not say so itself: only where the file says what to keep.

    A run has ``name``, ``job``, ``verb``, ``arguments`` of the command, ``calendar`` (for ``kind``),
    ``calendar_text``, ``raw``, ``interval_minutes``, ``user``, ``writable`` (paths), ``network`` and ``home``
    (whether it needs them), ``temporary`` (whether its paths are in /tmp) and ``copies_files`` (whether it reads
    the files of a server, which no other account can).
    Raises ``ScheduleError`` that names the job.
    """
    window = _checked(calendars.minutes, spread, "schedule_spread")
    runs: list[dict[str, Any]] = []
    for name, job in _named(jobs):
        file = _job_file(name, (installed or {}).get(name, "{}"))
        places = _touched(name, job, file)
        for verb in VERBS:
            said = job.get(verb, defaults.get(verb))
            if not said or (verb == "prune" and verb not in job and not file.get("retention")):
                continue
            mapping = said if isinstance(said, Mapping) else {"at": said}
            at = _at(name, verb, mapping)
            calendar = calendars.spread(at, window, host, name, verb)
            runs.append(
                {
                    "name": f"dbfleet-{verb}-{name}",
                    "job": name,
                    "verb": verb,
                    "arguments": _arguments(name, verb, mapping),
                    "calendar": _say(name, verb, kind, calendar),
                    "calendar_text": str(mapping["at"]),
                    "at": calendar,
                    "raw": bool(calendar.raw),
                    "interval_minutes": calendar.interval,
                    "user": _user(name, job.get("user") or defaults.get("user")),
                    "copies_files": verb == "backup" and copies_files(file),
                    **reach(places + _urls(mapping), file, mapping),
                }
            )
    return runs


def archivers(
    jobs: Iterable[Union[str, Mapping[str, Any]]],
    *,
    kind: str,
    defaults: Mapping[str, Any],
    installed: Optional[Mapping[str, Any]] = None,
) -> list[dict[str, Any]]:
    """One mapping for each of ``jobs`` that says ``log_archive: true``: a service that always runs.

    It has ``name``, ``job``, ``arguments``, ``user``, ``writable``, ``network``, ``home`` and ``temporary``, as a run
    of :func:`scheduled_runs`. Raises ``ScheduleError`` that names the job.
    """
    found: list[dict[str, Any]] = []
    for name, job in _named(jobs):
        if not _truth(name, job.get("log_archive", False)):
            continue
        if kind not in KEEP_RUNNING:
            raise ScheduleError(
                f"log_archive of {name}: {kind} does not keep a service running: use {' or '.join(KEEP_RUNNING)}, or "
                "leave it out and see that `dbfleet log-archive run` runs"
            )
        file = _job_file(name, (installed or {}).get(name, '{"method": "physical"}'))
        if file.get("method") != "physical" and not has_whole_server(file):
            raise ScheduleError(
                f"log_archive of {name}: a log archive belongs to a job with method: physical, or of MySQL and MariaDB "
                'to one with source.databases: ["*"]'
            )
        settings = file.get("log_archive") or {}
        spool = settings.get("spool") if isinstance(settings, Mapping) else None
        found.append(
            {
                "name": f"dbfleet-archiver-{name}",
                "job": name,
                "arguments": ["log-archive", "run", "--job", name],
                "user": _user(name, job.get("user") or defaults.get("user")),
                **reach([*_touched(name, job, file), *([str(spool)] if spool else [])], file),
            }
        )
    return found


def _truth(name: str, said: Any) -> bool:
    if not isinstance(said, bool):
        raise ScheduleError(f"log_archive of {name}: {said!r} is neither true nor false")
    return said


def _named(jobs: Iterable[Union[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each job and its name; a job that is only a name says nothing else."""
    seen: set[str] = set()
    for job in jobs:
        job = {"name": job} if isinstance(job, str) else job
        yield _name_of(job, seen), job


def _name_of(job: Mapping[str, Any], seen: set[str]) -> str:
    if not isinstance(job, Mapping) or not re.fullmatch(NAME, str(job.get("name", ""))):
        raise ScheduleError("schedule_jobs: each entry needs the name of a job: a-z, 0-9, _ and -")
    name = str(job["name"])
    if name in seen:
        raise ScheduleError(f"schedule_jobs: {name} stands there twice")
    seen.add(name)
    for key in job:
        if key not in KEYS:
            raise ScheduleError(f"schedule_jobs: {key} of {name} is none of {', '.join(KEYS)}")
    return name


def _user(name: str, user: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\\@-]+\$?", str(user)):
        raise ScheduleError(f"user of {name}: {user!r} is no account")
    return str(user)


def _at(name: str, verb: str, mapping: Mapping[str, Any]) -> Calendar:
    for key in mapping:
        if key not in ("at", *VERBS[verb]):
            raise ScheduleError(f"{verb} of {name}: {key} is none of {', '.join(('at', *VERBS[verb]))}")
    if not mapping.get("at"):
        raise ScheduleError(f"{verb} of {name} does not say when: set at, such as daily 02:00")
    return _checked(calendars.parse, str(mapping["at"]), f"{verb} of {name}")


def _arguments(name: str, verb: str, mapping: Mapping[str, Any]) -> list[str]:
    words = [verb]
    if verb == "verify":
        words.append(str(mapping.get("backup", "latest")))
    words += ["--job", name]
    if verb == "verify":
        level = mapping.get("level", "structure")
        if level not in LEVELS:
            raise ScheduleError(f"verify of {name}: level is one of {', '.join(LEVELS)}")
        words += ["--level", level]
    elif verb == "sync":
        if not mapping.get("to"):
            raise ScheduleError(f"sync of {name} does not say where to: set to, such as file:///mnt/offsite")
        if re.search(r"://[^/]*:[^/]*@", str(mapping["to"])):
            raise ScheduleError(f"sync of {name}: every user of the host could read the password in to: leave it out")
        words += ["--to", str(mapping["to"])]
        for key in LOGIN:
            if mapping.get(key):
                words += [f"--{key.replace('_', '-')}", str(mapping[key])]
    elif mapping.get("type"):
        words += ["--type", str(mapping["type"])]
    if not all(word.isprintable() for word in words) or str(mapping.get("backup", "")).startswith("-"):
        raise ScheduleError(f"{verb} of {name}: its words must be printable, and not begin with -")
    return words


def _say(name: str, verb: str, kind: str, calendar: Calendar) -> Any:
    if kind not in KINDS:
        return ""  # a scheduler of its own, which reads `at`
    return _checked(KINDS[kind], calendar, f"{verb} of {name}")


def _checked(function: Any, value: Any, called: str) -> Any:
    try:
        return function(value)
    except CalendarError as error:
        raise ScheduleError(f"{called}: {error}") from error


# --- what a run touches ----------------------------------------------------------------------


def _job_file(name: str, text: Any) -> Mapping[str, Any]:
    try:
        job = json.loads(text)
    except ValueError:  # nothing of the file is repeated: a URL in it can hold a password
        job = None
    if not isinstance(job, Mapping):
        raise ScheduleError(f"the job file of {name} is not a JSON object: install it again")
    return job


def _touched(name: str, job: Mapping[str, Any], installed: Mapping[str, Any]) -> list[str]:
    """URLs and paths of one job, and what the schedule adds."""
    extra = job.get("writable", [])
    if isinstance(extra, str) or not all(str(path).startswith("/") for path in extra):
        raise ScheduleError(f"writable of {name} is a list of absolute paths")
    groups = (installed.get(group) or {} for group in ("source", "repository", "retention", "encryption"))
    if not all(isinstance(group, Mapping) for group in groups):
        raise ScheduleError(f"the job file of {name} is no job: install it again")
    return [*touched(installed), *map(str, extra)]


def _urls(mapping: Mapping[str, Any]) -> list[str]:
    return [str(mapping["to"])] if mapping.get("to") else []
