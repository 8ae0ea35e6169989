"""What the verbs about a host tell people. Only makes lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Optional

from ..errors import one_line
from ..model import Finding
from ..operations.health import HostHealth
from ..status import Run, run_text
from ..units import show_duration, show_size, utc_now
from .style import Style, counted, table

if TYPE_CHECKING:  # it needs the databases, which the other verbs here do not
    from ..coverage.survey import Survey


def health(found: HostHealth, style: Style) -> list[str]:
    """One line for each job and the audit log, and one for each finding."""
    lines = []
    log = found.log
    for report in found.jobs:
        lines += [f"{_word(report.ok, style)}  {one_line(report.job)}  {_facts(report.facts)}".rstrip()]
        lines += _findings(report.findings)
    if log.entries or log.findings:
        lines.append(f"{_word(not log.findings, style)}  {log.path}  {counted(log.entries, 'entry', 'entries')}")
        lines += _findings(log.findings)
    bad = sum(not report.ok for report in found.jobs)
    return [*lines, "", f"{counted(len(found.jobs), 'job')}, {bad or 'none'} with findings"]


def checked(results: Sequence[Mapping[str, Any]], style: Style) -> list[str]:
    """One line for each job file, and what is wrong with it."""
    lines = []
    for result in results:
        lines.append(f"{_word(result['ok'], style)}  {one_line(result['job'])}  {one_line(result['file'])}")
        if result["error"]:
            lines.append(f"     {result['error']['message']}")
            if result["error"]["remedy"]:
                lines.append(f"       remedy: {result['error']['remedy']}")
    return lines


def coverage(found: Survey, style: Style) -> list[str]:
    """One line for each database, those without a job first, and two for what could not be looked into."""
    rows = []
    for one in found.covered:
        by = ", ".join(one.jobs) or (f"only in part by {', '.join(one.partly)}" if one.partly else "no job")
        rows.append((_word(bool(one.jobs), style), one.found.engine, one_line(one.found.name), one.found.shown, by))
    lines = table(("", "ENGINE", "DATABASE", "SERVER", "PROTECTED BY"), rows, style) if rows else []
    lines += _findings(found.problems)
    alone = sum(not one.jobs for one in found.covered)
    return [*lines, "", f"{counted(len(rows), 'database')}, {alone or 'none'} without protection"]


def status(runs: Sequence[Run], style: Style, now: Optional[datetime] = None) -> list[str]:
    """One line for each run. ``now`` is only given by tests."""
    if not runs:
        return ["nothing runs"]
    rows = [(run.job, run.verb, "running" if run.runs else "killed", run_text(run, now or utc_now())) for run in runs]
    return table(("JOB", "VERB", "STATE", "HOW FAR"), rows, style)


def _word(ok: bool, style: Style) -> str:
    return style.paint("ok", "good") + " " if ok else style.paint("bad", "bad")


def _facts(facts: Mapping[str, Any]) -> str:
    newest, verified, room = facts.get("newest_good"), facts.get("verified"), facts.get("room")
    told = []
    if newest:
        told.append(f"newest {show_duration(max(0, newest['age_seconds']))} old")
    if verified:
        result = "passed" if verified["ok"] else "FAILED"
        told.append(f"verified {show_duration(max(0, verified['age_seconds']))} ago ({verified['level']}, {result})")
    if room:
        told.append(f"{show_size(room['free_bytes'])} free")
    return ", ".join(told)


def _findings(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"     {one_line(finding.object)}: {one_line(finding.problem)}")
        if finding.remedy:
            lines.append(f"       remedy: {one_line(finding.remedy)}")
    return lines
