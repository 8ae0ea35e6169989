"""The file store: what every store does, and what disks, modes, links and kills do to this one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import in_child

pytest.register_assert_rewrite("stores_conformance")

from stores_conformance import StoreConformance, names  # noqa: E402

from dbfleet.errors import (  # noqa: E402
    BusyError,
    CapacityError,
    NotFoundError,
    RefusedError,
    RepositoryError,
    UsageError,
)
from dbfleet.stores import file as file_module  # noqa: E402
from dbfleet.stores.base import Store  # noqa: E402
from dbfleet.stores.file import FileStore  # noqa: E402
from dbfleet.stores.registry import open_store  # noqa: E402


class TestFileStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(f"file://{tmp_path}/new/repository", file_mode=0o600, folder_mode=0o700)

    def write_behind_its_back(self, store: Store, name: str, data: bytes) -> None:
        assert isinstance(store, FileStore)
        Path(store.root, name).write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(str(tmp_path / "repository"))
    made.prepare()
    return made


@pytest.fixture
def open_folder() -> Iterator[str]:
    """A folder that every user can reach, which pytest's own are not."""
    folder = tempfile.mkdtemp(prefix="dbfleet-test-")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


def mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("modes", [(0o600, 0o700), (0o640, 0o750), (0o666, 0o777)])
def test_modes_are_what_was_asked_for_whatever_the_umask(tmp_path: Path, umask: int, modes: tuple[int, int]) -> None:
    before = os.umask(umask)
    try:
        store = FileStore(str(tmp_path / "a" / "b"), file_mode=modes[0], folder_mode=modes[1])
        store.prepare()
        upload = store.upload("folder/x")
        assert mode(f"{store.root}/folder/.x.partial") == modes[0], "while it is written, too"
        upload.commit()
        with store.lock("job"):
            pass
    finally:
        os.umask(before)
    for path, wanted in (
        (str(tmp_path / "a"), modes[1]),
        (store.root, modes[1]),
        (f"{store.root}/folder", modes[1]),
        (f"{store.root}/folder/x", modes[0]),
        (f"{store.root}/.job.lock", modes[0]),
    ):
        assert mode(path) == wanted, path


def test_a_root_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    FileStore(str(tmp_path)).prepare()
    assert mode(str(tmp_path)) == 0o755
    assert os.listdir(tmp_path) == []


