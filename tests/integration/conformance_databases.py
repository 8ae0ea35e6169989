"""What every database does, whatever its kind. A database's test file subclasses this and gives it a ``lab``."""

from __future__ import annotations

import abc
import os
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import ENDS_OF_CHAINS, JobConformance, end_chain, made
from rooms import damage

from dbfleet.catalog import read_catalog
from dbfleet.databases.registry import open_database
from dbfleet.errors import DbfleetError, NotFoundError, RefusedError, UsageError
from dbfleet.model import Artifact, Job, Limits, Manifest, ProofPolicy, Repository, Source, TableProof
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stores.registry import open_store


class DatabaseLab(abc.ABC):
    """What a test must do to a real database of one kind, without the code under test."""

    can_increment = True
    methods: tuple[str, ...] = ("logical", "physical")
    items = "items"  # the table, as proofs spell it
    lock_wait = 2
    rounds = 4  # backups beside a writer
    scratch_url: str | None = None  # where trials are, for a database whose server the engine cannot start here

    @abc.abstractmethod
    def create(self) -> Source:
        """A new database with a table ``items(id, name, amount)`` of 300 rows, an index, a view, a trigger."""

    @abc.abstractmethod
    def nowhere(self) -> Source:
        """A database of which nothing is there yet, that a restore may make."""

    @abc.abstractmethod
    def kept(self, place: str) -> Source:
        """The database that a restore kept at ``place``."""

    @abc.abstractmethod
    def ask(self, source: Source, sql: str) -> list[tuple[Any, ...]]:
        """The answer of ``sql``; statements that change data are committed."""

    @abc.abstractmethod
    def content(self, source: Source) -> Any:
        """Everything that the database holds, to be compared."""

    @abc.abstractmethod
    def writing(self, source: Source) -> AbstractContextManager[Any]:
        """Another process that keeps committing to a ledger of :meth:`create`."""

    @abc.abstractmethod
    def check_ledger(self, source: Source) -> int:
        """Whether the ledger is the state of one commit; returns how many rows it has."""


