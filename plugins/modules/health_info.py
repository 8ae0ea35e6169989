#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``health``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_info
short_description: Tell whether the jobs of a host can be relied on
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Looks at one job, or without O(job) and O(repository) at every job that is installed on the host.
  - A finding is a newest good backup that is too old, verifications that are too long ago, a last backup that failed
    or was killed, too little room, a gap or damage in the repository, or an audit log that was altered.
  - Reads names and records only. M(dbfleet.recovery.verify) reads the data.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.info
  - dbfleet.recovery.attributes.actiongroup
options: {}
seealso:
  - module: dbfleet.recovery.backup_info
  - module: dbfleet.recovery.verify
"""

EXAMPLES = r"""
- name: Look at every job of the host
  dbfleet.recovery.health_info:
  register: found

- name: Insist on health
  ansible.builtin.assert:
    that: found.ok
    fail_msg: "{{ found.health | map(attribute='findings') | flatten }}"

- name: Look at one job, which backs up every hour
  dbfleet.recovery.health_info:
    job: promptpilot
    health:
      max_age: 2h
"""

RETURN = r"""
ok:
  description: Whether there are no findings, neither of a job nor of the audit log.
  returned: success
  type: bool
health:
  description: What was found of each job.
  returned: success
  type: list
  elements: dict
  contains:
    job:
      description: The name of the job.
      type: str
    ok:
      description: Whether it has no findings.
      type: bool
    newest_good:
      description: The newest backup that is not known to be bad, with its C(id), C(age_seconds) and C(size_bytes).
      type: dict
    verified:
      description: The newest verification, with its C(level), whether it was C(ok), and C(age_seconds).
      type: dict
    room:
      description: The C(free_bytes) of the repository, and the C(needed_bytes) of one more backup.
      type: dict
    last_run:
      description:
        - How the last backup from this host ended, by the audit log. C(result) is V(done), V(failed), V(killed)
          or V(running).
      type: dict
    log_archive:
      description:
        - From the C(earliest) to the C(latest) moment that can be restored, how many C(lag_seconds) the log archive
          is behind, and the C(retained_bytes) of log that the server keeps for it; only where the job has one.
      type: dict
    findings:
      description: What is wrong. Each has an C(object), a C(problem) and a C(remedy).
      type: list
      elements: dict
audit:
  description: The audit log of the host, with its C(path), how many C(entries) it has, and C(findings).
  returned: success
  type: dict
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

import os
from collections.abc import Iterator
from typing import Any, Union

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, end_with, given_layer, job_from_params
from ..module_utils.dbfleet.errors import DbfleetError
from ..module_utils.dbfleet.jobfiles import every_job
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.health import health_of


def perform(module: AnsibleModule) -> dict[str, Any]:
    return _results.health_info(health_of(wanted(module)).to_json())


def wanted(module: AnsibleModule) -> Iterator[tuple[str, Union[Job, DbfleetError]]]:
    layer = given_layer(module.params)
    if module.params["job"] or "repository.url" in layer:
        job = job_from_params(module.params, name_needed=True)
        yield job.name, job
    else:
        yield from every_job(layer, os.environ)


def main() -> None:
    end_with(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
