"""The native tools of each flavour: which ones, whether they fit the server, and how they are called.

MariaDB's tools are not used on MySQL nor the other way round: each knows columns, sequences and
privileges that the other does not, and leaves them out without a word.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ...errors import ToolError
from ...stream.process import Command, run
from ..programs import said_of_version
from .address import Address, write_option_file
from .faults import tool_failure
from .server import STEADY, Version

NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "mariadb": {
        "dump": ("mariadb-dump", "mysqldump"),
        "client": ("mariadb", "mysql"),
        "server": ("mariadbd", "mysqld"),
        "copy": ("mariadb-backup", "mariabackup"),
        "binlog": ("mariadb-binlog", "mysqlbinlog"),
    },
    "mysql": {
        "dump": ("mysqldump",),
        "client": ("mysql",),
        "server": ("mysqld",),
        "copy": ("xtrabackup",),
        "binlog": ("mysqlbinlog",),
    },
}
PACKAGES = {
    "mariadb": {
        "dump": "mariadb-client",
        "client": "mariadb-client",
        "server": "mariadb-server",
        "copy": "mariadb-backup",
        "binlog": "mariadb-client",
    },
    "mysql": {
        "dump": "mysql-client",
        "client": "mysql-client",
        "server": "mysql-server",
        "copy": "percona-xtrabackup",
        "binlog": "mysql-client",
    },
}
SERVER_FOLDERS = "/usr/sbin:/usr/libexec:/usr/local/sbin"  # not in every user's PATH
# MySQL's tools also read a login file, which could send them elsewhere.
ENVIRONMENT = {"MYSQL_TEST_LOGIN_FILE": os.devnull}
_MARIADB = re.compile(r"(?:Distrib |from |server )(\d+)\.(\d+)\.(\d+)-MariaDB|Ver (\d+)\.(\d+)\.(\d+)-MariaDB")
_MYSQL = re.compile(r"based on MySQL server (\d+)\.(\d+)\.(\d+)|Ver (\d+)\.(\d+)\.(\d+)|Distrib (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class Tool:
    """A native tool and what it says of itself."""

    path: str
    flavour: str
    number: tuple[int, ...]

    @property
    def shown(self) -> str:
        """``10.11.19-MariaDB``, as the manifest keeps it."""
        return ".".join(map(str, self.number)) + ("-MariaDB" if self.flavour == "mariadb" else "")


@dataclass(frozen=True)
class Tools:
    """The tools that fit one server, and the option file that they read."""

    dump: Tool
    client: Tool
    option_file: str
    flavour: str
    server: tuple[int, ...] = ()  # the server's version

    @property
    def histograms(self) -> bool:
        """Whether server and tool know statistics of columns, which a dump can ask to be made anew."""
        return self.flavour == "mysql" and min(self.server, self.dump.number) >= (8,)

    def dump_command(self, arguments: Sequence[str], what: str) -> Command:
        """The dump tool with ``arguments``; ``what`` is the object of its errors."""
        # MySQL's tool leaves the time limit of queries as it is, and takes SQL to begin with in later versions only.
        steady = (f"--loose-init-command=SET {STEADY}",) if self.flavour == "mysql" else ()
        return self._command(self.dump, (*steady, *arguments), what)

    def client_command(self, arguments: Sequence[str], what: str) -> Command:
        """The client with ``arguments``."""
        return self._command(self.client, arguments, what)

    def _command(self, tool: Tool, arguments: Sequence[str], what: str) -> Command:
        name = os.path.basename(tool.path)
        return Command(
            (tool.path, f"--defaults-file={self.option_file}", *arguments),
            ENVIRONMENT,
            explain=lambda code, words: tool_failure(name, code, words, what),
            text=True,
        )


def tool_version(path: str) -> Optional[tuple[str, tuple[int, ...]]]:
    """Flavour and version of the tool at ``path``; ``None`` when it does not say."""
    words = said_of_version(path)
    flavour = "mariadb" if "mariadb" in words.lower() else "mysql"
    found = (_MARIADB if flavour == "mariadb" else _MYSQL).search(words)
    if found is None:
        return None
    return flavour, tuple(int(part) for part in found.groups() if part is not None)


def find(kind: str, flavour: str, folder: Optional[str]) -> Tool:
    """The tool of one ``kind`` (``dump``, ``client``, physical ``copy``, ``server``), in ``folder`` or on the PATH.

    Raises ``ToolError`` that names the package to install.
    """
    wrong = None
    for name in NAMES[flavour][kind]:
        path = _which(name, folder)
        if path is None:
            continue
        said = tool_version(path)
        if said is not None and said[0] == flavour:
            return Tool(path, flavour, said[1])
        wrong = wrong or path
    shown = "MariaDB" if flavour == "mariadb" else "MySQL"
    remedy = f"install {PACKAGES[flavour][kind]} of {shown}, or name the folder of its tools with source.tools"
    if wrong is not None:
        raise ToolError(f"{wrong} is not the tool of {shown}, and the server is {shown}", remedy)
    raise ToolError(f"the command {NAMES[flavour][kind][0]} is not installed", remedy)


def find_log_reader(flavour: str, folder: Optional[str]) -> Tool:
    """The tool of ``flavour`` that reads binary logs. Raises as :func:`find`.

    It is told by its help: its version is its own, not that of its server.
    """
    shown = "MariaDB" if flavour == "mariadb" else "MySQL"
    remedy = f"install {PACKAGES[flavour]['binlog']} of {shown}, or name the folder of its tools with source.tools"
    wrong = None
    for name in NAMES[flavour]["binlog"]:
        path = _which(name, folder)
        if path is None:
            continue
        words = run(Command((path, "--no-defaults", "--help"), ENVIRONMENT), timeout=30).stdout.decode(
            "utf-8", "replace"
        )
        if ("mariadb" in words.lower()) == (flavour == "mariadb"):
            found = re.search(r"Ver (\d+)\.(\d+)", words)
            return Tool(path, flavour, tuple(map(int, found.groups())) if found else ())
        wrong = wrong or path
    if wrong is not None:
        raise ToolError(f"{wrong} is not the tool of {shown}, and the server is {shown}", remedy)
    raise ToolError(f"the command {NAMES[flavour]['binlog'][0]} is not installed", remedy)


def _which(name: str, folder: Optional[str]) -> Optional[str]:
    if folder is not None:
        return shutil.which(os.path.join(folder, name))
    return shutil.which(name) or shutil.which(name, path=SERVER_FOLDERS)


def tools_for(
    version: Version, address: Address, folder: str, tools_folder: Optional[str], *, begin: str = ""
) -> Tools:
    """The tools for a server of ``version`` at ``address``; the option file goes to the private ``folder``.

    ``begin``: SQL with which the client's sessions begin.

    Raises ``ToolError`` where they are missing, of the other flavour, or older than the server.
    """
    dump, client = check_tools(version, tools_folder)
    option_file = write_option_file(folder, address.at(""), version.flavour, begin=begin)
    return Tools(dump, client, option_file, version.flavour, version.number)


def check_tools(version: Version, tools_folder: Optional[str]) -> tuple[Tool, Tool]:
    """The dump tool and the client for a server of ``version``. Raises as :func:`tools_for`."""
    dump, client = (find(kind, version.flavour, tools_folder) for kind in ("dump", "client"))
    if dump.number[:2] < version.number[:2]:
        raise ToolError(
            f"{dump.path} is {dump.shown}, older than the server ({version.shown})",
            "install the client tools of the server's version, or name their folder with source.tools",
        )
    return dump, client
