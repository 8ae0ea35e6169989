# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``scheduled_files``: whole files for schedulers that take XML."""

from __future__ import annotations

DOCUMENTATION = r"""
name: scheduled_files
short_description: Files for launchd and the Windows Task Scheduler, from the calendars of jobs
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - As P(dbfleet.recovery.scheduled_runs#filter), but gives the whole file of each run by its name.
  - For launchd also those of log archives, P(dbfleet.recovery.scheduled_archivers#filter).
options:
  _input:
    description: The jobs, as in C(schedule_jobs) of the role.
    type: list
    elements: raw
    required: true
  host:
    description: Name of the host.
    type: str
    required: true
  kind:
    description: The scheduler.
    type: str
    choices: [launchd, task_scheduler]
    required: true
  defaults:
    description: The user, and when verbs run that a job says nothing of.
    type: dict
    required: true
  spread:
    description: Times are moved by less than this, such as V(30m).
    type: str
    default: "0"
  installed:
    description: The text of the host's job files by name. Whether to prune by default follows from them.
    type: dict
  command:
    description:
      - The words that come before the arguments of each run, a program first. On Windows, a program that is a
        C(.bat) is run by cmd.exe.
    type: list
    elements: str
    required: true
  window:
    description: A run ends after this time, such as V(4h). V(0) sets no end.
    type: str
    default: "0"
  nice:
    description: Niceness of the run, 0 to 19. Windows gets the priority that comes nearest.
    type: int
    default: 0
  retries:
    description: How often the Task Scheduler tries a failed task again.
    type: int
    default: 0
  retry_after:
    description: How long it waits before, such as V(10m).
    type: str
    default: 10m
  run_level:
    description: Whether the Task Scheduler gives a task only the rights of a user, or all that the account has.
    type: str
    choices: [limited, highest]
    default: limited
  lock_wait:
    description: How long a run waits for another one of the same job to end, such as V(1h). Empty leaves it to the job.
    type: str
    default: ""
  catch_up:
    description: Whether a missed run is made up for. launchd always does so after sleep, and never after power was off.
    type: bool
    default: true
  folder:
    description: Working folder.
    type: str
    default: /
  log:
    description:
      - Folder of the output of runs. Without it, launchd gets C(/var/log), and Windows keeps none.
      - On Windows, only a C(.bat) has one, which holds what the last run said.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write the task of one job
  ansible.builtin.copy:
    dest: 'C:\ProgramData\dbfleet\{{ item.key }}.xml'
    content: "{{ item.value }}"
  loop: >-
    {{ [{'name': 'app', 'backup': 'daily 02:00'}]
       | dbfleet.recovery.scheduled_files(host='db1', kind='task_scheduler', defaults={'user': 'S-1-5-18'},
           command=['C:\\Program Files\\Python\\python.exe', 'C:\\ProgramData\\dbfleet\\dbfleet.pyz'])
       | dict2items }}
"""

RETURN = r"""
_value:
  description: The text of each file, by name of the run.
  type: dict
"""

import hashlib
import plistlib
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..plugin_utils.calendars import CalendarError, minutes
from ..plugin_utils.schedules import ScheduleError, archivers, scheduled_runs
from ..plugin_utils.task_scheduler import TaskError, task_xml


def scheduled_files(
    jobs: Any,
    *,
    host: str,
    kind: str,
    defaults: Any,
    command: list[str],
    spread: Any = 0,
    installed: Any = None,
    window: Any = 0,
    nice: int = 0,
    retries: int = 0,
    retry_after: Any = "10m",
    run_level: str = "limited",
    lock_wait: Any = "",
    catch_up: bool = True,
    folder: str = "/",
    log: str = "",
) -> dict[str, str]:
    """The text of each file by the name of its run."""
    if kind not in ("launchd", "task_scheduler"):
        raise AnsibleFilterError(f"scheduled_files: {kind} is neither launchd nor task_scheduler")
    files = {}
    try:
        end = minutes(window)
        runs = scheduled_runs(jobs, host=host, kind=kind, defaults=defaults, spread=spread, installed=installed)
        for run in runs:
            limits = [("--limits-timeout", f"{end}m" if end else ""), ("--limits-lock-wait", lock_wait)]
            line = [*command, *run["arguments"], *(str(word) for limit in limits if limit[1] for word in limit)]
            if kind == "launchd":
                files[run["name"]] = _plist(run, line, nice, folder, log)
            else:
                files[run["name"]] = _task(
                    run,
                    line,
                    folder=folder,
                    window=end,
                    retries=int(retries),
                    retry_after=minutes(retry_after),
                    run_level=run_level,
                    log=rf"{log}\{run['name']}.log" if log else "",
                    catch_up=catch_up,
                    priority=7 if nice else 5,  # 7 is below normal, 5 is normal
                )
        if kind == "launchd":
            for one in archivers(jobs, kind=kind, defaults=defaults, installed=installed):
                line = [*command, *one["arguments"]]
                text = str((installed or {}).get(one["job"], ""))
                files[one["name"]] = _archiver_plist(one, line, text, folder, log)
    except (ScheduleError, CalendarError) as error:
        raise AnsibleFilterError(str(error)) from error
    return files


def _task(run: dict[str, Any], line: list[str], **options: Any) -> str:
    what = f"{run['verb']} of {run['job']}"
    words = {"program": line[0], "arguments": line[1:], "user": run["user"], "description": f"dbfleet: {what}"}
    try:
        return task_xml(run["at"], **words, **options)
    except (TaskError, CalendarError) as error:
        raise AnsibleFilterError(f"{what}: {error}") from error


def _plist(run: dict[str, Any], line: list[str], nice: int, folder: str, log: str) -> str:
    values = {
        **_daemon(run, run["verb"], line, folder, log),
        "StartCalendarInterval": run["calendar"],
        "Nice": int(nice),
        "LowPriorityIO": True,
        "ProcessType": "Background",
    }
    return plistlib.dumps(values).decode("utf-8")


def _archiver_plist(service: dict[str, Any], line: list[str], job: str, folder: str, log: str) -> str:
    """A daemon that always runs (launchd.plist(5)): begun again 30 s after its end, as systemd does it.

    The digest of the text of its ``job`` lets it begin anew when that changes.
    """
    values = {
        **_daemon(service, "archiver", line, folder, log),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 30,
        "ExitTimeOut": 120,
        "EnvironmentVariables": {"JOB_FILE_SHA256": hashlib.sha256(job.encode()).hexdigest()},
    }
    return plistlib.dumps(values).decode("utf-8")


def _daemon(what: dict[str, Any], verb: str, line: list[str], folder: str, log: str) -> dict[str, Any]:
    return {
        "Label": f"org.dbfleet.{verb}.{what['job']}",
        "ProgramArguments": [str(word) for word in line],
        "UserName": str(what["user"]),
        "WorkingDirectory": str(folder),
        "StandardErrorPath": f"{log or '/var/log'}/{what['name']}.log",
        "Umask": 0o077,
        "AbandonProcessGroup": False,
    }


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"scheduled_files": scheduled_files}
