"""What every server does whose files are backed up. A server's test file subclasses this and gives it a ``lab``."""

from __future__ import annotations

import abc
import os
import signal
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import ENDS_OF_CHAINS, JobConformance, end_chain, made
from isolation import beside
from rooms import DAMAGES, damage
from waiting import wait_until

from dbfleet.catalog import read_catalog
from dbfleet.databases.registry import open_database
from dbfleet.errors import BusyError, DbfleetError, NotFoundError, RefusedError, UsageError
from dbfleet.model import Compression, Encryption, Job, Manifest
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stores.names import PARTIAL
from dbfleet.stores.registry import open_store

SLOW = 4 * 2**20  # bytes a second: a backup that takes seconds
SLOWER = 2**18


class Running(abc.ABC):
    """A server that runs, with a database ``app``: the source, or one on a restored data directory."""

    @abc.abstractmethod
    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer of ``sql`` in ``app``; statements that change data are committed."""

    @abc.abstractmethod
    def content(self) -> Any:
        """Everything that ``app`` holds, to be compared."""

    @abc.abstractmethod
    def check_ledger(self) -> int:
        """Whether the ledger of ``app`` is the state of one commit; returns how many rows it has."""


class ServerLab(abc.ABC):
    """What a test must do to whole servers of one kind, without the code under test.

    Their database ``app`` has a table ``items(id, name, amount)`` of 300 rows and an index, and a ledger.
    """

    source: Running
    can_increment = True

    @abc.abstractmethod
    def job(self, repository: Path, **changed: Any) -> Job:
        """A physical backup of the source, named ``app``."""

    @abc.abstractmethod
    def database(self, job: Job) -> str:
        """The URL of the source's database ``app``."""

    @abc.abstractmethod
    def data(self) -> Path:
        """The data directory of the source."""

    @abc.abstractmethod
    def started(self, data: Path) -> AbstractContextManager[Running]:
        """A server on a restored data directory, with nothing but its own settings."""

    @abc.abstractmethod
    def writing(self) -> AbstractContextManager[Any]:
        """Another process that keeps committing to the source's ledger."""

    @abc.abstractmethod
    def by_hand(self, manifest: Manifest, repository: Path, folder: Path) -> Path:
        """The data directory that the manifest's own commands make, run without the code under test."""

    @abc.abstractmethod
    def sending(self) -> bool:
        """Whether the source is being copied now."""


