"""Installed jobs: a file that somebody else could have written, or that says two things, is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dbfleet.errors import NotFoundError, UsageError
from dbfleet.jobfiles import installed_jobs, jobs_folder, read_job_file

JOB = {"source": {"url": "sqlite:////srv/app.db"}, "repository": {"url": "/backups"}}


class Host:
    """A host with job files."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"DBFLEET_CONFIG_DIR": str(folder)}
        self.folder = folder / "jobs.d"
        self.folder.mkdir()

    def install(self, name: str, job: Any, mode: int = 0o640) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(job if isinstance(job, str) else json.dumps(job), encoding="utf-8")
        path.chmod(mode)
        return path

    def refusal(self, name: str) -> UsageError:
        with pytest.raises(UsageError) as caught:
            read_job_file(name, self.environ)
        return caught.value


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_job_is_named_after_its_file(host: Host) -> None:
    host.install("app", JOB)
    assert read_job_file("app", host.environ) == {
        "name": "app",
        "source.url": "sqlite:////srv/app.db",
        "repository.url": "/backups",
    }


def test_errors_say_in_which_file(host: Host) -> None:
    path = host.install("app", {**JOB, "compression": {"levl": 3}})
    assert host.refusal("app").message == f"compression.levl in {path} is no key of a job"


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_write_is_refused(host: Host, mode: int) -> None:
    host.install("app", JOB, mode)
    assert "can be written by others" in host.refusal("app").message


def test_a_file_of_another_user_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = host.install("app", JOB).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # a file of root is everybody's to read, so it is given to somebody else
        os.chown(host.folder / "app.json", 65534, -1)
    assert "another user" in host.refusal("app").message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"app"',
        "null",
        "\xff",
        '{"name": "other"}',
        '{"method": "logical", "method": "physical"}',
    ],
)
def test_a_file_that_is_no_job_is_refused(host: Host, text: str) -> None:
    path = host.install("app", "")
    path.write_bytes(text.encode("latin-1"))
    assert str(path) in host.refusal("app").message


@pytest.mark.parametrize("name", ["../app", "/etc/passwd", "App", "", "-x"])
def test_a_name_never_leaves_the_folder(host: Host, name: str) -> None:
    assert "cannot name a job" in host.refusal(name).message


def test_a_missing_job_is_answered_with_those_that_are_there(host: Host) -> None:
    host.install("billing", JOB)
    host.install("app", JOB)
    (host.folder / "README").write_text("")
    (host.folder / ".hidden.json").write_text("")
    assert installed_jobs(host.environ) == ["app", "billing"]
    with pytest.raises(NotFoundError, match="installed: app, billing"):
        read_job_file("ap", host.environ)


def test_a_host_without_jobs(tmp_path: Path) -> None:
    environ = {"DBFLEET_CONFIG_DIR": str(tmp_path / "none")}
    assert installed_jobs(environ) == []
    with pytest.raises(NotFoundError, match="installed: none"):
        read_job_file("app", environ)


def test_the_folder_of_this_host() -> None:
    assert jobs_folder({}) == "/etc/dbfleet/jobs.d"
    assert jobs_folder({"DBFLEET_CONFIG_DIR": "/x"}) == "/x/jobs.d"
