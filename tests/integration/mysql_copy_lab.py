"""Whole servers of MySQL and MariaDB as the conformance suite of physical backups wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conformance_jobs import made
from conformance_servers import Running, ServerLab
from mysql_copies import by_hand, copying, counted, everything
from mysql_server import AnyServer, LocalServer, check_ledger, writer

from dbfleet.model import Job, Manifest
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify


class RunningServer(Running):
    def __init__(self, server: AnyServer) -> None:
        self._server = server

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self._server.ask(sql, "app")

    def content(self) -> Any:
        return everything(self._server)

    def check_ledger(self) -> int:
        return check_ledger(self._server, "app")


class CopyLab(ServerLab):
    """Of one flavour: what makes its jobs, what starts a server on a data directory, and the tool that copies."""

    def __init__(
        self,
        server: LocalServer,
        job_of: Callable[..., Job],
        started: Callable[[Path], AbstractContextManager[AnyServer]],
        tool: str,
    ) -> None:
        self._server = server
        self._job_of = job_of
        self._started = started
        self._tool = tool
        self.source = RunningServer(server)

    def job(self, repository: Path, **changed: Any) -> Job:
        return self._job_of(self._server, repository, **changed)

    def database(self, job: Job) -> str:
        assert job.source is not None
        return job.source.url.replace("/?", "/app?")

    def data(self) -> Path:
        return self._server.folder / "data"

    @contextmanager
    def started(self, data: Path) -> Iterator[Running]:
        with self._started(data) as server:
            yield RunningServer(server)

    def writing(self) -> AbstractContextManager[Any]:
        return writer(self._server, "app")

    def by_hand(self, manifest: Manifest, repository: Path, folder: Path) -> Path:
        return by_hand(manifest, repository, folder)

    def sending(self) -> bool:
        return bool(copying(self._server, self._tool))


class CountedCopies:
    """What is said of the rows in a copy. A flavour's test file subclasses this and gives it a ``lab``."""

    def test_a_busy_server_restores_to_one_commit_that_was_counted(
        self, lab: ServerLab, room: Path, tmp_path: Path
    ) -> None:
        job = lab.job(tmp_path / "backups", type="auto")
        with lab.writing():
            manifests = [counted(job), counted(job)]
            ((after,),) = lab.source.ask("SELECT max(number) FROM ledger")
        for number, manifest in enumerate(manifests):
            restore(job, manifest.id, to=str(room / f"data{number}"))
            with lab.started(room / f"data{number}") as restored:
                rows = restored.check_ledger()
            assert manifest.proof.tables["app.ledger"].rows == rows <= after
        assert manifests[0].proof.tables["app.ledger"].rows < manifests[1].proof.tables["app.ledger"].rows
        assert all(result.findings == () for result in verify(job, "all", "restore"))

    def test_rows_that_are_not_those_of_the_copy_are_not_claimed(
        self, lab: ServerLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As if the snapshots had begun too late: when the tool had said already that it goes on."""
        monkeypatch.setattr("dbfleet.stream.process.Filter.unheard", lambda self: 10**9)
        manifest = made(lab.job(tmp_path / "backups"))
        assert (manifest.proof.level, manifest.proof.tables) == ("none", {})
        assert any("not counted" in note for note in manifest.notes)
        monkeypatch.undo()


def check_that_it_comes_back(lab: ServerLab, room: Path, folder: Path) -> None:
    """A chain of two backups, in trials and as a server of its own."""
    job = lab.job(folder / "backups", type="auto")
    counted(job)
    lab.source.ask("UPDATE items SET amount = amount + 1")
    lab.source.ask("CREATE TABLE Later AS SELECT 1 AS x")
    assert counted(job).type == "incremental"
    expected = lab.source.content()
    assert all(result.findings == () for result in verify(job, "all", "restore"))
    restore(job, "latest", to=str(room / "data"))
    with lab.started(room / "data") as restored:
        assert restored.content() == expected
