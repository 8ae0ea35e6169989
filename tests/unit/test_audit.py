"""Promise 8: every action that touches backups leaves an entry, or is not done; no entry is lost unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from unit.samples import job

from dbfleet import host
from dbfleet.audit import AuditError, audited
from dbfleet.errors import RepositoryError
from dbfleet.urls import without_credentials


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state" / "audit.jsonl"


def entries(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def is_unbroken(log: Path) -> bool:
    lines = log.read_bytes().split(b"\n")[:-1]
    expected = [None, *(sha256(line).hexdigest() for line in lines)]
    return [json.loads(line)["previous"] for line in lines] == expected[:-1]


def test_an_action_is_recorded_before_and_after(log, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "alice")
    with audited("prune", job(url="s3://key:secret@bucket/path?token=x")) as action:
        assert [entry["result"] for entry in entries(log)] == ["begun"]
        action.note("removed", ["b1"], rule="keep_last 1")
        action.backups.append("b1")
    begun, removed, done = entries(log)
    assert [entry["result"] for entry in (begun, removed, done)] == ["begun", "removed", "done"]
    assert {entry["run"] for entry in (begun, removed, done)} == {begun["run"]}
    assert (removed["rule"], done["backups"]) == ("keep_last 1", ["b1"])
    assert (done["verb"], done["job"], done["sudo_user"]) == ("prune", "app", "alice")
    assert done["repository"] == "s3://bucket/path"
    assert done["user"] == host.user_name()
    assert (done["pid"], done["host"]) == (os.getpid(), host.host_name())
    assert b"secret" not in log.read_bytes()
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700
    assert is_unbroken(log)


@pytest.mark.parametrize(
    ("error", "kind"), [(RepositoryError("x"), "repository"), (KeyboardInterrupt(), "KeyboardInterrupt")]
)
def test_a_failure_is_recorded_with_its_kind_and_goes_on(log, error, kind):
    with pytest.raises(type(error)), audited("backup", job()):
        raise error
    assert [(e["result"], e.get("error")) for e in entries(log)] == [("begun", None), ("failed", kind)]


def test_what_cannot_be_recorded_is_not_done(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "file"))
    done = []
    with pytest.raises(AuditError) as caught, audited("prune", job()):
        done.append(True)
    assert done == []
    assert "DBFLEET_STATE_DIR" in caught.value.remedy


def test_an_error_survives_a_log_that_can_no_longer_be_written(log):
    with pytest.raises(RepositoryError) as caught, audited("backup", job()):
        log.unlink()
        log.mkdir()
        raise RepositoryError("the disk is gone", "mount it")
    assert caught.value.message == "the disk is gone"
    assert "audit log" in caught.value.remedy


def test_an_entry_cut_off_by_a_crash_spoils_no_other(log):
    with audited("backup", job()):
        pass
    whole = log.read_bytes()
    log.write_bytes(whole[:-30])
    with audited("prune", job()):
        pass
    lines = log.read_bytes().splitlines()
    assert [json.loads(line)["verb"] for line in (lines[0], *lines[2:])] == ["backup", "prune", "prune"]
    assert json.loads(lines[2])["previous"] == sha256(lines[1]).hexdigest()


def test_a_link_in_the_logs_place_is_not_followed(log, tmp_path):
    log.parent.mkdir()
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError), audited("prune", job()):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_long_entries_keep_the_chain(log):
    with audited("sync", job()) as action:
        action.note("copied", [f"app_backup_{n:015}" for n in range(20_000)])
    assert is_unbroken(log)


def test_parallel_writers_lose_nothing(log):
    code = (
        "from dbfleet.audit import audited\nfrom dbfleet.model import Job, Repository\n"
        "for _ in range(10):\n    with audited('verify', Job('app', Repository('/r'))):\n        pass\n"
    )
    engine = Path(host.__file__).parent.parent
    environ = {**os.environ, "PYTHONPATH": str(engine)}
    writers = [subprocess.Popen([sys.executable, "-c", code], env=environ) for _writer in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert len(entries(log)) == 80
    assert is_unbroken(log)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://me:pw@host:22/a/b", "sftp://host:22/a/b"),
        ("s3://bucket/x?secret=1#f", "s3://bucket/x"),
        ("/srv/a@b?c", "/srv/a@b?c"),
        ("file:///srv/a%20b", "file:///srv/a%20b"),
        ("gs://a:b@c@bucket", "gs://bucket"),
    ],
)
def test_no_credentials_of_a_url_are_shown(url, shown):
    assert without_credentials(url) == shown


def test_the_state_folder_of_each_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert host.state_dir({}) == "/var/lib/dbfleet"
    assert host.state_dir({"DBFLEET_STATE_DIR": "/x/../y"}) == "/y"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host.state_dir({"XDG_STATE_HOME": "/state"}) == "/state/dbfleet"
    assert host.state_dir({"XDG_STATE_HOME": "relative"}).endswith("/.local/state/dbfleet")
