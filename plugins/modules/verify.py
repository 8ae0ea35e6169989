#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``verify``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Prove that backups can be restored
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Reads backups as a restore would, and compares them with what was measured when they were made.
  - Each verification leaves a proof record beside the backup. M(dbfleet.recovery.prune) and
    M(dbfleet.recovery.restore) know from it which backups are bad.
  - It is never changed, because neither a database nor a backup is; a proof record only says what was seen.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details: Says in RV(would_verify) which backups it would verify. It does not read their data and leaves no
      record.
  diff_mode:
    support: N/A
    details: It changes neither databases nor backups.
  idempotent:
    support: full
    details: It is never changed, although every run reads the backups and leaves a record again.
options:
  backup:
    description: The id of a backup, the name of one of its artifacts, V(latest), or V(all).
    type: str
    default: latest
  level:
    description:
      - V(checksum) compares every stored and every unpacked byte with the digests in the manifest.
      - V(structure) also lets the database examine what comes out.
      - V(restore) also restores into a scratch place and compares all that was measured, queries included.
    type: str
    choices: [checksum, structure, restore]
    default: structure
  fail_on_findings:
    description: Whether a finding fails the task. Otherwise look at RV(ok) and RV(results).
    type: bool
    default: true
seealso:
  - module: dbfleet.recovery.backup_info
  - module: dbfleet.recovery.restore
"""

EXAMPLES = r"""
- name: Restore the latest backup into a scratch place and compare everything
  dbfleet.recovery.verify:
    job: promptpilot
    level: restore

- name: Read every byte of every backup, and go on when some are bad
  dbfleet.recovery.verify:
    job: promptpilot
    backup: all
    level: checksum
    fail_on_findings: false
  register: verified

- name: Tell what is wrong
  ansible.builtin.debug:
    msg: "{{ verified.results | rejectattr('ok') | map(attribute='findings') | flatten }}"
"""

RETURN = r"""
ok:
  description: Whether there are no findings.
  returned: when backups were verified
  type: bool
results:
  description: One result for each backup.
  returned: when backups were verified
  type: list
  elements: dict
  contains:
    backup:
      description: The id of the backup.
      type: str
      sample: promptpilot_backup_20250823_103000
    level:
      description: The level at which it was verified.
      type: str
      sample: restore
    ok:
      description: Whether the backup has no findings.
      type: bool
    findings:
      description: What is wrong. Each has an C(object), a C(problem) and a C(remedy).
      type: list
      elements: dict
would_verify:
  description: The ids of the backups that a run without check mode would verify.
  returned: success, in check mode
  type: list
  elements: str
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure, unless it is a finding
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, run, told
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.verify import to_verify, verify


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    wanted, level, strict = (module.params[name] for name in ("backup", "level", "fail_on_findings"))
    if module.check_mode:
        return _results.verify({"would_verify": to_verify(job, wanted)}, fail_on_findings=strict)
    with told(module, "verify", job) as progress:
        results = [result.to_json() for result in verify(job, wanted, level, progress=progress)]
    return _results.verify({"results": results}, fail_on_findings=strict)


def main() -> None:
    run(AnsibleModule(argument_spec=argument_spec(**OPTIONS["verify"]), supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
