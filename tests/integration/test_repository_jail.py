"""A backup server as the role repository sets it up: its sshd configuration, accounts and folders, under attack.

sshd runs in a mount namespace of its own, with accounts and a /srv that only it has. What the attacker tries, with the
key and all rights of a host, is in attack_server.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest
import sqlite_lab
import yaml
from isolation import children
from sftp_server import SSHD, free_port, make_key
from sqlite_lab import content, job_of, run_sql

from dbfleet.errors import AppendOnlyError, RepositoryError
from dbfleet.model import Job, Repository, Retention
from dbfleet.operations.backup import backup
from dbfleet.operations.lookup import listing
from dbfleet.operations.prune import prune
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

own_state = sqlite_lab.own_state
ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/repository"
OWNER, HOSTS = "dbfleet", ("dbfleet-db1", "dbfleet-db2")
NUMBERS = {OWNER: 64981, "dbfleet-hosts": 64982, HOSTS[0]: 64983, HOSTS[1]: 64984}
JAILS = """
set -e
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
mount --bind {folder}/shadow /etc/shadow
mount -t tmpfs -o size=64m,mode=755 none /srv
mkdir -p /run/sshd /srv/dbfleet
for account in {hosts}; do
  install -d -m 0755 /srv/dbfleet/$account
  install -d -o {owner} -g $account /srv/dbfleet/$account/backups
  chmod 3770 /srv/dbfleet/$account/backups
