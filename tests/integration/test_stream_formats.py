"""Compression with the real tools: formats that everybody reads, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from isolation import children
from stored_files import keep_foreign

from dbfleet.errors import ToolError
from dbfleet.model import Encryption
from dbfleet.stores.file import FileStore
from dbfleet.stream import compression as compressions
from dbfleet.stream.flow import ChannelStage, join
from dbfleet.stream.pipeline import read_artifact

RAW = b"".join(b"INSERT INTO t VALUES (%d, 'row %d');\n" % (n, n * n) for n in range(60_000))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(str(tmp_path / "repository"))
    made.prepare()
    return made


def providers() -> list[str]:
    """Those that are here: the command always, the Python packages where they are installed."""
    found = []
    for provider in compressions.ZSTD_PROVIDERS:
        try:
            compressions.zstd_encoder(3, 1, provider)
            found.append(provider)
        except (ToolError, ImportError):
            continue
    return found


@pytest.mark.parametrize("provider", providers())
@pytest.mark.parametrize("level, threads", [(-7, 1), (0, 2), (3, 1), (9, 2), (12, 1)])
def test_the_zstd_command_reads_what_each_provider_writes(provider: str, level: int, threads: int) -> None:
    step = compressions.zstd_encoder(level, threads, provider)
    last = ChannelStage()
    packed = bytearray()
    thread = threading.Thread(target=lambda: packed.extend(b"".join(last.channel)))
    thread.start()
    stage = join([step], last)
    stage.write(RAW)
    stage.close()
    last.channel.end()
    thread.join()
    assert subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout == RAW
    assert packed[4] & 4, "the frame carries a checksum (RFC 8878, 3.1.1.1.1.5)"


@pytest.mark.parametrize("method", ["zstd", "gzip"])
def test_what_the_plain_tools_wrote_is_read(store: FileStore, method: str) -> None:
    line = [method, "-c"]
    parts = [subprocess.run(line, input=part, capture_output=True, check=True).stdout for part in (RAW, b"end")]
    artifact = keep_foreign(store, "f", b"".join(parts), RAW + b"end", method)
    with read_artifact(store, artifact, Encryption()) as chunks:
        assert b"".join(chunks) == RAW + b"end"


MEMORY_SCRIPT = """
import os, sys, threading
from dbfleet.model import Compression, Encryption
from dbfleet.stores.file import FileStore
from dbfleet.stream.pipeline import read_artifact, store_artifact

store, block = FileStore(sys.argv[1]), os.urandom(200000) * 5

def pump(sink):
    for _ in range(100):
        sink.write(block)

def send(name):
    staged = store_artifact(pump, store, name, 'sql', Compression(), Encryption(), threads=2)
    staged.commit()
    with read_artifact(store, staged.artifact, Encryption()) as chunks:
        assert sum(map(len, chunks)) == 100 * len(block)

threads = [threading.Thread(target=send, args=(name,)) for name in 'ab']
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def resident(process: int) -> int:
    """Bytes of memory that a process holds now; 0 once it has ended."""
    try:
        return int(Path("/proc", str(process), "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def test_two_artifacts_at_once_stay_within_100_mib(store: FileStore) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    most = 0
    with subprocess.Popen([sys.executable, "-c", MEMORY_SCRIPT, store.root], env=environment) as child:
        while child.poll() is None:
            most = max(most, sum(map(resident, [child.pid, *children(child.pid)])))
            time.sleep(0.01)
    assert child.returncode == 0
    assert 10 * 2**20 < most < 100 * 2**20
