"""What a host keeps of its backups when it gets another name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "binlog_conformance")

from ansible_runs import ROOT  # noqa: E402
from binlog_conformance import position, wait_until_kept  # noqa: E402
from conformance_jobs import made  # noqa: E402
from log_archivers import archiver, shelf_of  # noqa: E402
from mysql_copies import EndsInOrder, everything, job_of, started  # noqa: E402
from mysql_server import USER, Server, own_state  # noqa: E402
from rooms import a_room  # noqa: E402
from sqlite_lab import content, run_sql, sample  # noqa: E402

from dbfleet.model import LogSettings  # noqa: E402
from dbfleet.operations.log_status import status  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.targets import Target  # noqa: E402

__all__ = ["own_state"]


def named(host: str, *words: str) -> list[str]:
    """``words`` on a host of that name."""
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *words]


class ServerOfHost(EndsInOrder, Server):
    """MariaDB on a host whose name can change."""

    host = "old-name"

    def command(self) -> list[str]:
        return [*named(self.host, *super().command()), f"--user={USER}"]  # which only root can leave

    def start(self) -> None:
        self._as = {}  # who names a host is root
        super().start()

    def rename(self, host: str) -> None:
        self.stop()
        self.host = host
        self.start()


def test_backups_of_sqlite_go_on(tmp_path: Path) -> None:
    """Lists, chains, checks, restores and pruning are of the job, not of the host's name."""
    database, repository = tmp_path / "app.db", tmp_path / "backups"
    sample(database)

    def run(host: str, *words: str) -> Any:
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "plugins" / "module_utils"),
            "DBFLEET_STATE_DIR": str(tmp_path / "state"),
        }
        argv = [sys.executable, "-m", "dbfleet", *words, "--name", "app", "--repository", str(repository), "--json"]
        done = subprocess.run(named(host, *argv), env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def back_up(host: str) -> Any:
        return run(host, "backup", "--source", f"sqlite:///{database}", "--type", "auto")["backup"]

    chain = [back_up("old-name"), back_up("old-name")]
    assert [one["type"] for one in chain] == ["full", "incremental"]
    run_sql(database, "DELETE FROM prompts WHERE id % 2")
    renewed = [back_up("new-name"), back_up("new-name")]
    assert [one["type"] for one in renewed] == ["full", "incremental"]
    assert f"is of another database: sqlite {database} on old-name" in " ".join(renewed[0]["notes"])
    checked = run("new-name", "verify", "all")["results"]
    assert [one["ok"] for one in checked] == [True] * 4
    assert run("new-name", "health")
    expected = content(database)
    run("new-name", "restore", "latest", "--to", f"sqlite:///{tmp_path / 'restored.db'}")
    assert content(tmp_path / "restored.db") == expected
    run("new-name", "prune", "--retention-keep-last", "1")
    assert [one["id"] for one in run("new-name", "list")["backups"]] == [one["id"] for one in renewed]


def test_mariadb_is_still_the_same_server(tmp_path: Path) -> None:
    """A chain goes on, the log archive has no gap, and a moment after the new name can be reached from before it."""
    server = ServerOfHost("--binlog-format=ROW")
    try:
        server.ask("CREATE DATABASE app")
        server.script("app", "CREATE TABLE t(x INT PRIMARY KEY)", "INSERT INTO t VALUES(1)")
        job = job_of(server, tmp_path / "backups", type="auto", log_archive=LogSettings(max_lag=1))
        with archiver(job):
            full = made(job)
            server.script("app", "INSERT INTO t VALUES(2)")
            wait_until_kept(job, server)
        server.rename("new-name")
        assert server.ask("SELECT @@hostname") == [("new-name",)]
        with archiver(job):
            server.script("app", "INSERT INTO t VALUES(3)")
            wait_until_kept(job, server)
            grown = made(job)
            assert (grown.type, grown.parent) == ("incremental", full.id)
            server.script("app", "INSERT INTO t VALUES(4)")
            expected, until = everything(server), position(server)
            server.script("app", "DROP TABLE t")
            wait_until_kept(job, server)
            facts = status(job)["log_archive"]
            assert facts["gaps"] == [] and facts["findings"] == [] and len(facts["backups"]) == 2
        assert shelf_of(job)  # the only one
        for backup in (full, grown):
            with a_room() as room:
                restore(job, backup.id, to=str(room / "data"), target=Target("position", until))
                with started(room / "data") as restored:
                    assert everything(restored) == expected
    finally:
        server.remove()
