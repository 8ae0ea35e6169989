"""A PostgreSQL server that lives for one trial, in a private folder, reachable through its socket alone.

On Windows, where not every system has such sockets, it listens on the loopback interface and asks for a password.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from typing import Optional

from ...errors import DbfleetError, ToolError
from ...host import free_port
from ...scratch import SCRATCH_ROOM
from ...stream.process import Command, launch
from ..tool_faults import host_fault_of
from .address import Address
from .tools import Tool, find

USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
ROLE = "dbfleet"
LONGEST_SOCKET = 100  # bytes of a socket's path that every system takes
START_SECONDS = 120
# It is thrown away: nothing has to survive a crash of the host.
SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_connections = 40
max_locks_per_transaction = 1024
autovacuum = off
shared_buffers = 128MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
log_min_messages = fatal
"""
ON_A_SOCKET = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
"""
ON_LOOPBACK = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
"""


class TemporaryServer:
    """A server of major version ``at_least`` or the nearest newer one; as a context, gone afterwards."""

    def __init__(self, folder: str, at_least: int, tools: Optional[str] = None) -> None:
        self._parent = folder
        self._initdb = find(
            "initdb",
            at_least=at_least,
            folder=tools,
            why=f"a trial needs a server of version {at_least} or newer (or one named by proof.scratch_url)",
        )
        self._user = unprivileged()
        self._folder = ""
        self._socket = ""
        self._started = False
        self._address = Address({})

    @property
    def address(self) -> Address:
        """How to reach it."""
        return self._address

    @property
    def tool(self) -> Tool:
        """The program it was made with, for its version."""
        return self._initdb

    def start(self) -> None:
        """Make it and wait until it answers. Raises ``ToolError``."""
        self._folder = self._own_folder(os.path.join(self._parent, "server"))
        data = os.path.join(self._folder, "data")
        options = ["--no-sync", f"--username={ROLE}", "--encoding=UTF8", "--locale=C"]
        where = self._on_loopback(options) if sys.platform == "win32" else self._on_a_socket(options)
        self._run(self._initdb.path, f"--pgdata={data}", *options)
        with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(SETTINGS + where)
        self._started = True
        log = os.path.join(self._folder, "log")
        self._control("start", "--wait", f"--timeout={START_SECONDS}", f"--log={log}", "--silent")

    def _on_a_socket(self, options: list[str]) -> str:
        """Who gets into the folder may connect. The settings for that; the options of initdb are added."""
        self._socket = self._folder
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET - len("/.s.PGSQL.5432"):
            self._socket = self._own_folder(tempfile.mkdtemp(prefix="dbfleet-", dir="/tmp"))  # noqa: S108
        options.append("--auth=trust")
        self._address = Address({"host": self._socket, "user": ROLE, "dbname": "postgres"})
        return ON_A_SOCKET.format(folder=self._socket.replace("'", "''"))

    def _on_loopback(self, options: list[str]) -> str:
        """Who knows the password may connect. The same otherwise."""
        password = secrets.token_hex(32)
        path = os.path.join(self._folder, "password")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(password + "\n")
        options += ["--auth=scram-sha-256", f"--pwfile={path}"]
        port = free_port()
        self._address = Address({"host": "127.0.0.1", "port": str(port), "user": ROLE, "dbname": "postgres"}, password)
        return ON_LOOPBACK.format(port=port)

    def stop(self) -> None:
        """End it and remove its folder. Never raises."""
        if self._started:
            try:
                self._control("stop", "--mode=immediate", "--wait", "--timeout=30", "--silent")
            except DbfleetError:
                pass  # a server whose folder is gone ends by itself within a minute
        for folder in {self._folder, self._socket} - {""}:
            shutil.rmtree(folder, ignore_errors=True)

    def _control(self, *words: str) -> None:
        data = os.path.join(self._folder, "data")
        self._run(os.path.join(os.path.dirname(self._initdb.path), "pg_ctl"), words[0], f"--pgdata={data}", *words[1:])

    def _run(self, *argv: str) -> None:
        command = Command(tuple(argv), user=self._user)
        try:
            with tempfile.TemporaryFile() as words:
                launch(command, words, timeout=START_SECONDS * 2)
        except ToolError as error:
            what = "no server could be started for the trial"
            said = f"{error.message}\n{log_of(os.path.join(self._folder, 'log'))}"
            raise host_fault_of(what, said, said=error.message, room=SCRATCH_ROOM) or ToolError(
                f"{what}: {error.message}",
                "set DBFLEET_SCRATCH to a folder that every user may enter, or proof.scratch_url to a server",
            ) from error

    def _own_folder(self, path: str) -> str:
        """A folder of mode 0700 that belongs to the server's user, who must be able to get there."""
        os.makedirs(path, mode=0o700, exist_ok=True)
        if self._user is not None:
            import pwd

            account = pwd.getpwnam(self._user)
            os.chown(path, account.pw_uid, account.pw_gid)
            os.chmod(self._parent, 0o711)  # noqa: S103 - what else is in there has modes of its own
        return path


def log_of(path: str) -> str:
    """What a server's log says; nothing where it never came that far."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def unprivileged() -> Optional[str]:
    """The user to run a server as, where we are root; ``None`` otherwise."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    for name in USERS:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ToolError("no user of this host can run a server: root may not", "set proof.scratch_url to a server")


def account_of(user: Optional[str]) -> Optional[tuple[int, int]]:
    """The numbers of ``user`` and its group; ``None`` for ``None``."""
    if user is None:
        return None
    import pwd

    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid
