"""A server of our own for a trial, in a private folder, from the installed server binaries.

It is reachable through a socket there alone; on Windows, where MySQL has none, by the loopback interface with a
password.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Optional

from ...errors import DamagedError, DbfleetError, ToolError
from ...host import free_port
from ...scratch import SCRATCH_ROOM
from ...stream.process import Command, Filter, last_lines, run, show_exit
from ..place import own_tree
from ..tool_faults import host_fault_of
from .address import Address
from .copied_options import options_for, require_keys
from .measure import CLASSIC_HASHING
from .server import Session, Version
from .tools import Tool, find

START_SECONDS = 60.0
USER = "mysql"
REMEDY = "set proof.scratch_url to a server on which trial databases may be created"
SETTINGS = (
    "--skip-log-bin",
    "--event-scheduler=OFF",
    "--max-allowed-packet=1G",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=256M",
    "--local-infile=0",
    "--loose-mysqlx=OFF",  # MySQL's second protocol, on a port of its own
)
# Engines that MariaDB's own package has as plugins, and that keep their rows in the data directory or nowhere. Others
# may ask other servers for rows.
ENGINES = {"mariadb": ("--plugin-load-add=ha_archive", "--plugin-load-add=ha_blackhole"), "mysql": ()}
# On somebody's files: without their accounts, and never as the replica that the original may have been.
GIVEN = ("--skip-grant-tables", "--skip-slave-start")
ELSE = "restore another backup"
# MySQL keeps the original's setting in its data dictionary, and does not start with another one.
NAMES_DIFFER = re.compile(r"Different lower_case_table_names settings for server .* and data dictionary \('(\d)'\)")


class TrialServer:
    """A running server that only this process reaches; gone when the context ends."""

    def __init__(
        self,
        folder: str,
        *,
        flavour: Optional[str] = None,
        data: Optional[str] = None,
        version: Optional[Version] = None,
        tools: Optional[str] = None,
    ) -> None:
        """On the data directory ``data`` of a server of ``version``, which it changes; else on an empty one.

        An empty one is of ``flavour``; ``None`` takes what is installed, first in the folder ``tools``.
        Raises ``ToolError`` on Windows for what would be open to everybody there.
        """
        if os.name == "nt" and data is not None:
            raise ToolError(
                "on Windows no server is started on the files of a physical backup of MySQL or MariaDB",
                "verify it at level checksum there, or on Linux or macOS",
            )
        self._flavour = flavour
        self._tools = tools
        self._folder = os.path.join(folder, "server")
        self._data = data
        self._version = version
        self._sockets: Optional[str] = None
        self._process: Optional[Filter] = None
        self._ended = threading.Event()
        self._program, self._words = "", ""  # of one that failed
        self.address = Address()

    def __enter__(self) -> TrialServer:
        server = _server(self._flavour, self._tools) if self._version is None else _server_for(self._version)
        self._program = os.path.basename(server.path)
        os.mkdir(self._folder, 0o700)
        try:
            user = self._own(self._folder)
            ways = self._on_loopback(server) if os.name == "nt" else self._on_a_socket()
            if self._data is None:
                data = os.path.join(self._folder, "data")
                _initialise(server, data, user)
                arguments = (*_arguments(data, self._folder), *ways)
            else:
                self._own(self._data)
                own_tree(self._data, _account(user) if user else None)
                require_keys(self._data, user)
                options = self._options(self._data, user)
                arguments = (*_arguments(self._data, self._folder, options), *ways, *GIVEN)
            self._start((*_bound_to_us(user), server.path, *arguments, *ENGINES[server.flavour]), user)
            if self._data is None and server.flavour == "mysql":  # for proofs from before SHA-256
                with suppress(DbfleetError), Session(self.address) as session:
                    session.run(CLASSIC_HASHING)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, line: tuple[str, ...], user: Optional[str]) -> None:
        """Run it, once more where its words tell how the names in the files are written."""
        try:
            self._run(line, user)
        except DamagedError:
            case = NAMES_DIFFER.search(self._words)
            if case is None or self._process is None:
                raise
            self._process.close()
            self._run((*line, f"--lower-case-table-names={case[1]}"), user)

    def _run(self, line: tuple[str, ...], user: Optional[str]) -> None:
        def explain(code: int, words: str) -> DbfleetError:
            self._words = words
            return ToolError(f"{self._program} ended with {show_exit(code)}: {_reasons(words)}")

        self._ended = threading.Event()
        self._process = Filter(Command(line, user=user, explain=explain))
        self._process.close_input()
        threading.Thread(target=self._watch, args=(self._process, self._ended), daemon=True).start()
        self._wait(self._process)

    def _options(self, data: str, user: Optional[str]) -> str:
        """An option file with what the files in ``data`` need; it may hold the secret of a file of keys."""
        path = os.path.join(self._folder, "copied.cnf")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", errors="surrogateescape") as file:
            file.write(options_for(data))
        if user is not None:
            os.chown(path, *_account(user))
        return path

    def _on_a_socket(self) -> tuple[str, ...]:
        """Who gets into the folder may connect: the options of the server for that."""
        self._sockets = tempfile.mkdtemp(prefix="dbfleet-socket-")
        self._own(self._sockets)
        socket = os.path.join(self._sockets, "s")
        self.address = Address(socket=socket, user="root", shown="mysql://trial")
        return ("--skip-networking", "--skip-name-resolve", f"--socket={socket}")

    def _on_loopback(self, server: Tool) -> tuple[str, ...]:
        """Who knows the password may connect: the same. The server sets it before it listens."""
        password = secrets.token_hex(32)
        path = os.path.join(self._folder, "first.sql")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n")
        port = free_port()
        self.address = Address(
            host="127.0.0.1", port=port, user="root", password=password, tls_mode="required", shown="mysql://trial"
        )
        # Names are resolved: 127.0.0.1 is localhost only then. And the server is the process that we end, not the child
        # of a monitor (MySQL 8.0 manual, "Server Command Options").
        alone = ("--no-monitor",) if server.flavour == "mysql" and server.number >= (8,) else ()
        return ("--bind-address=127.0.0.1", f"--port={port}", f"--init-file={path}", *alone)

    @staticmethod
    def _own(folder: str) -> Optional[str]:
        """Give ``folder`` to the user that the server runs as, when we are root; returns that user."""
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            return None
        os.chown(folder, *_account(USER))
        _let_in(folder)
        return USER

    @staticmethod
    def _watch(process: Filter, ended: threading.Event) -> None:
        with suppress(OSError, ValueError):  # closed meanwhile
            while process.read():
                pass
        ended.set()

    def _wait(self, process: Filter) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                Session(self.address).close()
                return
            except DbfleetError as error:
                if self._ended.is_set():
                    raise self._why_not(_last_words(process)) from error
                if time.monotonic() > deadline:
                    raise ToolError(f"the trial server is not ready in {START_SECONDS:g} s", REMEDY) from error
            time.sleep(0.05)

    def _why_not(self, said: str) -> DbfleetError:
        """Why it did not start: the host's fault, or that of the files that it was given."""
        fault = self.host_fault(said)
        if fault is not None:
            return fault
        if self._data is None:
            return ToolError(f"the trial server does not start: {said}", REMEDY)
        return DamagedError(f"a server does not start on the restored files: {said}", ELSE)

    def host_fault(self, said: str) -> Optional[DbfleetError]:
        """What the end of one that said ``said`` tells of the host; ``None`` where it is nothing."""
        code = self._process.code if self._process is not None else None
        return host_fault_of("the trial server", self._words or said, code=code, said=said, room=SCRATCH_ROOM)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return not self._ended.wait(1)  # one that crashes closes its connections first

    def last_words(self) -> str:
        """What it said before it ended."""
        return _last_words(self._process) if self._process is not None else ""

    def shut_down(self, session: Session) -> None:
        """Let it end in order, so that its files are whole, however long that takes. Raises ``DamagedError``."""
        try:
            session.run("SHUTDOWN")
        except DbfleetError:  # it may close the connection before it answers
            if not self._ended.wait(START_SECONDS):
                raise
        self._ended.wait()
        if self._process is not None:
            try:
                self._process.wait()
            except DbfleetError as error:
                raise DamagedError(f"the server did not end in order: {error.message}", ELSE) from error

    def close(self) -> None:
        """Stop it and remove its folders. Never raises."""
        if self._process is not None:
            self._process.close()
        for folder in (self._folder, self._sockets):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _reasons(words: str) -> str:
    """What the server calls errors in its log: what comes last is only that it ends."""
    lines = re.findall(r"\[ERROR\] (.*)", words)
    return " / ".join(lines[:3])[:500] or last_lines(words)


