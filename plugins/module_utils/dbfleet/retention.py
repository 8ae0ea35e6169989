"""Which backups a retention keeps, moves to the archive and removes, and why. Pure.

The time of a backup is the one in its id, in UTC. Only backups that are not known to be bad
count for a rule. Hours, days, ISO weeks, months and years are counted as "the last N that have
a backup", so a pause in backups does not empty a repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Callable, Optional

from . import names
from .errors import RefusedError, UsageError
from .keys import DEFAULT_RETENTION
from .model import Retention
from .units import show_duration, to_text

SKEW = timedelta(minutes=5)  # by how much the clocks of two hosts may differ

BUCKETS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar())[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}
RULES = ("keep_last", "keep_within", *(f"keep_{bucket}" for bucket in BUCKETS))


@dataclass(frozen=True)
class Candidate:
    """What retention must know of a backup.

    ``state``: ``good`` (not known to be bad), ``bad``, or ``unknown`` (its records cannot be
    read); ``finished_at`` is ``None`` where that cannot be read; ``problem`` says why it is not good.
    """

    id: str
    at: datetime
    finished_at: Optional[datetime] = None
    state: str = "good"
    parent: Optional[str] = None
    problem: str = ""


@dataclass(frozen=True)
class Kept:
    """A backup that stays, and every reason for it."""

    id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Gone:
    """A backup that goes, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is done with every backup: each is in exactly one of the three, the newest first.

    ``removed`` is in the order of removal: those that start from another before that one.
    """

    kept: tuple[Kept, ...]
    archived: tuple[Gone, ...]
    removed: tuple[Gone, ...]


def decide(backups: Iterable[Candidate], retention: Retention, now: datetime) -> Plan:
    """The plan of ``retention`` for ``backups`` at ``now``.

    Raises ``UsageError`` for an impossible retention, ``RefusedError`` when time runs backwards.
    """
    rules = effective(retention)
    newest_first = sorted(backups, key=lambda backup: names.sort_key(backup.id), reverse=True)
    refuse_backwards(newest_first, now)
    reasons = _reasons(newest_first, rules, now)
    _keep_parents(newest_first, reasons)
    archived = _to_archive(newest_first, reasons, rules, now)
    expired = f"no rule keeps it: {describe(rules)}"
    removed = [
        Gone(b.id, f"known to be bad: {b.problem}" if b.state == "bad" else expired)
        for b in newest_first
        if b.id not in reasons
    ]
    return Plan(
        kept=tuple(Kept(b.id, tuple(reasons[b.id])) for b in newest_first if b.id in reasons and b.id not in archived),
        archived=_children_first(newest_first, [Gone(*item) for item in archived.items()]),
        removed=_children_first(newest_first, removed),
    )


def effective(retention: Retention) -> Retention:
    """``retention`` with the default rules where it sets none; ``UsageError`` if it is impossible."""
    values = {rule: getattr(retention, rule) for rule in RULES}
    for rule, value in {**values, "archive_after": retention.archive_after}.items():
        if value is not None and value < 0:
            raise UsageError(f"retention.{rule} is {value}", "write 0 or more")
    if retention.min_keep < 1:
        raise UsageError(
            f"retention.min_keep is {retention.min_keep}",
            "keep at least 1: the last good backup always stays",
        )
    if (retention.archive_after is None) != (retention.archive_to is None):
        raise UsageError(
            "retention.archive_after and retention.archive_to need each other", "set both of them, or none"
        )
    if all(value is None for value in values.values()):
        defaults: dict[str, Any] = dict(DEFAULT_RETENTION)
        return replace(retention, **defaults)
    return retention


def describe(retention: Retention) -> str:
    """The rules that are set, as they are written in a record: ``keep_daily 7, min_keep 1``."""
    words = []
    for rule in (*RULES, "min_keep"):
        value = getattr(retention, rule)
        if value is not None:
            words.append(f"{rule} {show_duration(value) if rule == 'keep_within' else value}")
    return ", ".join(words)


def refuse_backwards(newest_first: Sequence[Candidate], now: datetime) -> None:
    """Raise ``RefusedError`` when a backup is younger than ``now``: then ages mean nothing."""
    remedy = "correct this host's clock; if a backup has a wrong time, move it out of the repository"
    newest = next((backup for backup in newest_first if backup.finished_at is not None), None)
    if newest is not None and newest.finished_at is not None and now < newest.finished_at:
        raise RefusedError(
            f"nothing is pruned: it is {to_text(now)} here, but {newest.id} was finished at "
            f"{to_text(newest.finished_at)}",
            remedy,
        )
    for backup in newest_first:
        latest = max(backup.at, backup.finished_at or backup.at)
        if latest > now + SKEW:
            raise RefusedError(
                f"nothing is pruned: {backup.id} is of {to_text(latest)}, and it is {to_text(now)} here",
                remedy,
            )


def _reasons(newest_first: Sequence[Candidate], rules: Retention, now: datetime) -> dict[str, list[str]]:
    good = [backup for backup in newest_first if backup.state == "good"]
    reasons: dict[str, list[str]] = {}
    for backup, reason in _by_rules(good, rules, now):
        reasons.setdefault(backup.id, []).append(reason)
    for number, backup in enumerate(good[: rules.min_keep], start=1):
        reason = "newest good backup" if number == 1 else f"min_keep {number} of {rules.min_keep}"
        reasons.setdefault(backup.id, []).append(reason)
    for backup in newest_first:
        if backup.state == "unknown":
            reasons[backup.id] = [f"it cannot be told whether it is good: {backup.problem}"]
    _keep_bad(newest_first, reasons, rules, now)
    return reasons


def _keep_bad(
    newest_first: Sequence[Candidate], reasons: dict[str, list[str]], rules: Retention, now: datetime
) -> None:
    """Keep a known bad backup until a newer good one exists and no rule would keep it if it were good.

    It takes no good one's place. But one mistaken verification must not empty a repository.
    """
    if_good = _by_rules([backup for backup in newest_first if backup.state != "unknown"], rules, now)
    would_stay = {backup.id for backup, _rules in if_good}
    newer_is_good = False
    for backup in newest_first:
        newer_is_good = newer_is_good or backup.state == "good"
        if backup.state != "bad":
            continue
        if not newer_is_good:
            reasons[backup.id] = [f"bad, but nothing newer is good: {backup.problem}"]
        elif backup.id in would_stay:
            reasons[backup.id] = [f"bad, but young enough to be looked into: {backup.problem}"]


def _by_rules(newest_first: Sequence[Candidate], rules: Retention, now: datetime) -> Iterable[tuple[Candidate, str]]:
    for number, backup in enumerate(newest_first[: rules.keep_last or 0], start=1):
        yield backup, f"keep_last {number} of {rules.keep_last}"
    if rules.keep_within is not None:
        for backup in newest_first:
            if (now - backup.at).total_seconds() <= rules.keep_within:
                yield backup, f"keep_within {show_duration(rules.keep_within)}"
    for name, bucket_of in BUCKETS.items():
        limit = getattr(rules, f"keep_{name}")
        if limit is None:
            continue
        seen: set[tuple[int, ...]] = set()
        for backup in newest_first:
            if len(seen) == limit:
                break
            bucket = bucket_of(backup.at)
            if bucket not in seen:
                seen.add(bucket)
                yield backup, f"keep_{name} {len(seen)} of {limit}"


def _keep_parents(newest_first: Sequence[Candidate], reasons: dict[str, list[str]]) -> None:
    """Every backup that a kept one starts from stays, and says for whom."""
    parents = {backup.id: backup.parent for backup in newest_first}
    walked: set[str] = set()
    for backup in newest_first:
        child, parent = backup.id, backup.parent
        while child in reasons and child not in walked and parent is not None and parent in parents:
            walked.add(child)
            reasons.setdefault(parent, []).append(f"needed by {child}")
            child, parent = parent, parents[parent]


def _to_archive(
    newest_first: Sequence[Candidate], reasons: Mapping[str, list[str]], rules: Retention, now: datetime
) -> dict[str, str]:
    """Kept backups that are old enough to move: whole chains only, and never the newest ``min_keep``."""
    if rules.archive_after is None:
        return {}
    age = timedelta(seconds=rules.archive_after)
    root = _roots(newest_first)
    good = [backup for backup in newest_first if backup.state == "good"]
    staying = {root[backup.id] for backup in good[: rules.min_keep]}
    for backup in newest_first:
        if backup.id in reasons and (backup.state != "good" or now - backup.at <= age):
            staying.add(root[backup.id])
    return {
        backup.id: f"older than archive_after {show_duration(rules.archive_after)}"
        for backup in newest_first
        if backup.id in reasons and root[backup.id] not in staying
    }


def _roots(backups: Sequence[Candidate]) -> dict[str, str]:
    """The backup at the beginning of each one's chain, as far as it is there."""
    parents = {backup.id: backup.parent for backup in backups}
    root: dict[str, str] = {}
    for backup in backups:
        line: dict[str, None] = {}
        top = backup.id
        while top not in root and top not in line:
            line[top] = None
            parent = parents[top]
            top = top if parent is None or parent not in parents else parent
        root.update(dict.fromkeys(line, root.get(top, top)))
    return root


def _children_first(newest_first: Sequence[Candidate], going: Sequence[Gone]) -> tuple[Gone, ...]:
    """``going`` from the newest, each after all that starts from it, so that an abort leaves no orphan."""
    parents = {backup.id: backup.parent for backup in newest_first}
    waiting = {gone.id: 0 for gone in going}
    for gone in going:
        parent = parents[gone.id]
        if parent in waiting and parent is not None:
            waiting[parent] += 1
    by_id = {gone.id: gone for gone in going}
    ordered: dict[str, Gone] = {}
    for gone in going:
        current: Optional[str] = gone.id
        while current in by_id and current is not None and current not in ordered and not waiting[current]:
            ordered[current] = by_id[current]
            current = parents[current]
            if current in waiting and current is not None:
                waiting[current] -= 1
    ordered.update((gone.id, gone) for gone in going if gone.id not in ordered)  # a chain in a circle
    return tuple(ordered.values())
