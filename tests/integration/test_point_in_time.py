"""Restores to a moment: exactly what was committed then, from the right backup and timeline, or a refusal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_runs import PYTHON, ROOT, Ansible, lay_out
from log_archivers import archiver, shelf_of
from postgresql_clusters import by_hand, cluster, content, data_of, give, started
from postgresql_logs import SMALL, log_job, wait_until_kept, write_log
from postgresql_server import Server, ask, own_state, wait_until
from rooms import room

from dbfleet.catalog import read_catalog
from dbfleet.databases.postgresql import log_feed
from dbfleet.databases.postgresql.backup_manifest import read_lsn, segment_name
from dbfleet.errors import DamagedError, RefusedError, UsageError
from dbfleet.model import Job, Retention
from dbfleet.operations.backup import backup
from dbfleet.operations.log_status import status
from dbfleet.operations.prune import prune
from dbfleet.operations.restore import RestoreReport, restore
from dbfleet.stores.registry import open_store
from dbfleet.targets import target_of
from dbfleet.units import utc_now

__all__ = ["own_state", "room"]


ITEMS = "SELECT id, name, amount FROM items ORDER BY id"


def now(server: Server) -> str:
    """A moment between two commits, by the server's clock."""
    ask(server.source(), "SELECT pg_sleep(0.05)")
    ((moment,),) = ask(server.source(), "SELECT clock_timestamp()::text")
    ask(server.source(), "SELECT pg_sleep(0.05)")
    return str(moment)


def change(server: Server, number: int) -> None:
    """One commit that a wrong moment would show."""
    ask(server.source("app"), f"UPDATE items SET amount = amount + 1 WHERE id % 3 = {number % 3}")


def restored(job: Job, to: Path, backup_id: str = "latest", **target: object) -> RestoreReport:
    action = str(target.pop("action", "promote"))
    return restore(job, backup_id, to=str(to), target=target_of(action=action, **target))  # type: ignore[arg-type]


@contextmanager
def streamed(server: Server, job: Job) -> Iterator[None]:
    with archiver(job):
        wait_until(lambda: ask(server.source(), "SELECT 1 FROM pg_replication_slots WHERE active"), 60)
        yield
        wait_until_kept(job, server)


@pytest.mark.parametrize("major", [15, 17, 18])
def test_every_kind_of_target_gives_exactly_what_was_committed_then(major: int, room: Path, tmp_path: Path) -> None:
    """Through a chain of increments where the server can, with log in several files and an unfinished one."""
    states: dict[str, str] = {}
    with cluster(major, initdb=SMALL) as server:
        job = log_job(server, tmp_path / "backups", type="auto")

        def remember(name: str) -> None:
            states[name] = content(server, server.source("app"))

        with streamed(server, job):
            backup(job)
            change(server, 1)
            backup(job)
            write_log(server, 1)
            change(server, 2)
            remember("time")
            moment = now(server)
            change(server, 0)
            remember("name")
            ask(server.source(), "SELECT pg_create_restore_point('it''s here, 100%')")
            change(server, 1)
            remember("lsn")
            ((lsn,),) = ask(server.source(), "SELECT pg_switch_wal()::text")
            ((xid,),) = ask(
                server.source("app"), "UPDATE items SET amount = 7 WHERE id = 7 RETURNING pg_current_xact_id()::text"
            )
            remember("xid")
            write_log(server, 2)
            change(server, 2)
            remember("end")
        expected: list[tuple[str, dict[str, str]]] = [("time", {"time": moment}), ("end", {"time": "latest"})]
        if major == 15:  # what the targets are is the same for all versions
            expected += [("name", {"name": "it's here, 100%"}), ("lsn", {"lsn": lsn}), ("xid", {"xid": xid})]
        for name, target in expected:
            report = restored(job, room / name, **target)
            assert report.recovered is not None and report.recovered["paused"] is False, report
            with started(server, room / name) as source:
                assert content(server, source) == states[name], name
                assert ask(source, "SELECT pg_is_in_recovery(), timeline_id FROM pg_control_checkpoint()") == [
                    (False, 2)
                ]
            assert sorted(path.name for path in room.iterdir()) == [name]
            shutil.rmtree(room / name)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    with cluster(initdb=SMALL) as server:
        job = log_job(server, tmp_path_factory.mktemp("past") / "backups")
        yield Past(server, job)


