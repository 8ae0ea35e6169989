"""A backup server with quotas of its file system, with either sshd, through a reboot: the role repository for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlite_lab
from machine import ADDRESS, Machine
from sftp_server import make_key
from sqlite_lab import content, job_of, make

from dbfleet.errors import DbfleetError
from dbfleet.model import Compression, Job, Repository
from dbfleet.operations.backup import backup
from dbfleet.operations.lookup import listing
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

own_state = sqlite_lab.own_state
HERE = Path(__file__).resolve().parent
BLOBS = """
CREATE TABLE blobs(id INTEGER PRIMARY KEY, data BLOB);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {mib})
INSERT INTO blobs(data) SELECT randomblob(1048576) FROM n;
"""
RECAP = re.compile(r"changed=(\d+) +unreachable=(\d+) +failed=(\d+)")


class Lab:
    """The machine, and what the role was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = Machine(folder)
        for host in ("db1", "db2"):
            make_key(folder / host, "ed25519")
        self.variables: dict[str, Any] = {"repository_quota_enforce": "always"}
        self.quotas = {"db1": "24M", "db2": ""}
        self.is_new = True

    def converge(self, **changed: Any) -> int:
        """Run the roles; how much they changed."""
        self.variables.update(changed)
        hosts = [
            {
                "name": host,
                "public_keys": [(self.folder / f"{host}.pub").read_text().strip()],
                "quota": quota,
                "jobs": [{"name": "app", "retention": {"keep_last": 9}}],
            }
            for host, quota in self.quotas.items()
        ]
        inventory = self.folder / "inventory.json"
        address = {
            "ansible_host": ADDRESS,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.machine.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(self.machine.ssh_options),
        }
        inventory.write_text(json.dumps({"all": {"hosts": {"machine": address}}}))
        variables = json.dumps({**self.variables, "repository_hosts": hosts, "machine_is_new": self.is_new})
        argv = ["ansible-playbook", "-i", str(inventory), "-e", variables, str(HERE / "converge.yml")]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
        found = RECAP.search(done.stdout)
        assert found and done.returncode == 0, done.stdout + done.stderr
        self.is_new = False
        return int(found[1])

    def job(self, host: str, source: Path, *, port: int = 2222) -> Job:
        """A job of ``host`` that is not compressed: a byte of the source is one of the quota."""
        known = self.folder / f"known_hosts.{port}"
        keys = "/etc/ssh/dbfleet/host_ed25519.pub" if port == 2222 else "/etc/ssh/ssh_host_ed25519_key.pub"
        shown = ADDRESS if port == 22 else f"[{ADDRESS}]:{port}"
        known.write_text(f"{shown} {' '.join(self.machine.run(f'cat {keys}').split()[:2])}\n")
        repository = Repository(
            f"sftp://dbfleet-{host}@{ADDRESS}:{port}/backups",
            file_mode=0o440,
            folder_mode=0o770,
            identity_file=str(self.folder / host),
            known_hosts_file=str(known),
        )
        job = job_of(source, self.folder, method="physical", compression=Compression("none"))
        return replace(job, repository=repository)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("machine"))
    try:
        found.machine.wait()
        yield found
    finally:
        found.machine.end()


def ids(job: Job) -> list[str]:
    return [str(row.id) for row in listing(job)]


def same_after_restore(job: Job, source: Path, target: Path) -> bool:
    restore(job, "latest", to=f"sqlite:///{target}")
    return content(target) == content(source)


def test_a_quota_stops_one_host_and_no_other(lab: Lab, tmp_path: Path) -> None:
    assert lab.converge() > 10
    small = make(tmp_path / "small.db", BLOBS.format(mib=4))
    large = make(tmp_path / "large.db", BLOBS.format(mib=40))
    first = backup(lab.job("db1", small)).manifest
    with pytest.raises(DbfleetError) as caught:
        backup(lab.job("db1", large))
    assert "\n" not in str(caught.value) and caught.value.remedy
    assert backup(lab.job("db2", large)).manifest
    assert first and ids(lab.job("db1", small)) == [first.id]
    assert same_after_restore(lab.job("db2", large), large, tmp_path / "large_back.db")
    # What was left of the one that was stopped has all of the room, until the server takes it away.
    folder = "/srv/dbfleet/dbfleet-db1/backups"
    assert ".partial" in lab.machine.run(f"ls -A {folder}")
    lab.machine.run(f"touch --date=-10minutes {folder}/.*.partial && systemctl start dbfleet-repository-seal")
    assert ".partial" not in lab.machine.run(f"ls -A {folder}")
    assert all(result.ok for result in verify(lab.job("db1", small), "all", "restore"))
    assert same_after_restore(lab.job("db1", small), small, tmp_path / "small_back.db")


def test_a_higher_quota_lets_it_go_on_and_the_sshd_of_the_system_serves_it(lab: Lab, tmp_path: Path) -> None:
    large = make(tmp_path / "large.db", BLOBS.format(mib=40))
    lab.quotas["db1"] = "200M"
    assert lab.converge(repository_sshd="shared", repository_port=22) > 0
    assert lab.converge() == 0
    job = lab.job("db1", large, port=22)
    assert backup(job).manifest
    assert same_after_restore(job, large, tmp_path / "back.db")
    key = ["-i", str(lab.folder / "db1"), *lab.machine.ssh_options]
    argv = ["timeout", "20", "ssh", *key, f"dbfleet-db1@{ADDRESS}", "id"]
    assert "uid=" not in subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    lab.machine.run("systemctl start dbfleet-repository-keep.service")
    assert "success" in lab.machine.run("systemctl show -p Result dbfleet-repository-keep.service")


def test_everything_is_there_after_a_reboot(lab: Lab, tmp_path: Path) -> None:
    small = make(tmp_path / "small.db", BLOBS.format(mib=1))
    lab.machine.reboot()
    job = lab.job("db1", small, port=22)
    before = ids(job)
    made = backup(job).manifest
    assert made and len(before) == 2 and set(ids(job)) == {*before, made.id}
    assert "is on" in lab.machine.run("quotaon --print-state --group /srv || true")
    assert lab.machine.run("systemctl is-active dbfleet-repository-seal.timer").strip() == "active"