def _last_words(process: Filter) -> str:
    try:
        return last_lines(process.wait())
    except DbfleetError as error:
        return error.message


def _server(flavour: Optional[str], tools: Optional[str]) -> Tool:
    """The installed server of ``flavour``, which is the backup's; where that is not known, MariaDB's first."""
    for one in (flavour,) if flavour is not None else ("mariadb", "mysql"):
        for folder in (None,) if tools is None else (tools, None):
            with suppress(ToolError):
                return find("server", one, folder)
    shown = {"mariadb": "MariaDB", "mysql": "MySQL", None: "MySQL or MariaDB"}[flavour]
    package = "mysql-server" if flavour == "mysql" else "mariadb-server"
    raise ToolError(
        f"a trial needs a server of {shown}, and none is installed here",
        f"install {package} (it need not run), or {REMEDY}",
    )


def _server_for(version: Version) -> Tool:
    """The installed server that can run on files of ``version``: of the same flavour and not older."""
    server = find("server", version.flavour, None)
    if server.number[:2] < version.number[:2]:
        raise ToolError(
            f"the backup is of {version.shown}, and {server.path} is {server.shown}",
            "verify on a host with a server of that version",
        )
    return server


def _account(user: str) -> tuple[int, int]:
    """The numbers of the user and its group."""
    import pwd

    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ToolError(f"there is no user {user!r} to run a trial server as", f"create it, or {REMEDY}") from None
    return account.pw_uid, account.pw_gid


