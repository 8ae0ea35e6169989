"""MySQL for Linux for tests, of any version from 8.0 on: the ``mysqld`` and the tools that are installed."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql
from mysql8_kinds import Mysql8
from mysql_server import USER, free_port

SETTINGS = """[mysqld]
datadir={folder}/data
tmpdir={folder}
socket={folder}/s
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


class NativeServer(Mysql8):
    """The installed MySQL, with data of its own."""

    def __init__(self, settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dbfleet-test-mysql-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._as = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": USER, "group": account.pw_gid, "extra_groups": []}
        (self.folder / "my.ini").write_text(SETTINGS.format(folder=self.folder, port=self.port) + settings)
        atexit.register(self.remove)
        self._start("--initialize-insecure").wait()
        self.start()
        ((version,),) = self.ask("SELECT @@version")
        if int(version.partition(".")[0]) > 8:
            self.log_status, self.log_reset = "SHOW BINARY LOG STATUS", "RESET BINARY LOGS AND GTIDS"

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        program = shutil.which("mysqld") or "/usr/sbin/mysqld"
        with open(self.folder / "output", "ab") as output:
            return subprocess.Popen(
                [program, f"--defaults-file={self.folder}/my.ini", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._as,
            )

    def start(self) -> None:
        self._process = self._start()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except pymysql.Error:
                assert self._process.poll() is None, (self.folder / "output").read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
