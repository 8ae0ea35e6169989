#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to what of a host is protected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: coverage_info
short_description: Tell which databases of a host no job protects
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Looks for databases on the host, and compares them with O(jobs) and with the jobs that are installed there.
    Databases of PostgreSQL, MySQL and MariaDB are found by the servers' sockets, and by the ports that jobs name,
    with the logins of these; SQLite databases by the first bytes of files.
  - Where something listens on the usual port of a server, and neither a socket nor a job leads into it, it is among
    the RV(problems).
  - A job protects what its source names on this host. A job of another host that comes here over the network is
    not seen.
  - Wants root, to be let in by the servers without a password and to see every file.
  - On Windows, where the command of the role P(dbfleet.recovery.agent#role) does this, servers are found by ports
    alone.
extends_documentation_fragment:
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.info
options:
  jobs:
    description: Jobs as in C(dbfleet_jobs), besides those installed in C(/etc/dbfleet/jobs.d).
    type: list
    elements: dict
    default: []
  hosts:
    description: Names and addresses by which jobs mean this host, besides its own name and C(localhost).
    type: list
    elements: str
    default: []
  sqlite_paths:
    description:
      - Where SQLite databases may be, files or folders. Links are not followed.
      - Without it, V(/srv), V(/opt), V(/var/lib) and V(/var/www), those that are there. On Windows,
        V(%ProgramData%) without what is Windows' own, and V(srv) and V(inetpub) on the system's drive.
    type: list
    elements: path
  sqlite_exclude:
    description: Folders to leave out. Repositories of the jobs are left out anyway.
    type: list
    elements: path
    default: []
  postgresql_folders:
    description:
      - Folders in which PostgreSQL's sockets may be.
      - Without it, V(/var/run/postgresql) and V(/tmp).
    type: list
    elements: path
  postgresql_user:
    description: Account of the host that PostgreSQL lets in.
    type: str
    default: postgres
  mysql_sockets:
    description:
      - Where the sockets of MySQL and MariaDB may be.
      - Without it, V(/run/mysqld/mysqld.sock), V(/var/lib/mysql/mysql.sock) and V(/tmp/mysql.sock).
    type: list
    elements: path
  mysql_user:
    description: Account that MySQL and MariaDB let in by the socket.
    type: str
    default: root
  ignore:
    description: Databases that need no protection, by name or path, with C(*) and C(?) as in shells.
    type: list
    elements: str
    default: []
seealso:
  - module: dbfleet.recovery.backup_info
"""

EXAMPLES = r"""
- name: See what nobody backs up
  dbfleet.recovery.coverage_info:
    jobs: "{{ dbfleet_jobs | default([]) }}"
    sqlite_paths: [/srv, /var/lib]
  register: coverage

- name: Insist on jobs for all of it
  ansible.builtin.assert:
    that:
      - coverage.unprotected | length == 0
      - coverage.problems | length == 0
"""

RETURN = r"""
protected:
  description: Databases that jobs protect, each with its C(engine), C(name), C(server) and C(jobs).
  returned: success
  type: list
  elements: dict
unprotected:
  description: >-
    Databases that no job protects as a whole. C(partly) names jobs that protect some of the tables.
  returned: success
  type: list
  elements: dict
  sample:
    - {engine: postgresql, name: promptpilot, server: "PostgreSQL, port 5432", partly: []}
problems:
  description: What could not be looked into, each with an C(object), a C(problem) and a C(remedy).
  returned: success
  type: list
  elements: dict
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import end_with
from ..module_utils._options import COVERAGE_INFO
from ..module_utils.dbfleet.coverage.survey import Scope, survey


def perform(module: AnsibleModule) -> dict[str, Any]:
    return {"changed": False, **survey(Scope(**module.params), os.environ).to_json()}


def main() -> None:
    end_with(AnsibleModule(argument_spec=COVERAGE_INFO, supports_check_mode=True), perform)


if __name__ == "__main__":
    main()
