"""What runs is told of by a file that is whole at every moment, and that no run ever fails of."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

import pytest

from dbfleet import liveness, status
from dbfleet.command import host_render
from dbfleet.command.style import Style
from dbfleet.progress import SILENCE
from dbfleet.status import Run, reported, run_text, runs_of_host


@dataclass
class Heard:
    """A progress that remembers."""

    words: list[object] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.words.append(text)

    def expect(self, total_bytes: Optional[int]) -> None:
        self.words.append(total_bytes)

    def advance(self, count: int) -> None:
        self.words.append(count)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(status, "EVERY", 0.0)
    return tmp_path / "state" / "status"


def test_a_run_is_told_of_while_it_lasts_and_its_progress_is_passed_on(state: Path) -> None:
    heard = Heard()
    with reported("backup", "app", heard) as progress:
        (begun,) = runs_of_host()
        assert (begun.verb, begun.job, begun.runs, begun.step, begun.pid) == (
            "backup",
            "app",
            True,
            "starting",
            os.getpid(),
        )
        progress.step("storing\na")
        progress.expect(100)
        progress.expect(100)
        progress.advance(50)
        (run,) = runs_of_host("app")
        assert (run.step, run.done_bytes, run.total_bytes) == ("storing\\na", 50, 200)
        assert runs_of_host("other") == []
        assert oct((state / "app.backup.json").stat().st_mode & 0o777) == "0o600"
        assert [file.name for file in state.iterdir()] == ["app.backup.json"]
        progress.expect(None)
        progress.advance(1)
        assert runs_of_host()[0].total_bytes is None
    assert runs_of_host() == []
    assert list(state.iterdir()) == []
    assert heard.words == ["storing\na", 100, 100, 50, None, 1]


def test_it_goes_when_the_run_fails(state: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reported("backup", "app", SILENCE):
        raise KeyboardInterrupt
    assert list(state.iterdir()) == []


def test_no_run_fails_where_it_cannot_be_told_of(state: Path) -> None:
    state.parent.mkdir()
    state.write_text("a file where the folder should be")
    with reported("backup", "app", SILENCE) as progress:
        progress.step("storing")
        progress.advance(1)
    assert runs_of_host() == []


def test_it_is_written_no_more_often_than_people_look(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "EVERY", 0.5)
    times = iter([0.0, 0.1, 0.2, 0.6, 0.7])
    report = status._Report("backup", "app", SILENCE, clock=lambda: next(times))
    report.write()
    seen = []
    for _turn in range(4):
        report.advance(10)
        seen.append(runs_of_host()[0].done_bytes)
    assert seen == [0, 0, 30, 30]


def test_the_rate_is_that_of_the_last_seconds(state: Path) -> None:
    now = 0.0
    report = status._Report("backup", "app", SILENCE, clock=lambda: now)
    for _second in range(30):
        now += 1
        report.advance(1000)
    for _second in range(15):
        now += 1
        report.advance(10)
    assert runs_of_host()[0].bytes_per_second == 10


def test_a_run_whose_process_is_gone_was_killed(state: Path) -> None:
    with reported("backup", "app", SILENCE):
        text = (state / "app.backup.json").read_text()
    gone = subprocess.Popen(["true"])
    gone.wait()
    (state / "app.backup.json").write_text(json.dumps({**json.loads(text), "pid": gone.pid}))
    assert [run.runs for run in runs_of_host()] == [False]
    if liveness.born(os.getpid()) is not None:  # the number was given to another process
        (state / "app.backup.json").write_text(json.dumps({**json.loads(text), "born": "1"}))
        assert [run.runs for run in runs_of_host()] == [False]


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"pid": "x", "born": null}', '{"pid": 1, "born": null}'])
def test_a_file_of_somebody_else_is_passed_over(state: Path, text: str) -> None:
    state.mkdir(parents=True)
    (state / "app.backup.json").write_text(text)
    (state / "link.backup.json").symlink_to("/etc/passwd")
    assert runs_of_host() == []


def test_processes_are_told_apart() -> None:
    assert liveness.lives(os.getpid()) and liveness.lives(1)
    assert not liveness.lives(0) and not liveness.lives(-1)
    assert liveness.born(os.getpid()) == liveness.born(os.getpid())
    assert liveness.born(-1) is None


NOW = datetime(2025, 8, 23, 10, 31, 0, tzinfo=timezone.utc)
RUN = Run(
    "backup", "app", True, "storing a", 2**20, 4 * 2**20, 2**19, "2025-08-23T10:30:00Z", "2025-08-23T10:30:59Z", 7
)


def test_how_far_a_run_is_reads_as_a_line() -> None:
    told = "storing a, 25 %, 1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6.0 s left, for 1 min 0 s"
    assert run_text(RUN, NOW) == told
    assert run_text(RUN._replace(total_bytes=None), NOW) == "storing a, 1.0 MiB, 512.0 KiB/s, for 1 min 0 s"
    stalled = RUN._replace(done_bytes=0, bytes_per_second=None, updated_at="2025-08-23T10:30:00Z")
    assert run_text(stalled, NOW) == "storing a, for 1 min 0 s, nothing moved for 1 min 0 s"
    killed = RUN._replace(runs=False)
    assert run_text(killed, NOW) == "storing a, 25 %, 1.0 MiB of 4.0 MiB, last seen 2025-08-23T10:30:59Z"
    lines = host_render.status([RUN, killed], Style(), NOW)
    assert lines[0].split() == ["JOB", "VERB", "STATE", "HOW", "FAR"]
    assert "running  storing a" in lines[1] and all(len(line) <= 80 for line in lines)
    assert host_render.status([], Style()) == ["nothing runs"]
