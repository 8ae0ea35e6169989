"""MariaDB as a server among others whose files are backed up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite(
    "conformance_servers", "conformance_jobs", "mysql_server", "mysql_copies", "mysql_copy_lab"
)

from conformance_servers import PhysicalConformance, ServerLab  # noqa: E402
from mysql_copies import copied, job_of, started  # noqa: E402
from mysql_copy_lab import CopyLab, CountedCopies  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import room  # noqa: E402

__all__ = ["own_state", "room"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = copied()
    yield running
    running.remove()


class TestMariadb(PhysicalConformance, CountedCopies):
    @pytest.fixture
    def lab(self, server: Server) -> ServerLab:
        return CopyLab(server, job_of, started, "mariadb-backup")
