"""The backups of a repository, as ``dbfleet list`` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Optional

from ..model import Job
from ..names import sort_key
from ..operations.lookup import Listed, listing
from ..units import show_duration, show_size, utc_now
from .jobs import names_there
from .style import Style, counted, table


def every_row(job: Job) -> list[Listed]:
    """The backups of ``job``, or of every job in the repository when it has no name; the oldest first."""
    jobs = [job] if job.name else [replace(job, name=name) for name in names_there(job)]
    rows = [row for each in jobs for row in listing(each)]
    return sorted(rows, key=lambda row: sort_key(row.id))


def told(rows: Sequence[Listed], repository: str, style: Style, now: Optional[datetime] = None) -> list[str]:
    """The listing for people: one line for each backup, and their sum. ``now`` is only given by tests."""
    now = now or utc_now()
    if not rows:
        return [f"no backups in {repository}"]
    lines = []
    for row in rows:
        manifest = row.outline
        age = show_duration(max(0.0, (now - manifest.consistent_at).total_seconds())) if manifest else ""
        kind = manifest.type if manifest else ""
        lines.append((row.file or row.id, kind, row.state, show_size(row.size_bytes), age))
    told = table(
        ("BACKUP", "TYPE", "STATE", "SIZE", "AGE"),
        lines,
        style,
        right=("SIZE", "AGE"),
        spare=("AGE", "TYPE"),
        painted="STATE",
    )
    whole = show_size(sum(row.size_bytes for row in rows))
    return [*told, "", f"{counted(len(rows), 'backup')}, {whole} in {repository}"]