class Past:
    """A server of which two backups and the log between and after them are kept."""

    def __init__(self, server: Server, job: Job) -> None:
        self.server = server
        self.job = job
        self.before = ""
        self.middle = ""
        self.after = ""
        self.contents: dict[str, str] = {}
        self.items: list[tuple[object, ...]] = []  # in the middle

    def live(self) -> None:
        """Once, in a test: what is patched for tests must hold."""
        if self.after:
            return
        self.before = now(self.server)
        with streamed(self.server, self.job):
            backup(self.job)
            change(self.server, 1)
            write_log(self.server, 1)
            self.contents["middle"] = content(self.server, self.server.source("app"))
            self.items = ask(self.server.source("app"), ITEMS)
            self.middle = now(self.server)
            change(self.server, 2)
            ask(self.server.source(), "SELECT pg_switch_wal()")
            backup(self.job)
            change(self.server, 0)
            self.contents["after"] = content(self.server, self.server.source("app"))
            self.after = now(self.server)
            change(self.server, 1)
            ask(self.server.source(), "SELECT pg_switch_wal()")


def copy_of(past: Past, tmp_path: Path) -> Job:
    """The repository for a test to spoil."""
    shutil.copytree(past.job.repository.url, tmp_path / "copy")
    return replace(past.job, repository=replace(past.job.repository, url=str(tmp_path / "copy")))


def test_the_backup_that_is_nearest_before_the_target_is_chosen(past: Past, room: Path) -> None:
    past.live()
    first, second = [one["id"] for one in status(past.job)["log_archive"]["backups"]]
    for moment, chosen in ((past.middle, first), (past.after, second)):
        plan = restore(past.job, "latest", to=str(room / "x"), target=target_of(time=moment), dry_run=True).plan
        assert plan["backup"] == chosen and plan["recovery"]["log_files"] >= 1
        assert not (room / "x").exists()
    report = restored(past.job, room / "after", first, time=past.after)  # the older one is as good
    assert report.backup == first
    with started(past.server, room / "after") as source:
        assert content(past.server, source) == past.contents["after"]


def test_targets_outside_of_what_is_there_are_refused_and_told(past: Past, room: Path) -> None:
    past.live()
    future = (utc_now() + timedelta(hours=1)).isoformat()
    for target, why in (
        ({"time": past.before}, "cannot be reached"),
        ({"time": future}, "it is in the future"),
        ({"lsn": "0/10"}, "cannot be reached"),
        ({"lsn": "FF/0"}, "cannot be reached"),
        ({"name": "nobody made this"}, "cannot be reached"),
    ):
        with pytest.raises(RefusedError, match=why) as refused:
            restored(past.job, room / "data", **target)
        assert "what can be reached: from 20" in refused.value.remedy
    with pytest.raises(RefusedError, match="is not in the log"):
        restored(past.job, room / "data", xid="4000000000")
    assert list(room.iterdir()) == []


def test_it_can_be_left_paused_to_be_looked_at(past: Past, room: Path) -> None:
    past.live()
    report = restored(past.job, room / "data", time=past.middle, action="pause")
    assert report.recovered is not None and report.recovered["paused"] is True
    with started(past.server, room / "data") as source:
        wait_until(lambda: ask(source, "SELECT pg_is_wal_replay_paused()") == [(True,)], 60)
        assert content(past.server, source) == past.contents["middle"]
        ask(source, "SELECT pg_wal_replay_resume()")
        wait_until(lambda: ask(source, "SELECT pg_is_in_recovery()") == [(False,)], 60)
        assert content(past.server, source) == past.contents["middle"]


def test_a_gap_is_a_limit_that_the_plan_respects(past: Past, room: Path, tmp_path: Path) -> None:
    past.live()
    job = copy_of(past, tmp_path)
    segments = sorted(name for name in shelf_of(job).names() if len(name) == 24)
    first, second = [one["id"] for one in status(job)["log_archive"]["backups"]]
    (stop,) = [one["log_from"] for one in [_recovery(job, first, past.middle, room)]]
    gone = segments[segments.index(stop) + 1]
    for path in (tmp_path / "copy").rglob(f"{gone}.*"):
        path.unlink()
    with pytest.raises(RefusedError, match="cannot be reached") as refused:
        restored(job, room / "data", time=past.middle)
    assert f"{gone} is missing" in refused.value.remedy
    assert _recovery(job, "latest", past.after, room)["log_files"] >= 1  # the second backup is behind the gap
    assert status(job)["log_archive"]["gaps"] == [gone]
    assert second


def _recovery(job: Job, wanted: str, moment: str, room: Path) -> dict[str, object]:
    plan = restore(job, wanted, to=str(room / "x"), target=target_of(time=moment), dry_run=True).plan
    return dict(plan["recovery"])


def test_a_damaged_log_file_ends_the_restore_and_leaves_nothing(past: Past, room: Path, tmp_path: Path) -> None:
    past.live()
    job = copy_of(past, tmp_path)
    plan = restore(job, "latest", to=str(room / "x"), target=target_of(time=past.middle), dry_run=True).plan
    last = tmp_path / "copy" / str(plan["needs"][-1])
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    with pytest.raises(DamagedError, match=last.name):
        restored(job, room / "data", time=past.middle)
    assert list(room.iterdir()) == []


