"""This host and this user: names for records, and the folder for what stays on the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Optional


def state_dir(environ: Optional[Mapping[str, str]] = None) -> str:
    """The folder for the audit log and other state of this host. It need not exist yet.

    ``DBFLEET_STATE_DIR``; else ``/var/lib/dbfleet`` for root on Linux; else where the system
    keeps a user's state: ``XDG_STATE_HOME`` (XDG Base Directory Specification 0.8), ``Library/
    Application Support`` on macOS, ``LOCALAPPDATA`` on Windows. ``environ`` is this process's own
    unless it is given.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get("DBFLEET_STATE_DIR")
    if chosen:
        return os.path.abspath(chosen)
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return os.path.join(environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "dbfleet")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "dbfleet")
    if os.geteuid() == 0:
        return "/var/lib/dbfleet"
    base = environ.get("XDG_STATE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".local", "state"), "dbfleet")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def host_name() -> str:
    """The name of this host."""
    if sys.platform == "win32":
        return os.environ.get("COMPUTERNAME", "")
    return os.uname().nodename


def user_name() -> str:
    """The name of the user that this process runs as; its number where it has no name."""
    if sys.platform == "win32":
        return os.environ.get("USERNAME", "")
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
