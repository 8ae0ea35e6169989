"""What goes wrong on one host of a fleet never hides or stops the others, and the end of a playbook tells the truth.

The hosts are all this machine, each with its own databases, repositories and troubles.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_runs import PYTHON, Ansible, Run, lay_out, make_database
from isolation import in_child

from dbfleet.stores.file import FileStore


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("collections"))


@pytest.fixture
def ansible(tmp_path: Path, collections: Path) -> Ansible:
    return Ansible(tmp_path, collections)


def job(folder: Path, host: str, name: str = "app", **more: Any) -> dict[str, Any]:
    """A job of a host, with a database and a repository of the host's own."""
    database = folder / host / f"{name}.db"
    if not database.exists():
        make_database(database)
    return {
        "name": name,
        "source": {"url": f"sqlite:///{database}"},
        "repository": {"url": f"file://{folder}/{host}/backups"},
        "compression": {"method": "gzip"},
        **more,
    }


def fleet(folder: Path, **hosts: dict[str, Any]) -> str:
    """An inventory of hosts that are all this machine. Without jobs of its own, a host has one good job."""
    for name, host in hosts.items():
        host.setdefault("dbfleet_jobs", [job(folder, name)])
    common = {"ansible_connection": "local", "ansible_python_interpreter": PYTHON}
    (folder / "inventory.json").write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    return str(folder / "inventory.json")


def backups(folder: Path, host: str, name: str = "app") -> int:
    return len(list((folder / host / "backups").glob(f"{name}_backup_*.manifest.json")))


def failed(run: Run) -> dict[str, str]:
    """The hosts that the end of the playbook fails, each with the reason that it gives."""
    assert run.code in (0, 2), run.output
    end = run.output[run.output.rindex("TASK [Fail where something failed]") :]
    said = {}
    for host, line in re.findall(r"^fatal: \[(\S+)\]: FAILED! => (.*)$", end, re.MULTILINE):
        said[host] = json.loads(line)["msg"]
    recap = end[end.index("PLAY RECAP") :]
    assert sorted(said) == sorted(line.split()[0] for line in recap.splitlines() if re.search(r"failed=[1-9]", line))
    assert run.code == (2 if said else 0), run.output
    return said


def line_of(run: Run, host: str, name: str) -> str:
    """The line of the table for one job of one host."""
    return next(line for line in run.output.splitlines() if re.search(rf'"{host}\s+{name}', line))


def test_a_host_that_goes_in_the_middle(ansible: Ansible, tmp_path: Path) -> None:
    gone = f"lookup('ansible.builtin.fileglob', '{tmp_path}/b/backups/first_backup_*.manifest.json')"
    inventory = fleet(
        tmp_path,
        a={},
        b={
            "ansible_connection": "{{ 'ansible.builtin.ssh' if " + gone + " else 'ansible.builtin.local' }}",
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
            "dbfleet_jobs": [job(tmp_path, "b", "first"), job(tmp_path, "b", "second")],
        },
        c={},
    )
    run = ansible.playbook("dbfleet.recovery.backup", "-i", inventory, "-e", "dbfleet_serial=1")
    said = failed(run)
    assert list(said) == ["b"]
    assert "second: " in said["b"] and "Connection refused" in said["b"]
    assert [backups(tmp_path, host) for host in "ac"] == [1, 1]
    assert (backups(tmp_path, "b", "first"), backups(tmp_path, "b", "second")) == (1, 0)
    assert line_of(run, "b", "first_backup_").rstrip('",').endswith("backed up")
    assert line_of(run, "b", "second ").rstrip('",').endswith("failed")


def test_sudo_that_is_refused(ansible: Ansible, tmp_path: Path) -> None:
    refusing = tmp_path / "sudo"
    refusing.write_text('#!/bin/sh\necho "backup is not in the sudoers file." >&2\nexit 1\n')
    refusing.chmod(0o755)
    inventory = fleet(tmp_path, a={}, b={"ansible_become": True, "ansible_become_exe": str(refusing)}, c={})
    same_user = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"}  # else root never asks sudo
    said = failed(ansible.playbook("dbfleet.recovery.backup", "-i", inventory, **same_user))
    assert list(said) == ["b"]
    assert "not in the sudoers file" in said["b"]
    assert [backups(tmp_path, host) for host in "abc"] == [1, 0, 1]


