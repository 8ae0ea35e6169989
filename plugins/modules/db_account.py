#!/usr/bin/python
# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the accounts of database servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: db_account
short_description: Keep a least-privilege account for backups in a database server
version_added: 0.1.0
author: The dbfleet.recovery contributors (@dbfleet)
description:
  - Makes an account in PostgreSQL, MySQL or MariaDB that can take backups and cannot write, and takes away what
    it has besides.
  - Makes its password on the host, keeps it in a file that jobs read (C(source.password_file)), and replaces it
    when it is old. The server knows the new password before the file has it. Neither the password nor a
    statement with it is ever logged or returned; PostgreSQL and MariaDB get only what they keep of it.
  - An account of that name that is a superuser, that may write or that owns something is refused.
extends_documentation_fragment:
  - dbfleet.recovery.attributes
attributes:
  platform:
    details: Not on Windows.
    platforms: posix
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows what the account is and may do. A password is shown as new or kept, and never itself.
  idempotent:
    support: full
    details: Until the password is older than O(rotate_after).
requirements:
  - psycopg2 for PostgreSQL, PyMySQL for MySQL and MariaDB
options:
  name:
    description: Name of the account.
    type: str
    required: true
  engine:
    description: The kind of server.
    choices: [postgresql, mysql]
    type: str
    required: true
  state:
    description: V(absent) drops the account, and then removes its password file.
    choices: [present, absent]
    default: present
    type: str
  databases:
    description:
      - The databases that the account may read. None means all of the server.
      - In PostgreSQL 14 and newer these are the databases that it may connect to by a grant of its own; wherever
        everybody may connect, it can read all data.
    type: list
    elements: str
    default: []
  password_file:
    description: File on the host that holds the password. Its folder must be there.
    type: path
    required: true
  rotate_after:
    description: >-
      Age at which the password is replaced, such as V(90d), counted from the time of the file. Without it, never;
      V(0) is now.
    type: str
  owner:
    description: Owner of the password file.
    type: str
    default: root
  group:
    description: Group of the password file, which may read it.
    type: str
    default: dbfleet
  replication:
    description: >-
      Whether the account may do what physical backups and log archives need. In PostgreSQL C(REPLICATION); in
      MySQL and MariaDB C(REPLICATION SLAVE), C(PROCESS) and more.
    type: bool
    default: false
  create_databases:
    description: >-
      Whether the account may create databases, for restores and trials on the same server. PostgreSQL only. It
      owns the databases that it makes.
    type: bool
    default: false
  bypass_row_security:
    description: Whether the account sees all rows of tables with row-level security. PostgreSQL only.
    type: bool
    default: false
  host:
    description: Where the account may come from. MySQL and MariaDB only.
    type: str
    default: localhost
  login_url:
    description: >-
      URL of the server, with the user who manages accounts. Without it, the server's socket on this host, where
      O(login_user) of PostgreSQL and C(root) of MySQL and MariaDB need no password.
    type: str
  login_password_file:
    description: File on the host with the password for O(login_url).
    type: path
  login_user:
    description: >-
      Account of the host that logs in. Without O(login_url) and O(login_user), PostgreSQL is logged in to as
      C(postgres).
    type: str
seealso:
  - module: dbfleet.recovery.backup
"""

EXAMPLES = r"""
- name: Let backups read one database of PostgreSQL, with a new password every three months
  dbfleet.recovery.db_account:
    name: dbfleet
    engine: postgresql
    databases: [promptpilot]
    password_file: /etc/dbfleet/secrets/postgresql
    rotate_after: 90d

- name: Let backups read all of MariaDB
  dbfleet.recovery.db_account:
    name: dbfleet
    engine: mysql
    password_file: /etc/dbfleet/secrets/mariadb

- name: Drop the account
  dbfleet.recovery.db_account:
    name: dbfleet
    engine: mysql
    password_file: /etc/dbfleet/secrets/mariadb
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [let dbfleet read all data]
rotated:
  description: Whether an old password was replaced, or would be in check mode.
  returned: success
  type: bool
error:
  description: The failure, with a C(kind) for programs, a C(message) and a C(remedy).
  returned: failure
  type: dict
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import end_with
from ..module_utils.dbfleet.accounts.base import Account
from ..module_utils.dbfleet.accounts.keeping import Report, drop, keep
from ..module_utils.dbfleet.accounts.login import POSTGRESQL_ACCOUNT, accounts_at, default_url, engine_of
from ..module_utils.dbfleet.accounts.password_file import PasswordFile
from ..module_utils.dbfleet.errors import UsageError
from ..module_utils.dbfleet.units import parse_duration


def perform(params: dict[str, Any], *, dry_run: bool) -> Report:
    url, user = params["login_url"], params["login_user"]
    if url is None:
        url = default_url(params["engine"])
        user = user or (POSTGRESQL_ACCOUNT if params["engine"] == "postgresql" else None)
    elif engine_of(url) != params["engine"]:
        raise UsageError(f"login_url is of another kind of server than {params['engine']}", "correct engine or URL")
    account = Account(
        params["name"],
        tuple(params["databases"]),
        host=params["host"],
        replication=params["replication"],
        create_databases=params["create_databases"],
        bypass_row_security=params["bypass_row_security"],
    )
    file = PasswordFile(params["password_file"], params["owner"], params["group"])
    age = params["rotate_after"]
    with accounts_at(url, password_file=params["login_password_file"], system_user=user) as server:
        if params["state"] == "absent":
            return drop(server, account, file, dry_run=dry_run)
        return keep(server, account, file, rotate_after=parse_duration(age) if age else None, dry_run=dry_run)


def act(module: AnsibleModule) -> dict[str, Any]:
    report = perform(module.params, dry_run=module.check_mode)
    actions = list(report.actions)
    return {"changed": bool(actions), "actions": actions, "rotated": report.rotated, "diff": difference(report)}


def difference(report: Report) -> dict[str, str]:
    """What ``--diff`` shows: the account before and after, and what happens to its password."""
    after = {**report.after, "password": "; ".join(one for one in report.actions if "password" in one) or "kept"}
    return {
        "before": json.dumps(report.before, indent=2, sort_keys=True) + "\n" if report.before else "",
        "after": json.dumps(after if report.actions else report.before, indent=2, sort_keys=True) + "\n"
        if report.after
        else "",
    }


def main() -> None:
    text: dict[str, Any] = {"type": "str"}
    flag: dict[str, Any] = {"type": "bool", "default": False}
    module = AnsibleModule(
        argument_spec={
            "name": {**text, "required": True},
            "engine": {**text, "required": True, "choices": ["postgresql", "mysql"]},
            "state": {**text, "choices": ["present", "absent"], "default": "present"},
            "databases": {"type": "list", "elements": "str", "default": []},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "rotate_after": text,
            "owner": {**text, "default": "root"},
            "group": {**text, "default": "dbfleet"},
            "replication": flag,
            "create_databases": flag,
            "bypass_row_security": {**flag, "no_log": False},
            "host": {**text, "default": "localhost"},
            "login_url": {**text, "no_log": True},
            "login_password_file": {"type": "path", "no_log": False},
            "login_user": text,
        },
        supports_check_mode=True,
    )
    end_with(module, act)


if __name__ == "__main__":
    main()
