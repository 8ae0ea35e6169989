"""A copy from one SFTP server to another one, which lets in other keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sftp_server import SftpServer
from sftp_server import server as sftp_server
from unit.samples import make_manifest, moment, store_backup

from dbfleet.catalog import read_catalog
from dbfleet.cli import main
from dbfleet.errors import DbfleetError
from dbfleet.model import Job, Login, Repository
from dbfleet.operations.lookup import open_repository
from dbfleet.operations.sync import sync


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[SftpServer, SftpServer]]:
    with sftp_server() as here, sftp_server() as there:
        yield here, there


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, agent or known host of the person who runs the tests."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def asked(servers: tuple[SftpServer, SftpServer], tmp_path: Path) -> Job:
    """A job with one backup at the first server."""
    found = Job("app", Repository(servers[0].url(tmp_path.name), **servers[0].access()))
    store = open_repository(found)
    store.prepare()
    store_backup(store, make_manifest(moment()))
    return found


def test_the_other_server_gets_a_login_of_its_own(
    servers: tuple[SftpServer, SftpServer], asked: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = servers
    to = there.url(f"{tmp_path.name}-copy")
    with pytest.raises(DbfleetError, match="is not known"):
        sync(asked, to)
    login = Login(**there.access())
    assert len(sync(asked, to, login=login).copied) == 1
    copied = read_catalog(there.store(f"{tmp_path.name}-copy"), asked.name).manifests
    assert list(copied) == list(read_catalog(open_repository(asked), asked.name).manifests)
    words = [
        "sync",
        f"--name={asked.name}",
        f"--repository={asked.repository.url}",
        f"--repository-identity-file={asked.repository.identity_file}",
        f"--repository-known-hosts-file={asked.repository.known_hosts_file}",
        f"--to={to}",
        f"--to-identity-file={login.identity_file}",
        f"--to-known-hosts-file={login.known_hosts_file}",
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["synced"]["present"] == 1


def test_with_one_of_its_own_nothing_of_the_jobs_login_is_used_there(
    servers: tuple[SftpServer, SftpServer], asked: Job
) -> None:
    """The job's known hosts have the first server alone, and are not those of the copy, but neither is its key."""
    here, _there = servers
    with pytest.raises(DbfleetError, match="login|no key|authentication"):
        sync(asked, here.url("elsewhere"), login=Login(known_hosts_file=here.known_hosts()))