def _initialise(server: Tool, data: str, user: Optional[str]) -> None:
    places = (f"--datadir={data}", f"--tmpdir={os.path.dirname(data)}")
    if server.flavour == "mysql":
        _set_up((server.path, "--no-defaults", "--initialize-insecure", *places), user)
        return
    installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
    if installer is None:
        raise ToolError("mariadb-install-db is not installed", f"install mariadb-server, or {REMEDY}")
    options = ("--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal")
    _set_up((installer, "--no-defaults", *places, *options), user)


def _set_up(argv: tuple[str, ...], user: Optional[str]) -> None:
    def explain(code: int, words: str) -> DbfleetError:
        what, said = f"{os.path.basename(argv[0])} failed with {show_exit(code)}", _reasons(words)
        fault = host_fault_of(what, words, code=code, said=said, room=SCRATCH_ROOM)
        return fault or ToolError(f"{what}: {said}", REMEDY)

    run(Command(argv, user=user, explain=explain))


def _bound_to_us(user: Optional[str]) -> tuple[str, ...]:
    """What lets the server end with us even when we are killed (setpriv of util-linux), where it is there.

    In a service of systemd that may not change capabilities ``user`` cannot use it; such a service ends by itself
    whatever it began.
    """
    path = shutil.which("setpriv") if sys.platform.startswith("linux") else None
    if path is None:
        return ()
    words = (path, "--pdeathsig", "KILL", "--")
    try:
        run(Command((*words, "true"), user=user))
    except ToolError:
        return ()
    return words


def _arguments(data: str, folder: str, options: str = "") -> tuple[str, ...]:
    return (
        f"--defaults-file={options}" if options else "--no-defaults",
        f"--datadir={data}",
        f"--tmpdir={folder}",  # a starting server deletes temporary tables, and in /tmp those of others
        f"--secure-file-priv={data}",
        f"--pid-file={os.path.join(data, 'trial.pid')}",
        *SETTINGS,
    )


def _let_in(folder: str) -> None:
    """The server's user must pass through the folders above. Those of root's own making are opened that far."""
    above = os.path.dirname(os.path.abspath(folder))
    while True:
        found = os.stat(above)
        if not found.st_mode & stat.S_IXOTH:
            if found.st_uid != os.geteuid() or "dbfleet-" not in os.path.basename(above):
                raise ToolError(
                    f"a server of our own runs as {USER}, which may not enter {above!r}",
                    "let it pass (chmod o+x), or choose another place: a restore's target, or DBFLEET_SCRATCH for"
                    f" trials; or {REMEDY}",
                )
            os.chmod(above, stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
        parent = os.path.dirname(above)
        if parent == above:
            return
        above = parent
