"""Promise 7 at an SFTP server, where no operating system sees all who want the lock."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sftp_server import SftpServer
from sftp_server import server as sftp_server

from dbfleet.errors import BusyError, RepositoryError
from dbfleet.stores.sftp import lease
from dbfleet.stores.sftp.store import SftpStore

HOLD = """
import sys, time
from dbfleet.stores.registry import open_store
store = open_store(sys.argv[1], identity_file=sys.argv[2], known_hosts_file=sys.argv[3])
with store.lock("job", shared=sys.argv[4] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""
# Takes the lock again and again, and stays alone in it, or says that it was not.
RACE = """
import os, random, sys, time
from dbfleet.errors import BusyError
from dbfleet.stores.registry import open_store
store = open_store(sys.argv[1], identity_file=sys.argv[2], known_hosts_file=sys.argv[3])
folder, taken, end = sys.argv[4], 0, time.monotonic() + 6
while time.monotonic() < end:
    try:
        with store.lock("job", wait=3):
            inside = os.open(os.path.join(folder, "inside"), os.O_CREAT | os.O_EXCL)
            time.sleep(random.uniform(0, 0.05))
            os.close(inside)
            os.unlink(os.path.join(folder, "inside"))
            taken += 1
    except BusyError:
        pass
print(taken)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    with sftp_server() as running:
        yield running


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(params=["full", "append_only"])
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(server: SftpServer, tmp_path: Path, key: str) -> SftpStore:
    made = server.store(tmp_path.name, key)
    made.prepare()
    return made


class Host:
    """Another host, as far as the lock can tell: a process with a state folder of its own."""

    def __init__(self, script: str, server: SftpServer, key: str, state: Path, path: str, *arguments: str) -> None:
        keys = server.access(key)
        self.child = subprocess.Popen(
            [sys.executable, "-c", script, server.url(path), keys["identity_file"], keys["known_hosts_file"]]
            + list(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DBFLEET_STATE_DIR": str(state)},
        )

    def line(self) -> bytes:
        assert self.child.stdout is not None
        return self.child.stdout.readline()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        self.child.send_signal(signal.SIGCONT)
        self.child.kill()
        self.child.communicate()


def holder(server: SftpServer, key: str, tmp_path: Path, how: str = "alone", state: str = "other") -> Host:
    host = Host(HOLD, server, key, tmp_path / state, tmp_path.name, how)
    assert host.line() == b"held\n", host.child.communicate()
    return host


def claims(store: SftpStore) -> list[str]:
    return sorted(file.partition("-")[0] for file in os.listdir(Path(store.path, ".job.lease")))


def test_another_host_is_kept_out_and_named(server: SftpServer, store: SftpStore, key: str, tmp_path: Path) -> None:
    with holder(server, key, tmp_path) as other:
        for shared in (False, True):
            with pytest.raises(BusyError, match=f"process {other.child.pid} "), store.lock("job", shared=shared):
                pass
        with store.lock("other-job"):
            pass


def test_a_reader_on_another_host_keeps_a_writer_out(
    server: SftpServer, store: SftpStore, key: str, tmp_path: Path
) -> None:
    with holder(server, key, tmp_path, "shared") as other:
        with store.lock("job", shared=True, wait=1):
            pass
        with pytest.raises(BusyError, match=f"process {other.child.pid} "), store.lock("job"):
            pass


def test_a_holder_that_ends_well_leaves_the_lock_free_at_once(
    server: SftpServer, store: SftpStore, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(3):
        monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / f"state{turn}"))
        with store.lock("job"):
            assert claims(store) == ["write"]
        with store.lock("job", shared=True), store.lock("job", shared=True):
            assert claims(store) == ["read", "read"]
        assert claims(store) == ["idle", "idle"], "names are used again, and nothing piles up"
        with store.lock("job"):
            pass
        Path(store.path, ".job.lease", os.listdir(Path(store.path, ".job.lease"))[0]).unlink()


def test_a_killed_run_of_this_host_is_known_to_be_dead(
    server: SftpServer, store: SftpStore, key: str, tmp_path: Path
) -> None:
    for how in ("alone", "shared"):
        with holder(server, key, tmp_path, how, "state") as other:
            with pytest.raises(BusyError, match=str(other.child.pid)), store.lock("job"):
                pass
            other.child.send_signal(signal.SIGKILL)
            other.child.wait()
        begin = time.monotonic()
        with store.lock("job", wait=1):
            assert "write" in claims(store)
        assert time.monotonic() - begin < 5


def test_a_killed_run_of_another_host_is_dead_when_its_time_is_over(
    server: SftpServer, store: SftpStore, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(server, key, tmp_path) as other:
        other.child.send_signal(signal.SIGKILL)
        other.child.wait()
    with pytest.raises(BusyError, match=str(other.child.pid)), store.lock("job"):
        pass
    monkeypatch.setattr(lease, "DEAD_AFTER", 2.0)
    with store.lock("job", wait=8):
        pass


def test_a_holder_that_lives_is_not_taken_for_dead(
    server: SftpServer, store: SftpStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.5)
    monkeypatch.setattr(lease, "DEAD_AFTER", 3.0)
    held, release, other = threading.Event(), threading.Event(), server.store(tmp_path.name, key)

    def hold() -> None:
        with other.lock("job"):
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "another-host"))
    try:
        with pytest.raises(BusyError), store.lock("job", wait=7):
            pass
    finally:
        release.set()
        thread.join()


def test_a_holder_that_slept_too_long_commits_and_removes_nothing(
    server: SftpServer, store: SftpStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    if key == "append_only":
        pytest.skip("it may remove nothing anyway")
    monkeypatch.setattr(lease, "DEAD_AFTER", 1.0)
    slept = server.store(tmp_path.name, key)
    slept.put("precious", b"x")
    with slept.lock("job"), slept.upload("late") as upload:
        upload.write(b"x")
        time.sleep(3)  # RENEW_EVERY is longer than that
        monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "another-host"))
        with store.lock("job", wait=5):
            store.put("b", b"theirs")
        for act in (upload.commit, lambda: slept.remove("precious"), lambda: slept.put("c", b"x")):
            with pytest.raises(BusyError, match="was lost") as caught:
                act()
            assert caught.value.remedy
    assert sorted(entry.name for entry in store.entries()) == ["b", "precious"]


def test_a_cut_line_does_not_lose_the_lock(server: SftpServer, store: SftpStore, tmp_path: Path) -> None:
    with store.lock("job"):
        server.cut()
        time.sleep(0.2)
        store.put("a", b"x")
        os.environ["DBFLEET_STATE_DIR"] = str(tmp_path / "another-host")
        with pytest.raises(BusyError), store.lock("job"):
            pass
        os.environ["DBFLEET_STATE_DIR"] = str(tmp_path / "state")
    with store.lock("job"):
        pass


def test_four_hosts_that_race_are_never_two_at_once(
    server: SftpServer, store: SftpStore, key: str, tmp_path: Path
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    hosts = [Host(RACE, server, key, tmp_path / f"host{n}", tmp_path.name, str(inside)) for n in range(4)]
    taken = []
    for host in hosts:
        out, words = host.child.communicate(timeout=90)
        assert host.child.returncode == 0, words.decode()
        taken.append(int(out))
    assert sum(taken) > 3
    assert set(claims(store)) == {"idle"}


def test_the_note_of_a_holder_tells_no_secret(server: SftpServer, store: SftpStore, key: str) -> None:
    with store.lock("job"):
        (file,) = Path(store.path, ".job.lease").iterdir()
        note: dict[str, Any] = json.loads(file.read_bytes())
        assert set(note) == {"pid", "host", "command", "shared", "held"}
        assert (note["pid"], note["held"]) == (os.getpid(), True)


def test_without_a_place_for_its_state_a_host_can_still_read(
    store: SftpStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "file" / "state"))
    with store.lock("job", shared=True):
        pass
    with pytest.raises(RepositoryError, match="of this host") as caught, store.lock("job"):
        pass
    assert "DBFLEET_STATE_DIR" in caught.value.remedy


def test_a_locked_store_goes_through_a_fork(store: SftpStore) -> None:
    """What multiprocessing forks must not take the parent's lock away when it ends."""
    with store.lock("job"):
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
        child.start()
        child.join()
        assert claims(store) == ["write"]
        store.put("a", b"x")
