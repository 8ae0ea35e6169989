"""The SFTP store: what every store does, and what modes, links, disks, rights, kills and cut lines do to this one."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from isolation import children
from sftp_server import STRANGER, SftpServer, needs_root
from sftp_server import server as sftp_server

pytest.register_assert_rewrite("stores_conformance")

from stores_conformance import StoreConformance, names  # noqa: E402

from dbfleet.errors import CapacityError, NotFoundError, RefusedError, RepositoryError, UsageError  # noqa: E402
from dbfleet.stores.base import Store  # noqa: E402
from dbfleet.stores.sftp import protocol  # noqa: E402
from dbfleet.stores.sftp.store import NO_FSYNC, SftpStore  # noqa: E402


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    with sftp_server() as running:
        yield running


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))


class OnServer(StoreConformance):
    key = "full"

    @pytest.fixture
    def store(self, server: SftpServer, tmp_path: Path) -> Store:
        return server.store(f"{tmp_path.name}/new/repository", self.key, file_mode=0o600, folder_mode=0o700)

    def write_behind_its_back(self, store: Store, name: str, data: bytes) -> None:
        assert isinstance(store, SftpStore)
        Path(store.path, name).write_bytes(data)


class TestSftpStore(OnServer):
    """OpenSSH as it comes."""


class TestServerWithoutExtensions(OnServer):
    """A server that knows only the draft: no flushing, no free room, short pieces."""

    key = "plain"


@pytest.fixture
def store(server: SftpServer, tmp_path: Path) -> SftpStore:
    made = server.store(tmp_path.name)
    made.prepare()
    return made


def here(store: SftpStore, name: str = "") -> Path:
    return Path(store.path, name)


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("modes", [(0o600, 0o700), (0o640, 0o750), (0o666, 0o777), (0o400, 0o700)])
def test_modes_are_what_was_asked_for_whatever_the_servers_umask(
    server: SftpServer, tmp_path: Path, modes: tuple[int, int]
) -> None:
    store = server.store(f"{tmp_path.name}/b", file_mode=modes[0], folder_mode=modes[1])
    store.prepare()
    upload = store.upload("folder/x")
    upload.write(b"x")
    upload.commit()
    with store.lock("job"):
        pass
    time.sleep(0.1)  # the folders' modes are not waited for
    found = [mode(path) for path in (here(store), here(store, "folder"), here(store, "folder/x"))]
    assert found == [modes[1], modes[1], modes[0]]
    assert not mode(here(store, "folder/x")) & ~modes[0]


def test_links_and_what_is_no_plain_file_are_never_followed(store: SftpStore, tmp_path: Path) -> None:
    outside = here(store).parent / f"outside-{tmp_path.name}"
    outside.mkdir(mode=0o777)
    (outside / "secret").write_bytes(b"secret")
    os.symlink(outside, here(store, "folder"))
    os.symlink(outside / "secret", here(store, "link"))
    os.mkfifo(here(store, "fifo"))
    assert names(store) == []
    for act in (store.open, store.read, store.upload, store.remove):
        with pytest.raises(RepositoryError, match="symbolic link"):
            act("folder/secret")
    for act in (store.open, store.read):
        for name in ("link", "fifo"):
            with pytest.raises(RepositoryError, match="symbolic link|plain file"):
                act(name)
    with pytest.raises(RefusedError):
        store.upload("link")
    os.symlink(outside / "secret", here(store, ".new.partial"))
    with pytest.raises(RepositoryError):
        store.upload("new")
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_path_in_the_accounts_home_is_one(server: SftpServer, tmp_path: Path) -> None:
    needs_root()
    store = server.store()
    store = type(store)(f"sftp://{server.user}@127.0.0.1:{server.port}/~/repositories/{tmp_path.name}", store._access)
    store.prepare()
    store.put("a/b", b"x")
    assert store.free_bytes() is not None
    assert (server.root / tmp_path.name / "a" / "b").read_bytes() == b"x"
    assert names(store) == ["a/b"]


def test_a_root_that_is_a_file_is_refused(server: SftpServer, tmp_path: Path) -> None:
    (server.root / tmp_path.name).write_bytes(b"")
    store = server.store(tmp_path.name)
    for act in (store.prepare, store.entries):
        with pytest.raises(RepositoryError, match="not a folder") as caught:
            act()
        assert caught.value.remedy


def test_a_missing_root_has_no_lock(server: SftpServer) -> None:
    with pytest.raises(NotFoundError, match="does not exist"), server.store("never").lock("job"):
        pass
    with pytest.raises(UsageError), server.store("never").lock("a/b"):
        pass


def test_bytes_are_flushed_before_the_name_and_the_name_before_the_end(
    store: SftpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(protocol.Protocol, name)

        def call(self: object, *args: object, name: str = name, real: object = real) -> object:
            done.append(name)
            return real(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(protocol.Protocol, name, call)
    store.put("folder/a", b"x")
    assert done[-3:] == ["fsync", "rename", "fsync"]
    assert store.notes() == ()


def test_a_server_that_cannot_flush_is_told_of(server: SftpServer, tmp_path: Path) -> None:
    store = server.store(tmp_path.name, "plain")
    store.put("folder/a", b"x")  # OpenSSH before 8.6 offers the flush, and denies it
    assert store.notes() == (NO_FSYNC,)
    assert store.free_bytes() is None


def test_ten_thousand_names_are_listed_in_a_second_or_two(store: SftpStore) -> None:
    for number in range(10_000):
        os.close(os.open(here(store, f"job_backup_{number}"), os.O_CREAT | os.O_WRONLY, 0o644))
    begin = time.monotonic()
    assert sum(1 for _entry in store.entries("job_")) == 10_000
    assert time.monotonic() - begin < 5


# --- disks and rights ---


def test_a_full_disk_is_a_lack_of_capacity_and_lists_nothing(tmp_path: Path) -> None:
    with sftp_server(disk="size=4m") as server:
        store = server.store()
        store.prepare()
        store.put("old", b"good" * 1000)
        with store.lock("job"):
            pass
        with pytest.raises(CapacityError, match="no space") as caught, store.upload("new") as upload:
            for _write in range(80):
                upload.write(b"x" * 100_000)
            upload.commit()
        assert caught.value.remedy
        assert names(store) == ["old"]
        assert store.leftovers("") == []
        (server.seen_root / "filling").write_bytes(b"x" * 4_000_000)
        with store.lock("job"):  # prune must be able to make room
            assert store.read("old") == b"good" * 1000
            store.remove("old")
        free, total = store.free_bytes() or (0, 0)
        assert 0 <= free < total == 4 * 2**20


def test_a_disk_without_room_for_one_more_file_is_full_at_every_stage() -> None:
    with sftp_server(disk="size=2m,nr_inodes=12") as server:
        store = server.store()
        store.prepare()
        with store.lock("old-job"):
            pass
        with pytest.raises(OSError, match="No space"):
            for number in range(20):
                (server.seen_root / "repository" / f"fill{number}").touch()
        kept = names(store)
        for stage in (lambda: store.upload("a"), lambda: store.upload("folder/a")):
            with pytest.raises(CapacityError):
                stage()
        with pytest.raises(CapacityError), store.lock("new-job"):
            pass
        with store.lock("new-job", shared=True), store.lock("old-job"):
            pass
        assert names(store) == kept


def test_no_permission_says_so_and_what_to_do(server: SftpServer, tmp_path: Path) -> None:
    needs_root()
    owner = server.store(tmp_path.name, folder_mode=0o755, file_mode=0o644)
    owner.prepare()
    owner.put("public", b"x")
    owner.put("private", b"x")
    here(owner, "private").chmod(0o600)
    store = server.store(tmp_path.name, user=STRANGER)
    for stage in (
        store.prepare,
        lambda: store.upload("a"),
        lambda: store.remove("public"),
        lambda: store.read("private"),
        lambda: server.store(f"{tmp_path.name}/new", user=STRANGER).prepare(),
        lambda: store.lock("job").__enter__(),
    ):
        with pytest.raises(RepositoryError, match="permi") as caught:
            stage()
        assert "account" in caught.value.remedy
    assert names(store) == ["private", "public"]
    with store.lock("job", shared=True):
        assert store.read("public") == b"x"


def test_an_account_that_may_only_read_reads(server: SftpServer, store: SftpStore, tmp_path: Path) -> None:
    store.put("a", b"x")
    reader = server.store(tmp_path.name, "read_only")
    with reader.lock("job", shared=True):
        assert (names(reader), reader.read("a")) == (["a"], b"x")
    for stage in (reader.prepare, lambda: reader.upload("b"), lambda: reader.lock("job").__enter__()):
        with pytest.raises(RepositoryError, match="permission denied"):
            stage()


# --- kills and cut lines ---

SLOW_UPLOAD = """
import sys, time
from dbfleet.stores.registry import open_store
store = open_store(sys.argv[1], identity_file=sys.argv[2], known_hosts_file=sys.argv[3])
with store.lock("job"):
    upload = store.upload("job_1/job_1.db")
    upload.write(b"x" * 1000000)
    upload._settle(0)
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_kill_in_mid_upload_leaves_only_a_leftover(server: SftpServer, store: SftpStore, tmp_path: Path) -> None:
    keys = server.access()
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_UPLOAD, server.url(tmp_path.name), keys["identity_file"], keys["known_hosts_file"]],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
    with store.lock("job", wait=1):  # the killed run was of this host: nothing is waited for
        assert names(store) == []
        (leftover,) = store.leftovers("job_")
        assert leftover.size_bytes == 1_000_000
        assert store.leftovers("other") == []
        with pytest.raises(RepositoryError, match="half-written"):
            store.upload("job_1/job_1.db")
        store.remove(leftover.name)
    assert store.leftovers("") == []
    store.put("job_1/job_1.db", b"whole")


