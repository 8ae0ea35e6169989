#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``lookup``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Tell which backups a repository holds
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Returns the manifests of a job's backups, newest first, and whether each is known to be good.
  - Reads only names and manifests, so it is fast on large repositories. M(dbfleet.recovery.verify) reads the
    data.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.info
  - dbfleet.recovery.attributes.actiongroup
options:
  backup:
    description:
      - Tell only of this backup, which is the id of a backup, the name of one of its artifacts, or V(latest).
      - It fails when there is no such backup.
    type: str
  newest:
    description: Tell only of the newest N backups.
    type: int
seealso:
  - module: dbfleet.recovery.backup
  - module: dbfleet.recovery.verify
"""

EXAMPLES = r"""
- name: See what the repository of an installed job holds
  dbfleet.recovery.backup_info:
    job: promptpilot
  register: held

- name: Insist on a good backup of today
  ansible.builtin.assert:
    that:
      - held.states | selectattr('state', 'in', ['good', 'unproven']) | length > 0
      - held.backups[0].consistent_at[:10] == now(utc=true).strftime('%Y-%m-%d')

- name: Look at the newest backup in a folder
  dbfleet.recovery.backup_info:
    name: promptpilot
    repository:
      url: file:///var/backups/promptpilot
    backup: latest
"""

RETURN = r"""
backups:
  description: The manifests, newest first. Files that no manifest describes are only in RV(states).
  returned: success
  type: list
  elements: dict
  sample:
    - id: promptpilot_backup_20250823_103000
      engine: sqlite
      type: full
      consistent_at: "2025-08-23T10:30:00Z"
states:
  description: What is known of each backup and of files that look like one, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The id of the backup.
      type: str
    state:
      description:
        - V(good) was verified, V(unproven) was not verified yet, V(bad) failed its newest verification.
        - V(damaged) has a manifest that cannot be trusted, V(foreign) has none.
        - V(unknown) was made by a newer version.
      type: str
    reason:
      description: Why it is not to be relied on, where that is so.
      type: str
    verified:
      description: The level, the result and the time of its newest verification.
      type: dict
    file:
      description: The file, for what has no manifest to name it.
      type: str
    size_bytes:
      description: Stored bytes.
      type: int
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, run
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.lookup import find, listing


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    wanted, newest = module.params["backup"], _results.count(module.params["newest"])
    listed = [find(job, wanted)] if wanted else listing(job)
    return _results.backup_info([one.to_json() for one in listed[::-1][:newest]])


def main() -> None:
    run(AnsibleModule(argument_spec=argument_spec(**OPTIONS["backup_info"]), supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
