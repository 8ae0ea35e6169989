"""What the modules return, made of what operations report; a result that has ``failed`` fails the module.

A report is the document that the command prints with ``--json``, so the same result comes of the module, and of the
command on a host where modules cannot run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from .dbfleet.errors import UsageError

Result = dict[str, Any]
Report = Mapping[str, Any]

STATE = ("id", "state", "reason", "verified", "file", "size_bytes")
ONLY_LISTED = ("state", "reason", "verified", "file", "size_bytes", "raw_size_bytes", "duration_seconds")


def backup(report: Report) -> Result:
    """Of ``{"backup": manifest, …}``, or of the ``plan`` of check mode."""
    return {"changed": True, **report}


def prune(report: Report) -> Result:
    """Of the report of ``prune``; findings fail it."""
    changed = any(report[part] for part in ("archived", "removed", "swept")) or report["log"]["files"] > 0
    return _failing(report["findings"], {"changed": changed, **report, "diff": _pruned(report)})


def _pruned(report: Report) -> dict[str, str]:
    """What ``--diff`` shows: the backups and leftovers before and after, those that go with the reason why."""
    kept = [one["id"] for one in report["kept"]]
    gone = [f"{one['id']}  # {part}: {one['reason']}" for part in ("archived", "removed") for one in report[part]]
    swept = [f"{file}  # swept: left by a run that did not end" for file in report["swept"]]
    return {
        "before": "".join(f"{line}\n" for line in sorted([*kept, *gone, *swept])),
        "after": "".join(f"{line}\n" for line in sorted(kept)),
    }


def restore(report: Report) -> Result:
    """Of ``{"restored": facts}`` or ``{"plan": facts}``; notes become warnings."""
    facts = report["plan"] if "plan" in report else report["restored"]
    tables = f"tables {', '.join(facts['tables'])} of " if facts["tables"] else ""
    occupied = facts.get("replaces") or facts.get("kept")
    difference = {
        "before": f"{facts['to']}: what is there now\n" if occupied else "",
        "after": f"{facts['to']}: {tables}{facts['backup']}\n",
    }
    return {"changed": True, **report, "diff": difference, "warnings": list(facts["notes"])}


def sync(report: Report) -> Result:
    """Of ``{"synced": facts}``; findings fail it."""
    facts = report["synced"]
    changed = bool(facts["copied"] or facts["records"] or facts["log"]["files"])
    return _failing(facts["findings"], {"changed": changed, **report})


def verify(report: Report, *, fail_on_findings: bool) -> Result:
    """Of ``{"results": […]}``, or of ``would_verify`` in check mode."""
    if "would_verify" in report:
        return {"changed": False, **report}
    results = report["results"]
    found = [finding for result in results for finding in result["findings"]]
    result = {"changed": False, "ok": all(one["ok"] for one in results), "results": results}
    return _failing(found, result) if fail_on_findings else result


def count(newest: Optional[int]) -> Optional[int]:
    """How many of the newest backups are asked for. Raises ``UsageError``."""
    if newest is not None and newest < 1:
        raise UsageError(f"newest: {newest} is out of its range", "write 1 or more")
    return newest


def backup_info(listed: Sequence[Report]) -> Result:
    """Of the rows that ``list`` tells, in the order of the result."""
    return {
        "changed": False,
        "backups": [_manifest(row) for row in listed if "artifacts" in row],
        "states": [{name: row.get(name) for name in STATE} for row in listed],
    }


def _manifest(row: Report) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ONLY_LISTED}


def health_info(report: Report) -> Result:
    """Of the reports on jobs, and of the audit log."""
    ok = not report["audit"]["findings"] and all(one["ok"] for one in report["health"])
    return {"changed": False, "ok": ok, **report}


def _failing(findings: Sequence[Report], result: Result) -> Result:
    if not findings:
        return result
    remedy = f". {findings[0]['remedy']}" if findings[0]["remedy"] else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    message = f"{findings[0]['object']}: {findings[0]['problem']}{more}{remedy}"
    return {"failed": True, "msg": message, **result}
