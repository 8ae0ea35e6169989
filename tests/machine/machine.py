"""A machine with a kernel of its own: Debian on User Mode Linux, which runs as a process of this host.

It starts from throw-away copies of its disks (scripts/dev/machine_image.sh), in seconds and without help of the
processor.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

BUILT = Path(__file__).resolve().parents[2] / "build" / "machine"
DEVICE = "machine0"
HERE, ADDRESS = "10.231.0.1", "10.231.0.2"  # in a network of the tests alone (scripts/dev/machine.sh)
PATIENCE = 120  # seconds until it answers


class Machine:
    """The one machine, which answers at ``ADDRESS``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for words in (
            ("tuntap", "add", DEVICE, "mode", "tap"),
            ("addr", "add", f"{HERE}/30", "dev", DEVICE),
            ("link", "set", DEVICE, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        self.key = folder / "key"
        self.key.write_bytes((BUILT / "key").read_bytes())
        self.key.chmod(0o600)
        self._console = (folder / "console.log").open("wb")
        self._process = subprocess.Popen(
            [
                "linux.uml",
                *("mem=768M", "root=/dev/ubda", "rw", "con=null", "con0=null,fd:1"),
                *(f"ubd{n}={folder}/{disk}.cow,{BUILT}/{disk}.img" for n, disk in enumerate(("root", "backups"))),
                f"eth0=tuntap,{DEVICE}",
                f"ip={ADDRESS}::{HERE}:255.255.255.252:machine:eth0:off",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
            start_new_session=True,
            env={**os.environ, "TMPDIR": "/dev/shm"},  # its memory is a file there
        )

    @property
    def ssh_options(self) -> list[str]:
        """What ``ssh`` needs to get in."""
        return [
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *("-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"),
        ]

    def run(self, command: str, *, check: bool = True) -> str:
        """What ``command`` prints, as root there."""
        argv = ["ssh", "-i", str(self.key), *self.ssh_options, f"root@{ADDRESS}", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait(self, other_than: str = "") -> None:
        """Return when it answers, in another boot than ``other_than``."""
        ends = time.monotonic() + PATIENCE
        while self.boot() in ("", other_than):
            console = (self.folder / "console.log").read_text(errors="replace")[-3000:]
            assert self._process.poll() is None and time.monotonic() < ends, console
            time.sleep(0.5)

    def boot(self) -> str:
        """Which boot this is; empty when it does not answer."""
        return self.run("cat /proc/sys/kernel/random/boot_id", check=False)

    def reboot(self) -> None:
        """Shut it down in order, and start it again."""
        before = self.boot()
        self.run("systemctl reboot", check=False)
        self.wait(before)

    def end(self) -> None:
        """Switch it off."""
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._console.close()
        subprocess.run(["ip", "link", "delete", DEVICE], check=True)