def test_after_a_fork_both_timelines_can_be_restored(room: Path, tmp_path: Path) -> None:
    """A standby is promoted while the old primary goes on: the newest line is the default, the other can be named."""
    with cluster(initdb=SMALL) as primary, primary.standby() as standby:
        job = log_job(primary, tmp_path / "backups")
        with streamed(primary, job):
            backup(job)
            change(primary, 1)
        wait_until(lambda: content(primary, standby.source("app")) == content(primary, primary.source("app")), 60)
        standby.run("pg_ctl", "-D", str(data_of(standby)), "-w", "-s", "promote")
        theirs = log_job(standby, tmp_path / "backups")
        with streamed(standby, theirs):
            change(standby, 2)
            write_log(standby, 1)
        new = content(standby, standby.source("app"))
        report = restored(theirs, room / "new", time="latest")
        assert report.recovered is not None and report.recovered["timeline"] == 3
        with started(standby, room / "new") as source:
            assert content(standby, source) == new
        old = content(primary, primary.source("app"))
        report = restored(theirs, room / "old", time="latest", timeline="1")
        with started(primary, room / "old") as source:
            assert content(primary, source) == old != new
        assert {1, 2} <= {shelf_of(job).record(name).timeline for name in shelf_of(job).names()} | {
            shelf_of(job).record(name).timeline for name in shelf_of(job).unfinished()
        }


def test_its_settings_are_the_originals_and_it_can_be_replaced(past: Past, room: Path) -> None:
    past.live()
    report = restored(past.job, room / "data", time=past.middle)
    assert report.kept is None
    assert (room / "data" / "postgresql.conf").read_text() == (data_of(past.server) / "postgresql.conf").read_text()
    assert not (room / "data" / "recovery.signal").exists()
    with started(past.server, room / "data") as source:
        assert ask(source, "SELECT 1 FROM pg_extension WHERE extname = 'amcheck'") == []
        ask(source, "INSERT INTO items(name) VALUES('new life')")
    again = restore(past.job, "latest", to=str(room / "data"), replace=True, target=target_of(time=past.middle))
    assert again.kept is not None and Path(again.kept).is_dir()


