"""The options of the modules that are no keys of a job."""

from __future__ import annotations

from typing import Any

from .dbfleet.targets import ACTIONS

STATUS_INFO: dict[str, Any] = {"job": {"type": "str"}}  # about no job's keys
_PATHS: dict[str, Any] = {"type": "list", "elements": "path"}
_NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
# As the fields of a ``Scope``.
COVERAGE_INFO: dict[str, Any] = {
    "jobs": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "hosts": _NAMES,
    "sqlite_paths": _PATHS,
    "sqlite_exclude": {**_PATHS, "default": []},
    "postgresql_folders": _PATHS,
    "postgresql_user": {"type": "str", "default": "postgres"},
    "mysql_sockets": _PATHS,
    "mysql_user": {"type": "str", "default": "root"},
    "ignore": _NAMES,
}

# Nothing here may be a default of the job. What is marked no_log is a URL, which may hold a password.
OPTIONS: dict[str, dict[str, Any]] = {
    "backup": {},
    "backup_info": {"backup": {"type": "str"}, "newest": {"type": "int"}},
    "health_info": {},
    "prune": {},
    "restore": {
        "backup": {"type": "str", "default": "latest"},
        "to": {"type": "str", "no_log": True},
        "tables": {"type": "list", "elements": "str", "default": []},
        "target": {
            "type": "dict",
            "options": {
                "time": {"type": "str"},
                "lsn": {"type": "str"},
                "xid": {"type": "str"},
                "name": {"type": "str"},
                "position": {"type": "str"},
                "gtid": {"type": "str"},
                "timeline": {"type": "str"},
                "inclusive": {"type": "bool", "default": True},
                "action": {"type": "str", "default": "promote", "choices": list(ACTIONS)},
            },
        },
        "replace": {"type": "bool", "default": False},
        "tablespace_map": {"type": "dict", "default": {}},
    },
    "sync": {
        "to": {"type": "str", "required": True, "no_log": True},
        "to_identity_file": {"type": "path"},
        "to_known_hosts_file": {"type": "path"},
        "to_password_file": {"type": "path", "no_log": False},
    },
    "verify": {
        "backup": {"type": "str", "default": "latest"},
        "level": {"type": "str", "choices": ["checksum", "structure", "restore"], "default": "structure"},
        "fail_on_findings": {"type": "bool", "default": True},
    },
}
