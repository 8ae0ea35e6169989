#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``backup``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Back up a database
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Makes one backup of the source of a job in its repository. It is listed only when it is complete and
    durable.
  - What was measured of the data inside the backup's own snapshot is kept in its manifest, so that
    M(dbfleet.recovery.verify) and M(dbfleet.recovery.restore) can compare it with what comes out again.
  - It removes nothing. M(dbfleet.recovery.prune) does.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details: Looks at the source and the repository, writes nothing, and returns RV(plan) instead of
      RV(backup).
  diff_mode:
    support: none
    details: A backup adds files and changes none.
  idempotent:
    support: none
    details: Every run makes one more backup, so it is always changed.
options: {}
seealso:
  - module: dbfleet.recovery.backup_info
  - module: dbfleet.recovery.prune
  - module: dbfleet.recovery.restore
  - module: dbfleet.recovery.verify
"""

EXAMPLES = r"""
- name: Back up a SQLite database
  dbfleet.recovery.backup:
    source:
      url: sqlite:////var/lib/promptpilot/promptpilot.db
    repository:
      url: file:///var/backups/promptpilot

- name: Back up by the job that is installed on the host, encrypted this time
  dbfleet.recovery.backup:
    job: promptpilot
    encryption:
      method: age
      recipients:
        - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p

- name: Take what changed since the last backup, with at most 50 MiB a second, and digest every table
  dbfleet.recovery.backup:
    name: promptpilot
    source:
      url: sqlite:////var/lib/promptpilot/promptpilot.db
    repository:
      url: file:///var/backups/promptpilot
    method: physical
    type: auto
    proof:
      level: content
    limits:
      bandwidth: 50M
      min_free: 10%
"""

RETURN = r"""
backup:
  description: The manifest of the new backup.
  returned: success, without check mode
  type: dict
  contains:
    id:
      description: The name by which other modules and the command know the backup.
      type: str
      sample: promptpilot_backup_20250823_103000
    type:
      description: Whether it turned out V(full) or V(incremental).
      type: str
      sample: full
    consistent_at:
      description: The moment whose data the backup holds, in UTC.
      type: str
      sample: "2025-08-23T10:30:00Z"
    artifacts:
      description: The stored files, with sizes and digests before and after compression.
      type: list
      elements: dict
    proof:
      description: What was measured inside the snapshot, such as the rows of each table.
      type: dict
    restore_with:
      description: Commands that restore the backup by hand, with no part of this collection installed.
      type: list
      elements: str
    notes:
      description: What people should know, such as why an incremental backup became a full one.
      type: list
      elements: str
size_bytes:
  description: Stored bytes of all artifacts.
  returned: success, without check mode
  type: int
  sample: 1483264
raw_size_bytes:
  description: Bytes of all artifacts before compression and encryption.
  returned: success, without check mode
  type: int
  sample: 9052160
duration_seconds:
  description: From the first step to the commit.
  returned: success, without check mode
  type: float
  sample: 0.84
plan:
  description: What a run without check mode would do.
  returned: success, in check mode
  type: dict
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
  sample: {kind: not_found, message: "database file '/srv/a.db' does not exist", remedy: check source.url}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, run, told
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.backup import backup


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    with told(module, "backup", job) as progress:
        return _results.backup(backup(job, dry_run=module.check_mode, progress=progress).to_json())


def main() -> None:
    spec = argument_spec(**OPTIONS["backup"])
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), perform, name_needed=True)


if __name__ == "__main__":
    main()
