"""A server that is started for a trial on restored files, reachable through a private socket alone."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from typing import Optional

from ...errors import DamagedError, DbfleetError, NotFoundError, SourceError, ToolError
from ...scratch import SCRATCH_ROOM
from ...stream.process import Command, run
from ..place import own_folder, own_tree
from ..tool_faults import host_fault_of
from .address import Address
from .assembly import Assembly
from .connection import connect
from .server import LONGEST_SOCKET, account_of, log_of, unprivileged
from .tools import find

START_SECONDS = 24 * 3600  # recovery takes as long as there is log; limits.timeout ends it
FIRST_WORD_SECONDS = 120
AMCHECK_SINCE = 14
NOT_YET = ("not accepting connections", "not yet accepting connections", "is starting up")
# Settings of the original that its log relies on, as its control file has them.
REPLAYED = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact")
# Nothing of the original's settings may act here: not its libraries, its archive, nor its replication.
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
hba_file = '{data}/pg_hba.conf'
ident_file = '{data}/pg_ident.conf'
fsync = off
autovacuum = off
archive_mode = off
max_connections = {connections}
max_worker_processes = {workers}
max_wal_senders = {senders}
max_prepared_transactions = {prepared}
max_locks_per_transaction = {locks}
max_replication_slots = {slots}
shared_buffers = 64MB
max_wal_size = 4GB
logging_collector = off
log_min_messages = warning
lc_messages = 'C'
"""


