"""What the role repository runs on a backup server: sealed backups are out of their host's hands, space is watched.

The folders are as the role makes them; the host's account is a user of this machine without any rights.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Callable

import pytest
from isolation import in_child

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "roles/repository/files/guard.py"
HOST, OWNER = 64993, 64994
NAME = "app_backup_20250823_103000"


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    module = ModuleType("guard")
    exec(compile(PROGRAM.read_text(encoding="utf-8"), str(PROGRAM), "exec"), module.__dict__)
    return module


@pytest.fixture
def jail(tmp_path: Path) -> Iterator[Path]:
    """``ACCOUNT/backups`` with the owner, group and mode that the role gives it."""
    if os.geteuid() != 0:
        pytest.skip("other accounts are needed, so root")
    for folder in (*reversed(tmp_path.parents), tmp_path):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    backups = tmp_path / "dbfleet-db1" / "backups"
    backups.mkdir(parents=True)
    backups.parent.chmod(0o755)
    os.chown(backups, OWNER, HOST)
    backups.chmod(0o3770)
    yield backups


def as_account(number: int, act: Callable[[], Any], group: int = HOST) -> None:
    def become() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(number)
        os.umask(0o007)
        act()

    in_child(become)


def as_host(act: Callable[[], Any]) -> None:
    as_account(HOST, act)


def put(path: Path, data: str = "good", mode: int = 0o440) -> None:
    """As an upload ends: the name comes last."""
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(descriptor, data.encode())
    os.close(descriptor)
    os.rename(partial, path)


def sealer_of(guard: ModuleType, folder: Path) -> Any:
    sealer = guard.Sealer(HOST, OWNER)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sealer.folder(descriptor)
        return sealer
    finally:
        os.close(descriptor)


def seal(guard: ModuleType, folder: Path) -> tuple[int, list[str]]:
    sealer = sealer_of(guard, folder)
    return sealer.sealed, sorted(sealer.strange)


def swept_of(guard: ModuleType, folder: Path) -> int:
    sealer = sealer_of(guard, folder)
    assert (sealer.sealed, sealer.strange) == (0, set())
    return int(sealer.swept)


def refused(*acts: Callable[[], Any]) -> None:
    for act in acts:
        with pytest.raises(OSError, match=r"Errno (1|13|17|39)\b"):
            act()


def test_what_is_sealed_is_out_of_its_hosts_hands(guard: ModuleType, jail: Path) -> None:
    stored = [jail / f"{NAME}.sql", jail / f"{NAME}.manifest.json"]
    nested = jail / f"{NAME}" / "data-1.sql"

    def back_up() -> None:
        nested.parent.mkdir(mode=0o770)
        put(nested)
        for path in stored:
            put(path, mode=0o600)

    as_host(back_up)
    assert seal(guard, jail) == (3, [])
    assert seal(guard, jail) == (0, [])

    def attack() -> None:
        for path in (*stored, nested):
            assert path.read_text() == "good"
            refused(
                path.unlink,
                lambda path=path: path.rename(path.with_name("moved")),
                lambda path=path: path.rename(path.with_name(".moved")),
                lambda path=path: path.chmod(0o660),
                lambda path=path: os.truncate(path, 0),
                lambda path=path: path.write_text("bad"),
                lambda path=path: os.open(path, os.O_WRONLY | os.O_APPEND),
                lambda path=path: os.utime(path, (1, 1)),
            )
        (jail / "mine").write_text("bad")
        refused(
            lambda: (jail / "mine").rename(stored[0]),
            lambda: (jail / "mine").rename(nested),
            lambda: (nested.parent / "more").write_text("bad"),
            nested.parent.rmdir,
            lambda: nested.parent.rename(jail / "moved"),
            lambda: jail.chmod(0o777),
            lambda: jail.rename(jail.parent / "other"),
            lambda: (jail.parent / "beside").write_text("bad"),
        )

    as_host(attack)
    assert [path.read_text() for path in (*stored, nested)] == ["good"] * 3

    def prune() -> None:
        for path in (stored[1], stored[0], nested):
            path.unlink()
        nested.parent.rmdir()

    as_account(OWNER, prune, OWNER)


def test_what_is_on_its_way_is_left_to_its_host_and_can_be_swept(guard: ModuleType, jail: Path) -> None:
    folder = jail / NAME

    def begin() -> None:
        (jail / f".{NAME}.sql.partial").write_text("half")
        folder.mkdir(mode=0o700)
        (folder / ".data-1.sql.partial").write_text("half")
        put(folder / "data-2.sql")
        (jail / "app_log" / "1").mkdir(parents=True)
        put(jail / "app_log" / "1" / "000000010000000000000001.zst")
        (jail / ".app.lease").mkdir(mode=0o700)
        (jail / ".app.lease" / "write-1").write_text("claim")

    as_host(begin)
    assert seal(guard, jail) == (2, [])

    def go_on() -> None:
        (folder / ".data-1.sql.partial").rename(folder / "data-1.sql")
        (jail / ".app.lease" / "write-1").rename(jail / ".app.lease" / "idle-1")

        put(jail / "app_log" / "1" / "000000010000000000000002.zst")
        with pytest.raises(PermissionError):  # a folder that never gets a manifest
            (jail / "app_log" / "1" / "000000010000000000000001.zst").rename(jail / "app_log" / "1" / "moved")

    as_host(go_on)

    def sweep() -> None:
        (jail / ".app.lease" / "write-2").write_text("claim")
        (jail / f".{NAME}.sql.partial").unlink()
        for name in ("data-1.sql", "data-2.sql"):
            (folder / name).unlink()

    as_account(OWNER, sweep, OWNER)


def test_tricks_with_names_reach_nothing_else(guard: ModuleType, jail: Path) -> None:
    secret = jail.parents[1] / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)

    def trick() -> None:
        (jail / "link").symlink_to(secret)
        (jail / "folder").symlink_to(jail.parents[1])
        os.mkfifo(jail / "fifo")
        put(jail / "one")
        os.link(jail / "one", jail / "two")
        place = jail
        for _level in range(12):
            place = place / "deep"
            place.mkdir()

    as_host(trick)
    sealed, strange = seal(guard, jail)
    assert (sealed, strange) == (0, ["deep/" * 8 + "deep", "fifo", "folder", "link"])
    status = secret.stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o600)
    (jail / "two").unlink()
    assert seal(guard, jail)[0] == 1


def test_an_upload_that_nobody_goes_on_with_is_removed(guard: ModuleType, jail: Path) -> None:
    """It may be one that met the quota: as long as it is there, no other has room, and its host cannot help it."""
    folder = jail / "log"
    abandoned, open_for_long, fresh = (f".{NAME}.{ending}.partial" for ending in ("db", "sql", "json"))
    old = time.time() - guard.ABANDONED - 1

    def begin() -> None:
        folder.mkdir(mode=0o770)
        (jail / ".lock").write_text("mine")
        os.mkfifo(jail / ".pipe.partial")
        (jail / ".link.partial").symlink_to("/etc/passwd")
        for place in (jail, folder):
            for name in (abandoned, open_for_long, fresh):
                descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440)
                os.write(descriptor, b"x" * 8192)
                os.close(descriptor)
        for place in (jail, folder):
            for name in (abandoned, open_for_long):
                os.utime(place / name, (old, old))
        os.utime(jail / ".lock", (old, old))

    as_host(begin)
    handles = [os.open(place / open_for_long, os.O_WRONLY) for place in (jail, folder)]
    try:
        for swept in (2, 0):
            assert swept_of(guard, jail) == swept
            for place in (jail, folder):
                assert [(place / name).exists() for name in (abandoned, open_for_long, fresh)] == [False, True, True]
    finally:
        for handle in handles:
            os.close(handle)
    for place in (jail, folder):
        os.utime(place / open_for_long, (old, old))
    assert swept_of(guard, jail) == 2
    assert {path.name for path in jail.iterdir()} == {".lock", ".pipe.partial", ".link.partial", "log", fresh}
    assert seal(guard, jail) == (0, [])


# --- the program ---------------------------------------------------------------------------


def configure(folder: Path, **accounts: Any) -> Path:
    for account, settings in accounts.items():
        (folder / "jobs.d" / account).mkdir(parents=True)
        (folder / "jobs.d" / account / "account.json").write_text(json.dumps(settings))
        (folder / "root" / account / "backups").mkdir(parents=True)
    command = folder / "dbfleet"
    command.write_text(
        f'#!/bin/sh\necho "$DBFLEET_CONFIG_DIR $*" >> {folder}/calls\n'
        'case "$*" in *broken*) exit 1 ;; *verify*odd*) exit 3 ;; esac\n'
    )
    command.chmod(0o755)
    file = folder / "repository.json"
    jobs = str(folder / "jobs.d")
    text = {"root": str(folder / "root"), "owner": "root", "min_free": "0", "jobs": jobs, "command": str(command)}
    file.write_text(json.dumps(text))
    return file


def run(verb: str, file: Path) -> tuple[int, str, str]:
    words = [sys.executable, str(PROGRAM), verb, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_watch_tells_who_is_above_a_quota_and_that_space_is_short(tmp_path: Path) -> None:
    file = configure(tmp_path, big={"quota": "1M"}, near={"quota": "0.5M"}, small={"quota": "1G"}, free={})
    (tmp_path / "root/big/backups/file").write_bytes(os.urandom(1200 * 1024))
    (tmp_path / "root/near/backups/file").write_bytes(os.urandom(490 * 1024))
    (tmp_path / "root/small/backups/file").write_bytes(b"x")
    code, said, problems = run("watch", file)
    assert code == 1
    assert problems.splitlines() == [
        "big: 1.2 MiB used is above its quota of 1.0 MiB: raise it, or keep less",
        "near: 492.0 KiB used is near its quota of 512.0 KiB: raise it, or keep less",
    ]
    assert "small: 4.0 KiB used of 1.0 GiB" in said
    file.write_text(json.dumps({**json.loads(file.read_text()), "min_free": "101%"}))
    assert "free is less than 101%: make room, or prune" in run("watch", file)[2]


def test_one_job_that_fails_stops_no_other_one_and_is_told(tmp_path: Path) -> None:
    jobs = [{"name": "odd"}, {"name": "broken"}, {"name": "locked", "verify": False}, {"name": "fine"}]
    file = configure(tmp_path, one={"jobs": jobs}, two={"jobs": [{"name": "fine"}]}, gone={"jobs": []})
    code, _said, problems = run("keep", file)
    assert code == 1
    assert problems.splitlines() == ["one: verify of odd failed (3)", "one: verify of broken failed (1)"]
    calls = [line.rpartition("/")[2] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [
        "one verify all --level checksum --job odd",  # what is not good is not pruned
        "one verify all --level checksum --job broken",
        "one prune --job locked",
        "one verify all --level checksum --job fine",
        "one prune --job fine",
        "two verify all --level checksum --job fine",
        "two prune --job fine",
    ]


def test_a_run_is_done_again_when_a_backup_ended_meanwhile(
    guard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is not the owner's to read until it is sealed."""
    configuration = json.loads(configure(tmp_path, one={"jobs": [{"name": "broken"}]}).read_text())
    configuration["owner"] = pwd.getpwuid(os.getuid()).pw_name
    for answers, calls in (([0, 3, 0, 0], 2), ([0, 0], 1), ([0, 1, 0, 1, 0, 1], 3)):
        given = iter([SimpleNamespace(sealed=answer) for answer in answers])
        monkeypatch.setitem(guard.run.__globals__, "seal_account", lambda *_words, given=given: next(given))
        (tmp_path / "calls").write_text("")
        assert guard.run(configuration, "one", ["prune", "--job", "broken"]) == 1
        assert (next(given, None), len((tmp_path / "calls").read_text().splitlines())) == (None, calls)
