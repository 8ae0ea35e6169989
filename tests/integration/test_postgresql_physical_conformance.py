"""PostgreSQL as a server among others whose files are backed up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("conformance_servers", "conformance_jobs")

from conformance_servers import PhysicalConformance, Running, ServerLab  # noqa: E402
from postgresql_clusters import by_hand, check_ledger, cluster, content, data_of, give, job_of, started  # noqa: E402
from postgresql_server import USUAL, Server, ask, own_state, writing  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.model import Job, Manifest, Source  # noqa: E402

__all__ = ["own_state", "room"]


class RunningPostgresql(Running):
    def __init__(self, server: Server, source: Source) -> None:
        self._server = server
        self._source = source

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return ask(self._source, sql)

    def content(self) -> Any:
        return content(self._server, self._source)

    def check_ledger(self) -> int:
        return check_ledger(self._source)


class PostgresqlServerLab(ServerLab):
    def __init__(self, server: Server) -> None:
        self._server = server
        self.can_increment = server.major >= 17
        self.source = RunningPostgresql(server, server.source("app"))

    def job(self, repository: Path, **changed: Any) -> Job:
        return job_of(self._server, repository, **changed)

    def database(self, job: Job) -> str:
        return self._server.url("app")

    def data(self) -> Path:
        return data_of(self._server)

    @contextmanager
    def started(self, data: Path) -> Iterator[Running]:
        with started(self._server, data) as source:
            yield RunningPostgresql(self._server, source)

    def writing(self) -> AbstractContextManager[Any]:
        return writing(self._server.source("app"))

    def by_hand(self, manifest: Manifest, repository: Path, folder: Path) -> Path:
        data = by_hand(self._server, manifest, repository, folder)
        give(folder)
        return data

    def sending(self) -> bool:
        return bool(ask(self._server.source(), "SELECT 1 FROM pg_stat_replication WHERE state = 'backup'"))


@pytest.fixture(scope="module", params=sorted({15, 17, USUAL}))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with cluster(request.param) as running:
        yield running


class TestPostgresql(PhysicalConformance):
    @pytest.fixture
    def lab(self, server: Server) -> ServerLab:
        return PostgresqlServerLab(server)