def test_what_feeds_the_server_works_while_it_starts(past: Past, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is in motion when the server's files are given away: as much as it can be here."""
    monkeypatch.setattr(log_feed, "BEAT", 0.0)
    monkeypatch.setattr(log_feed, "POLL", 0.0)
    past.live()
    for turn in range(5):
        restored(past.job, room / f"data{turn}", time=past.middle)


def test_prune_removes_exactly_the_log_that_no_kept_backup_needs(past: Past, room: Path, tmp_path: Path) -> None:
    past.live()
    job = copy_of(past, tmp_path)
    everything = set(shelf_of(job).names())
    job = replace(job, retention=Retention(keep_last=2))
    assert prune(job).to_json()["log"]["files"] == len([name for name in everything if name < _start(job, 0)])
    assert restored(job, room / "middle", time=past.middle).backup == _backups(job)[0]
    job = replace(job, retention=Retention(keep_last=1))
    planned = prune(job, dry_run=True).to_json()["log"]
    before = set(shelf_of(job).names())
    first = _start(job, 1)
    report = prune(job).to_json()
    assert report["log"] == planned and len(report["removed"]) == 1
    assert set(shelf_of(job).names()) == {name for name in before if name >= first}
    catalog = read_catalog(open_store(job.repository.url), "app")
    assert len(catalog.prune_records[-1].removed) == 1 + planned["files"] and catalog.findings() == []
    assert prune(job).to_json()["log"]["files"] == 0
    assert status(job)["log_archive"]["gaps"] == []
    with pytest.raises(RefusedError, match="cannot be reached"):
        restored(job, room / "data", time=past.middle)
    restored(job, room / "after", time=past.after)
    with started(past.server, room / "after") as source:
        assert content(past.server, source) == past.contents["after"]


def _backups(job: Job) -> list[str]:
    return list(read_catalog(open_store(job.repository.url), "app").ids)


def _start(job: Job, number: int) -> str:
    """The log file in which a backup began."""
    backups = list(read_catalog(open_store(job.repository.url), "app").manifests.values())
    return segment_name(1, read_lsn(str(backups[number].position["start_lsn"])) // 2**20, 2**20)


def test_the_commands_of_the_documentation_do_it_by_hand(past: Past, room: Path) -> None:
    past.live()
    manifest = read_catalog(open_store(past.job.repository.url), "app").manifest(_backups(past.job)[0])
    data = by_hand(past.server, manifest, Path(past.job.repository.url), room / "hand")
    page = (ROOT / "docs" / "log_archive.md").read_text(encoding="utf-8")
    commands = page[page.index("### By hand") :].split("```sh\n")[1].split("```")[0]
    words = {"NAME": "app", "SYSTEM": shelf_of(past.job).lineage, "SEGMENT_SIZE": str(2**20), "TARGET": past.middle}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=room / "hand", env={**os.environ, **words}, check=True
    )
    give(room / "hand")
    with started(past.server, data) as source:
        wait_until(lambda: ask(source, "SELECT pg_is_in_recovery()") == [(False,)], 60)
        assert content(past.server, source) == past.contents["middle"]


def test_the_playbook_puts_it_into_the_place_of_the_live_server(room: Path, tmp_path: Path) -> None:
    with cluster(initdb=SMALL) as server:
        job = log_job(server, tmp_path / "backups")
        with streamed(server, job):
            backup(job)
            change(server, 1)
            expected = content(server, server.source("app"))
            moment = now(server)
            ask(server.source("app"), "DROP TABLE items")
        ansible = Ansible(tmp_path, lay_out(tmp_path / "collections"))
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        control = [*as_user, f"{server.bin}/pg_ctl", "-D", str(data_of(server)), "-w", "-s"]
        assert job.source is not None
        variables = {
            "dbfleet_jobs": [
                {
                    "name": "app",
                    "source": {"url": job.source.url, "tools": server.bin},
                    "repository": {"url": job.repository.url},
                    "method": "physical",
                    "limits": {"min_free": "0"},
                }
            ],
            "dbfleet_hosts": "localhost",
            "ansible_python_interpreter": PYTHON,
            "dbfleet_data": str(data_of(server)),
            "dbfleet_target": {"time": moment},
            "dbfleet_stop": [*control, "-m", "fast", "stop"],
            "dbfleet_start": [*control, "-l", str(server.folder / "log"), "start"],
        }
        done = ansible.playbook("dbfleet.recovery.pitr", "-e", json.dumps(variables), "--check")
        assert "nothing was changed" in done.good().output
        assert ask(server.source("app"), "SELECT to_regclass('items')") == [(None,)]
        done = ansible.playbook("dbfleet.recovery.pitr", "-e", json.dumps(variables)).good()
        assert "what was there is in" in done.output
        assert content(server, server.source("app")) == expected
        assert len(list(server.folder.glob("data_before_restore_*"))) == 1


def test_single_tables_come_back_as_they_were_at_a_moment(past: Past) -> None:
    """Into the database that lives on: the rest of it stays as it is now."""
    past.live()
    live = past.server.source("app")
    now_there = ask(live, ITEMS)
    assert past.items != now_there and len(past.items) == len(now_there)
    ask(live, "CREATE TABLE since(a integer); INSERT INTO since VALUES (1)")
    for target, why in (({"time": past.before}, "cannot be reached"), ({"xid": "4000000000"}, "is not in the log")):
        with pytest.raises(RefusedError, match=why):
            restore(past.job, "latest", tables=["items"], replace=True, target=target_of(**target))
    with pytest.raises(UsageError, match="cannot stay paused"):
        restore(past.job, "latest", tables=["items"], target=target_of(time=past.middle, action="pause"))
    with pytest.raises(RefusedError, match="already has rows"):
        restore(past.job, "latest", tables=["items"], target=target_of(time=past.middle))
    assert ask(live, ITEMS) == now_there
    report = restore(past.job, "latest", tables=["items"], replace=True, target=target_of(time=past.middle))
    assert report.proven and report.rows == len(past.items) and report.kept
    assert report.recovered is not None and report.recovered["paused"] is False
    assert ask(live, ITEMS) == past.items
    assert ask(live, "SELECT * FROM since") == [(1,)]
    assert not ask(past.server.source(), "SELECT 1 FROM pg_stat_activity WHERE application_name ~ 'dbfleet'")
    # The table that the log makes, and the backup never had.
    report = restore(past.job, "latest", tables=["noise1"], replace=True, target=target_of(time=past.middle))
    assert report.rows == 5000
    ask(live, "DROP TABLE since")


def test_the_playbook_brings_a_table_to_a_moment(past: Past, tmp_path: Path) -> None:
    past.live()
    live = past.server.source("app")
    ask(live, "DROP TABLE items")
    assert past.job.source is not None
    job = {
        "name": "app",
        "source": {"url": live.url.replace("'", ""), "tools": past.server.bin},
        "repository": {"url": past.job.repository.url},
        "method": "physical",
    }
    variables = {
        "dbfleet_jobs": [job],
        "ansible_python_interpreter": PYTHON,
        "dbfleet_tables": ["items"],
        "dbfleet_target": {"time": past.middle},
    }
    ansible = Ansible(tmp_path, lay_out(tmp_path / "collections"))
    ansible.playbook("dbfleet.recovery.partial_restore", "-e", json.dumps(variables)).good()
    assert ask(live, ITEMS) == past.items
