"""Keeping an account for backups: as wanted, with a password that is in its file and not too old."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Optional

from ..units import show_duration
from .base import Account, AccountServer, Step
from .password_file import PasswordFile, new_password


@dataclass(frozen=True)
class Report:
    """What was done, or would be: sentences for people, and the account before and after."""

    actions: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    rotated: bool = False


def keep(
    server: AccountServer, account: Account, file: PasswordFile, *, rotate_after: Optional[int], dry_run: bool = False
) -> Report:
    """Make the account as wanted. A password older than ``rotate_after`` seconds gets a new one (``None``: never).

    A password that is in the file and that the server does not know becomes the account's: the file is what
    the jobs read.
    """
    standing = server.standing(account)
    wanted = server.wanted(account)
    password = file.read()
    reason = _why_new(file, password, rotate_after)
    actions: list[str] = []
    told: Optional[str] = None
    if reason is not None:
        told = new_password()
        actions.append(f"write a new password into {file.path}: {reason}")
    elif password is not None:
        if standing is None or not server.knows(account, password):
            told = password
        if not file.fits(check=dry_run):
            actions.append(f"let {file.path} be read by {file.owner} and the group {file.group} alone")
    steps = server.steps(account, told)
    if not dry_run:
        with file.replaced(told) if reason is not None and told is not None else nullcontext():
            _do(steps)
        if not file.fits():
            file.fit()
    rotated = reason is not None and password is not None
    return Report((*(step.shown for step in steps), *actions), standing or {}, wanted, rotated)


def _why_new(file: PasswordFile, password: Optional[str], rotate_after: Optional[int]) -> Optional[str]:
    if password is None:
        return "there is none"
    age = file.age()
    if rotate_after is not None and age >= rotate_after:
        return f"the one there is {show_duration(max(age, 0.0))} old"
    return None


def drop(server: AccountServer, account: Account, file: PasswordFile, *, dry_run: bool = False) -> Report:
    """Remove the account, then the file with its password."""
    standing = server.standing(account)
    steps = server.removal(account) if standing is not None else ()
    actions = [step.shown for step in steps]
    if os.path.lexists(file.path):
        actions.append(f"remove {file.path}")
    if not dry_run:
        _do(steps)
        file.remove()
    return Report(tuple(actions), standing or {}, {})


def _do(steps: Sequence[Step]) -> None:
    for step in steps:
        step.act()