def test_a_line_that_is_cut_is_one_clear_error_and_the_next_upload_works(server: SftpServer, store: SftpStore) -> None:
    with pytest.raises(RepositoryError, match="connection .* was lost") as caught, store.upload("a") as upload:
        upload.write(b"x" * 1_000_000)
        server.cut()
        for _write in range(100):
            upload.write(b"x" * 1_000_000)
        upload.commit()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert names(store) == []
    assert store.leftovers("") == []  # a new line was made to remove it
    store.put("a", b"whole")
    reader = store.open("a")
    server.cut()
    with pytest.raises(RepositoryError, match="was lost"):
        reader.read(10)
    assert store.read("a") == b"whole"


def test_a_cut_before_the_name_is_given_gives_none(server: SftpServer, store: SftpStore) -> None:
    upload = store.upload("a")
    upload.write(b"half")
    server.cut()
    with pytest.raises(RepositoryError, match="was lost"):
        upload.commit()
    assert names(store) == []
    upload.abort()
    assert store.leftovers("") == []


def test_a_server_that_goes_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbfleet.stores.sftp.session.RETRY_AFTER", 0.0)
    with sftp_server() as server:
        store = server.store()
        store.prepare()
        upload = store.upload("a")
        upload.write(b"x")
        server.stop()
        with pytest.raises(RepositoryError):
            upload.commit()
        upload.abort()  # cannot remove it, and does not complain
        with pytest.raises(RepositoryError, match="cannot be reached|was lost") as caught:
            store.read("a")
        assert caught.value.remedy
        server.start()
        assert names(store) == []
        assert [entry.name for entry in store.leftovers("")] == [".a.partial"]