def test_links_inside_the_repository_are_never_followed(store: FileStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    os.symlink(outside, f"{store.root}/folder")
    os.symlink(outside / "secret", f"{store.root}/link")
    assert names(store) == []
    for act in (store.open, store.read, store.upload, store.remove):
        with pytest.raises(RepositoryError, match="symbolic link|plain file"):
            act("folder/secret")
    for act in (store.open, store.read):
        with pytest.raises(RepositoryError, match="symbolic link|plain file"):
            act("link")
    with pytest.raises(RefusedError):
        store.upload("link")
    os.symlink(outside / "secret", f"{store.root}/.new.partial")
    with pytest.raises(RepositoryError):
        store.upload("new")
    os.symlink(outside / "secret", f"{store.root}/.job.lock")
    with pytest.raises(RepositoryError), store.lock("job"):
        pass
    assert (outside / "secret").read_bytes() == b"secret"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    store = FileStore(str(tmp_path / "link"))
    store.prepare()
    store.put("a/b", b"x")
    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"


def test_what_is_no_plain_file_is_not_waited_for(store: FileStore) -> None:
    os.mkfifo(f"{store.root}/fifo")
    os.mkdir(f"{store.root}/folder")
    for name in ("fifo", "folder"):
        with pytest.raises(RepositoryError, match="plain file"):
            store.open(name)
    assert names(store) == []


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FileStore(str(tmp_path / "file"))
    for act in (store.prepare, store.entries):
        with pytest.raises(RepositoryError):
            act()


def test_a_kill_in_mid_upload_leaves_only_a_leftover(store: FileStore) -> None:
    script = (
        "import sys, time\nfrom dbfleet.stores.file import FileStore\n"
        "upload = FileStore(sys.argv[1]).upload('job_1/job_1.db')\n"
        "upload.write(b'x' * 1000000)\nprint('written', flush=True)\ntime.sleep(60)\n"
    )
    with running(script, store.root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert names(store) == []
    (leftover,) = store.leftovers("job_")
    assert leftover.size_bytes == 1_000_000
    assert store.leftovers("other") == []
    with pytest.raises(RepositoryError, match="half-written"):
        store.upload("job_1/job_1.db")
    store.remove(leftover.name)
    assert store.leftovers("") == []
    assert os.listdir(store.root) == []
    store.put("job_1/job_1.db", b"whole")


def test_a_lock_dies_with_its_holder(store: FileStore) -> None:
    script = (
        "import sys, time\nfrom dbfleet.stores.file import FileStore\n"
        "with FileStore(sys.argv[1]).lock('job'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with running(script, store.root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=str(child.pid)), store.lock("job"):
            pass
        with pytest.raises(BusyError, match=str(child.pid)), store.lock("job", shared=True):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    with store.lock("job", wait=2):
        pass


def test_a_holders_note_tells_no_secret(store: FileStore) -> None:
    script = (
        "import sys, time\nfrom dbfleet.stores.file import FileStore\n"
        "with FileStore(sys.argv[2]).lock('job'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with running(script, "postgresql://u:hunter2@h/d", store.root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert b"hunter2" not in Path(store.root, ".job.lock").read_bytes()
        child.kill()
        child.wait()


class running:
    """A Python child that is ended whatever happens."""

    def __init__(self, script: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, env=environment
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.child

    def __exit__(self, *exc: object) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()


def test_a_full_disk_is_a_lack_of_capacity_and_lists_nothing(tmp_path: Path) -> None:
    def act() -> None:
        store = FileStore(str(tmp_path))
        store.prepare()
        store.put("old", b"good" * 1000)
        with pytest.raises(CapacityError) as caught, store.upload("new") as upload:
            for _write in range(40):
                upload.write(b"x" * 100_000)
        assert caught.value.remedy
        assert names(store) == ["old"]
        assert store.leftovers("") == []
        assert store.read("old") == b"good" * 1000
        with store.lock("job"):  # prune must be able to make room
            store.remove("old")
        free, total = store.free_bytes()
        assert 0 < free <= total == 2 * 2**20

    in_child(act, disk=(str(tmp_path), "size=2m"))


def test_a_disk_without_room_for_one_more_file_is_full_at_every_stage(tmp_path: Path) -> None:
    def act() -> None:
        store = FileStore(str(tmp_path))
        with store.lock("old-job"):
            pass
        number = 0
        while True:
            try:
                os.close(os.open(tmp_path / f"fill{number}", os.O_CREAT | os.O_WRONLY))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                break
            number += 1
        for stage in (store.prepare, lambda: store.upload("a"), lambda: store.upload("folder/a")):
            with pytest.raises(CapacityError):
                stage()
        with pytest.raises(CapacityError), store.lock("new-job"):
            pass
        with store.lock("new-job", shared=True), store.lock("old-job"):
            pass
        assert len(names(store)) == number

    in_child(act, disk=(str(tmp_path), "size=2m,nr_inodes=20"))


def test_a_disk_that_fills_up_while_many_folders_are_made(tmp_path: Path) -> None:
    def act() -> None:
        store = FileStore(str(tmp_path))
        kept = []
        with pytest.raises(CapacityError):
            for number in range(100):
                store.put(f"folder{number}/a", b"x" * 50_000)
                kept.append(f"folder{number}/a")
        assert names(store) == sorted(kept)
        assert all(store.read(name) == b"x" * 50_000 for name in kept)

    in_child(act, disk=(str(tmp_path), "size=1m"))


def test_no_permission_says_so_and_what_to_do(open_folder: str) -> None:
    root = os.path.join(open_folder, "repository")
    store = FileStore(root, folder_mode=0o755, file_mode=0o644)
    store.prepare()
    store.put("public", b"x")
    os.chmod(root, 0o555)
    os.chmod(f"{root}/public", 0o000)

    def act() -> None:
        for stage in (
            store.prepare,
            lambda: store.upload("a"),
            lambda: store.remove("public"),
            lambda: store.read("public"),
            lambda: FileStore(os.path.join(root, "new")).prepare(),
            lambda: store.lock("job").__enter__(),
        ):
            with pytest.raises(RepositoryError) as caught:
                stage()
            assert "permission" in caught.value.remedy
        assert names(store) == ["public"]
        with store.lock("job", shared=True):
            pass  # nobody can change it from here

    try:
        in_child(act, nobody=True)
    finally:
        os.chmod(root, 0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_the_owner_of_the_repository(open_folder: str) -> None:
    """As when the playbook runs as root what the host's schedule runs as its own account."""
    root = os.path.join(open_folder, "repository")
    store = FileStore(root)
    store.prepare()
    os.chown(root, 65534, 65534)
    planted = os.path.join(root, ".planted.lock")
    Path(planted).touch(mode=0o600)
    with store.lock("job"), store.lock("planted"):
        store.put("of-root", b"x")
        store.put("folder/of-root", b"x")
    assert os.stat(planted).st_uid == 0  # it was there before: it may be anything

    def act() -> None:
        with store.lock("job"):
            assert store.read("of-root") == store.read("folder/of-root") == b"x"
            store.put("folder/more", b"y")
            store.remove("of-root")

    in_child(act, nobody=True)


def test_a_file_system_mounted_for_reading_says_so(tmp_path: Path) -> None:
    def act() -> None:
        store = FileStore(str(tmp_path))
        for stage in (store.prepare, lambda: store.upload("a"), lambda: store.lock("job").__enter__()):
            with pytest.raises(RepositoryError) as caught:
                stage()
            assert "mount" in caught.value.remedy
        with store.lock("job", shared=True):
            assert names(store) == []

    in_child(act, disk=(str(tmp_path), "size=1m,ro"))


def test_a_folder_whose_name_is_no_text_is_a_place_like_others(tmp_path: Path) -> None:
    root = os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9p")
    store = open_store(root)
    store.put("name", b"data")
    assert os.listdir(os.fsencode(tmp_path)) == [b"r\xe9p"]
    assert store.url.isascii() and names(open_store(store.url)) == ["name"]


def test_without_hard_links_a_name_is_still_not_overwritten(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # what FAT answers

    monkeypatch.setattr(os, "link", refuse)
    store.put("a", b"good")
    upload = store.upload("b")
    Path(store.root, "b").write_bytes(b"theirs")
    with pytest.raises(RefusedError), upload:
        upload.commit()
    assert (store.read("a"), store.read("b")) == (b"good", b"theirs")
    assert store.leftovers("") == []


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_the_end(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watch(name: str, real: object) -> None:
        def call(*args: object, **options: object) -> object:
            done.append(name)
            return real(*args, **options)  # type: ignore[operator]

        monkeypatch.setattr(file_module if name.startswith("sync") else os, name, call)

    watch("sync_file", file_module.sync_file)
    watch("link", os.link)
    watch("sync_folder", file_module.sync_folder)
    store.put("a", b"x")
    assert done == ["sync_file", "link", "sync_folder"]


def test_a_disk_that_fails_to_flush_gives_no_name(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(file_module, "sync_file", fail)
    with pytest.raises(RepositoryError):
        store.put("a", b"x")
    assert os.listdir(store.root) == []


def test_a_root_that_vanishes_is_not_found(store: FileStore) -> None:
    os.rmdir(store.root)
    for stage in (store.entries, lambda: store.lock("job").__enter__(), lambda: store.read("a")):
        with pytest.raises(NotFoundError):
            stage()


def test_a_lock_has_no_path(store: FileStore) -> None:
    with pytest.raises(UsageError), store.lock("../job"):
        pass
    with pytest.raises(UsageError), store.lock("a/b"):
        pass


def test_a_hundred_thousand_names_are_listed_in_seconds(store: FileStore) -> None:
    for number in range(100_000):
        os.close(os.open(f"{store.root}/job_backup_{number}", os.O_CREAT | os.O_WRONLY, 0o600))
    begin = time.monotonic()
    assert sum(1 for _entry in store.entries("job_")) == 100_000
    assert time.monotonic() - begin < 5
