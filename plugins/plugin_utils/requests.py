# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module's options ask for, as a request to the command ``dbfleet``, and what the module would return.

Modules in Python cannot run on Windows; the command, which the role ``agent`` installed there, can
(``dbfleet --request``, docs/command.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..module_utils import _results
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.keys import KEYS

Params = Mapping[str, Any]
VERBS = {
    "backup": "backup",
    "backup_info": "list",
    "coverage_info": "coverage",
    "health_info": "health",
    "prune": "prune",
    "restore": "restore",
    "status_info": "status",
    "sync": "sync",
    "verify": "verify",
}
DRY = ("backup", "prune", "restore", "sync", "verify")


def request_of(module: str, params: Params, *, dry: bool) -> dict[str, Any]:
    """The document for ``dbfleet --request``. Raises ``UsageError`` for options that fit nothing."""
    if module == "coverage_info":
        return {"verb": VERBS[module], "options": _coverage(params), "jobs": params["jobs"]}
    options: dict[str, Any] = {"job": params.get("job")}
    if dry and module in DRY:
        options["dry_run"] = True
    request: dict[str, Any] = {"verb": VERBS[module], "options": options, "keys": keys_of(params)}
    if module in ("restore", "verify"):
        request["argument"] = params["backup"]
    if module == "restore":
        options.update(_restore(params))
    elif module == "verify":
        options["level"] = params["level"]
    elif module == "sync":
        options.update({name: params[name] for name in OPTIONS["sync"]})
    elif module == "backup_info":
        _results.count(params["newest"])
        if params["backup"]:
            request.update(verb="show", argument=params["backup"])
    return request


def keys_of(params: Params) -> dict[str, Any]:
    """The keys of the job that are given, nested as in a job file."""
    keys: dict[str, Any] = {}
    for key in KEYS:
        group = (params.get(key.group) or {}) if key.group else params
        if group.get(key.field) is not None:
            (keys.setdefault(key.group, {}) if key.group else keys)[key.field] = group[key.field]
    return keys


def _coverage(params: Params) -> dict[str, Any]:
    """The options by the names that they have on a command line: what can be repeated there is singular."""
    return {name.removesuffix("s"): value for name, value in params.items() if name != "jobs"}


def _restore(params: Params) -> dict[str, Any]:
    target = dict(params["target"] or {})
    exclusive = target.pop("inclusive", True) is False
    options: dict[str, Any] = {f"target_{name}": value for name, value in target.items()}
    pairs = [f"{_escaped(old)}={_escaped(new)}" for old, new in params["tablespace_map"].items()]
    return {
        **options,
        "target_exclusive": exclusive,
        "to": params["to"] or None,
        "table": list(params["tables"]),
        "replace": params["replace"],
        "tablespace_map": pairs,
    }


def _escaped(path: Any) -> str:
    return str(path).rstrip("\\").replace("=", "\\=")


def result_of(module: str, params: Params, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the module would return of what ``answer`` (of ``win_command``) says."""
    try:
        document = json.loads(answer.get("stdout", ""))
    except ValueError:
        return {"failed": True, "changed": False, "msg": _silent(answer)}
    if "error" in document:
        error = document["error"]
        message = f"{error['message']}. {error['remedy']}" if error["remedy"] else error["message"]
        return {"failed": True, "changed": False, "msg": message, "error": error}
    if module == "verify":
        return _results.verify(document, fail_on_findings=params["fail_on_findings"])
    if module in ("coverage_info", "status_info"):
        return {"changed": False, **document}
    if module == "backup_info":
        rows = [document["backup"]] if "backup" in document else document["backups"][::-1]
        return _results.backup_info(rows[: params["newest"]])
    shape = {
        "backup": _results.backup,
        "health_info": _results.health_info,
        "prune": _results.prune,
        "restore": _results.restore,
        "sync": _results.sync,
    }
    return shape[module](document)


def _silent(answer: Mapping[str, Any]) -> str:
    """Why there is no document."""
    words = " ".join(str(answer.get("stderr") or answer.get("msg") or "").split())
    if "--request" in words:
        return "the agent on this host is older than this collection. Upgrade it: playbook site.yml, or role agent"
    if "rc" not in answer or "cannot find" in words or "not recognized" in words:
        return (
            f"the command dbfleet could not be started on this host: {words}. Install it by the role agent (playbook "
            "site.yml), or say where it is: dbfleet_command"
        )
    return f"dbfleet ended with status {answer['rc']} and without an answer: {words or 'it said nothing'}"
