#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``prune``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prune
short_description: Remove backups that no retention rule keeps
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Removes the backups of a job that no rule of O(retention) keeps, moves old ones to
    O(retention.archive_to), and sweeps up what interrupted backups left behind.
  - It never removes the newest good backup, a backup that another one needs, or a file that it did not write.
  - It leaves a record of what it removed and by which rule.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the backups that go or move, each with the reason.
  idempotent:
    support: full
options: {}
seealso:
  - module: dbfleet.recovery.backup
  - module: dbfleet.recovery.sync
"""

EXAMPLES = r"""
- name: Keep a week of days, a month of weeks and a year of months
  dbfleet.recovery.prune:
    name: promptpilot
    repository:
      url: file:///var/backups/promptpilot
    retention:
      keep_daily: 7
      keep_weekly: 4
      keep_monthly: 12

- name: See which backups of an installed job would go, and why
  dbfleet.recovery.prune:
    job: promptpilot
  check_mode: true
  diff: true

- name: Move what is older than a month to a slower disk
  dbfleet.recovery.prune:
    job: promptpilot
    retention:
      archive_after: 30d
      archive_to: file:///mnt/archive/promptpilot
"""

RETURN = r"""
kept:
  description: The backups that stay, each with its C(id) and all C(reasons).
  returned: success
  type: list
  elements: dict
  sample:
    - id: promptpilot_backup_20250823_103000
      reasons: [daily 1 of 7, newest good]
archived:
  description: The backups that were moved to O(retention.archive_to), or would be in check mode.
  returned: success
  type: list
  elements: dict
removed:
  description: The backups that were removed, or would be in check mode, each with the reason.
  returned: success
  type: list
  elements: dict
swept:
  description: Leftovers of interrupted runs that were removed, or would be in check mode.
  returned: success
  type: list
  elements: str
findings:
  description: >-
    Backups that should have moved to O(retention.archive_to) and could not, each with an C(object), a
    C(problem) and a C(remedy). They stay, and fail the task.
  returned: success, and failure by a finding
  type: list
  elements: dict
log:
  description: >-
    The log that no kept backup needs and that was removed, or would be in check mode, as C(files) and
    C(size_bytes).
  returned: success
  type: dict
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, run, told
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.prune import prune


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    with told(module, "prune", job) as progress:
        return _results.prune(prune(job, dry_run=module.check_mode, progress=progress).to_json())


def main() -> None:
    spec = argument_spec(**OPTIONS["prune"])
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), perform, name_needed=True)


if __name__ == "__main__":
    main()
