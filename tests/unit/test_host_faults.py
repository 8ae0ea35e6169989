"""What the host refuses is told by its own words and a way out, and nothing else is taken for it."""

from __future__ import annotations

import errno
import os

import pytest

from dbfleet.host_faults import host_fault


def refused(code: int) -> OSError:
    return OSError(code, os.strerror(code), "/some/file")


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        (refused(errno.ENOSPC), "no room left", "free space"),
        (refused(errno.EDQUOT), "no room left", "free space"),
        (refused(errno.EFBIG), "too large", "FAT"),
        (refused(errno.EMFILE), "no more files", "ulimit -n"),
        (refused(errno.EAGAIN), "no more processes", "TasksMax="),
        (RuntimeError("can't start new thread"), "no more processes", "TasksMax="),
        (refused(errno.ENOMEM), "not enough memory", "MemoryMax="),
        (MemoryError(), "not enough memory: MemoryError", "compression.threads"),
        (ValueError("Allocation error : not enough memory"), "not enough memory", "compression.threads"),
    ],
)
def test_what_the_host_had_no_more_of(error: BaseException, said: str, remedy: str) -> None:
    found = host_fault(error)
    assert found is not None and found.kind == "capacity"
    assert said in found.message and remedy in found.remedy
    if isinstance(error, OSError):
        assert "/some/file" in found.message


@pytest.mark.parametrize("error", [refused(errno.ENOENT), refused(errno.EACCES), KeyError("x"), RuntimeError("x")])
def test_faults_of_our_own_are_not_blamed_on_it(error: BaseException) -> None:
    assert host_fault(error) is None
