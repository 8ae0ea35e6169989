"""Whole servers of MySQL and MariaDB as the conformance suite of physical backups wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from conformance_servers import Running, ServerLab
from mysql_copies import by_hand, copying, everything
from mysql_server import AnyServer, LocalServer, check_ledger, writer

from dbfleet.model import Job, Manifest


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