done
exec {sshd} -D -e -f {folder}/sshd_config
"""


class Server:
    """The running server; ``root`` is its ``repository_root``, seen from here."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dbfleet-jail-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._write_accounts()
        (self.folder / "keys").mkdir()
        make_key(self.folder / "host_ed25519", "ed25519")
        for name in (OWNER, *HOSTS):
            make_key(self.folder / name, "ed25519")
            line = "restrict " + (self.folder / f"{name}.pub").read_text()
            (self.folder / "keys" / name).write_text(line)
        key = " ".join((self.folder / "host_ed25519.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")
        (self.folder / "sshd_config").write_text(self._configuration())
        script = JAILS.format(folder=self.folder, hosts=" ".join(HOSTS), owner=OWNER, sshd=SSHD)
        self.log = open(self.folder / "log", "ab")  # noqa: SIM115
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        sqlite_lab.wait_until(self._listens)
        self.root = Path(f"/proc/{self.child.pid}/root/srv/dbfleet")

    def _write_accounts(self) -> None:
        passwd, group, shadow = (Path(f"/etc/{name}").read_text() for name in ("passwd", "group", "shadow"))
        for name, number in NUMBERS.items():
            members = ",".join(HOSTS) if name == "dbfleet-hosts" else ""
            group += f"{name}:x:{number}:{members}\n"
            if name != "dbfleet-hosts":
                passwd += f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n"
                shadow += f"{name}:*:20000:0:99999:7:::\n"
        for name, text in (("passwd", passwd), ("group", group), ("shadow", shadow)):
            (self.folder / name).write_text(text)
        (self.folder / "shadow").chmod(0o600)

    def _configuration(self) -> str:
        loader = jinja2.FileSystemLoader(ROLE / "templates")
        environment = jinja2.Environment(loader=loader, trim_blocks=True, undefined=jinja2.StrictUndefined)
        variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
        values: dict[str, Any] = {
            **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
            "repository_denied": variables["repository_denied"],
            "repository_ssh": str(self.folder),
            "repository_port": self.port,
            "repository_listen": ["127.0.0.1"],
        }
        # Keys in /tmp, which everybody can write to, are the test's own.
        return environment.get_template("sshd_config.j2").render(values).replace("Port ", "StrictModes no\nPort ", 1)

    def _listens(self) -> bool:
        assert self.child.poll() is None, (self.folder / "log").read_text()
        return "Server listening" in (self.folder / "log").read_text()

    def repository(self, account: str, path: str) -> Repository:
        return Repository(
            f"sftp://{account}@127.0.0.1:{self.port}{path}",
            file_mode=0o440,
            folder_mode=0o770,
            identity_file=str(self.folder / account),
            known_hosts_file=str(self.folder / "known_hosts"),
        )

    def of_host(self, job: Job, account: str) -> Job:
        """``job`` as its host runs it."""
        return replace(job, repository=self.repository(account, "/backups"), retention=Retention())

    def of_owner(self, job: Job, account: str) -> Job:
        """``job`` of a host as the server keeps it."""
        return replace(job, repository=self.repository(OWNER, f"/{account}/backups"))

    def seal(self, account: str) -> int:
        guard = ModuleType("guard")
        program = ROLE / "files/guard.py"
        exec(compile(program.read_text(encoding="utf-8"), str(program), "exec"), guard.__dict__)
        folder = os.open(self.root / account / "backups", os.O_RDONLY | os.O_DIRECTORY)
        try:
            sealer = guard.Sealer(NUMBERS[account], NUMBERS[OWNER])
            sealer.folder(folder)
            return int(sealer.sealed)
        finally:
            os.close(folder)

    def digests(self, account: str) -> dict[str, str]:
        folder = self.root / account / "backups"
        files = (path for path in folder.rglob("*") if path.is_file() and "/." not in str(path.relative_to(self.root)))
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def close(self) -> None:
        for child in children(self.child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        self.child.kill()
        self.child.wait()
        self.log.close()
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if os.geteuid() != 0 or not os.access(SSHD, os.X_OK):
        pytest.skip("a server with accounts needs root and sshd")
    running = Server()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source = tmp_path / "app.db"
    run_sql(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t (text) VALUES ('a'), ('b')")
    return job_of(source, "unused", retention=Retention(keep_last=2))


def test_a_host_backs_up_and_the_server_keeps(server: Server, job: Job, tmp_path: Path) -> None:
    job = replace(job, name="kept")
    host, owner = server.of_host(job, HOSTS[0]), server.of_owner(job, HOSTS[0])
    made = []
    for _turn in range(3):
        run_sql(tmp_path / "app.db", "INSERT INTO t (text) VALUES ('more')")
        made.append(backup(host).manifest)
        server.seal(HOSTS[0])
    backup(host)
    with pytest.raises(RepositoryError, match="permission"):  # it is not sealed yet
        verify(owner, "all", "checksum")
    assert server.seal(HOSTS[0]) > 0
    with pytest.raises(AppendOnlyError):
        prune(replace(host, retention=Retention(keep_last=1)))
    assert all(result.ok for result in verify(owner, "all", "checksum"))
    report = prune(owner)
    assert (len(report.kept), len(report.removed)) == (2, 2)
    assert [row.state for row in listing(host)] == ["good", "good"]
    backup(host)
    last = made[-1]
    assert last is not None
    restore(host, last.id, to=f"sqlite:///{tmp_path}/restored.db")
    assert content(tmp_path / "restored.db") == content(tmp_path / "app.db")
    server.seal(HOSTS[0])
    files = [path for path in (server.root / HOSTS[0] / "backups").glob("kept_backup_*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o440}


def test_whoever_has_a_host_destroys_none_of_its_history(server: Server, job: Job, tmp_path: Path) -> None:
    made = {}
    for account in HOSTS:
        host = server.of_host(replace(job, name="app"), account)
        made[account] = [backup(host).manifest for _turn in range(2)]
    server.seal(HOSTS[0])
    before = {account: server.digests(account) for account in HOSTS}
    program = Path(__file__).with_name("attack_server.py")
    words = ["127.0.0.1", str(server.port), str(server.folder / HOSTS[0]), str(server.folder / "known_hosts"), *HOSTS]
    done = subprocess.run([sys.executable, str(program), *words], capture_output=True, text=True, check=False)
    stored = [name for name in before[HOSTS[0]] if name.endswith(".manifest.json")]
    assert (done.returncode, done.stdout) == (0, f"done {len(stored)}\n"), done.stderr
    for account in HOSTS:
        server.seal(account)
    after = {account: server.digests(account) for account in HOSTS}
    assert after[HOSTS[1]] == before[HOSTS[1]]
    assert before[HOSTS[0]].items() <= after[HOSTS[0]].items()
    assert "rubbish.bin" in after[HOSTS[0]]
    owner = server.of_owner(replace(job, name="app"), HOSTS[0])
    for manifest in made[HOSTS[0]]:
        assert manifest is not None
        assert all(result.ok for result in verify(owner, manifest.id, "restore"))
    findings = [finding.object for result in verify(owner, "all", "checksum") for finding in result.findings]
    assert findings == ["app_backup_20990101_000000"]  # so the server prunes nothing
    others = server.of_owner(replace(job, name="app"), HOSTS[1])
    assert all(result.ok for result in verify(others, "all", "checksum"))