def test_a_disk_that_is_full_on_one_of_three(ansible: Ansible, tmp_path: Path) -> None:
    small = tmp_path / "b" / "backups"
    small.mkdir(parents=True)
    inventory = fleet(tmp_path, a={}, b={"dbfleet_jobs": [job(tmp_path, "b", limits={"min_free": "0"})]}, c={})
    database = tmp_path / "b" / "app.db"

    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO prompts (body) VALUES (hex(randomblob(1000000)))")
        connection.commit()

    def act() -> None:
        said = failed(ansible.playbook("dbfleet.recovery.backup", "-i", inventory))
        assert list(said) == ["b"]
        assert re.search("full|space|free", said["b"]), said
        assert [backups(tmp_path, host) for host in "abc"] == [1, 0, 1]
        assert not list(small.glob("*.gz")), "nothing is left of it"

    in_child(act, disk=(str(small), "size=200k"))


def test_a_secret_that_is_wrong(ansible: Ansible, tmp_path: Path) -> None:
    hosts: dict[str, Any] = {}
    for host in "abc":
        secret = tmp_path / f"{host}.secret"
        secret.write_text("right\n")
        secret.chmod(0o600)
        encryption = {"method": "gpg", "passphrase_file": str(secret)}
        hosts[host] = {"dbfleet_jobs": [job(tmp_path, host, encryption=encryption)]}
    inventory = fleet(tmp_path, **hosts)
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    (tmp_path / "b.secret").write_text("wr0ng-s3cret\n")
    run = ansible.playbook("dbfleet.recovery.verify", "-i", inventory, "-e", "dbfleet_level=restore")
    said = failed(run)
    assert list(said) == ["b"]
    assert re.search("passphrase|decrypt|key", said["b"]), said
    assert "wr0ng-s3cret" not in run.output
    listed = ansible.playbook("dbfleet.recovery.list", "-i", inventory).good()
    states = {host: line_of(listed, host, "app_backup_").rstrip('",').split()[-1] for host in "abc"}
    assert states == {"a": "good", "b": "unproven", "c": "good"}, "a key that is missing says nothing of the backup"


def test_a_job_file_that_somebody_broke(ansible: Ansible, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "jobs.d"
    folder.mkdir(parents=True)
    for host in "ac":
        (folder / f"{host}.json").write_text(json.dumps({**job(tmp_path, host), "name": host}))
    (folder / "b.json").write_text('{"name": "b", "source": {"url": "sqlite:////s3cret.db"},, }')
    for file in folder.iterdir():
        file.chmod(0o600)
    inventory = fleet(tmp_path, **{host: {"dbfleet_jobs": [{"name": host, "job": host}]} for host in "abc"})
    config = str(tmp_path / "config")
    said = failed(ansible.playbook("dbfleet.recovery.backup", "-i", inventory, DBFLEET_CONFIG_DIR=config))
    assert list(said) == ["b"]
    assert re.search(r"b\.json is not JSON: .*line 1", said["b"]), said
    assert [backups(tmp_path, host, host) for host in "ac"] == [1, 1]


def test_two_controllers_at_once_wait_for_each_other(ansible: Ansible, tmp_path: Path) -> None:
    limits = {"lock_wait": "4m"}
    inventory = fleet(tmp_path, **{host: {"dbfleet_jobs": [job(tmp_path, host, limits=limits)]} for host in "ab"})
    runs: list[Run] = []
    words = ("dbfleet.recovery.backup", "-i", inventory)
    other = threading.Thread(target=lambda: runs.append(ansible.playbook(*words)))
    other.start()
    runs.append(ansible.playbook(*words))
    other.join()
    assert [failed(run) for run in runs] == [{}, {}]
    assert [backups(tmp_path, host) for host in "ab"] == [2, 2]
    verified = ansible.playbook("dbfleet.recovery.verify", "-i", inventory, "-e", "dbfleet_backup=all").good()
    assert verified.output.count("app_backup_") >= 4


def test_a_job_that_is_in_use_elsewhere_fails_its_host_alone(ansible: Ansible, tmp_path: Path) -> None:
    inventory = fleet(tmp_path, a={}, b={"dbfleet_jobs": [job(tmp_path, "b", limits={"lock_wait": "0"})]}, c={})
    store = FileStore(str(tmp_path / "b" / "backups"))
    store.prepare()
    with store.lock("app"):
        said = failed(ansible.playbook("dbfleet.recovery.backup", "-i", inventory))
    assert list(said) == ["b"]
    assert "app: app is in use by" in said["b"] and str(os.getpid()) in said["b"]
    assert [backups(tmp_path, host) for host in "abc"] == [1, 0, 1]
