"""What the role offsite runs: copies of all jobs elsewhere, and media: mounted, filled, read again and unmounted.

Media are files with a real file system, mounted by the kernel in a mount namespace of the test's own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from sqlite_lab import run_sql

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "roles/offsite/files/offsite.py"
# Ends with 99 if something is still mounted when the program has ended.
MOUNTED = '"$@"; code=$?; if grep -q dbfleet-medium /proc/self/mounts; then exit 99; fi; exit $code'
OUTSIDE = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh"]


class Server:
    """A host with one job of its own and jobs of two others, each with backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "dbfleet"
        self.command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dbfleet "$@"\n')
        self.command.chmod(0o755)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "plugins/module_utils"),
            "DBFLEET_STATE_DIR": str(folder / "state"),
        }
        for name in ("own", "others/dbfleet-db1", "others/dbfleet-db2"):
            self.install(name, "app")
            self.back_up(name, "app")

    def install(self, name: str, job: str, **more: Any) -> None:
        source = self.folder / f"{name.replace('/', '-')}-{job}.db"
        if not source.exists():
            run_sql(source, "CREATE TABLE t (text TEXT); INSERT INTO t VALUES (hex(randomblob(20000)))")
        jobs = self.folder / name / "jobs.d"
        jobs.mkdir(parents=True, exist_ok=True)
        place = self.folder / "kept" / name / job
        text = {"source": {"url": f"sqlite:///{source}"}, "repository": {"url": str(place)}, **more}
        (jobs / f"{job}.json").write_text(json.dumps({**text, "compression": {"method": "none"}}))
        (jobs / f"{job}.json").chmod(0o600)

    def back_up(self, name: str, job: str) -> None:
        words = [str(self.command), "backup", "--job", job]
        environment = {**self.environment, "DBFLEET_CONFIG_DIR": str(self.folder / name)}
        subprocess.run(words, env=environment, check=True, capture_output=True)

    def configure(self, name: str = "disk-a", **more: Any) -> Path:
        text = {
            "name": name,
            "command": str(self.command),
            "user": "root",
            "own": str(self.folder / "own"),
            "others": str(self.folder / "others"),
            "lock": str(self.folder / f"{name}.lock"),
            "record": str(self.folder / f"{name}.jsonl"),
            "verify": "all",
            **more,
        }
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(text))
        return file

    def medium(self, image: Path, name: str = "disk-a", **more: Any) -> Path:
        """The configuration of a medium in ``image``."""
        mount = str(self.folder / "mnt" / "dbfleet-medium")
        return self.configure(name, medium={"device": str(image), "mount": mount, **more})

    def copy(self, file: Path) -> tuple[int, str]:
        words = [*OUTSIDE, sys.executable, str(PROGRAM), str(file)]
        done = subprocess.run(
            words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Server:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting needs root, and mkfs.ext4")
    return Server(tmp_path_factory.mktemp("server"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_medium(tmp_path / "medium.img")


def make_medium(image: Path, label: str = "OFFSITE-A", content: Optional[Path] = None) -> Path:
    image.write_bytes(b"")
    os.truncate(image, 8 * 1024 * 1024)
    extra = ["-d", str(content)] if content is not None else []
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", label, *extra, str(image)], check=True, capture_output=True)
    return image


def on_medium(image: Path, path: str) -> str:
    """What a file on an unmounted medium holds."""
    words = ["debugfs", "-R", f"cat {path}", str(image)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_all_jobs_are_copied_and_one_that_fails_stops_no_other_one(made: Server, tmp_path: Path) -> None:
    to = tmp_path / "cellar"
    file = made.configure("cellar", to=f"file://{to}", verify="copied")
    code, said = made.copy(file)
    assert code == 0, said
    places = [to, to / "dbfleet-db1", to / "dbfleet-db2"]
    assert [len(list(place.glob("app_backup_*.manifest.json"))) for place in places] == [1, 1, 1]
    broken = made.folder / "others/dbfleet-db1/jobs.d/broken.json"
    broken.write_text("{")
    broken.chmod(0o600)
    made.back_up("others/dbfleet-db2", "app")
    try:
        code, said = made.copy(file)
        assert code == 1
        assert "cellar: dbfleet-db1: broken failed (2)" in said
        assert len(list((to / "dbfleet-db2").glob("app_backup_*.manifest.json"))) == 2
    finally:
        broken.unlink()
    only = made.configure("only", to=f"file://{tmp_path}/only", jobs=["dbfleet-db1/app"], verify="copied")
    assert made.copy(only)[0] == 0
    assert [path.name for path in (tmp_path / "only").iterdir()] == ["dbfleet-db1"]
    nothing = made.configure("nothing", to=f"file://{tmp_path}/nothing", jobs=["absent"])
    assert made.copy(nothing) == (
        1,
        "nothing: no job is installed that could be copied: look at jobs of the configuration\n",
    )


def test_a_medium_is_filled_read_again_recorded_and_unmounted(made: Server, image: Path) -> None:
    file = made.medium(image, label="OFFSITE-A")
    code, said = made.copy(file)
    assert code == 0, said
    assert said.splitlines()[-1].startswith("disk-a: unmounted, with ")
    label = json.loads(on_medium(image, "dbfleet-medium.json"))
    (record,) = label["history"]
    assert (label["medium"], record["complete"], record["label"]) == ("disk-a", True, "OFFSITE-A")
    local = json.loads((made.folder / "disk-a.jsonl").read_text().splitlines()[-1])
    assert (local["backups"], local["uuid"]) == (record["backups"], record["uuid"])
    made.back_up("own", "app")
    code, said = made.copy(file)
    assert code == 0, said
    history = json.loads(on_medium(image, "dbfleet-medium.json"))["history"]
    assert [entry["backups"] - record["backups"] for entry in history] == [0, 1]

    other = made.medium(image, "disk-b", label="OFFSITE-A")
    assert made.copy(other) == (1, "disk-b: this is the medium 'disk-a', not 'disk-b': put the right one in\n")


def test_a_wrong_medium_is_refused_and_nothing_is_written_to_it(made: Server, tmp_path: Path) -> None:
    wrong = make_medium(tmp_path / "wrong.img", "HOLIDAYS")
    before = wrong.read_bytes()
    code, said = made.copy(made.medium(wrong, label="OFFSITE-A"))
    assert (code, said.rpartition(": ")[2]) == (1, "wrong medium\n")
    assert "has the label 'HOLIDAYS', not 'OFFSITE-A'" in said
    code, said = made.copy(made.medium(wrong, uuid="0123"))
    assert (code, said.rpartition(": ")[2]) == (1, "wrong medium\n")
    assert wrong.read_bytes() == before
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "photo.jpg").write_text("mine")
    used = make_medium(tmp_path / "used.img", content=tmp_path / "content")
    code, said = made.copy(made.medium(used, label="OFFSITE-A"))
    assert code == 1
    assert "the medium has no dbfleet-medium.json, and is not empty (photo.jpg)" in said
    assert made.copy(made.medium(tmp_path / "absent.img", label="OFFSITE-A"))[1].endswith("put the medium in\n")
    blank = tmp_path / "blank.img"
    blank.write_bytes(bytes(1024 * 1024))
    assert "has the label 'nothing'" in made.copy(made.medium(blank, label="OFFSITE-A"))[1]


def test_a_medium_that_is_too_small_fails_is_recorded_as_incomplete_and_unmounted(made: Server, image: Path) -> None:
    made.install("own", "huge")
    run_sql(made.folder / "own-huge.db", "INSERT INTO t VALUES (randomblob(9000000))")
    made.back_up("own", "huge")
    try:
        code, said = made.copy(made.medium(image, label="OFFSITE-A"))
    finally:
        (made.folder / "own/jobs.d/huge.json").unlink()
    assert code == 1, said
    assert "disk-a: here: huge failed (1)" in said
    (record,) = json.loads(on_medium(image, "dbfleet-medium.json"))["history"]
    assert record["complete"] is False
    assert record["backups"] >= 3, "the other jobs were copied"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_copy_that_is_ended_leaves_nothing_mounted_and_the_next_goes_on(
    made: Server, image: Path, number: signal.Signals
) -> None:
    file = made.medium(image, label="OFFSITE-A")
    slow = json.loads(file.read_text())
    file.write_text(json.dumps({**slow, "options": {"limits-bandwidth": "16K"}}))
    words = [*OUTSIDE, sys.executable, str(PROGRAM), str(file)]
    started = subprocess.Popen(words, env=made.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    place = made.folder / "mnt/dbfleet-medium"
    program = wait_for_child(started.pid, "offsite.py")
    seen = Path(f"/proc/{program}/root{place}/dbfleet")
    wait_until(lambda: any(seen.rglob(".*.partial")))
    os.kill(program, number)
    said = started.communicate(timeout=120)[0]
    assert started.returncode == (143 if number == signal.SIGTERM else 99), said
    if number == signal.SIGKILL:  # its namespace is gone with it: that is what PrivateMounts does for the service
        wait_until(lambda: not children_with("dbfleet-medium"))
    file.write_text(json.dumps(slow))
    code, said = made.copy(file)
    assert code == 0, said
    assert json.loads(on_medium(image, "dbfleet-medium.json"))["history"][-1]["complete"] is True


def children_with(text: str) -> list[str]:
    """Processes whose command line has ``text``, such as the copy that outlives a program that was killed."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.name != str(os.getpid()) and text in (entry / "cmdline").read_text():
                found.append(entry.name)
        except OSError:
            continue
    return found


def wait_for_child(parent: int, text: str) -> int:
    def child() -> Optional[int]:
        for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if text in Path(f"/proc/{number}/cmdline").read_text():
                return int(number)
        return None

    wait_until(lambda: child() is not None)
    found = child()
    assert found is not None
    return found


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
