"""The sidecar's scheduler: what is due, by the same calendars as every other scheduler."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
CALENDARS = [
    "hourly",
    "every 15m",
    "every 4h",
    "daily 02:00",
    "weekly sun 03:00",
    "weekly wed 23:59",
    "monthly 28 00:00",
]


def load() -> Any:
    """``scheduler.py`` as in the image, where the calendars of the collection lie beside it."""
    package = types.ModuleType("schedule_words")
    package.__path__ = [str(ROOT / "plugins/plugin_utils")]
    sys.modules.setdefault("schedule_words", package)
    spec = importlib.util.spec_from_file_location("sidecar_scheduler", ROOT / "containers/sidecar/scheduler.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sidecar_scheduler"] = module
    spec.loader.exec_module(module)
    return module


scheduler = load()
calendars = scheduler.calendars


def asked(calendar: Any, moment: datetime) -> bool:
    """Whether ``moment``, a full minute, is one that ``calendar`` means."""
    minute = moment.hour * 60 + moment.minute
    weekday = calendar.weekday is None or moment.isoweekday() % 7 == calendar.weekday
    day = calendar.day is None or moment.day == calendar.day
    return weekday and day and minute >= calendar.minute and (minute - calendar.minute) % calendar.every == 0


@settings(max_examples=40)
@given(st.sampled_from(CALENDARS), st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1)), st.integers(0, 200))
def test_the_last_moment_that_was_due_is_found(text: str, now: datetime, window: int) -> None:
    calendar = calendars.spread(calendars.parse(text), window, "host", text)
    due = scheduler.last_due(calendar, now)
    assert due <= now and asked(calendar, due)
    later = due + timedelta(minutes=1)
    for _minute in range(24 * 60):  # nothing between, as far as a test can look
        if later > now:
            break
        assert not asked(calendar, later)
        later += timedelta(minutes=1)


def install(folder: Path, schedule: Any, *jobs: str) -> dict[str, str]:
    (folder / "schedule.json").write_text(json.dumps(schedule))
    return {name: json.dumps({"repository": {"url": "/backups"}}) for name in jobs}


def test_every_installed_job_runs_where_there_is_no_schedule(tmp_path: Path) -> None:
    runs = scheduler.read_schedule(tmp_path / "schedule.json", {"a": "{}", "b": '{"retention": {"keep_last": 3}}'})
    assert [run["name"] for run in runs] == [
        "dbfleet-backup-a",
        "dbfleet-verify-a",
        "dbfleet-backup-b",
        "dbfleet-verify-b",
        "dbfleet-prune-b",
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (["app", "other"], "no job other is installed"),
        ([{"name": "app", "backup": "cron 0 2 * * *"}], "common notation"),
        ([{"name": "app", "backp": "daily 02:00"}], "backp of app is none of"),
        ([{"name": "app", "backup": "daily"}], "no calendar"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(tmp_path: Path, schedule: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scheduler.read_schedule(tmp_path / "schedule.json", install(tmp_path, schedule, "app"))


def test_a_backup_is_due_at_once_and_another_verb_when_its_time_comes(tmp_path: Path) -> None:
    one = scheduler.Scheduler(tmp_path)
    runs = scheduler.read_schedule(tmp_path / "none", {"app": "{}"})
    backup, verify = runs
    now = datetime.now()
    assert one.is_due(backup, now) and not one.is_due(verify, now)
    for run, later in ((backup, timedelta(days=1)), (verify, timedelta(days=7))):
        began = tmp_path / run["name"]
        began.touch()
        assert not one.is_due(run, now)
        assert one.is_due(run, now + later)
        began.touch()
        os.utime(began, ((now + later).timestamp(),) * 2)
        assert not one.is_due(run, now + later)


def test_the_health_check_fails_without_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "COMMAND", ["true"])
    assert scheduler.health(tmp_path) == 1
    scheduler.Scheduler(tmp_path).beat()
    assert scheduler.health(tmp_path) == 0
    monkeypatch.setattr(scheduler, "COMMAND", ["false"])
    assert scheduler.health(tmp_path) == 1
    monkeypatch.setattr(scheduler, "COMMAND", ["true"])
    os.utime(tmp_path / "heartbeat", (0, 0))
    assert scheduler.health(tmp_path) == 1
