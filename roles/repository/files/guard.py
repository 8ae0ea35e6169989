"""What a backup server does by itself: ``guard.py seal|watch|keep CONFIGURATION``.

``seal`` (as root, every minute) takes what hosts have committed out of their hands: a stored file gets the owner of
the repository and the mode 0440, so that its host can go on reading it, and can neither change nor rename nor remove
it. The folder is sticky, so the kernel sees to that, whatever the host's key is used for. An upload that nobody goes on
with, such as one that met the quota, is removed: its host may not do so, and its next backup needs the room.

``watch`` (as root) measures free space and what each account uses, and fails where it is too little or too much.

``keep`` (as root, which seals first) verifies and prunes every job of every host, as the owner and by SFTP, so that it
and a backup that is under way see each other's locks.

It needs Python 3.9 and nothing else. What it cannot do for one host stops nothing for the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

SEALED = 0o440
SEALED_FOLDER = 0o750
SHARED_FOLDER = 0o3770  # of leases, logs and backups that are under way: of the owner, who sweeps, and of the host
ACCESS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
UPLOAD = ".partial"  # how the hidden names of uploads end
ABANDONED = 300  # seconds since anything was written into a file that nobody has open
DEEPEST = 8  # folders below a host's; backups have one
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


def main(verb: str, file: str) -> int:
    """Do one thing for every account; 0 when all of it was done and found good, else 1."""
    configuration = read(file)
    configuration["accounts"] = {
        account: read(os.path.join(configuration["jobs"], account, "account.json"))
        for account in sorted(os.listdir(configuration["jobs"]))
    }
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # somebody wants a file on which there is a lease: let it wait
    problems = 0
    for problem in {"seal": seal, "watch": watch, "keep": keep}[verb](configuration):
        problems += 1
        print(problem, file=sys.stderr, flush=True)
    return 1 if problems else 0


def read(file: str) -> dict[str, Any]:
    """What a file of JSON says."""
    with open(file, encoding="utf-8") as opened:
        return dict(json.load(opened))


def folder_of(configuration: dict[str, Any], account: str) -> str:
    """Where the account's backups are."""
    return os.path.join(configuration["root"], account, "backups")


# --- sealing -------------------------------------------------------------------------------


def seal(configuration: dict[str, Any]) -> Iterator[str]:
    """Seal what is committed; yields what is wrong."""
    for account in configuration["accounts"]:
        try:
            done = seal_account(configuration, account)
        except (KeyError, OSError) as error:
            yield f"{account}: {error}"
            continue
        if done.sealed:
            print(f"{account}: {done.sealed} files sealed", flush=True)
        if done.swept:
            print(f"{account}: {done.swept} abandoned uploads removed", flush=True)
        for name in sorted(done.strange):
            yield f"{account}: {name!r} is no file that a backup stores: look at it, then remove it"


def seal_account(configuration: dict[str, Any], account: str) -> Sealer:
    """Seal what one account has committed; what was done, and what cannot be."""
    sealer = Sealer(pwd.getpwnam(account).pw_uid, pwd.getpwnam(configuration["owner"]).pw_uid)
    folder = os.open(folder_of(configuration, account), ACCESS | os.O_DIRECTORY)
    try:
        sealer.folder(folder)
    finally:
        os.close(folder)
    return sealer


class Sealer:
    """Seals what belongs to ``host``. Names are the host's choice, so each is opened once and never followed."""

    def __init__(self, host: int, owner: int) -> None:
        self.host = host
        self.owner = owner
        self.sealed = 0
        self.swept = 0  # abandoned uploads
        self.strange: set[str] = set()  # names of what is neither file nor folder

    def folder(self, folder: int, above: str = "", depth: int = 0) -> None:
        """Seal what is below the open ``folder``."""
        names = set(os.listdir(folder))
        for name in sorted(names):
            try:
                found = os.lstat(name, dir_fd=folder)
                if stat.S_ISDIR(found.st_mode):
                    if found.st_uid in (self.host, self.owner) and stat.S_IMODE(found.st_mode) != SEALED_FOLDER:
                        self.subfolder(folder, name, f"{name}.manifest.json" in names, above, depth)
                elif found.st_uid != self.host:
                    continue  # sealed
                elif name.startswith("."):
                    if name.endswith(UPLOAD) and stat.S_ISREG(found.st_mode):
                        self.upload(folder, name)
                elif not stat.S_ISREG(found.st_mode):
                    self.strange.add(above + name)
                else:
                    self.file(folder, name)
            except FileNotFoundError:
                continue  # it went, or got its name, in this moment
            except OSError:
                self.strange.add(above + name)

    def file(self, folder: int, name: str) -> None:
        """Seal one file, unless it is just getting its name (by a second link, as OpenSSH renames)."""
        opened = os.open(name, ACCESS, dir_fd=folder)
        try:
            found = os.fstat(opened)
            if stat.S_ISREG(found.st_mode) and found.st_uid == self.host and found.st_nlink == 1:
                os.fchmod(opened, SEALED)  # first: what is the owner's already is not looked at again
                os.fchown(opened, self.owner, -1)
                self.sealed += 1
        finally:
            os.close(opened)

    def upload(self, folder: int, name: str) -> None:
        """Remove one that is on its way to its name no more: it ages, and nobody has it open for writing.

        The kernel knows that: it gives a lease on a file only then (fcntl(2), ``F_SETLEASE``). Where the file system
        knows no leases, whoever prunes sweeps it.
        """
        opened = os.open(name, ACCESS, dir_fd=folder)
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != self.host or time.time() - found.st_mtime < ABANDONED:
                return
            try:
                fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except OSError:
                return  # it is being written, or there are no leases
            os.unlink(name, dir_fd=folder)
            self.swept += 1
        finally:
            os.close(opened)

    def subfolder(self, folder: int, name: str, committed: bool, above: str, depth: int) -> None:
        """All folders are the owner's. The host may write into one as long as the manifest of it is missing."""
        if depth >= DEEPEST:
            self.strange.add(above + name)
            return
        opened = os.open(name, ACCESS | os.O_DIRECTORY, dir_fd=folder)
        try:
            mode = SEALED_FOLDER if committed and not name.startswith(".") else SHARED_FOLDER
            found = os.fstat(opened)
            if not name.startswith("."):
                self.folder(opened, f"{above}{name}/", depth + 1)
            if found.st_uid != self.owner or stat.S_IMODE(found.st_mode) != mode:
                os.fchown(opened, self.owner, -1)
                os.fchmod(opened, mode)
            if mode == SEALED_FOLDER:  # what came in between
                self.folder(opened, f"{above}{name}/", depth + 1)
        finally:
            os.close(opened)


