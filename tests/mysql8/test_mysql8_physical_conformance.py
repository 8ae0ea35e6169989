"""MySQL as a server among others whose files are backed up, by Percona's xtrabackup."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite(
    "conformance_servers", "conformance_jobs", "mysql_server", "mysql_copies", "mysql_copy_lab"
)

from conformance_servers import PhysicalConformance, ServerLab  # noqa: E402
from mysql8_copies import copied, copied_here, job_of, started  # noqa: E402
from mysql8_native import NativeServer  # noqa: E402
from mysql_copy_lab import CopyLab, CountedCopies  # noqa: E402
from mysql_server import own_state  # noqa: E402
from rooms import room  # noqa: E402

__all__ = ["own_state", "room"]


@copied_here
class TestMysql(PhysicalConformance, CountedCopies):
    @pytest.fixture(scope="class")
    def server(self) -> Iterator[NativeServer]:
        running = copied()
        yield running
        running.remove()

    @pytest.fixture
    def lab(self, server: NativeServer) -> ServerLab:
        return CopyLab(server, job_of, started, "xtrabackup")
