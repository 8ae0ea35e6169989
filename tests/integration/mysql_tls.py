"""What every server of the MySQL family must show about TLS, with its own tools and with the driver."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from certificates import Authority
from conformance_jobs import made
from mysql_server import AnyServer, content

from dbfleet.errors import SourceError
from dbfleet.model import Job
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore


class Files(NamedTuple):
    """Of an authority, of another one, and of a server at 127.0.0.1."""

    authority: Path
    other: Path
    certificate: Path
    key: Path


@contextmanager
def certificates() -> Iterator[Files]:
    """In a folder that the server's user can read."""
    folder = Path(tempfile.mkdtemp(prefix="dbfleet-test-tls-"))
    folder.chmod(0o755)
    try:
        own = Authority("ours")
        certificate, key = own.issue(folder)
        key.chmod(0o644)
        other = Authority("another").write(folder / "other.pem")
        yield Files(own.write(folder / "ca.pem"), other, certificate, key)
    finally:
        shutil.rmtree(folder)


def check_tls(server: AnyServer, job: Job, files: Files, user: str = "root") -> None:
    """A backup and a restore of the database ``app`` in every mode; ``user`` gets in by TLS alone."""

    def at(database: str, query: str, host: str = "127.0.0.1") -> str:
        return f"{server.url(database, user)}?{query}".replace("127.0.0.1", host)

    def by(query: str, host: str = "127.0.0.1") -> Job:
        assert job.source is not None
        return replace(job, source=replace(job.source, url=at("app", query, host)))

    with pytest.raises(SourceError, match="refuses the login"):
        backup(by("ssl_mode=disabled"))
    for query in (
        "ssl_mode=required",
        f"ssl_mode=verify_ca&ssl_ca={files.authority}",
        f"ssl_mode=verify_identity&ssl_ca={files.authority}",
    ):
        name = f"app_{query.partition('&')[0].partition('=')[2]}"
        manifest = made(by(query))
        restore(by(query), manifest.id, to=at(name, query))
        assert content(server, name) == content(server, "app")
    with pytest.raises(SourceError, match="(?i)certificate") as caught:
        backup(by(f"ssl_mode=verify_ca&ssl_ca={files.other}"))
    assert caught.value.remedy
    with pytest.raises(SourceError, match="(?i)certificate|hostname"):
        backup(by(f"ssl_mode=verify_identity&ssl_ca={files.authority}", "localhost"))
