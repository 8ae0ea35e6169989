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
    Databases of PostgreSQL, MySQL and MariaDB are found by the servers' sockets, SQLite databases by the first
    bytes of files.
  - A job protects what its source names on this host. A job of another host that comes here over the network is
    not seen.
  - Wants root, to be let in by the servers without a password and to see every file.
extends_documentation_fragment:
  - dbfleet.recovery.attributes
  - dbfleet.recovery.attributes.info
attributes:
  platform:
    details: Not on Windows.
    platforms: posix
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
      - Without it, V(/srv), V(/opt), V(/var/lib) and V(/var/www), those that are there.
    type: list
    elements: path
  sqlite_exclude:
    description: Folders to leave out. Repositories of the jobs are left out anyway.
    type: list
    elements: path
    default: []
  postgresql_folders:
    description: Folders in which PostgreSQL's sockets may be.
    type: list
    elements: path
    default: [/var/run/postgresql, /tmp]
  postgresql_user:
    description: Account of the host that PostgreSQL lets in.
    type: str
    default: postgres
  mysql_sockets:
    description: Where the sockets of MySQL and MariaDB may be.
    type: list
    elements: path
    default: [/run/mysqld/mysqld.sock, /var/lib/mysql/mysql.sock, /tmp/mysql.sock]
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
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import hide_only_secrets
from ..module_utils.dbfleet.coverage.cover import Covered, compare, jobs_of, protections, repositories
from ..module_utils.dbfleet.coverage.found import Search, search_mysql, search_postgresql, search_sqlite
from ..module_utils.dbfleet.errors import DbfleetError

USUAL_PATHS = ("/srv", "/opt", "/var/lib", "/var/www")


def perform(params: dict[str, Any]) -> dict[str, Any]:
    jobs, wrong_jobs = jobs_of(params["jobs"], os.environ)
    made, wrong_sources = protections(jobs, params["hosts"])
    search = Search()
    user = params["postgresql_user"] if os.geteuid() == 0 else None
    search_postgresql(search, params["postgresql_folders"], user)
    search_mysql(search, params["mysql_sockets"], params["mysql_user"])
    paths = params["sqlite_paths"]
    if paths is None:
        paths = [path for path in USUAL_PATHS if os.path.isdir(path)]
    search_sqlite(search, paths, [*params["sqlite_exclude"], *repositories(jobs)])
    found = [one for one in search.found if not any(fnmatchcase(one.name, each) for each in params["ignore"])]
    covered = compare(found, made)
    return {
        "protected": [{**shown(one), "jobs": list(one.jobs)} for one in covered if one.jobs],
        "unprotected": [{**shown(one), "partly": list(one.partly)} for one in covered if not one.jobs],
        "problems": [asdict(one) for one in (*wrong_jobs, *wrong_sources, *search.problems)],
    }


def shown(one: Covered) -> dict[str, str]:
    return {"engine": one.found.engine, "name": one.found.name, "server": one.found.shown}


def main() -> None:
    names: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    paths: dict[str, Any] = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "jobs": {"type": "list", "elements": "dict", "default": [], "no_log": True},
            "hosts": names,
            "sqlite_paths": {"type": "list", "elements": "path"},
            "sqlite_exclude": paths,
            "postgresql_folders": {**paths, "default": ["/var/run/postgresql", "/tmp"]},
            "postgresql_user": {"type": "str", "default": "postgres"},
            "mysql_sockets": {
                **paths,
                "default": ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"],
            },
            "mysql_user": {"type": "str", "default": "root"},
            "ignore": names,
        },
        supports_check_mode=True,
    )
    hide_only_secrets(module)
    try:
        result = perform(module.params)
    except DbfleetError as error:
        module.fail_json(msg=str(error), error=error.to_json())
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