@contextmanager
def halted(server: SftpServer) -> Iterator[None]:
    """What serves the connections of ``server`` is stopped meanwhile."""
    stopped = children(server.pid)
    try:
        for child in stopped:
            with suppress(ProcessLookupError):  # one that was about to end
                os.kill(child, signal.SIGSTOP)
        yield
    finally:
        for child in stopped:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)


def test_a_server_that_hangs_is_given_up(server: SftpServer, store: SftpStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 1.0)
    store.put("a", b"x")
    begin = time.monotonic()
    with halted(server), pytest.raises(RepositoryError, match="silent for 1 seconds"):
        store.read("a")
    assert time.monotonic() - begin < 10
    assert store.read("a") == b"x"


def test_a_server_that_hangs_in_mid_upload_is_given_up(
    server: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 1.0)
    monkeypatch.setattr("dbfleet.stores.sftp.session.CONNECT_PATIENCE", 3.0)
    store = server.store(tmp_path.name)
    store.prepare()
    begin = time.monotonic()
    given_up = pytest.raises(RepositoryError, match="silent for 1 seconds")
    with given_up, ExitStack() as until_then, store.upload("a") as upload:
        upload.write(b"x")
        until_then.enter_context(halted(server))
        for _piece in range(50):
            upload.write(b"x" * 1_000_000)
    assert time.monotonic() - begin < 30
    assert names(store) == []


def test_many_threads_share_one_line(store: SftpStore) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            name = f"folder{number % 3}/{number}-{turn}"
            with store.upload(name) as upload:
                for _piece in range(4):
                    upload.write(bytes([number]) * 300_000)
                upload.commit()
            with store.open(name) as file:
                assert file.read() == bytes([number]) * 1_200_000
            store.remove(name)

    failures: list[BaseException] = []

    def safely(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=safely, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert names(store) == []
