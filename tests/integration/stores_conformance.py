"""What every store does, whatever its storage. A store's test file subclasses this and gives it a ``store``."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dbfleet.errors import BusyError, DbfleetError, NotFoundError, UsageError
from dbfleet.stores.base import Store
from dbfleet.stream.throttle import Throttle

ODD_NAMES = ["a b.db", "it's.sql", "semi;colon", "-dash", "ünïcödé.zst", "$(touch x)", "a..b", "%41", "#1", "x" * 200]
BAD_NAMES = ["", "/abs", "../up", "a/../../up", "..", ".", "a//b", "a/", ".hidden", "a/.b", "nul\0byte", "new\nline"]


def names(store: Store, prefix: str = "") -> list[str]:
    return sorted(entry.name for entry in store.entries(prefix))


class StoreConformance:
    """Promise 1 (listed means complete), 3 (nothing is overwritten), 6 (names are data), 7 (locks)."""

    @pytest.fixture
    def store(self) -> Store:
        """A store whose root does not exist yet."""
        raise NotImplementedError

    @pytest.fixture
    def ready(self, store: Store) -> Store:
        store.prepare()
        return store

    def test_a_missing_root_is_not_found_and_prepare_makes_it(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            list(store.entries())
        store.prepare()
        assert names(store) == []
        store.prepare()

    def test_what_is_put_is_there_again(self, ready: Store) -> None:
        ready.put("a.manifest.json", b"{}")
        assert names(ready) == ["a.manifest.json"]
        assert ready.read("a.manifest.json") == b"{}"
        with ready.open("a.manifest.json") as file:
            assert file.read() == b"{}"
        (entry,) = ready.entries()
        assert entry.size_bytes == 2
        assert entry.modified > 1_600_000_000

    def test_a_large_object_in_many_pieces_comes_back_whole(self, ready: Store) -> None:
        pieces = [os.urandom(300_000) for _piece in range(60)]
        with ready.upload("large.db") as upload:
            for piece in pieces:
                upload.write(piece)
            upload.commit()
        with ready.open("large.db") as file:
            found = bytearray()
            while True:
                data = file.read(123_457)
                if not data:
                    break
                found += data
        assert bytes(found) == b"".join(pieces)

    def test_an_empty_object_is_an_object(self, ready: Store) -> None:
        ready.put("empty", b"")
        assert [(entry.name, entry.size_bytes) for entry in ready.entries()] == [("empty", 0)]
        assert ready.read("empty") == b""

    def test_nothing_is_listed_before_the_commit(self, ready: Store) -> None:
        with ready.upload("folder/a.db") as upload:
            upload.write(b"x" * 100_000)
            assert names(ready) == []
            with pytest.raises(NotFoundError):
                ready.read("folder/a.db")
            upload.commit()
        assert names(ready) == ["folder/a.db"]
        assert ready.leftovers("") == []

    def test_an_upload_that_is_left_leaves_nothing(self, ready: Store) -> None:
        with pytest.raises(KeyError), ready.upload("a.db") as upload:
            upload.write(b"half")
            raise KeyError
        assert names(ready) == []
        assert ready.leftovers("") == []

    def test_an_abort_after_the_commit_does_nothing(self, ready: Store) -> None:
        upload = ready.upload("a.db")
        upload.write(b"all")
        upload.commit()
        upload.abort()
        upload.abort()
        assert ready.read("a.db") == b"all"

    def test_a_name_that_is_taken_is_never_overwritten(self, ready: Store) -> None:
        ready.put("a.db", b"good")
        with pytest.raises(DbfleetError):
            ready.put("a.db", b"bad")
        assert ready.read("a.db") == b"good"
        assert ready.leftovers("") == []

    def test_a_name_that_is_taken_during_the_upload_is_not_overwritten(self, ready: Store) -> None:
        with pytest.raises(DbfleetError), ready.upload("a.db") as upload:
            upload.write(b"slow")
            self.write_behind_its_back(ready, "a.db", b"good")
            upload.commit()
        assert ready.read("a.db") == b"good"
        assert names(ready) == ["a.db"]

    def write_behind_its_back(self, store: Store, name: str, data: bytes) -> None:
        """Store an object as somebody else would, who knows nothing of uploads."""
        raise NotImplementedError

    def test_a_prefix_chooses(self, ready: Store) -> None:
        for name in ("app_backup_1.db", "app_backup_1/a.db", "app_backup_1/b.db", "apple.db", "other/app.db"):
            ready.put(name, b"")
        assert names(ready, "app_backup_1/") == ["app_backup_1/a.db", "app_backup_1/b.db"]
        assert names(ready, "app_") == ["app_backup_1.db", "app_backup_1/a.db", "app_backup_1/b.db"]
        assert names(ready, "app_backup_1/b") == ["app_backup_1/b.db"]
        assert names(ready, "nothing") == []
        assert len(names(ready)) == 5

    def test_remove_takes_one_object_and_only_that(self, ready: Store) -> None:
        for name in ("a", "ab", "f/a", "f/b"):
            ready.put(name, b"x")
        ready.remove("a")
        ready.remove("a")
        ready.remove("f/a")
        ready.remove("never/there")
        assert names(ready) == ["ab", "f/b"]
        ready.remove("f/b")
        ready.put("f/b", b"again")
        assert names(ready) == ["ab", "f/b"]

    def test_what_is_not_there_is_not_found(self, ready: Store) -> None:
        for act in (ready.open, ready.read):
            with pytest.raises(NotFoundError):
                act("not-here")

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_data(self, ready: Store, name: str) -> None:
        ready.put(f"{name}/{name}", b"x")
        assert names(ready) == [f"{name}/{name}"]
        assert ready.read(f"{name}/{name}") == b"x"
        ready.remove(f"{name}/{name}")
        assert names(ready) == []

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_names_that_lead_elsewhere_are_refused(self, ready: Store, name: str) -> None:
        for act in (ready.upload, ready.open, ready.read, ready.remove):
            with pytest.raises(UsageError):
                act(name)

    def test_uploads_may_go_on_side_by_side(self, ready: Store) -> None:
        def send(number: int) -> None:
            with ready.upload(f"folder/{number}") as upload:
                for _write in range(10):
                    upload.write(bytes([number]) * 10_000)
                upload.commit()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert names(ready, "folder/") == [f"folder/{number}" for number in range(8)]
        assert all(ready.read(f"folder/{number}") == bytes([number]) * 100_000 for number in range(8))

    def test_folders_may_be_emptied_while_others_write_into_them(self, ready: Store) -> None:
        def work(number: int) -> list[str]:
            troubles = []
            for turn in range(25):
                name = f"a/b/{number}-{turn}"
                try:
                    ready.put(name, b"x")
                    ready.remove(name)
                except DbfleetError as error:
                    troubles.append(f"{name}: {error}")
            return troubles

        with ThreadPoolExecutor(max_workers=6) as pool:
            assert [trouble for troubles in pool.map(work, range(6)) for trouble in troubles] == []
        assert names(ready) == []
        assert ready.leftovers("") == []

    def test_a_lock_excludes_and_names_its_holder(self, ready: Store) -> None:
        with ready.lock("job"):
            with pytest.raises(BusyError) as caught, ready.lock("job"):
                pass
            assert str(os.getpid()) in str(caught.value)
            with pytest.raises(BusyError), ready.lock("job", shared=True):
                pass
            with ready.lock("other-job"):
                pass
        with ready.lock("job"):
            pass

    def test_shared_locks_share_and_keep_an_exclusive_one_out(self, ready: Store) -> None:
        both = ready.lock("job", shared=True), ready.lock("job", shared=True)
        with both[0], both[1], pytest.raises(BusyError), ready.lock("job"):
            pass
        with ready.lock("job"):
            pass

    def test_a_lock_is_waited_for(self, ready: Store) -> None:
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with ready.lock("job"):
                held.set()
                release.wait(5)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(5)
        threading.Timer(0.3, release.set).start()
        with ready.lock("job", wait=5):
            assert release.is_set()
        thread.join()

    def test_locks_and_half_uploads_are_no_objects(self, ready: Store) -> None:
        with ready.lock("job"), ready.upload("job_1.db") as upload:
            upload.write(b"x")
            assert names(ready) == []

    def test_free_room_is_unknown_or_plausible(self, store: Store) -> None:
        room = store.free_bytes()
        if room is not None:
            assert 0 <= room[0] <= room[1]

    def test_an_artifact_goes_through_and_comes_back(self, ready: Store) -> None:
        from dbfleet.model import Compression, Encryption
        from dbfleet.stream.pipeline import check_stored, read_artifact, store_artifact

        raw = os.urandom(1000) * 3000
        staged = store_artifact(
            lambda sink: sink.write(raw), ready, "b/a.db", "db", Compression(), Encryption(), throttle=Throttle()
        )
        assert names(ready) == []
        staged.commit()
        assert names(ready) == ["b/a.db.zst"]
        with read_artifact(ready, staged.artifact, Encryption()) as chunks:
            assert b"".join(chunks) == raw
        assert check_stored(ready, staged.artifact) == []
