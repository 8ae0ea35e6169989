"""What a tool's words say of the host."""

from __future__ import annotations

import pytest

from dbfleet.databases.tool_faults import host_fault_of
from dbfleet.errors import CapacityError, DbfleetError, ToolError


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ('FATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device', 1, CapacityError),
        ("InnoDB: preallocating 12582912 bytes for file ./ibtmp1 failed with error 28", 1, CapacityError),
        ("Error writing file './x' (Errcode: 28 \"No space left on device\")", 1, CapacityError),
        ("[InnoDB] Operating system error number 28 in a file operation.", 1, CapacityError),
        ("(Error 28)", 1, CapacityError),
        ("[InnoDB] 1048576 bytes should have been written. Only 782336 bytes written.", 1, CapacityError),
        ("write: Disk quota exceeded", 1, CapacityError),
        ("could not map anonymous shared memory: Cannot allocate memory", 1, CapacityError),
        ("mmap failed; errno: 12, Out of memory", 1, CapacityError),
        ("mysqld: Can't create directory './x' (OS errno 13 - Permission denied)", 1, ToolError),
        ("[InnoDB] Operating system error number 13 in a file operation.", 1, ToolError),
        ("", -9, ToolError),
        ("", 137, ToolError),
        ("", -15, ToolError),
        ("InnoDB: Database page corruption on disk or a failed read of page 28", 1, None),
        ("error 280", 1, None),
        ("mysqld got signal 11", -11, None),
        ("", -6, None),
    ],
)
def test_what_is_of_the_host_is_told_apart(words: str, code: int, kind: type[DbfleetError] | None) -> None:
    fault = host_fault_of("the server", words, code=code)
    assert (fault if kind is None else type(fault)) == kind
    assert fault is None or (fault.remedy and fault.message.startswith("the server"))


def test_a_remedy_fits_the_place() -> None:
    fault = host_fault_of("pg_combinebackup", "a\nNo space left on device", said="a", room="elsewhere")
    assert fault is not None and (fault.message, fault.remedy) == ("pg_combinebackup: a", "elsewhere")
