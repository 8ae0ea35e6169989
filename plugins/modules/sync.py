#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``sync``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sync
short_description: Copy backups to another repository
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Copies the backups that another repository lacks, for a copy offsite, an archive or a disk that is carried
    away; and of a log archive what the backups there need to be brought forward.
  - Every copy is compared with the digests in its manifest, and is listed there only when it is complete.
  - It removes nothing in either repository, but for the beginning of a log file of which it has brought more.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: A copy adds files and changes none.
  idempotent:
    support: full
options:
  to:
    description: Store URL of the other repository, or the absolute path of a folder.
    type: str
    required: true
  to_identity_file:
    description:
      - Private key for the login at the SFTP server of O(to), if it is not that of the job's own repository.
      - With any of O(to_identity_file), O(to_known_hosts_file) and O(to_password_file), those of the job's
        repository are not used there.
    type: path
  to_known_hosts_file:
    description: Host keys of that server.
    type: path
  to_password_file:
    description: Passphrase of O(to_identity_file), or without one the password of the account.
    type: path
seealso:
  - module: dbfleet.recovery.prune
"""

EXAMPLES = r"""
- name: Copy the backups of an installed job to a mounted disk
  dbfleet.recovery.sync:
    job: promptpilot
    to: file:///mnt/offsite/promptpilot
"""

RETURN = r"""
synced:
  description: What was copied, or would be in check mode.
  returned: success, and failure by a finding
  type: dict
  contains:
    to:
      description: The other repository.
      type: str
    copied:
      description: The backups, each with its C(id) and C(size_bytes).
      type: list
      elements: dict
    records:
      description: Files of proof and prune records.
      type: list
      elements: str
    present:
      description: How many backups were there already.
      type: int
    findings:
      description: >-
        Backups and log files that could not be copied, each with an C(object), a C(problem) and a C(remedy). They
        fail the task, after all others were copied.
      type: list
      elements: dict
    size_bytes:
      description: Stored bytes of the copied backups.
      type: int
    log:
      description: How many C(files) of the log archive were copied, their C(size_bytes), and how many were C(present).
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
from ..module_utils.dbfleet.absolute import absolute_url
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.sync import other_login, sync


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    to = absolute_url(module.params["to"], called="to")
    login = other_login(module.params.get)
    with told(module, "sync", job) as progress:
        return _results.sync(sync(job, to, login=login, dry_run=module.check_mode, progress=progress).to_json())


def main() -> None:
    run(AnsibleModule(argument_spec=argument_spec(**OPTIONS["sync"]), supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
