"""MySQL as a server among others whose files are backed up, by Percona's xtrabackup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("conformance_servers", "conformance_jobs", "mysql_server", "mysql_copies")

from conformance_servers import PhysicalConformance, Running, ServerLab  # noqa: E402
from mysql8_copies import copied, copied_here, everything, job_of, started  # noqa: E402
from mysql8_native import NativeServer  # noqa: E402
from mysql_copies import by_hand, copying  # noqa: E402
from mysql_server import AnyServer, check_ledger, own_state, writer  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.model import Job, Manifest  # noqa: E402

__all__ = ["own_state", "room"]


class RunningMysql(Running):
    def __init__(self, server: AnyServer) -> None:
        self._server = server

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self._server.ask(sql, "app")

    def content(self) -> Any:
        return everything(self._server)

    def check_ledger(self) -> int:
        return check_ledger(self._server, "app")


class MysqlServerLab(ServerLab):
    def __init__(self, server: NativeServer) -> None:
        self._server = server
        self.source = RunningMysql(server)

    def job(self, repository: Path, **changed: Any) -> Job:
        return job_of(self._server, repository, **changed)

    def database(self, job: Job) -> str:
        assert job.source is not None
        return job.source.url.replace("/?", "/app?")

    def data(self) -> Path:
        return self._server.folder / "data"

    @contextmanager
    def started(self, data: Path) -> Iterator[Running]:
        with started(data) as server:
            yield RunningMysql(server)

    def writing(self) -> AbstractContextManager[Any]:
        return writer(self._server, "app")

    def by_hand(self, manifest: Manifest, repository: Path, folder: Path) -> Path:
        return by_hand(manifest, repository, folder)

    def sending(self) -> bool:
        return bool(copying(self._server, "xtrabackup"))


@copied_here
class TestMysql(PhysicalConformance):
    @pytest.fixture(scope="class")
    def server(self) -> Iterator[NativeServer]:
        running = copied()
        yield running
        running.remove()

    @pytest.fixture
    def lab(self, server: NativeServer) -> ServerLab:
        return MysqlServerLab(server)
