"""Health, by both doors, of real backups: well, damaged, interrupted by SIGKILL, and with a broken job file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_runs import ROOT, Ansible, lay_out, make_database


class Host:
    """A host with one installed job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_database(folder / "data" / "app.db")
        self.jobs = folder / "etc" / "jobs.d"
        self.jobs.mkdir(parents=True)
        self.install("app", {"source": {"url": f"sqlite:///{folder}/data/app.db"}})
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "plugins" / "module_utils"),
            "DBFLEET_CONFIG_DIR": str(folder / "etc"),
            "DBFLEET_STATE_DIR": str(folder / "state"),
        }
        self.line = [sys.executable, "-m", "dbfleet"]

    def install(self, name: str, job: dict[str, Any]) -> None:
        file = self.jobs / f"{name}.json"
        file.write_text(json.dumps({"repository": {"url": f"file://{self.folder}/backups"}, **job}))
        file.chmod(0o600)

    def run(self, *words: str, code: int = 0) -> Any:
        done = subprocess.run(
            [*self.line, *words, "--json"], env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def problems(self) -> list[str]:
        document = self.run("health", code=3)
        return [finding["problem"] for job in document["health"] for finding in job["findings"]]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_job_is_followed_from_nothing_to_damage(host: Host) -> None:
    assert "has no backup" in host.problems()[0]
    made = host.run("backup", "--job", "app")["backup"]
    host.run("verify", "latest", "--job", "app", "--level", "restore")
    document = host.run("health")
    assert document["audit"]["ok"] is True
    assert document["health"][0]["verified"]["level"] == "restore"
    artifact = host.folder / "backups" / made["artifacts"][0]["file"]
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert any("bytes instead of" in problem for problem in host.problems())


def test_a_backup_that_was_killed_shows_until_the_next_one(host: Host) -> None:
    host.run("backup", "--job", "app")
    slow = subprocess.Popen(
        [*host.line, "backup", "--job", "app", "--limits-bandwidth", "1", "--compression-method", "none"],
        env=host.environ,
    )
    deadline = time.monotonic() + 60
    while not list((host.folder / "backups").glob("*.intent")) and time.monotonic() < deadline:
        time.sleep(0.02)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    assert "it was killed, or the host went down" in host.problems()[0]
    host.run("backup", "--job", "app")
    host.run("health")


def test_the_module_sees_what_the_command_sees(host: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    host.run("backup", "--job", "app")
    host.install("broken", {"retntion": {}})
    ansible = Ansible(host.folder, lay_out(tmp_path_factory.mktemp("collections")))
    every = {"name": "Every job", "dbfleet.recovery.health_info": {}, "register": "every"}
    one = {"name": "One job", "dbfleet.recovery.health_info": {"job": "app"}, "register": "one"}
    later = {"name": "Later", "ansible.builtin.wait_for": {"timeout": 2}}
    old = {"name": "Old", "dbfleet.recovery.health_info": {"job": "app", "health": {"max_age": 1}}, "register": "old"}
    run, results = ansible.tasks([every, one, later, old], DBFLEET_CONFIG_DIR=str(host.folder / "etc"))
    run.good()
    assert [(job["job"], job["ok"]) for job in results["every"]["health"]] == [("app", True), ("broken", False)]
    assert results["every"]["ok"] is False
    assert (results["one"]["ok"], len(results["one"]["health"])) == (True, 1)
    assert "health.max_age is 1.0 s" in results["old"]["health"][0]["findings"][0]["problem"]
    assert json.dumps(results["every"]).count("did you mean retention?") == 1