class ClusterServer:
    """Runs on the data directory of an assembly, which it changes; ``more`` are settings besides its own."""

    def __init__(self, assembly: Assembly, folder: str, parallel: int, *, more: str = "") -> None:
        """Raises ``ToolError`` on Windows, where there may be no socket to keep everybody else away from the data."""
        if os.name == "nt":
            raise ToolError(
                "on Windows no server is started on the files of a physical backup of PostgreSQL",
                "verify it at level checksum, restore it without a target, or do either on Linux or macOS",
            )
        self._assembly = assembly
        self._parent = folder
        self._parallel = parallel
        self._control = assembly.tool("pg_ctl").path
        self._user = unprivileged()
        self._socket = assembly.root
        self._role = "postgres"
        self._running = False
        self._log = os.path.join(assembly.root, "log")
        self._more = more
        self._speaks_until = 0.0

    @property
    def address(self) -> Address:
        """How to reach it."""
        return Address({"host": self._socket, "user": self._role, "dbname": "postgres"})

    def start(self) -> None:
        """Start it and wait until it has recovered. Raises ``DamagedError`` when the files do not let it."""
        self._give_away()
        self._configure()
        self._run_up()
        try:
            self._wait()
        except (SourceError, NotFoundError) as error:
            if f'role "{self._role}" does not exist' not in error.message:
                raise
            self._control_server("stop", "--mode=fast", "--wait", "--silent")
            self._role = self._owner_role()
            self._run_up()
            self._wait()

    def _run_up(self) -> None:
        self._control_server("start", "--wait", f"--timeout={START_SECONDS}", f"--log={self._log}", "--silent")

    def _wait(self) -> None:
        """Until it has recovered: pg_ctl may be content with less."""
        while True:
            try:
                with connect(self.address.of("template1")):
                    return
            except SourceError as error:
                if not any(word in error.message for word in NOT_YET):
                    raise
            self._control_server("status")  # it may have given up
            time.sleep(0.1)

    def launch(self) -> None:
        """Start it and wait for nothing. The log begins anew."""
        with suppress(FileNotFoundError):
            os.remove(self._log)
        self._give_away()
        self._configure()
        self._speaks_until = time.monotonic() + FIRST_WORD_SECONDS
        self._control_server("start", "--no-wait", f"--log={self._log}", "--silent")

    def promote(self) -> None:
        """End its recovery where it is."""
        self._control_server("promote", "--wait", f"--timeout={START_SECONDS}", "--silent")

    def end(self) -> None:
        """Stop it in order: everything is in its files then."""
        self._control_server("stop", "--mode=fast", "--wait", f"--timeout={START_SECONDS}", "--silent")
        self._running = False

    def is_alive(self) -> bool:
        """Whether it runs, or is about to."""
        command = Command((self._control, "status", f"--pgdata={self._assembly.data}"), user=self._user)
        if os.path.exists(os.path.join(self._assembly.data, "postmaster.pid")):
            with suppress(ToolError):
                run(command)
                return True
        return not self.log_text() and time.monotonic() < self._speaks_until  # it has not said a word yet

    def log_text(self) -> str:
        """What its log says."""
        return log_of(self._log)

    def stop(self) -> None:
        """End it. Never raises."""
        if self._running:
            try:
                self._control_server("stop", "--mode=immediate", "--wait", "--timeout=60", "--silent")
            except DbfleetError:
                pass  # a server whose folder is gone ends by itself within a minute
        if self._socket != self._assembly.root:
            shutil.rmtree(self._socket, ignore_errors=True)

    def examine(self, *, leave_no_trace: bool = False) -> list[str]:
        """What is wrong with tables and indexes: amcheck where the server has it, else everything is read once.

        ``leave_no_trace`` drops the extension again where it was not.
        """
        address = self.address.of("template1")
        with connect(address) as connection:
            available = connection.value("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'")
        if available and self._assembly.major >= AMCHECK_SINCE:
            lacking = self._without_amcheck() if leave_no_trace else []
            problems = self._amcheck(address)
            for name in lacking:
                with connect(self.address.of(name)) as connection:
                    connection.run("DROP EXTENSION IF EXISTS amcheck")
            return problems
        tool = find(
            "pg_dumpall",
            at_least=self._assembly.major,
            folder=os.path.dirname(self._control),
            why="the trial reads every table with it",
        )
        try:
            run(Command((tool.path, f"--dbname={address.conninfo()}", "--no-password")), sink=_ignore)
        except ToolError as error:
            self._unless_of_the_host(error, error.message)
            return [error.message]
        return []

    def _without_amcheck(self) -> list[str]:
        """Databases that do not have the extension."""
        with connect(self.address.of("template1")) as connection:
            names = connection.rows("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn")
        lacking = []
        for (name,) in names:
            with connect(self.address.of(name)) as connection:
                if not connection.value("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'amcheck'"):
                    lacking.append(str(name))
        return lacking

    def _amcheck(self, address: Address) -> list[str]:
        tool = self._assembly.tool("pg_amcheck")
        said = bytearray()
        try:
            run(
                Command(
                    (
                        tool.path,
                        "--all",
                        "--install-missing",
                        "--heapallindexed",
                        f"--jobs={self._parallel}",
                        "--no-password",
                        f"--host={self._socket}",
                        f"--username={self._role}",
                        "--maintenance-db=template1",
                    ),
                ),
                sink=said.extend,
            )
        except ToolError as error:
            lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
            found = f"pg_amcheck: {' '.join(lines[:2])}" if lines else error.message
            self._unless_of_the_host(error, found)
            return [found]
        return []

    def _unless_of_the_host(self, error: ToolError, found: str) -> None:
        """Raise what ``error`` and the server's log tell of the host, if they do."""
        log = self.log_text()
        told = re.search(r"\bPANIC:|terminated by signal (\d+)|database system is shut down", log)
        killed = told[1] in ("9", "15") if told else not self.is_alive()  # it tells, unless nobody asked it
        fault = host_fault_of(
            "the server of the trial",
            f"{found}\n{error.message}\n{log}",
            code=-9 if killed else None,
            said=found,
            room=SCRATCH_ROOM,
        )
        if fault is not None:
            raise fault from error

    # --- starting -----------------------------------------------------------------------------

    def _give_away(self) -> None:
        """The server's files are its user's, who must be able to get there; what feeds it looks after its own."""
        owner = account_of(self._user)
        if owner is not None:
            os.chmod(self._parent, 0o711)  # noqa: S103 - what else is in there has modes of its own
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET - len("/.s.PGSQL.5432"):
            self._socket = tempfile.mkdtemp(prefix="dbfleet-", dir="/tmp")  # noqa: S108
            own_tree(self._socket, owner)
        own_folder(self._assembly.root, owner)
        own_tree(self._assembly.data, owner)
        for built in self._assembly.spaces.values():  # some are elsewhere
            own_tree(os.path.dirname(built), owner)

    def _configure(self) -> None:
        data = self._assembly.data
        control = self._assembly.control()
        limits = {name: control.get(f"{name} setting", 0) for name in REPLAYED}
        text = SETTINGS.format(
            socket=self._socket.replace("'", "''"),
            data=data.replace("'", "''"),
            connections=max(40, limits["max_connections"]),
            workers=max(8, limits["max_worker_processes"]),
            senders=max(10, limits["max_wal_senders"]),
            prepared=limits["max_prepared_xacts"],
            locks=max(256, limits["max_locks_per_xact"]),
            slots=100,
        )
        text += self._more
        for name, content in (
            ("postgresql.conf", text),
            ("postgresql.auto.conf", ""),
            ("pg_hba.conf", "local all all trust\n"),
            ("pg_ident.conf", ""),
        ):
            path = os.path.join(data, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(content)
        self._give_away()

    def _control_server(self, *words: str) -> None:
        command = Command((self._control, words[0], f"--pgdata={self._assembly.data}", *words[1:]), user=self._user)
        self._running = True  # it may run even where waiting for it failed
        try:
            run(command)
        except ToolError as error:
            reason = self.last_fatal()
            if reason is None:
                raise ToolError(
                    f"no server could be started for the trial: {error.message}",
                    "set DBFLEET_SCRATCH to a folder that every user may enter",
                ) from error
            self._unless_of_the_host(error, reason)
            raise DamagedError(f"a server does not start on the restored files: {reason}", "see its log") from error

    def last_fatal(self) -> Optional[str]:
        """Why the server gave up, as its log says."""
        lines = [line.strip() for line in self.log_text().splitlines() if re.search(r"\b(FATAL|PANIC):", line)]
        return re.sub(r"^.*?\b(FATAL|PANIC):\s*", "", lines[-1]) if lines else None

    def _owner_role(self) -> str:
        """The name of the role that made the cluster, where it is not the usual one."""
        path = os.path.join(os.path.dirname(self._control), "postgres")
        said = run(
            Command((path, "--single", "-D", self._assembly.data, "template1"), user=self._user),
            stdin=b"SELECT rolname FROM pg_catalog.pg_authid WHERE oid = 10\n",
        ).stdout.decode("utf-8", "replace")
        found = re.search(r'rolname = "(.*)"\t\(typeid', said)
        if found is None:
            raise ToolError("the restored cluster tells no role to log in with", "see whether its files are whole")
        return found[1]


def _ignore(_data: bytes) -> None:
    """What was read only to be read."""
