"""The servers of MySQL that these tests run with: for Windows, under Wine, unless ``TEST_MYSQL=native``.

With that, they are those that are installed.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
from mysql8_kinds import Mysql8
from mysql8_native import NativeServer
from mysql8_wine import WineServer

from dbfleet.model import Compression, Job, Limits, ProofPolicy, Repository, Source

__all__ = ["Mysql8"]

PATIENT = Limits(lock_wait=60, min_free="0")  # tools start slowly under Wine
KIND: type[Mysql8] = NativeServer if os.environ.get("TEST_MYSQL") == "native" else WineServer

# Debian's packages of the one keep out those of the other.
beside_mariadb = pytest.mark.skipif(shutil.which("mariadbd") is None, reason="no MariaDB beside this MySQL")

_server: list[Mysql8] = []


def another(settings: str = "") -> Mysql8:
    """A new server with ``settings`` of its own."""
    return KIND(settings)


def server() -> Mysql8:
    """The one server of this test process."""
    if not _server:
        _server.append(another())
    return _server[0]


def job_for(source: Source, tmp_path: Any, **more: Any) -> Job:
    """A patient job, whose artifacts are plain text."""
    proof = ProofPolicy(level="content")
    repository = Repository(str(tmp_path / "backups"))
    return Job("app", repository, source, proof=proof, limits=PATIENT, compression=Compression("none"), **more)
