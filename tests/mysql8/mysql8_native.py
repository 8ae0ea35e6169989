"""MySQL for Linux for tests, of any version from 8.0 on: the ``mysqld`` and the tools that are installed."""

from __future__ import annotations

import atexit
import shutil

from mysql8_kinds import SETTINGS, Mysql8
from mysql_server import LocalServer

OWN_SETTINGS = """datadir={folder}/data
tmpdir={folder}
socket={folder}/s
"""


class NativeServer(LocalServer, Mysql8):
    """The installed MySQL, with data of its own."""

    def __init__(self, settings: str = "") -> None:
        super().__init__("mysql")
        text = SETTINGS.format(port=self.port) + OWN_SETTINGS.format(folder=self.folder) + settings
        (self.folder / "my.ini").write_text(text)
        atexit.register(self.remove)
        self.run("--initialize-insecure").wait()
        self.start()
        ((version,),) = self.ask("SELECT @@version")
        number = tuple(map(int, version.split(".")[:2]))
        self.has_tags = number >= (8, 3)
        if number >= (8, 4):
            self.log_status, self.log_reset = "SHOW BINARY LOG STATUS", "RESET BINARY LOGS AND GTIDS"

    def command(self) -> list[str]:
        return [shutil.which("mysqld") or "/usr/sbin/mysqld", f"--defaults-file={self.folder}/my.ini"]
