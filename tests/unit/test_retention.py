"""Promises 3 and 4: prune never removes the newest good backup or one that another needs,
counts only what is not known to be bad, and stops when time runs backwards."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.samples import START, moment

from dbfleet import names
from dbfleet.errors import RefusedError, UsageError
from dbfleet.model import Retention
from dbfleet.retention import RULES, Candidate, decide

NOW = datetime(2027, 1, 1, tzinfo=timezone.utc)
DAY = 86400


def at(when: datetime, state: str = "good", parent: str | None = None) -> Candidate:
    problem = "" if state == "good" else "its checksum differs"
    return Candidate(names.backup_id("app", when), when, when, state, parent, problem)


def daily(count: int, state: str = "good") -> list[Candidate]:
    return [at(moment(day), state) for day in range(count)]


def kept(backups, now=None, **rules) -> list[str]:
    last = max((b.at for b in backups), default=NOW)
    plan = decide(backups, Retention(**rules), now or last + timedelta(hours=1))
    assert sorted([k.id for k in plan.kept] + [g.id for g in (*plan.archived, *plan.removed)]) == sorted(
        b.id for b in backups
    )
    return [k.id for k in plan.kept]


def ids(backups) -> list[str]:
    return [backup.id for backup in backups]


# --- what each rule means ---


def test_the_default_is_seven_days_five_weeks_twelve_months():
    backups = daily(730)
    found = kept(backups)
    assert found == kept(backups, keep_daily=7, keep_weekly=5, keep_monthly=12)
    stamps = [identity[-15:-7] for identity in found]
    assert stamps[:7] == ["20261231", "20261230", "20261229", "20261228", "20261227", "20261226", "20261225"]
    assert stamps[7:10] == ["20261220", "20261213", "20261206"]  # Sundays: the newest of their ISO week
    assert stamps[10:] == [f"2026{end}" for end in "1130 1031 0930 0831 0731 0630 0531 0430 0331 0228 0131".split()]


def test_keep_last_counts_backups_and_keep_within_counts_seconds():
    backups = daily(10)
    assert kept(backups, keep_last=3) == ids(backups[:-4:-1])
    assert kept(backups, keep_within=2 * DAY) == ids(backups[:-3:-1])
    assert kept(backups, keep_last=0, keep_within=0) == [backups[-1].id]


def test_hours_and_years():
    backups = [at(START + timedelta(minutes=20 * n)) for n in range(12)]
    assert kept(backups, keep_hourly=2) == [backups[11].id, backups[8].id]
    backups = [at(START - timedelta(days=100 * n)) for n in range(8)]
    assert len(kept(backups, keep_yearly=2)) == 2


def test_an_iso_week_does_not_end_with_the_year():
    sunday, monday, friday = (datetime(2027, 1, d, tzinfo=timezone.utc) for d in (3, 4, 1))
    thursday = datetime(2026, 12, 31, tzinfo=timezone.utc)  # of the same ISO week 53 as 1 and 3 January
    backups = [at(thursday), at(friday), at(sunday), at(monday)]
    assert kept(backups, keep_weekly=2) == [names.backup_id("app", monday), names.backup_id("app", sunday)]


def test_a_pause_in_backups_does_not_empty_the_repository():
    backups = daily(20)
    assert kept(backups, now=moment(5000), keep_daily=7) == ids(backups[:-8:-1])
    assert kept(backups, now=moment(5000), keep_within=DAY, min_keep=3) == ids(backups[:-4:-1])


# --- what is bad does not count ---


def test_bad_backups_take_no_good_ones_place():
    backups = [*daily(3), at(moment(3), "bad"), at(moment(4), "bad")]
    found = kept(backups, keep_last=1)
    assert backups[2].id in found
    assert found == ids([backups[4], backups[3], backups[2]])  # nothing newer than the bad ones is good


def test_a_bad_backup_goes_when_a_newer_good_one_is_there_and_it_is_old():
    backups = [at(moment(0), "bad"), at(moment(1)), at(moment(2))]
    assert kept(backups, keep_last=2) == ids([backups[2], backups[1]])


def test_one_mistaken_verification_does_not_empty_a_repository():
    backups = [*daily(30, "bad"), at(moment(30))]
    assert len(kept(backups, keep_daily=7)) == 7


def test_without_any_good_backup_nothing_goes():
    assert len(kept(daily(30, "bad"), keep_last=1)) == 30


def test_what_cannot_be_told_is_never_removed_and_never_counts():
    backups = [at(moment(0)), at(moment(1), "unknown"), at(moment(2), "unknown")]
    assert len(kept(backups, keep_last=1)) == 3


# --- chains ---


def chain_of(days, state="good") -> list[Candidate]:
    made: list[Candidate] = []
    for day in days:
        made.append(at(moment(day), state, made[-1].id if made else None))
    return made


def test_a_kept_backup_keeps_what_it_needs():
    backups = [*chain_of(range(5)), *chain_of(range(5, 8))]
    plan = decide(backups, Retention(keep_last=1), moment(9))
    assert {k.id for k in plan.kept} == set(ids(backups[5:]))
    assert [g.id for g in plan.removed] == ids(reversed(backups[:5]))  # children first
    reasons = {k.id: k.reasons for k in plan.kept}
    assert reasons[backups[5].id] == (f"needed by {backups[6].id}",)


def test_children_go_before_a_parent_that_a_wrong_clock_made_younger():
    full = at(moment(3))
    child = at(moment(1), parent=full.id)
    grandchild = at(moment(2), parent=child.id)
    plan = decide([full, child, grandchild, at(moment(9))], Retention(keep_last=1), moment(10))
    assert [g.id for g in plan.removed] == ids([grandchild, child, full])


# --- refusals ---


def test_nothing_goes_when_time_runs_backwards():
    backups = daily(10)
    with pytest.raises(RefusedError, match="nothing is pruned"):
        decide(backups, Retention(keep_last=1), backups[-1].at - timedelta(seconds=1))
    late = replace(backups[3], finished_at=moment(100))
    with pytest.raises(RefusedError):
        decide([*backups[:3], late, *backups[4:]], Retention(keep_last=1), moment(10))
    unread = Candidate(names.backup_id("app", moment(50)), moment(50), None, "unknown")
    with pytest.raises(RefusedError):
        decide([*backups, unread], Retention(keep_last=1), moment(10))


def test_clocks_of_two_hosts_may_differ_a_little():
    backups = [*daily(3), replace(at(moment(2) + timedelta(minutes=4)), finished_at=None)]
    decide(backups, Retention(keep_last=1), moment(2))


@pytest.mark.parametrize(
    "rules",
    [
        {"min_keep": 0},
        {"keep_daily": -1},
        {"keep_within": -1},
        {"archive_after": 30 * DAY},
        {"archive_to": "file:///a"},
        {"archive_after": -1, "archive_to": "file:///a"},
    ],
)
def test_an_impossible_retention_is_refused(rules):
    with pytest.raises(UsageError):
        decide(daily(3), Retention(**rules), NOW)


# --- the archive ---


def test_old_backups_move_and_the_newest_never_does():
    backups = daily(10)
    plan = decide(backups, Retention(keep_last=6, archive_after=3 * DAY, archive_to="file:///a"), moment(9.5))
    assert [g.id for g in plan.archived] == ids(backups[6:3:-1])  # 3.5 to 5.5 days old
    plan = decide(backups, Retention(keep_last=6, archive_after=DAY, archive_to="file:///a"), moment(900))
    assert [k.id for k in plan.kept] == [backups[9].id]


def test_a_chain_moves_whole_or_stays():
    backups = [*chain_of([0, 1, 2]), *chain_of([3, 9])]
    rules = Retention(keep_last=9, archive_after=5 * DAY, archive_to="file:///a")
    plan = decide(backups, rules, moment(10))
    assert [g.id for g in plan.archived] == ids(reversed(backups[:3]))


# --- properties ---

small = st.one_of(st.none(), st.integers(0, 5))
retentions = st.builds(
    Retention,
    keep_last=small,
    keep_within=st.one_of(st.none(), st.integers(0, 60 * DAY)),
    keep_hourly=small,
    keep_daily=small,
    keep_weekly=small,
    keep_monthly=small,
    keep_yearly=small,
    min_keep=st.integers(1, 4),
)


@st.composite
def histories(draw) -> list[Candidate]:
    hours = sorted(draw(st.sets(st.integers(0, 20_000), max_size=25)))
    made: list[Candidate] = []
    for hour in hours:
        parent = draw(st.one_of(st.none(), st.sampled_from(made))) if made else None
        state = draw(st.sampled_from(["good", "good", "good", "bad", "unknown"]))
        if parent is not None and parent.state != "good":
            state = parent.state  # as the catalog does
        made.append(at(START + timedelta(hours=hour), state, parent and parent.id))
    return made


LATER = START + timedelta(hours=20_001)


@settings(max_examples=300)
@given(histories(), retentions, st.randoms(use_true_random=False))
def test_what_always_holds(backups, retention, shuffler: random.Random):
    plan = decide(backups, retention, LATER)
    keeps = {k.id for k in plan.kept}
    good = [b for b in backups if b.state == "good"]
    # never fewer good ones than min_keep, and the newest of them stay
    assert {b.id for b in good[-retention.min_keep :]} <= keeps
    # nothing that a kept one needs goes
    by_id = {b.id: b for b in backups}
    assert all(by_id[k].parent in keeps for k in keeps if by_id[k].parent is not None)
    # children go before what they start from
    order = {g.id: place for place, g in enumerate(plan.removed)}
    assert all(order[by_id[g].parent] > order[g] for g in order if by_id[g].parent in order)
    # every one has a fate and a reason
    assert keeps | set(order) == set(by_id)
    assert not keeps & set(order)
    assert all(k.reasons and all(k.reasons) for k in plan.kept)
    # what cannot be told stays; a bad one goes only when a newer good one stays
    assert all(b.id in keeps for b in backups if b.state == "unknown")
    newest_good = max((names.sort_key(b.id) for b in good), default=("", ""))
    assert all(names.sort_key(g) < newest_good for g in order if by_id[g].state == "bad")
    # pruning what is left again removes nothing
    left = [b for b in backups if b.id in keeps]
    assert decide(left, retention, LATER).removed == ()
    # the order in which a store lists does not matter
    shuffled = list(backups)
    shuffler.shuffle(shuffled)
    assert decide(shuffled, retention, LATER) == plan


@given(histories(), retentions, st.sampled_from(RULES), st.integers(0, 40))
def test_one_more_rule_never_removes_more(backups, retention, rule, value):
    if all(getattr(retention, each) is None for each in RULES):
        retention = replace(retention, keep_last=1)  # no rule at all means the default
    if getattr(retention, rule) is None:
        before = {k.id for k in decide(backups, retention, LATER).kept}
        after = {k.id for k in decide(backups, replace(retention, **{rule: value}), LATER).kept}
        assert before <= after


@given(histories(), retentions, st.integers(0, 400))
def test_archiving_moves_whole_chains_of_kept_good_backups(backups, retention, days):
    plain = decide(backups, retention, LATER)
    retention = replace(retention, archive_after=days * DAY, archive_to="file:///a")
    plan = decide(backups, retention, LATER)
    moved = {g.id for g in plan.archived}
    assert plan.removed == plain.removed
    assert moved | {k.id for k in plan.kept} == {k.id for k in plain.kept}
    by_id = {b.id: b for b in backups}
    assert all(by_id[m].state == "good" for m in moved)
    assert not moved & {b.id for b in [b for b in backups if b.state == "good"][-retention.min_keep :]}
    stays = {k.id for k in plan.kept}
    for backup in backups:
        if backup.id in moved | stays and backup.parent in moved | stays:
            assert (backup.id in moved) == (backup.parent in moved)
    left = [b for b in backups if b.id in stays]
    again = decide(left, retention, LATER)
    assert (again.removed, again.archived) == ((), ())


def test_the_plan_is_linear():
    """A plan for 40,000 backups in long chains takes seconds at most on any host; quadratic takes minutes."""
    backups: list[Candidate] = []
    for hour in range(40_000):
        backups.append(at(START - timedelta(hours=hour), parent=None))
    chained = [replace(b, parent=backups[n + 1].id if n + 1 < len(backups) else None) for n, b in enumerate(backups)]
    star = [replace(b, parent=backups[-1].id if b is not backups[-1] else None) for b in backups]
    began = time.process_time()
    for history in (backups, chained, star):
        rules = Retention(keep_last=5, keep_hourly=9000, archive_after=DAY, archive_to="file:///a")
        decide(history, rules, START + timedelta(hours=1))
    assert time.process_time() - began < 20
