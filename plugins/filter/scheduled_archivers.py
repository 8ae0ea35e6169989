# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``scheduled_archivers``: the services of log archives of one host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: scheduled_archivers
short_description: The services that archive logs on a host, from what its jobs say
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Finds the jobs that have C(log_archive=true), and what the service of each may touch.
  - The role P(dbfleet.recovery.schedule#role) is made on it.
options:
  _input:
    description: The jobs, as in C(schedule_jobs) of the role.
    type: list
    elements: raw
    required: true
  kind:
    description:
      - The scheduler. V(cron) and V(task_scheduler) keep nothing running, and are refused where a job has a log
        archive.
    type: str
    choices: [systemd, cron, launchd, task_scheduler]
    required: true
  defaults:
    description: The user.
    type: dict
    required: true
  installed:
    description: The text of the host's job files by name. What a service may write to follows from them.
    type: dict
"""

EXAMPLES = r"""
- name: Say what would run all the time
  ansible.builtin.debug:
    msg: "{{ item.name }}"
  loop: "{{ jobs | dbfleet.recovery.scheduled_archivers(kind='systemd', defaults={'user': 'dbfleet'}) }}"
  vars:
    jobs: [{name: app}, {name: cluster, log_archive: true}]
"""

RETURN = r"""
_value:
  description:
    - One mapping a service. Each has C(name), C(job), C(arguments) of the command, C(user), C(writable),
      C(network), C(home) and C(temporary).
  type: list
  elements: dict
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..plugin_utils.schedules import ScheduleError, archivers


def filtered(jobs: Any, **options: Any) -> list[dict[str, Any]]:
    """The services, or the one line that is wrong."""
    try:
        return archivers(jobs, **options)
    except ScheduleError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"scheduled_archivers": filtered}
