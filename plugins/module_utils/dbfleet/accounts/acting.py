"""Being another account of this host while a session is opened: how servers know their own administrator."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from ..errors import UsageError


@contextmanager
def acting_as(name: Optional[str]) -> Iterator[None]:
    """Be ``name`` to the servers of this host (peer authentication) while this lasts; needs root for another one."""
    account = _account(name) if name is not None else None
    if account is None or account.pw_uid == os.geteuid():
        yield
        return
    if os.geteuid() != 0:
        raise UsageError(
            f"only root can log in as {name}", "run this with become, or give the URL a user and a password"
        )
    group = os.getegid()
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"this host has no account {name}", "name the one that the server runs as") from None
