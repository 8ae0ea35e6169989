"""Archivers of logs for tests, in threads and as processes, whatever the engine is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbfleet.log_catalog import LogShelf, read_logs
from dbfleet.model import Job
from dbfleet.operations.log_archive import run
from dbfleet.stores.registry import open_store

ROOT = Path(__file__).parents[2]


def shelf_of(job: Job) -> LogShelf:
    """What the only lineage of the job's log archive holds now."""
    (shelf,) = read_logs(open_store(job.repository.url), job.name).values()
    return shelf


@contextmanager
def archiver(job: Job) -> Iterator[list[str]]:
    """An archiver that runs meanwhile, and what it tells."""
    stop, told, failed = threading.Event(), [], []

    def work() -> None:
        try:
            run(job, stop=stop, tell=told.append)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield told
    finally:
        ended = not thread.is_alive()
        stop.set()
        thread.join()
        for line in [*told, *map(repr, failed), *(["it ended by itself"] if ended else [])]:
            print(f"the archiver: {line}")  # a test that waits in vain shows why
    if failed:
        raise failed[0]


def archiver_command(job: Job, state: Path, *more: str) -> subprocess.Popen[bytes]:
    """The command itself, to be killed."""
    assert job.source is not None
    words = ["log-archive", "run", "--name", job.name, "--source", job.source.url, "--repository", job.repository.url]
    words += ["--log-archive-max-lag", "1s", *more]
    words += ["--source-tools", job.source.tools] if job.source.tools else []
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "plugins" / "module_utils"), "DBFLEET_STATE_DIR": str(state)}
    return subprocess.Popen(
        [sys.executable, "-m", "dbfleet", *words], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
