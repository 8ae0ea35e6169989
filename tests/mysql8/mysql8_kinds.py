"""What servers of MySQL for tests have in common, wherever they run."""

from __future__ import annotations

from pathlib import Path

from mysql_server import AnyServer

SETTINGS = """[mysqld]
port={port}
bind-address=127.0.0.1
mysqlx=0
server_id=1
gtid_mode=ON
enforce_gtid_consistency=ON
innodb_buffer_pool_size=64M
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
sync_binlog=0
event_scheduler=OFF
"""


class Mysql8(AnyServer):
    """A MySQL from 8.0 on with GTIDs and a binary log, whose data end with the test run."""

    clients = ("mysql", "mysqldump")
    dump_options = ("--set-gtid-purged=OFF", "--column-statistics=1")
    authentication = "caching_sha2_password"  # one that an account may be made with, and is not asked for TLS by
    has_tags = False  # for its GTIDs
    folder: Path

    def __init__(self, settings: str = "") -> None:
        """Make and start one, with lines of ``settings`` of its own."""
        raise NotImplementedError

    @staticmethod
    def path(file: Path) -> str:
        """How the server calls ``file``."""
        return str(file)

    def remove(self) -> None:
        """End it, and remove what it holds."""
        raise NotImplementedError
