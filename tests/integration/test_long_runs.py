"""Backups that take long: lines say how far they are, one that is killed leaves nothing listed, the summary is true."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_runs import PYTHON, Ansible, lay_out, make_database

ENDLESS = {"bandwidth": "1"}  # a byte a second


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("fleet"), lay_out(tmp_path_factory.mktemp("collections")))


def fleet(folder: Path, **hosts: dict[str, Any]) -> str:
    """An inventory of hosts that are all this machine; the job of each has its name."""
    for host, variables in hosts.items():
        make_database(folder / f"{host}.db")
        variables["dbfleet_jobs"] = [
            {
                "name": host,
                "source": {"url": f"sqlite:///{folder}/{host}.db"},
                "repository": {"url": f"file://{folder}/{host}"},
                "compression": {"method": "none"},
                "limits": variables.pop("limits", {}),
            }
        ]
    common = {"ansible_connection": "local", "ansible_python_interpreter": PYTHON}
    (folder / "inventory.json").write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    return str(folder / "inventory.json")


def strike(file: Path) -> None:
    """Kill the run that ``file`` tells of, as the kernel does when memory ends."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
            return
        except (OSError, ValueError):
            time.sleep(0.05)


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.manifest.json")]


def test_one_host_is_late_one_is_struck_and_one_is_done(ansible: Ansible) -> None:
    folder = ansible.folder
    inventory = fleet(folder, done={}, late={"limits": ENDLESS, "dbfleet_async": 6}, struck={"limits": ENDLESS})
    striker = threading.Thread(target=strike, args=(folder / "state/status/struck.backup.json",))
    striker.start()
    run = ansible.playbook("dbfleet.recovery.backup", "-i", inventory, "-e", "dbfleet_progress=1", ANSIBLE_FORKS="3")
    striker.join()
    assert run.code == 2
    assert re.search(r"^late: late: .+", run.output, re.MULTILINE), run.output
    assert "late: the backup took longer than async allows (6 s) and was killed" in run.output
    assert "struck: the backup ended without a result" in run.output
    for host, word in (("done", "backed up"), ("late", "failed"), ("struck", "failed")):
        assert re.search(rf'"{host} +\S+ .*{word}"', run.output), run.output
    assert [len(listed(folder / host)) for host in ("done", "late", "struck")] == [1, 0, 0]
    assert list((folder / ".ansible_async").iterdir()) == []

    # The next run, attached to the connection, sweeps what was left.
    jobs = json.loads((folder / "inventory.json").read_text())
    for host in jobs["all"]["hosts"].values():
        # A process that was killed while it waits for a busy disk has its lock until then.
        host["dbfleet_jobs"][0]["limits"] = {"lock_wait": 60}
    (folder / "inventory.json").write_text(json.dumps(jobs))
    again = ansible.playbook(
        "dbfleet.recovery.backup", "-i", inventory, "-l", "late,struck", "-e", "dbfleet_async=0"
    ).good()
    assert "late: late:" not in again.output
    for host in ("late", "struck"):
        assert len(listed(folder / host)) == 1
        assert not [path for path in (folder / host).iterdir() if path.name.endswith((".partial", ".intent"))]
