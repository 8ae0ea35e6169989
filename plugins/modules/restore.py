#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the operation ``restore``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Restore a database from a backup
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Builds the database of a backup beside its target, compares it with what was measured when the backup was
    made, and only then puts it into the target's place.
  - What it replaces is kept beside the target; RV(restored.kept) says where.
  - It does not stop the application that uses the database. The playbook C(dbfleet.recovery.restore) can.
extends_documentation_fragment:
  - dbfleet.recovery.job
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details: Looks for the backup and at the target, and fails where the restore would be refused.
  diff_mode:
    support: full
    details: Shows what would be, or was, in the target's place before and after.
  idempotent:
    support: none
    details: Every run restores again, so it is always changed.
options:
  backup:
    description:
      - The id of a backup, the name of one of its artifacts, or V(latest), which is the newest that is not
        known to be bad.
      - The absolute path of a plain SQL or database file that no manifest describes is accepted too. Its
        content cannot be proven then.
    type: str
    default: latest
  to:
    description:
      - URL of the database to restore to. The default is O(source.url).
      - The password in O(source.password_file) goes with it where it names the same account, and else does not.
    type: str
  tables:
    description:
      - Restore only these tables into the target, and leave its others as they are.
      - Of PostgreSQL also C(schema.*), which means every table of a schema. A physical backup is started as a
        scratch server on the host for it.
      - With O(target) they are as they were at that moment.
    type: list
    elements: str
    default: []
  target:
    description:
      - The moment to which the log archive brings the server forward, out of a physical backup.
      - Of MySQL and MariaDB also out of a logical backup of the whole server, into an empty server that O(to) names.
      - With O(backup=latest) the restore begins with the backup that is nearest before it.
    type: dict
    suboptions:
      time:
        description:
          - A date and time with an offset, C(Z) or the name of a time zone; without any it is UTC.
          - V(latest) means all the log there is.
        type: str
      lsn:
        description: Of PostgreSQL, a position in the log, such as V(0/3000028).
        type: str
      xid:
        description: Of PostgreSQL, the number of a transaction.
        type: str
      name:
        description: Of PostgreSQL, the name of a restore point.
        type: str
      position:
        description:
          - Of MariaDB and MySQL, a position between two transactions of the binary log, such as V(binlog.000007:5120).
        type: str
      gtid:
        description: Of MariaDB and MySQL, the GTID of a transaction, such as V(0-1-4711).
        type: str
      timeline:
        description:
          - Of PostgreSQL, the timeline to follow. The default is the newest one that came of the backup's.
        type: str
      inclusive:
        description: Whether what is exactly at the target is still applied.
        type: bool
        default: true
      action:
        description:
          - Whether a PostgreSQL server is made a primary at the target, or left to pause there when it is started.
        type: str
        choices: [promote, pause]
        default: promote
  replace:
    description:
      - Whether a database, or with O(tables) a table, that is there already may be replaced.
      - Otherwise the restore is refused.
    type: bool
    default: false
  tablespace_map:
    description:
      - Of a physical backup of PostgreSQL, the folders that tablespaces are to be put into, by the folders in which
        they were. Others are put beside the data directory.
    type: dict
    default: {}
seealso:
  - module: dbfleet.recovery.backup_info
  - module: dbfleet.recovery.verify
"""

EXAMPLES = r"""
- name: Restore the latest backup beside the original
  dbfleet.recovery.restore:
    job: promptpilot
    to: sqlite:////var/lib/promptpilot/restored.db

- name: See what would be replaced by the backup of a certain time
  dbfleet.recovery.restore:
    job: promptpilot
    backup: promptpilot_backup_20250823_103000
    replace: true
  check_mode: true
  diff: true

- name: Restore a server as it was at a moment, beside the original
  dbfleet.recovery.restore:
    job: billing
    to: postgresql:////srv/postgresql/restored
    target:
      time: "2025-08-23T10:30:00+02:00"

- name: Bring one table back into the live database
  dbfleet.recovery.restore:
    job: promptpilot
    tables:
      - prompts
    replace: true
"""

RETURN = r"""
restored:
  description: What was restored.
  returned: success, without check mode
  type: dict
  contains:
    backup:
      description: The id of the backup, or the path of the plain file.
      type: str
      sample: promptpilot_backup_20250823_103000
    to:
      description: Where it was restored to.
      type: str
    tables:
      description: The tables, where only some were restored.
      type: list
      elements: str
    rows:
      description: Rows of the restored tables, where only some were restored.
      type: int
    proven:
      description: Whether what was built equals what was measured when the backup was made.
      type: bool
    kept:
      description: Where the replaced database was kept.
      type: str
    recovered:
      description: >-
        With O(target), where recovery C(stopped) in the server's words, on which C(timeline), whether it is
        C(paused), and the log that was applied.
      type: dict
    notes:
      description: What people should know.
      type: list
      elements: str
    size_bytes:
      description: Bytes that were read, unpacked.
      type: int
    duration_seconds:
      description: From the first step to the take-over.
      type: float
plan:
  description: >-
    What a run without check mode would do. C(replaces) says whether something is in the target's place,
    C(needs) which files are read, C(recovery) which log.
  returned: success, in check mode
  type: dict
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _results
from ..module_utils._module import argument_spec, run, told
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.absolute import absolute_url
from ..module_utils.dbfleet.errors import UsageError
from ..module_utils.dbfleet.model import Job
from ..module_utils.dbfleet.operations.restore import restore
from ..module_utils.dbfleet.targets import target_of


def perform(module: AnsibleModule, job: Job) -> dict[str, Any]:
    params = module.params
    to: Optional[str] = absolute_url(params["to"], called="to") if params["to"] else None
    if job.source is None and to is None:
        raise UsageError("there is no database to restore to", "set to, or source.url, or name an installed job")
    with told(module, "restore", job) as progress:
        report = restore(
            job,
            params["backup"],
            to=to,
            tables=params["tables"],
            replace=params["replace"],
            target=target_of(**params["target"]) if params["target"] else None,
            tablespaces={str(old): str(new) for old, new in params["tablespace_map"].items()},
            dry_run=module.check_mode,
            progress=progress,
        )
    return _results.restore(report.to_json())


def main() -> None:
    run(AnsibleModule(argument_spec=argument_spec(**OPTIONS["restore"]), supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
