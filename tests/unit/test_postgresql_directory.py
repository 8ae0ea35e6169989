"""Which files of a folder that is still being written are finished."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dbfleet.databases.postgresql.directory_dump import DirectoryStream, open_files
from dbfleet.stream.process import Command

WRITER = """
mkdir "$0"
: >"$0/1.dat"
printf rows >"$0/2.dat"
printf rows >"$0/blob_3.dat"
printf rows >"$0/toc.dat"
sh -c 'exec 3>"$0/4.dat"; printf rows >&3; echo ready; read line' "$0"
exit 0
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no other system tells what is open")
def test_a_file_is_finished_when_it_holds_something_and_nobody_writes(tmp_path: Path) -> None:
    """Also where the one who writes was started by a script that somebody put in the tool's place."""
    folder = tmp_path / "dump"
    stream = DirectoryStream(Command(("true",)), str(folder), "", None, 0)
    with subprocess.Popen(
        ["sh", "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert list(stream._finished(child.pid)) == [] or folder.exists()
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        assert sorted(stream._finished(child.pid)) == ["2.dat", "blob_3.dat"]
        child.stdin.write("go on\n")
        child.stdin.close()
        child.stdout.read()
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert open_files(child.pid) is None  # it is gone: nobody can tell, so nothing counts as finished
        assert list(stream._finished(child.pid)) == []
