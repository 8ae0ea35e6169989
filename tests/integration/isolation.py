"""Runs a piece of a test in a child that is another user, or has a tiny disk, or is killed.

The child is forked, so the piece is an ordinary function. Its mounts live in a namespace of its own and
are gone with it; an ordinary user gets the right to mount from a user namespace. What runs for long beside
the test is spawned instead: libraries with threads, that other tests have loaded, do not survive a fork.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Callable, Optional

import pytest

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
NOBODY = 65534


def in_child(act: Callable[[], None], *, disk: Optional[tuple[str, str]] = None, nobody: bool = False) -> None:
    """Run ``act`` in a child; its failure fails the caller.

    ``disk`` is a folder and the options of the tmpfs to mount there (``size=1m``); ``nobody``
    gives up root's rights, as whom file modes mean nothing.
    """
    reader, writer = os.pipe()
    child = _fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            if disk is not None:
                _mount(*disk)
            if nobody and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode("utf-8", "replace")[-60000:])
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _pid, status = os.waitpid(child, 0)
    assert status == 0, said or f"the child ended with status {status}"


def forked(act: Callable[[], object]) -> int:
    """A child that does ``act``, to be killed; :func:`ended` waits for it."""
    child = _fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """How it ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def beside(act: Callable[..., object], *given: object, **named: object) -> BaseProcess:
    """``act``, started in an interpreter of its own; it can be killed, joined, and asked for its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=act, args=given, kwargs=named)
    process.start()
    return process


def _fork() -> int:
    gc.collect()
    gc.freeze()  # what lives now is not looked at again, by the next fork either, nor copied by the child's collector
    child = os.fork()
    if child == 0:
        gc.disable()  # garbage of libraries with threads must not be freed where those are missing
    return child


def children(parent: int) -> list[int]:
    """Processes below ``parent``, by /proc; an agent of gpg is nobody's child."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found += [int(entry), *children(int(entry))]
    return found


@contextmanager
def heeding(number: int) -> Iterator[None]:
    """Let programs that are started here heed a signal which the tests themselves ignore, as under ``nohup``."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


_shared: set[int] = set()


@pytest.fixture(autouse=True)
def shared_servers() -> None:
    """Remember what runs before the test begins: servers that the tests of one process share."""
    _shared.clear()
    _shared.update(children(os.getpid()))


def tools_left() -> list[int]:
    """Processes that the test has started and that still run; for tests that use ``shared_servers``."""
    return [child for child in children(os.getpid()) if child not in _shared]


def _mount(folder: str, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    _check(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options.encode()))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