# --- watching ------------------------------------------------------------------------------


def watch(configuration: dict[str, Any]) -> Iterator[str]:
    """Say what is used; yields what is too much, and free space that is too little."""
    disk = os.statvfs(configuration["root"])
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    least = size_of(configuration["min_free"], total)
    print(f"{configuration['root']}: {show(free)} of {show(total)} free", flush=True)
    if free < least:
        least_said = configuration["min_free"]
        yield f"{configuration['root']}: {show(free)} free is less than {least_said}: make room, or prune"
    if disk.f_files and disk.f_favail < disk.f_files // 50:
        yield f"{configuration['root']}: {disk.f_favail} of {disk.f_files} inodes free: make room, or prune"
    for account, settings in configuration["accounts"].items():
        used, problems = usage(folder_of(configuration, account))
        quota = size_of(settings.get("quota") or "0", total)
        print(f"{account}: {show(used)} used{f' of {show(quota)}' if quota else ''}", flush=True)
        for problem in problems:
            yield f"{account}: {problem}"
        if quota and used > quota * 9 // 10:
            said = "above" if used > quota else "near"
            yield f"{account}: {show(used)} used is {said} its quota of {show(quota)}: raise it, or keep less"


def usage(folder: str) -> tuple[int, list[str]]:
    """Bytes on disk below ``folder``, and what could not be read."""
    problems: list[str] = []
    used = 0
    for place, _folders, files in os.walk(folder, onerror=lambda error: problems.append(str(error))):
        for file in files:
            try:
                used += os.lstat(os.path.join(place, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return used, problems


def size_of(text: str, total: int) -> int:
    """Bytes of ``10%`` of ``total``, ``20G`` or a plain number."""
    text = str(text).strip().upper()
    if text.endswith("%"):
        return int(total * float(text[:-1]) / 100)
    unit = text.rstrip("IB").lstrip("0123456789.")
    return int(float(text.rstrip("IB")[: -len(unit) or None]) * UNITS[unit])


def show(size: float) -> str:
    """``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise ValueError(size)


# --- keeping -------------------------------------------------------------------------------


def keep(configuration: dict[str, Any]) -> Iterator[str]:
    """Verify and prune each job; yields each that failed. What is not verified is not pruned."""
    for account, settings in configuration["accounts"].items():
        for job in settings.get("jobs", []):
            verbs = [["verify", "all", "--level", "checksum"]] if job.get("verify", True) else []
            for verb in (*verbs, ["prune"]):
                code = run(configuration, account, [*verb, "--job", job["name"]])
                if code:
                    yield f"{account}: {verb[0]} of {job['name']} failed ({code})"
                    break


def run(configuration: dict[str, Any], account: str, words: list[str]) -> int:
    """The command as the owner, with the jobs of one account; once more if a backup ended meanwhile, not yet sealed."""
    print(f"{account}: {' '.join(words)}", flush=True)
    owner = pwd.getpwnam(configuration["owner"])
    jobs = os.path.join(configuration["jobs"], account)
    code = 0
    for _attempt in range(3):
        with contextlib.suppress(KeyError, OSError):  # seal says what is wrong
            seal_account(configuration, account)
        done = subprocess.run(
            [configuration["command"], *words],
            env={**os.environ, "DBFLEET_CONFIG_DIR": jobs, "HOME": owner.pw_dir},
            stdin=subprocess.DEVNULL,
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            check=False,
        )
        code, again = done.returncode, 0
        with contextlib.suppress(KeyError, OSError):
            again = seal_account(configuration, account).sealed if code else 0
        if not again:
            break
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