class PhysicalConformance(JobConformance):
    """The promises of :class:`conformance_databases.DatabaseConformance`, for whole servers and their files."""

    @pytest.fixture
    def lab(self) -> ServerLab:
        raise NotImplementedError

    @pytest.fixture
    def job(self, lab: ServerLab, tmp_path: Path) -> Job:
        return lab.job(tmp_path / "backups")

    # --- round trips ---

    def test_what_was_backed_up_is_what_is_restored(self, lab: ServerLab, job: Job, room: Path) -> None:
        expected = lab.source.content()
        manifest = made(job)
        lab.source.ask("UPDATE items SET amount = amount + 1 WHERE id > 7")
        assert [result.findings for result in verify(job, "latest", "restore")] == [()]
        report = restore(job, "latest", to=str(room / "data"))
        assert report.backup == manifest.id and report.proven and report.kept is None
        assert report.to.endswith("/data")
        assert [path.name for path in room.iterdir()] == ["data"]
        with lab.started(room / "data") as restored:
            assert restored.content() == expected

    def test_the_manifest_says_what_happened(self, lab: ServerLab, job: Job) -> None:
        manifest = made(job)
        assert (manifest.type, manifest.parent, manifest.method) == ("full", None, "physical")
        assert manifest.started_at <= manifest.consistent_at <= manifest.finished_at
        database = open_database(job.source, "physical")  # type: ignore[arg-type]
        assert manifest.source == database.identity() and manifest.source.server_identity
        assert manifest.position and manifest.proof.image_sha256 and manifest.restore_with
        assert database.forms(manifest.artifacts)
        for artifact in manifest.artifacts:
            assert os.path.getsize(os.path.join(job.repository.url, artifact.file)) == artifact.size_bytes

    def test_an_encrypted_backup_comes_back_by_its_own_commands_too(
        self, lab: ServerLab, tmp_path: Path, room: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("correct horse\n", encoding="utf-8")
        secret.chmod(0o600)
        job = lab.job(tmp_path / "backups", encryption=Encryption("gpg", passphrase_file=str(secret)))
        expected = lab.source.content()
        manifest = made(job)
        assert all(artifact.file.endswith(".gpg") for artifact in manifest.artifacts)
        restore(job, "latest", to=str(room / "data"))
        with lab.started(room / "data") as restored:
            assert restored.content() == expected
        manifest = made(lab.job(tmp_path / "plain"))
        data = lab.by_hand(manifest, tmp_path / "plain", room / "hand")
        with lab.started(data) as restored:
            assert restored.content() == expected

    def test_a_busy_server_restores_to_one_commit(self, lab: ServerLab, room: Path, tmp_path: Path) -> None:
        job = lab.job(tmp_path / "backups", type="auto")
        with lab.writing():
            manifests = [made(job), made(job)]
        after = lab.source.check_ledger()
        found = []
        for number, manifest in enumerate(manifests):
            restore(job, manifest.id, to=str(room / f"data{number}"))
            with lab.started(room / f"data{number}") as restored:
                found.append(restored.check_ledger())
        assert found == sorted(set(found)) and found[-1] <= after
        assert all(result.findings == () for result in verify(job, "all", "restore"))

    # --- increments ---

    def test_a_chain_restores_every_state_it_went_through(self, lab: ServerLab, room: Path, tmp_path: Path) -> None:
        """By the command's own way, and the last one by hand."""
        job = lab.job(tmp_path / "backups", type="auto")
        states = []
        for step in range(4 if lab.can_increment else 2):
            manifest = made(job)
            assert manifest.type == ("full" if step == 0 or not lab.can_increment else "incremental"), manifest.notes
            states.append((manifest, lab.source.content()))
            lab.source.ask(f"UPDATE items SET amount = amount + 1 WHERE id % 7 = {step}")
            lab.source.ask(f"CREATE TABLE more{step} AS SELECT id, name FROM items")
            lab.source.ask(f"DROP TABLE IF EXISTS more{step - 1 if step else 'none'}")
        lab.source.ask(f"DROP TABLE more{len(states) - 1}")
        assert all(result.findings == () for result in verify(job, "all", "restore"))
        for number, (manifest, expected) in enumerate(states):
            assert restore(job, manifest.id, to=str(room / f"data{number}")).proven
            with lab.started(room / f"data{number}") as restored:
                assert restored.content() == expected
        data = lab.by_hand(states[-1][0], tmp_path / "backups", room / "hand")
        with lab.started(data) as restored:
            assert restored.content() == states[-1][1]

    @pytest.mark.parametrize(("what", "why"), ENDS_OF_CHAINS)
    def test_a_new_full_is_taken_where_a_chain_cannot_go_on_and_it_says_why(
        self, lab: ServerLab, tmp_path: Path, what: str, why: str
    ) -> None:
        job = lab.job(tmp_path / "backups", type="incremental")
        job = replace(job, limits=replace(job.limits, chain_length=3))
        if not lab.can_increment:
            if what == "no parent":  # where the server cannot, it is as if there were none
                assert made(job).type == "full"
            return
        chain = [] if what == "no parent" else [made(job), made(job)]
        end_chain(job, chain, what, tmp_path)
        manifest = made(job)
        assert manifest.type == "full" and manifest.parent is None
        assert any(note.startswith("full: ") and why in note for note in manifest.notes), manifest.notes
        assert made(job).type == "incremental"

    # --- restores ---

    def test_targets_that_must_not_be_touched_are_refused(self, lab: ServerLab, job: Job, room: Path) -> None:
        made(job)
        (room / "file").write_text("x")
        (room / "data").mkdir(mode=0o750)
        (room / "data" / "mine").write_text("x")
        for target, error, words in (
            (None, UsageError, "data directory"),
            (str(lab.data()), BusyError, "a server is running"),
            (str(room / "file"), RefusedError, "is a file"),
            (str(room / "data"), RefusedError, "not empty"),
            ("/proc", RefusedError, "mount point"),
        ):
            with pytest.raises(error, match=words):
                restore(job, "latest", to=target, replace=target != str(room / "data"))
        assert {path.name for path in room.iterdir()} == {"file", "data"}

    def test_replace_keeps_what_was_there(self, lab: ServerLab, job: Job, room: Path) -> None:
        made(job)
        expected = lab.source.content()
        (room / "data").mkdir(mode=0o750)
        restore(job, "latest", to=str(room / "data"))  # an empty one is no obstacle
        assert (room / "data").stat().st_mode & 0o777 == 0o750
        with lab.started(room / "data") as restored:
            restored.ask("UPDATE items SET name = 'newer'")
            newer = restored.content()
            with pytest.raises(BusyError, match="a server is running"):
                restore(job, "latest", to=str(room / "data"), replace=True)
            assert restored.content() == newer
        report = restore(job, "latest", to=str(room / "data"), replace=True)
        assert report.kept is not None
        assert sorted(path.name for path in room.iterdir()) == ["data", Path(report.kept).name]
        assert (room / "data").stat().st_mode & 0o777 == 0o750
        assert (room / "data").owner() == Path(report.kept).owner()
        for data, content in ((room / "data", expected), (Path(report.kept), newer)):
            with lab.started(data) as restored:
                assert restored.content() == content

    @pytest.mark.parametrize("where", DAMAGES)
    def test_a_damaged_artifact_changes_nothing(self, job: Job, room: Path, tmp_path: Path, where: str) -> None:
        manifest = made(job)
        damage(tmp_path / "backups" / manifest.artifacts[0].file, where)
        with pytest.raises(DbfleetError, match=manifest.artifacts[0].file) as caught:
            restore(job, manifest.id, to=str(room / "data"))
        assert caught.value.kind in ("damaged", "not_found")
        assert not list(room.iterdir())

    def test_single_tables_come_back_and_the_rest_stays(self, lab: ServerLab, job: Job, tmp_path: Path) -> None:
        made(job)
        app = lab.database(job)
        rows = lab.source.ask("SELECT * FROM items ORDER BY id")
        lab.source.ask("DELETE FROM items")
        lab.source.ask("CREATE TABLE later AS SELECT 1 AS x")
        try:
            assert restore(job, "latest", to=app, tables=["items"]).rows == len(rows)
            assert lab.source.ask("SELECT * FROM items ORDER BY id") == rows
            assert len(lab.source.ask("SELECT x FROM later")) == 1
            with pytest.raises(RefusedError, match="already has rows"):
                restore(job, "latest", to=app, tables=["items"])
            with pytest.raises(NotFoundError, match="nowhere"):
                restore(job, "latest", to=app, tables=["items", "nowhere"], replace=True)
            with pytest.raises(UsageError, match="data directory|single tables"):
                restore(job, "latest", to=str(tmp_path / "data"), tables=["items"])
        finally:
            lab.source.ask("DROP TABLE later")
        assert lab.source.ask("SELECT * FROM items ORDER BY id") == rows

    def test_a_dry_run_changes_nothing_and_says_what_would_be(self, job: Job, room: Path, tmp_path: Path) -> None:
        plan = backup(job, dry_run=True).plan
        assert plan["type"] == "full" and plan["source_size_bytes"] > 2**20 and not (tmp_path / "backups").exists()
        manifest = made(job)
        would = restore(job, "latest", to=str(room / "data"), dry_run=True).plan
        assert (would["backup"], would["replaces"], would["proven"]) == (manifest.id, False, True)
        assert would["needs"] and would["size_bytes"]
        assert not list(room.iterdir())

    # --- ends in the middle, and order among several ---

    def test_a_backup_that_is_killed_is_swept(self, lab: ServerLab, job: Job, tmp_path: Path) -> None:
        slow = replace(job, limits=replace(job.limits, bandwidth=SLOW), compression=Compression("none"))
        run = beside(backup, slow)
        wait_until(lambda: lab.sending() and any((tmp_path / "backups").glob(f".*{PARTIAL}")))
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
        assert not read_catalog(open_store(job.repository.url), "app").manifests
        wait_until(lambda: not lab.sending())
        manifest = made(job)
        names = {path.name for path in (tmp_path / "backups").iterdir() if not path.name.startswith(".")}
        assert names == {f"{manifest.id}.manifest.json", *(artifact.file for artifact in manifest.artifacts)}

    def test_a_restore_that_is_killed_is_swept_by_the_next_one(self, job: Job, room: Path) -> None:
        made(job)
        slow = replace(job, limits=replace(job.limits, bandwidth=SLOWER))
        run = beside(restore, slow, "latest", to=str(room / "data"))
        wait_until(lambda: list(room.glob(".data.dbfleet-restore-*/0/*")))
        run.kill()
        run.join()
        assert [path.name.startswith(".data.dbfleet-restore-") for path in room.iterdir()] == [True]
        restore(job, "latest", to=str(room / "data"))
        assert [path.name for path in room.iterdir()] == ["data"]
