"""Debian's OpenSSH server for tests: its own configuration, host keys, accounts and a free loopback port.

As root it runs in a mount namespace of its own, where /etc/passwd and /etc/shadow have two more
accounts; so passwords, permissions and tiny disks are real, and the machine's own files stay as
they are. Without root there is only the account that runs the tests, and its keys.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from isolation import children

from dbfleet.stores.registry import open_store
from dbfleet.stores.sftp.store import SftpStore

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ACCOUNT, STRANGER = "dbfleet-vault", "dbfleet-stranger"
NUMBERS = {ACCOUNT: 64991, STRANGER: 64992}
PASSWORD = "correct horse; battery $staple"
# What docs/sftp.md tells people to write into authorized_keys.
APPEND_ONLY = "internal-sftp -P remove,rmdir,posix-rename,hardlink,symlink,setstat,fsetstat,lsetstat"
KEYS = {
    "full": "",
    "append_only": f'restrict,command="{APPEND_ONLY}" ',
    "read_only": 'restrict,command="internal-sftp -R" ',
    "plain": 'restrict,command="internal-sftp -P fsync,statvfs,limits,hardlink" ',
}
CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
HostKey {folder}/host_rsa
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
AuthorizedKeysFile {folder}/authorized_keys
Subsystem sftp internal-sftp
MaxStartups 100
LogLevel VERBOSE
"""
# From OpenSSH 9.8 on it shuts out an address after some logins that failed, as those of these tests do.
NO_PENALTIES = "PerSourcePenalties no\n"


class SftpServer:
    """One running server; ``root`` is the folder for repositories. ``disk`` makes that a tmpfs (``size=4m``)."""

    def __init__(self, *, disk: Optional[str] = None) -> None:
        if not os.access(SSHD, os.X_OK):
            pytest.skip("no sshd on this machine")
        if disk is not None:
            needs_root()
        self.folder = Path(tempfile.mkdtemp(prefix="dbfleet-sftp-"))
        self.folder.chmod(0o755)
        self.as_root = os.geteuid() == 0
        self.user = ACCOUNT if self.as_root else pwd.getpwuid(os.geteuid()).pw_name
        self.root = self.folder / "home" / "repositories"
        self._disk = disk
        self._prepare()
        self.port = free_port()
        self._child: Optional[subprocess.Popen[bytes]] = None
        self.start()

    def _prepare(self) -> None:
        for kind in ("ed25519", "rsa"):
            make_key(self.folder / f"host_{kind}", kind)
        lines = []
        for name, options in KEYS.items():
            make_key(self.folder / name, "ed25519")
            lines.append(options + (self.folder / f"{name}.pub").read_text())
        (self.folder / "authorized_keys").write_text("".join(lines))
        self.root.mkdir(parents=True)
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD + "\n")
        password_file.chmod(0o600)
        if self.as_root:
            for path in (self.root.parent, self.root):
                os.chown(path, NUMBERS[ACCOUNT], NUMBERS[ACCOUNT])
            self._make_accounts()
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where sshd drops its rights

    def _make_accounts(self) -> None:
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD.encode(), stdout=subprocess.PIPE, check=True
        ).stdout.decode()
        passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
        for name, number in NUMBERS.items():
            passwd += f"{name}:x:{number}:{number}::{self.folder}/home:/usr/sbin/nologin\n"
            shadow += f"{name}:{hashed.strip()}:20000:0:99999:7:::\n"
        (self.folder / "passwd").write_text(passwd)
        (self.folder / "shadow").write_text(shadow)
        (self.folder / "shadow").chmod(0o600)

    def start(self) -> None:
        """Start it (again, on the same port)."""
        config = self.folder / "sshd_config"
        text = CONFIGURATION.format(port=self.port, folder=self.folder)
        config.write_text(text + NO_PENALTIES)
        if subprocess.run([SSHD, "-t", "-f", config], stderr=subprocess.DEVNULL, check=False).returncode:
            config.write_text(text)
        command = f"exec {SSHD} -D -e -f {config}"
        if self.as_root:
            mounts = [f"mount --bind {self.folder}/{name} /etc/{name}" for name in ("passwd", "shadow")]
            if self._disk is not None:
                owner = NUMBERS[ACCOUNT]
                mounts.append(f"mount -t tmpfs -o {self._disk},uid={owner},gid={owner},mode=700 none {self.root}")
            command = " && ".join([*mounts, command])
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", command]
        else:
            argv = ["sh", "-c", command]
        with open(self.folder / "log", "ab") as log:
            self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
                if line.recv(4) == b"SSH-":
                    return
            assert self._child.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the server that listens."""
        assert self._child is not None
        return self._child.pid

    @property
    def seen_root(self) -> Path:
        """``root`` as it is seen from here, also when it is a disk of the server's own."""
        return Path(f"/proc/{self.pid}/root{self.root}") if self._disk is not None else self.root

    def cut(self) -> None:
        """Kill every session, and leave the server listening."""
        for child in children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def stop(self) -> None:
        """End the server and its sessions."""
        if self._child is not None:
            self.cut()
            self._child.kill()
            self._child.wait()
            self._child = None

    def close(self) -> None:
        """End it and remove what it had."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def known_hosts(self, *, kind: str = "ed25519", port: Optional[int] = None) -> str:
        """A file with one of the server's keys."""
        path = self.folder / f"known_hosts-{kind}"
        key = " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])
        path.write_text(f"[127.0.0.1]:{port or self.port} {key}\n")
        return str(path)

    def url(self, path: str = "repository", *, user: Optional[str] = None) -> str:
        """The URL of a repository below ``root``."""
        return f"sftp://{user or self.user}@127.0.0.1:{self.port}{self.root}/{path}"

    def access(self, key: str = "full", **changed: Any) -> dict[str, Any]:
        """The keys of a job that log in with one of the test's keys."""
        found = {"identity_file": str(self.folder / key), "known_hosts_file": self.known_hosts(), **changed}
        return {name: value for name, value in found.items() if value is not None}

    def store(self, path: str = "repository", key: str = "full", **changed: Any) -> SftpStore:
        """A store below ``root``, which is not there yet."""
        user, modes = changed.pop("user", None), {k: changed.pop(k) for k in tuple(changed) if k.endswith("_mode")}
        store = open_store(self.url(path, user=user), **modes, **self.access(key, **changed))
        assert isinstance(store, SftpStore)
        return store


@contextlib.contextmanager
def server(**options: Any) -> Iterator[SftpServer]:
    """A server that is gone afterwards."""
    made = SftpServer(**options)
    try:
        yield made
    finally:
        made.close()


def needs_root() -> None:
    """Skip a test whose accounts or mounts only root can make."""
    if os.geteuid() != 0:
        pytest.skip("other accounts, passwords and disks of a server need root")


def make_key(path: Path, kind: str, passphrase: str = "") -> str:
    """A new pair of keys; the path of the private one."""
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", "test", "-f", str(path)], check=True)
    return str(path)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