class DatabaseConformance(JobConformance):
    """Promises 1 (listed means complete), 2 (failures fail), 3 (nothing good is destroyed), 5, 7 and 9."""

    @pytest.fixture
    def lab(self) -> DatabaseLab:
        raise NotImplementedError

    @pytest.fixture
    def job(self, lab: DatabaseLab, tmp_path: Path) -> Job:
        return Job(
            "app",
            Repository(str(tmp_path / "backups")),
            lab.create(),
            proof=ProofPolicy(
                level="content", queries=("SELECT count(*), sum(amount) FROM items",), scratch_url=lab.scratch_url
            ),
            limits=Limits(lock_wait=lab.lock_wait, min_free="0"),
        )

    # --- round trips ---

    @pytest.mark.parametrize("method", ["logical", "physical"])
    def test_what_was_backed_up_is_what_is_restored(self, lab: DatabaseLab, job: Job, method: str) -> None:
        job = replace(job, method=method)
        if method not in lab.methods and method in open_database(job.source, method).methods:
            assert type(open_database(job.source, method)) is not type(open_database(job.source))
            return  # another class, with tests of its own
        if method not in lab.methods:
            with pytest.raises(UsageError, match=f"has no {method} backup"):
                backup(job)
            return
        expected = lab.content(job.source)
        made(job)
        lab.ask(job.source, "DELETE FROM items WHERE id > 7")
        target = lab.nowhere()
        report = restore(job, "latest", to=target.url)
        assert report.proven and report.kept is None
        assert lab.content(target) == expected

    def test_a_backup_is_one_commit_while_writers_keep_writing(self, lab: DatabaseLab, job: Job) -> None:
        states = set()
        with lab.writing(job.source):
            for _round in range(lab.rounds):
                manifest = made(job)
                target = lab.nowhere()
                restore(job, manifest.id, to=target.url)
                states.add(lab.check_ledger(target))
        assert len(states) > 1, "nobody wrote"
        assert all(result.ok for result in verify(job, "all", "restore"))
        assert lab.check_ledger(job.source) >= max(states)

    def test_the_manifest_says_what_happened(self, lab: DatabaseLab, job: Job) -> None:
        manifest = made(job)
        assert manifest.started_at <= manifest.consistent_at <= manifest.finished_at
        assert manifest.source == open_database(job.source).identity()
        assert manifest.proof.tables[lab.items].rows == 300
        assert manifest.proof.tables[lab.items].digest
        assert manifest.notes and manifest.restore_with
        assert open_database(job.source).forms(manifest.artifacts)
        for artifact in manifest.artifacts:
            assert os.path.getsize(os.path.join(job.repository.url, artifact.file)) == artifact.size_bytes

    # --- increments ---

    def test_a_chain_restores_every_state_it_went_through(self, lab: DatabaseLab, job: Job) -> None:
        job = replace(job, type="auto")
        states = {}
        for step in range(6 if lab.can_increment else 2):
            manifest = made(job)
            assert manifest.type == ("full" if step == 0 or not lab.can_increment else "incremental")
            states[manifest.id] = lab.content(job.source)
            lab.ask(job.source, f"UPDATE items SET amount = amount + 1 WHERE id % 7 = {step}")
            lab.ask(job.source, f"DELETE FROM items WHERE id = {100 + step}")
        for identity, expected in states.items():
            target = lab.nowhere()
            restore(job, identity, to=target.url)
            assert lab.content(target) == expected
        assert all(result.ok for result in verify(job, "all", "restore"))

    @pytest.mark.parametrize(("what", "why"), [*ENDS_OF_CHAINS, ("other database", "of another database")])
    def test_a_new_full_is_taken_where_a_chain_cannot_go_on_and_it_says_why(
        self, lab: DatabaseLab, job: Job, what: str, why: str, tmp_path: Path
    ) -> None:
        job = replace(job, type="incremental", limits=replace(job.limits, chain_length=3))
        if not lab.can_increment:
            with pytest.raises(UsageError, match="cannot be incremental"):
                backup(job)
            return
        chain = [] if what == "no parent" else [made(job), made(job)]
        if what == "other database":
            job = replace(job, source=lab.create())
        else:
            end_chain(job, chain, what, tmp_path)
        manifest = made(job)
        assert manifest.type == "full" and manifest.parent is None
        assert any(note.startswith("full: ") and why in note for note in manifest.notes), manifest.notes
        assert made(job).type == "incremental"

    # --- proofs ---

    @pytest.mark.parametrize(
        ("change", "finding"),
        [
            ("DELETE FROM items WHERE id = 5", "table ITEMS: 299 rows"),
            (
                "UPDATE items SET name = name || ' ' WHERE id = 5",
                "table ITEMS: 300 rows as expected, but other content",
            ),
            ("UPDATE items SET amount = amount + 1 WHERE id = 5", "query SELECT count"),
            ("CREATE TABLE more(x INTEGER)", "schema"),
            ("DROP INDEX items_by_name", "schema"),
        ],
    )
    def test_a_proof_differs_when_the_data_differs(
        self, lab: DatabaseLab, job: Job, change: str, finding: str, tmp_path: Path
    ) -> None:
        from dbfleet.proof import compare

        before = made(job).proof
        lab.ask(job.source, change)
        after = made(replace(job, name="other")).proof
        finding = finding.replace("ITEMS", lab.items)
        assert finding in "\n".join(f"{one.object}: {one.problem}" for one in compare(before, after))

    def test_a_proof_is_the_same_for_the_same_data(self, job: Job) -> None:
        assert made(job).proof == made(job).proof

    def test_a_query_that_cannot_be_asked_or_that_writes_fails_the_backup(self, lab: DatabaseLab, job: Job) -> None:
        expected = lab.content(job.source)
        for sql in ("SELECT * FROM nowhere", "DELETE FROM items", "SELECT 1; DELETE FROM items", "not SQL", ""):
            with pytest.raises(UsageError, match="proof.queries"):
                backup(replace(job, proof=ProofPolicy(queries=(sql,))))
        assert lab.content(job.source) == expected
        assert not read_catalog(open_store(job.repository.url), "app").files

    # --- restores ---

    def test_a_target_that_is_not_empty_is_refused_and_untouched(self, lab: DatabaseLab, job: Job) -> None:
        manifest = made(job)
        lab.ask(job.source, "UPDATE items SET name = 'newer'")
        expected = lab.content(job.source)
        with pytest.raises(RefusedError, match="not empty") as caught:
            restore(job, manifest.id)
        assert "--replace" in caught.value.remedy
        assert lab.content(job.source) == expected

    def test_replace_keeps_what_was_there(self, lab: DatabaseLab, job: Job) -> None:
        first = lab.content(job.source)
        manifest = made(job)
        lab.ask(job.source, "UPDATE items SET name = 'newer'")
        second = lab.content(job.source)
        report = restore(job, manifest.id, replace=True)
        assert lab.content(job.source) == first
        assert report.kept is not None
        assert lab.content(lab.kept(report.kept)) == second

    @pytest.mark.parametrize("where", ["first byte", "middle", "last byte", "cut", "gone"])
    def test_a_damaged_artifact_changes_nothing(self, lab: DatabaseLab, job: Job, where: str, tmp_path: Path) -> None:
        manifest = made(job)
        artifact = open_database(job.source).forms(manifest.artifacts)[0][-1]
        damage(tmp_path / "backups" / artifact.file, where)
        lab.ask(job.source, "UPDATE items SET name = 'newer'")
        expected = lab.content(job.source)
        for target in (None, lab.nowhere().url):
            with pytest.raises(DbfleetError) as caught:
                restore(job, manifest.id, to=target, replace=True)
            assert caught.value.kind in ("damaged", "not_found")
            assert artifact.file in str(caught.value)
        assert lab.content(job.source) == expected

    def test_a_restore_that_is_not_what_was_backed_up_changes_nothing(
        self, lab: DatabaseLab, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As if the database itself had lost a row on the way in, without an error."""
        manifest = made(job)
        expected = lab.content(job.source)
        fewer = replace(manifest.proof, tables={lab.items: TableProof(299)})
        monkeypatch.setattr(
            "dbfleet.operations.restore.problems", lambda restoration, _: compare_with(restoration, fewer)
        )
        with pytest.raises(DbfleetError, match="does not restore to what was backed up") as caught:
            restore(job, manifest.id, replace=True)
        assert caught.value.kind == "proof"
        assert lab.content(job.source) == expected

    def test_single_tables_come_back_and_the_rest_stays(self, lab: DatabaseLab, job: Job) -> None:
        manifest = made(job)
        rows = lab.ask(job.source, "SELECT * FROM items ORDER BY id")
        lab.ask(job.source, "DROP TABLE items")
        lab.ask(job.source, "INSERT INTO others VALUES(99, 'newer than the backup')")
        others = lab.ask(job.source, "SELECT * FROM others ORDER BY 1")
        report = restore(job, manifest.id, tables=["items"])
        assert report.rows == 300
        assert lab.ask(job.source, "SELECT * FROM items ORDER BY id") == rows
        assert lab.ask(job.source, "SELECT * FROM others ORDER BY 1") == others
        with pytest.raises(RefusedError, match="already has rows"):
            restore(job, manifest.id, tables=["items"])
        with pytest.raises(NotFoundError, match="no table 'nowhere'"):
            restore(job, manifest.id, tables=["items", "nowhere"], replace=True)

    def test_a_dry_run_changes_nothing_and_says_what_would_be(self, lab: DatabaseLab, job: Job, tmp_path: Path) -> None:
        plan = backup(job, dry_run=True).plan
        assert plan["type"] == "full" and not (tmp_path / "backups").exists()
        manifest = made(job)
        expected = lab.content(job.source)
        would = restore(job, "latest", replace=True, dry_run=True).plan
        assert (would["backup"], would["replaces"], would["proven"]) == (manifest.id, True, True)
        assert would["needs"] and would["size_bytes"]
        assert not restore(job, "latest", to=lab.nowhere().url, dry_run=True).plan["replaces"]
        assert lab.content(job.source) == expected

    # --- order among several ---

    def test_a_missing_database_is_not_made(self, lab: DatabaseLab, job: Job, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            backup(replace(job, source=lab.nowhere()))
        assert not (tmp_path / "backups").exists()


def compare_with(restoration: Any, proof: Any) -> Any:
    from dbfleet.proof import compare

    return compare(proof, restoration.prove(proof))


def artifact_of(manifest: Manifest, role: str) -> Artifact:
    return next(artifact for artifact in manifest.artifacts if artifact.role == role)
