"""MySQL 8.0 as a database among others."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("conformance_databases", "conformance_jobs", "mysql_server")

import mysql8_server  # noqa: E402
from conformance_databases import DatabaseConformance, DatabaseLab  # noqa: E402
from mysql8_wine import WineServer  # noqa: E402
from mysql_server import own_state  # noqa: E402
from test_mysql_conformance import MysqlLab  # noqa: E402

__all__ = ["own_state"]


class Mysql8Lab(MysqlLab):
    def __init__(self) -> None:
        self.server = mysql8_server.server()
        self.rounds = 2
        self.lock_wait = mysql8_server.PATIENT.lock_wait
        self.scratch_url = self.server.scratch


class TestMysql8(DatabaseConformance):
    # Programs under Wine see no file system that is mounted for a test alone, and so not the files in it.
    without_room = ("tool",) if mysql8_server.KIND is WineServer else ("capacity",)

    @pytest.fixture
    def lab(self) -> DatabaseLab:
        return Mysql8Lab()
