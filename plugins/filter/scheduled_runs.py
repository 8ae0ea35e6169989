# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``scheduled_runs``: from calendars of jobs to the runs of one host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: scheduled_runs
short_description: The runs of a host, from the calendars of its jobs
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Reads when each verb of each job runs (C(daily 02:00), C(every 15m)), moves the times by an amount that follows
    from the names of host, job and verb, and says them in the words of one scheduler.
  - The role P(dbfleet.recovery.schedule#role) is made on it.
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
    description: The scheduler whose words C(calendar) has. For V(task_scheduler) it is empty.
    type: str
    choices: [systemd, cron, launchd, task_scheduler]
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
    description: The text of the host's job files by name. What a run may write to follows from them.
    type: dict
"""

EXAMPLES = r"""
- name: Say when jobs would run
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.calendar }}"
  loop: "{{ jobs | dbfleet.recovery.scheduled_runs(host='db1', kind='cron', defaults=defaults) }}"
  vars:
    jobs: [{name: app}, {name: billing, backup: every 4h}]
    defaults: {user: dbfleet, backup: "daily 02:00"}
"""

RETURN = r"""
_value:
  description:
    - One mapping a run. Each has C(name), C(job), C(verb), C(arguments) of the command, C(calendar),
      C(calendar_text), C(raw), C(interval_minutes), C(user), C(writable), C(network), C(home),
      C(temporary) and C(copies_files).
  type: list
  elements: dict
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..plugin_utils.schedules import ScheduleError, scheduled_runs


def filtered(jobs: Any, **options: Any) -> list[dict[str, Any]]:
    """The runs, without what only this collection's own filters understand."""
    try:
        runs = scheduled_runs(jobs, **options)
    except ScheduleError as error:
        raise AnsibleFilterError(str(error)) from error
    return [{key: value for key, value in run.items() if key != "at"} for run in runs]


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"scheduled_runs": filtered}
