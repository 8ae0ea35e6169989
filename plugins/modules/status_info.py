#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to what runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status_info
short_description: Tell what runs on a host, and how far it is
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Returns every backup, restore, verification, prune and sync of the user who runs it, whether a module or the
    command does it. Root also sees those of the account that the role P(dbfleet.recovery.agent#role) makes.
  - A run that was killed is told of until the next run of its kind.
extends_documentation_fragment:
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.info
options:
  job:
    description: Tell only of runs of this job.
    type: str
seealso:
  - module: dbfleet.recovery.backup
"""

EXAMPLES = r"""
- name: See what runs
  dbfleet.recovery.status_info:
  register: seen

- name: Tell how far it is
  ansible.builtin.debug:
    msg: "{{ seen.runs | selectattr('runs') | map(attribute='text') }}"
"""

RETURN = r"""
runs:
  description: The runs, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    verb:
      description: What it does, such as V(backup).
      type: str
    job:
      description: The name of the job.
      type: str
    runs:
      description: Whether its process is still there.
      type: bool
    step:
      description: What it is at.
      type: str
    done_bytes:
      description: Bytes that have passed, before compression.
      type: int
    total_bytes:
      description: Bytes that are expected, where that is known.
      type: int
    bytes_per_second:
      description: The rate of the last ten seconds.
      type: int
    started_at:
      description: When it began, in UTC.
      type: str
    updated_at:
      description: When something last moved, in UTC.
      type: str
    pid:
      description: The process that does it.
      type: int
    text:
      description: All of it for people.
      type: str
      sample: storing app_backup_20250823_103000.db.zst, 34 %, 1.2 GiB of 3.5 GiB, 50.1 MiB/s, 47 s left, for 24 s
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._options import STATUS_INFO
from ..module_utils.dbfleet.status import runs_of_host, with_text


def main() -> None:
    module = AnsibleModule(argument_spec=STATUS_INFO, supports_check_mode=True)
    module.exit_json(changed=False, runs=with_text(runs_of_host(module.params["job"])))


if __name__ == "__main__":
    main()
