"""Copies of all jobs elsewhere: ``offsite.py CONFIGURATION``, as root, by a schedule or by hand.

A store gets ``sync`` of every job, and is read again where that is asked for. A medium is found by its label or UUID,
mounted, checked to be the one that is meant, filled, read again, given a record with the date, and unmounted, whatever
happened in between. The command itself runs as the account of backups; only the mounting is root's.

It needs Python 3.9, and for media mount, umount and blkid. A job that fails stops no other one.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

LABEL_FILE = "dbfleet-medium.json"
TO = re.compile("^to-")
EMPTY = {"lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trashes"}
WITHOUT_OWNERS = {"vfat", "exfat", "ntfs", "ntfs3"}
SAFE = "nosuid,nodev,noexec"


class OffsiteError(Exception):
    """What stands in the way, for people."""


class Source(NamedTuple):
    """One job: the folder of configuration that has it, and where below the target its copies go."""

    folder: str
    below: str
    job: str


def main(file: str) -> int:
    """Copy what one configuration says; 0 when all of it is there and was read again."""
    with open(file, encoding="utf-8") as opened:
        configuration = json.load(opened)
    signal.signal(signal.SIGTERM, _end)
    os.umask(0o066)  # the account passes through the folder of the mount
    try:
        with alone(configuration["lock"]):
            sources = list(sources_of(configuration))
            if not sources:
                raise OffsiteError("no job is installed that could be copied: look at jobs of the configuration")
            if configuration.get("medium"):
                return to_medium(configuration, sources)
            return copy_all(configuration, sources, configuration["to"])
    except OffsiteError as error:
        print(f"{configuration['name']}: {error}", file=sys.stderr)
        return 1


def _end(_number: int, _frame: Any) -> None:
    sys.exit(143)  # through every finally


@contextlib.contextmanager
def alone(lock: str) -> Iterator[None]:
    """Never two at a time."""
    with open(lock, "a", encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OffsiteError("another copy of this name is under way: wait for it to end") from error
        yield


def sources_of(configuration: dict[str, Any]) -> Iterator[Source]:
    """Jobs of this host, and those that other hosts keep here; only those that are asked for, if any are."""
    wanted = set(configuration.get("jobs") or ())
    folders = [(configuration["own"], "")]
    with contextlib.suppress(FileNotFoundError):
        folders += [(os.path.join(configuration["others"], name), name) for name in os.listdir(configuration["others"])]
    for folder, below in sorted(folders):
        with contextlib.suppress(FileNotFoundError):
            for file in sorted(os.listdir(os.path.join(folder, "jobs.d"))):
                job, suffix = os.path.splitext(file)
                if suffix == ".json" and (not wanted or wanted & {job, below, f"{below}/{job}"}):
                    yield Source(folder, below, job)


# --- copying -------------------------------------------------------------------------------


def copy_all(configuration: dict[str, Any], sources: list[Source], to: str) -> int:
    """Copy every job below the URL ``to`` and read it there; 1 when one failed."""
    failed = 0
    for source in sources:
        target = f"{to.rstrip('/')}/{source.below}".rstrip("/")
        code = run(configuration, source, ["sync", "--job", source.job, "--to", target])
        if not code and configuration["verify"] == "all":
            words = ["verify", "all", "--job", source.job, "--level", "checksum", "--repository-url", target]
            code = run(configuration, source, words, there="repository-")
        if code:
            failed += 1
            print(f"{configuration['name']}: {source.below or 'here'}: {source.job} failed ({code})", file=sys.stderr)
    return 1 if failed else 0


def run(configuration: dict[str, Any], source: Source, words: list[str], there: str = "to-") -> int:
    """The command as the account of backups. Its output is ours.

    Options for the target, ``to-…``, are called as this verb calls them: with ``there``.
    """
    given = configuration.get("options", {})
    options = [word for name, value in given.items() for word in (f"--{TO.sub(there, name)}", str(value))]
    print(f"{configuration['name']}: {' '.join(words)}", flush=True)
    user = pwd.getpwnam(configuration["user"])
    done = subprocess.Popen(
        [configuration["command"], *words, *options],
        env={**os.environ, "DBFLEET_CONFIG_DIR": source.folder, "HOME": user.pw_dir},
        stdin=subprocess.DEVNULL,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[group.gr_gid for group in grp.getgrall() if user.pw_name in group.gr_mem],
    )
    try:
        return done.wait()
    except BaseException:  # we were told to end: so is it, and it cleans up
        done.terminate()
        done.wait()
        raise


# --- media ---------------------------------------------------------------------------------


def to_medium(configuration: dict[str, Any], sources: list[Source]) -> int:
    """Mount, check, copy, read again, record, unmount."""
    medium = configuration["medium"]
    device = device_of(medium)
    facts = {key: blkid(device, key.upper()) for key in ("label", "uuid", "type")}
    for key in ("label", "uuid"):
        if medium.get(key) and facts[key] != medium[key]:
            raise OffsiteError(f"{device} has the {key} {facts[key] or 'nothing'!r}, not {medium[key]!r}: wrong medium")
    failed = 1
    record = {"medium": configuration["name"], "device": device, **facts, "began": now()}
    with mounted(configuration, device, facts["type"]) as place:
        history = check_label(configuration, place)
        folder = os.path.join(place, medium.get("folder") or "dbfleet")
        user = pwd.getpwnam(configuration["user"])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if facts["type"] not in WITHOUT_OWNERS:
            os.chown(folder, user.pw_uid, user.pw_gid)
        try:
            failed = copy_all(configuration, sources, f"file://{folder}")
        finally:
            record.update(ended=now(), complete=not failed, backups=count(folder))
            history["history"] = [*history.get("history", []), record]
            write(os.path.join(place, LABEL_FILE), history)
    with open(configuration["record"], "a", encoding="utf-8") as opened:
        opened.write(json.dumps({**record, "unmounted": now()}, sort_keys=True) + "\n")
    print(f"{configuration['name']}: unmounted, with {record['backups']} backups; it can be taken away", flush=True)
    return failed


def device_of(medium: dict[str, Any]) -> str:
    """The device of a medium. Raises where it is not there."""
    if medium.get("device"):
        device = str(medium["device"])
    else:
        key = "uuid" if medium.get("uuid") else "label"
        device = output(["blkid", "-t", f"{key.upper()}={medium[key]}", "-o", "device"]).partition("\n")[0].strip()
        if not device:
            raise OffsiteError(f"no medium with the {key} {medium[key]!r} is here: put it in")
    if not os.path.exists(device):
        raise OffsiteError(f"{device} is not there: put the medium in")
    return os.path.realpath(device)


def blkid(device: str, tag: str) -> str:
    """What the file system of ``device`` says of itself, read from the device."""
    return output(["blkid", "-p", "-s", tag, "-o", "value", device]).strip()


def output(words: list[str]) -> str:
    """What a program prints; nothing where it fails."""
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


@contextlib.contextmanager
def mounted(configuration: dict[str, Any], device: str, kind: str) -> Iterator[str]:
    """Where the medium is mounted meanwhile. Raises where it cannot be, or cannot be unmounted."""
    place = configuration["medium"]["mount"]
    os.makedirs(place, mode=0o711, exist_ok=True)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            if line.split(" ")[0] == device or line.split(" ")[1] == place:
                raise OffsiteError(f"{device} or {place} is mounted already: {line.strip()}: unmount it")
    user = pwd.getpwnam(configuration["user"])
    options = [SAFE]
    if kind in WITHOUT_OWNERS:
        options.append(f"uid={user.pw_uid},gid={user.pw_gid},umask=077")
    if os.path.isfile(device):
        options.append("loop")
    done = subprocess.run(
        ["mount", "-o", ",".join(options), device, place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OffsiteError(f"{device} cannot be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        os.sync()
        done = subprocess.run(["umount", place], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OffsiteError(f"{place} is still mounted, do not take {device} away: {done.stderr.strip()}")


def check_label(configuration: dict[str, Any], place: str) -> dict[str, Any]:
    """What the medium says of itself; a new one must be empty. Raises for one that is another's."""
    name = configuration["name"]
    try:
        with open(os.path.join(place, LABEL_FILE), encoding="utf-8") as opened:
            label = dict(json.load(opened))
    except FileNotFoundError:
        there = sorted(set(os.listdir(place)) - EMPTY)
        if there:
            raise OffsiteError(
                f"the medium has no {LABEL_FILE}, and is not empty ({', '.join(there[:3])}): "
                "take another one, or empty it"
            ) from None
        label = {"medium": name, "first_used": now(), "history": []}
        write(os.path.join(place, LABEL_FILE), label)
        return label
    except (OSError, ValueError) as error:
        raise OffsiteError(f"{LABEL_FILE} of the medium cannot be read: {error}: look at the medium") from error
    if label.get("medium") != name:
        raise OffsiteError(f"this is the medium {label.get('medium')!r}, not {name!r}: put the right one in")
    return label


def write(path: str, label: dict[str, Any]) -> None:
    """Durably, and in the place of what is there only when it is complete."""
    with open(path + ".new", "w", encoding="utf-8") as opened:
        opened.write(json.dumps(label, indent=2, sort_keys=True) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(path + ".new", path)


def count(folder: str) -> int:
    """How many backups are on the medium."""
    return sum(file.endswith(".manifest.json") for _place, _folders, files in os.walk(folder) for file in files)


def now() -> str:
    """The time in UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
