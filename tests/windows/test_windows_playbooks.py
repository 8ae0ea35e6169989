"""The playbooks on a stand-in for a Windows host: what they ask of it is done by the command there, under Wine."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from test_windows_roles import Host, rows


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("controller"))
    with closing(sqlite3.connect(host.database)) as database:
        database.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, title TEXT)")
        database.executemany("INSERT INTO prompts(title) VALUES (?)", [(f"tïtle {i}",) for i in range(3000)])
        database.commit()
    host.converge()
    yield host
    shutil.rmtree(host.drive)


def succeeds(host: Host, playbook: str, *options: str, **variables: Any) -> str:
    code, said = host.playbook(playbook, *options, **variables)
    assert code == 0, said
    return said


def manifests(host: Host) -> int:
    return len(list((host.drive / "backups").glob("*.manifest.json")))


def test_back_up_list_verify_and_restore(host: Host) -> None:
    expected = rows(host.database)
    said = succeeds(host, "backup", "--check")
    assert "would be backed up" in said and manifests(host) == 0
    said = succeeds(host, "backup")
    assert "backed up" in said and "1 kept, 0 archived, 0 removed" in said
    assert manifests(host) == 1
    assert "unproven" in succeeds(host, "list")
    assert "would be verified" in succeeds(host, "verify", "--check")
    assert " restore    good" in succeeds(host, "verify", dbfleet_level="restore")
    assert " good" in succeeds(host, "list")
    with closing(sqlite3.connect(host.database)) as database:
        database.execute("DELETE FROM prompts WHERE id > 5")
        database.commit()
    code, said = host.playbook("restore", "-l", "winhost")
    assert code != 0 and "dbfleet_replace" not in said and "replace" in said
    said = succeeds(host, "restore", "-l", "winhost", "--check", "--diff", dbfleet_replace=True)
    assert "what is there now" in said and len(rows(host.database)) == 5
    application: dict[str, Any] = {
        verb: ["cmd.exe", "/d", "/c", "mkdir", host.path(verb)] for verb in ("stop", "start")
    }
    application["service"] = "promptpilot"
    said = succeeds(host, "restore", "-l", "winhost", dbfleet_replace=True, dbfleet_application=application)
    assert host.remembers("services") == {"promptpilot": "started"}
    assert ", proven," in said and rows(host.database) == expected
    assert (host.drive / "stop").is_dir() and (host.drive / "start").is_dir()


def test_old_backups_are_pruned(host: Host) -> None:
    for _time in range(2):
        succeeds(host, "backup", dbfleet_prune=False)
    before = manifests(host)
    job = {**host.job, "retention": {"keep_last": 1}}
    said = succeeds(host, "prune", "--check", "--diff", dbfleet_jobs=[job])
    assert f"1 kept, 0 archived, {before - 1} removed" in said and manifests(host) == before
    succeeds(host, "prune", dbfleet_jobs=[job])
    assert manifests(host) == 1


def test_a_long_run_is_followed(host: Host) -> None:
    """Slowed down to some seconds, with a line every second."""
    job = {**host.job, "limits": {"bandwidth": "20K"}, "compression": {"method": "none"}}
    said = succeeds(host, "backup", dbfleet_jobs=[job], dbfleet_progress=1)
    assert re.search(r"^winhost: app: reading sqlite app, .*\d s", said, re.MULTILINE), said
    assert "backed up" in said


def test_what_is_wrong_is_one_line_and_stops_no_other_job(host: Host) -> None:
    nowhere = {**host.job, "name": "nowhere", "source": {"url": "sqlite:///C:/nowhere.db"}}
    code, said = host.playbook("backup", dbfleet_jobs=[nowhere, host.job])
    said = " ".join(said.split())
    assert code != 0 and "nowhere: database file" in said and "does not exist" in said
    assert "backed up" in said
    relative = {**host.job, "source": {"url": "sqlite:///data/app.db"}}
    code, said = host.playbook("backup", dbfleet_jobs=[relative])
    assert code != 0 and "is relative" in said


def test_what_no_job_protects_is_found(host: Host) -> None:
    """By what files begin with, whatever the case of the job's path."""
    forgotten = host.database.with_name("forgotten.dat")
    shutil.copyfile(host.database, forgotten)
    odd = {**host.job, "source": {"url": host.job["source"]["url"].replace("app.db", "APP.DB")}}
    places = {"dbfleet_coverage_paths": [host.path()], "dbfleet_coverage_strict": True}
    code, said = host.playbook("coverage", dbfleet_jobs=[odd], **places)
    assert code != 0 and f"no job protects {host.path('data', 'forgotten.dat')}" in " ".join(said.split())
    assert re.search(r"UNPROTECTED sqlite +\S+forgotten.dat", said) and re.search(r"app\.db by app\b", said), said
    forgotten.unlink()
    said = succeeds(host, "coverage", dbfleet_jobs=[odd], dbfleet_coverage_paths=[host.path()])
    assert "UNPROTECTED" not in said


def test_a_damaged_backup_is_found(host: Host) -> None:
    succeeds(host, "backup", dbfleet_prune=False)
    artifact = max((host.drive / "backups").glob("app_backup_*.db*"))
    artifact.write_bytes(artifact.read_bytes()[:-1])
    code, said = host.playbook("verify")
    assert code != 0 and artifact.name in said and "BAD" in said
    artifact.unlink()
    artifact.with_name(artifact.name.partition(".")[0] + ".manifest.json").unlink()


def test_a_host_without_the_command_says_what_to_do(host: Host) -> None:
    code, said = host.playbook("backup", dbfleet_command="C:\\nowhere\\dbfleet.bat")
    said = " ".join(said.split())
    assert code != 0 and "could not be started on this host" in said and "playbook site.yml" in said


def test_a_password_in_a_url_is_not_shown(host: Host) -> None:
    source = {"url": "postgresql://me:a%20secret@127.0.0.1:1/app"}
    code, said = host.playbook("backup", "-vvv", dbfleet_jobs=[{**host.job, "source": source}])
    assert code != 0 and "secret" not in said
