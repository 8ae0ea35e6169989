"""What every job does, whatever it backs up and however: the part that both suites of conformance share."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from isolation import in_child
from rooms import damage

from dbfleet.catalog import read_catalog
from dbfleet.databases.registry import open_database
from dbfleet.errors import BusyError, DbfleetError, UsageError
from dbfleet.model import Encryption, Job, Manifest
from dbfleet.operations.backup import backup
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store


def made(job: Job) -> Manifest:
    manifest = backup(job).manifest
    assert manifest is not None
    return manifest


# What keeps a chain from going on, and the word for it in the notes of the full backup that is taken instead.
ENDS_OF_CHAINS = [
    ("no parent", "no earlier backup"),
    ("lost", "missing"),
    ("altered", "known to be bad"),
    ("long", "chain_length"),
    ("forgotten", "does not remember"),
    ("bad", "known to be bad"),
]


def end_chain(job: Job, chain: Sequence[Manifest], what: str, folder: Path) -> None:
    """Let one of ``ENDS_OF_CHAINS`` happen to the two backups of ``chain``, below ``folder``."""
    if what == "lost":
        os.remove(folder / "backups" / f"{chain[0].id}.manifest.json")
    elif what == "altered":
        damage(folder / "backups" / chain[0].artifacts[0].file, "middle")
        assert not verify(job, chain[0].id, "checksum")[0].ok
    elif what == "long":
        made(job)
    elif what == "forgotten":
        for path in (folder / "state" / "parents").iterdir():
            path.unlink()
    elif what == "bad":
        os.remove(folder / "backups" / chain[1].artifacts[0].file)


class JobConformance:
    """Tests of whatever ``job`` backs up."""

    without_room = ("capacity",)  # kinds of errors when the file system of a trial is full

    def test_two_backups_of_one_job_do_not_run_at_once(self, job: Job) -> None:
        store = open_store(job.repository.url)
        store.prepare()
        with store.lock("app"), pytest.raises(BusyError, match="app is in use"):
            backup(replace(job, limits=replace(job.limits, lock_wait=0)))
        patient = replace(job, limits=replace(job.limits, lock_wait=120))
        fork = multiprocessing.get_context("fork")
        runs = [fork.Process(target=backup, args=(patient,)) for _run in range(3)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert [run.exitcode for run in runs] == [0, 0, 0]
        assert len(read_catalog(store, "app").manifests) == 3
        assert all(result.ok for result in verify(job, "all", "restore"))

    @pytest.mark.parametrize("room", ["1m", "12m", "40m", "90m", "140m"])
    def test_a_host_without_room_never_makes_a_good_backup_bad(self, job: Job, room: str) -> None:
        """A tool or a server that finds no room during a trial is told, and not held against the backup."""
        made(job)

        def act() -> None:
            try:
                (result,) = verify(job, "latest", "restore")
            except DbfleetError as error:
                assert error.kind in self.without_room and error.remedy, error
            else:
                assert result.ok, result.findings

        in_child(act, disk=(os.environ["DBFLEET_SCRATCH"], f"size={room},mode=755"))

    def test_what_this_kind_of_backup_does_not_know_is_refused(self, job: Job, tmp_path: Path) -> None:
        database = open_database(job.source, job.method)  # type: ignore[arg-type]
        for choice in {"databases", "schemas", "exclude_schemas", "tables", "exclude_tables"} - set(database.choices):
            with pytest.raises(UsageError, match=f"source.{choice}"):
                backup(replace(job, source=replace(job.source, **{choice: ("items",)})))  # type: ignore[type-var]
        for form in {"plain", "custom", "directory"} - set(database.formats):
            with pytest.raises(UsageError, match=f"no format {form}"):
                backup(replace(job, format=form))
        assert not (tmp_path / "backups").exists()

    def test_a_key_that_cannot_encrypt_fails_before_anything_is_written(self, job: Job, tmp_path: Path) -> None:
        encryption = Encryption("gpg", passphrase_file=str(tmp_path / "nowhere"))
        with pytest.raises(DbfleetError) as caught:
            backup(replace(job, encryption=encryption))
        assert caught.value.kind == "key"
        assert not (tmp_path / "backups").exists()

    def test_a_passphrase_that_others_can_read_is_told(self, job: Job, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("correct horse\n", encoding="utf-8")
        secret.chmod(0o644)
        manifest = made(replace(job, encryption=Encryption("gpg", passphrase_file=str(secret))))
        assert any("chmod 600" in note for note in manifest.notes)
