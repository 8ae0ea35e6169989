"""The playbooks, run by the real ansible-playbook: here by the environment, and on a fleet of local hosts."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ansible_runs import PYTHON, Ansible, lay_out, make_database, rows_of

SECRET = "t0p:s3cr3t"


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("collections"))


@pytest.fixture
def ansible(tmp_path: Path, collections: Path) -> Ansible:
    return Ansible(tmp_path, collections)


def here(**more: str) -> dict[str, str]:
    """The environment of a user with one relative database and no other settings."""
    return {"DATABASE_URL": "sqlite:///data/app.db", **more}


def job(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """A job on a database in ``folder``."""
    return {
        "name": name,
        "source": {"url": f"sqlite:///{folder}/{name}.db"},
        "repository": {"url": f"file://{folder}/backups"},
        "compression": {"method": "gzip"},
        **more,
    }


def fleet(folder: Path, **hosts: dict[str, Any]) -> str:
    """An inventory of hosts that are all this machine."""
    inventory = {
        "all": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": PYTHON},
            "hosts": hosts,
        }
    }
    (folder / "inventory.json").write_text(json.dumps(inventory))
    return str(folder / "inventory.json")


def manifests(folder: Path) -> list[Path]:
    """The manifests of the backups in ``folder``, oldest first."""
    return sorted(folder.glob("*_backup_*.manifest.json"))


def spoil(folder: Path) -> str:
    """Flip a bit in the first artifact of the newest backup; returns its id."""
    manifest = json.loads(manifests(folder)[-1].read_text())
    artifact = folder / manifest["artifacts"][0]["file"]
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    return str(manifest["id"])


# --- here, by the environment --------------------------------------------------------------


def test_one_database_is_backed_up_listed_verified_and_restored_here(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "data/app.db")
    backed_up = ansible.playbook("dbfleet.recovery.backup", **here()).good()
    (manifest,) = manifests(tmp_path / "backups")
    backup = manifest.name[: -len(".manifest.json")]
    assert backup.startswith("app_backup_")
    assert backup in backed_up.output

    verified = ansible.playbook("dbfleet.recovery.verify", "-e", "dbfleet_level=restore", **here()).good()
    assert backup in verified.output
    listed = ansible.playbook("dbfleet.recovery.list", **here()).good()
    assert f"{backup} " in listed.output
    assert " good" in listed.output

    to = ("-e", "dbfleet_to=sqlite:///restored.db")
    planned = ansible.playbook("dbfleet.recovery.restore", *to, "--check", "--diff", **here()).good()
    assert f"+sqlite:///{tmp_path}/restored.db: {backup}" in planned.output
    assert not (tmp_path / "restored.db").exists()
    ansible.playbook("dbfleet.recovery.restore", *to, **here()).good()
    assert rows_of(tmp_path / "restored.db") == 100


def test_the_driver_in_an_applications_url_does_not_matter(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "data/app.db")
    here = {"DATABASE_URL": "sqlite+aiosqlite:///data/app.db"}
    ansible.playbook("dbfleet.recovery.backup", **here).good()
    to = ("-e", "dbfleet_to=sqlite+aiosqlite:///restored.db")
    ansible.playbook("dbfleet.recovery.restore", *to, **here).good()
    assert rows_of(tmp_path / "restored.db") == 100


def test_playbooks_of_a_checkout_work_by_their_path(ansible: Ansible, collections: Path, tmp_path: Path) -> None:
    make_database(tmp_path / "data/app.db")
    path = collections / "ansible_collections/dbfleet/recovery/playbooks/backup.yml"
    ansible.playbook(str(path), **here(BACKUP_DIR="kept/here")).good()
    assert len(manifests(tmp_path / "kept/here")) == 1


def test_old_backups_go_only_when_retention_days_says_so(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "data/app.db")
    without = ansible.playbook("dbfleet.recovery.backup", **here()).good()
    assert "kept" not in without.output
    with_days = ansible.playbook("dbfleet.recovery.backup", **here(RETENTION_DAYS="30")).good()
    assert "2 kept, 0 archived, 0 removed" in with_days.output
    wrong = ansible.playbook("dbfleet.recovery.backup", **here(RETENTION_DAYS="0"))
    assert wrong.code == 2
    assert "RETENTION_DAYS must be a whole number of days" in wrong.output
    assert len(manifests(tmp_path / "backups")) == 2


def test_check_mode_of_a_backup_makes_none(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "data/app.db")
    run = ansible.playbook("dbfleet.recovery.backup", "--check", **here()).good()
    assert "would be backed up" in run.output
    assert not (tmp_path / "backups").exists()


def test_without_a_database_the_playbook_says_what_to_set(ansible: Ansible) -> None:
    run = ansible.playbook("dbfleet.recovery.backup")
    assert run.code == 2
    assert "DATABASE_URL" in run.output


# --- a fleet -------------------------------------------------------------------------------


def test_what_fails_stops_nothing_else_and_is_told_at_the_end(ansible: Ansible, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_database(tmp_path / f"{name}.db")
    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = fleet(
        tmp_path,
        a_misspelt={"dbfleet_jobs": [job(tmp_path, "one", retension={"keep_last": 1})]},
        b_dead={"dbfleet_jobs": [job(tmp_path, "one")], **dead},
        c_half={
            "dbfleet_jobs": [
                job(tmp_path, "absent", retention={"keep_last": 1}),
                job(tmp_path, "one", retention={"keep_last": 1}),
                job(tmp_path, "remote", source={"url": f"postgresql://app:{SECRET}@127.0.0.1:1/app"}),
            ]
        },
        d_without={},
        e_good={"dbfleet_jobs": [job(tmp_path, "two")]},
    )
    run = ansible.playbook("dbfleet.recovery.backup", "-i", inventory, "-e", "dbfleet_serial=1", "-vvv")
    assert run.code == 2
    assert SECRET not in run.output
    assert [path.name.partition("_")[0] for path in manifests(tmp_path / "backups")] == ["one", "two"]
    failures = run.output[run.output.index("TASK [Fail where something failed]") :]
    assert "dbfleet_jobs has keys that no job has: retension" in failures
    assert "Connection refused" in failures
    assert "absent.db' does not exist" in failures
    recap = failures[failures.index("PLAY RECAP") :]
    assert [line.partition(" ")[0] for line in recap.splitlines() if "failed=1" in line] == [
        "a_misspelt",
        "b_dead",
        "c_half",
    ]
    assert "1 kept, 0 archived, 0 removed" in run.output


def test_a_fleet_without_any_job_is_an_error(ansible: Ansible, tmp_path: Path) -> None:
    run = ansible.playbook("dbfleet.recovery.backup", "-i", fleet(tmp_path, one={}, two={}))
    assert run.code == 2
    assert "No host of this play has a job" in run.output


def test_findings_of_all_hosts_fail_a_verification_at_the_end(ansible: Ansible, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_database(tmp_path / f"{name}.db")
    inventory = fleet(
        tmp_path,
        first={"dbfleet_jobs": [job(tmp_path, "one", repository={"url": f"file://{tmp_path}/bad"})]},
        second={"dbfleet_jobs": [job(tmp_path, "two")]},
    )
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    bad = spoil(tmp_path / "bad")
    run = ansible.playbook("dbfleet.recovery.verify", "-i", inventory, "-e", "dbfleet_backup=all")
    assert run.code == 2
    recap = run.output[run.output.index("PLAY RECAP") :]
    assert [line.partition(" ")[0] for line in recap.splitlines() if "failed=1" in line] == ["first"]
    assert run.output.count(bad) >= 2
    listed = ansible.playbook("dbfleet.recovery.list", "-i", inventory).good()
    states = {line.split()[1]: line.split()[-1].strip('",') for line in listed.output.splitlines() if "KiB" in line}
    assert sorted(states.values()) == ["bad", "good"]
    assert states[bad] == "bad"


def test_prune_shows_what_would_go_before_it_goes(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    inventory = fleet(tmp_path, first={"dbfleet_jobs": [job(tmp_path, "one", retention={"keep_last": 1})]})
    for _count in range(2):
        ansible.playbook("dbfleet.recovery.backup", "-i", inventory, "-e", "dbfleet_prune=false").good()
    old, new = manifests(tmp_path / "backups")
    planned = ansible.playbook("dbfleet.recovery.prune", "-i", inventory, "--check", "--diff").good()
    assert f"-{old.name[: -len('.manifest.json')]}" in planned.output
    assert manifests(tmp_path / "backups") == [old, new]
    ansible.playbook("dbfleet.recovery.prune", "-i", inventory).good()
    assert manifests(tmp_path / "backups") == [new]
    again = ansible.playbook("dbfleet.recovery.prune", "-i", inventory).good()
    assert "changed=0" in again.output


# --- restoring under an application --------------------------------------------------------


def application(folder: Path) -> dict[str, Any]:
    """An application whose stop and start leave a line in ``log``."""

    def note(word: str) -> list[str]:
        return ["sh", "-c", 'echo "$1" >> "$2"', "sh", word, str(folder / "log")]

    return {"stop": note("stop"), "start": note("start")}


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def test_the_application_is_stopped_for_a_restore_and_started_again(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    host = {"dbfleet_jobs": [job(tmp_path, "one")], "dbfleet_application": application(tmp_path)}
    inventory = fleet(tmp_path, first=host)
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    make_database(tmp_path / "other.db", rows=3).replace(tmp_path / "one.db")
    restore = ("dbfleet.recovery.restore", "-i", inventory, "-l", "first", "-e", "dbfleet_replace=true")

    planned = ansible.playbook(*restore, "--check", "--diff").good()
    assert "would restore one_backup_" in planned.output
    assert (log(tmp_path), rows_of(tmp_path / "one.db")) == ([], 3)

    done = ansible.playbook(*restore).good()
    assert (log(tmp_path), rows_of(tmp_path / "one.db")) == (["stop", "start"], 100)
    assert ", proven," in done.output


def test_a_restore_that_cannot_be_done_does_not_stop_the_application(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    host = {"dbfleet_jobs": [job(tmp_path, "one")], "dbfleet_application": application(tmp_path)}
    inventory = fleet(tmp_path, first=host)
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    refused = ansible.playbook("dbfleet.recovery.restore", "-i", inventory, "-l", "first")
    assert refused.code == 2
    absent = ansible.playbook(
        "dbfleet.recovery.restore",
        "-i",
        inventory,
        "-l",
        "first",
        "-e",
        "dbfleet_backup=one_backup_19990101_000000",
    )
    assert absent.code == 2
    assert log(tmp_path) == []


def test_the_application_is_started_again_when_the_restore_fails(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    host = {"dbfleet_jobs": [job(tmp_path, "one")], "dbfleet_application": application(tmp_path)}
    inventory = fleet(tmp_path, first=host)
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    spoil(tmp_path / "backups")
    make_database(tmp_path / "other.db", rows=3).replace(tmp_path / "one.db")
    run = ansible.playbook("dbfleet.recovery.restore", "-i", inventory, "-l", "first", "-e", "dbfleet_replace=true")
    assert run.code == 2
    assert log(tmp_path) == ["stop", "start"]
    assert rows_of(tmp_path / "one.db") == 3


def test_a_fleet_is_not_restored_by_accident(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    inventory = fleet(tmp_path, first={"dbfleet_jobs": [job(tmp_path, "one"), job(tmp_path, "two")]})
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory, "-e", "dbfleet_job=one").good()
    unnamed = ansible.playbook("dbfleet.recovery.restore", "-i", inventory, "-e", "dbfleet_replace=true")
    assert "first" not in unnamed.output
    ambiguous = ansible.playbook(
        "dbfleet.recovery.restore", "-i", inventory, "-l", "first", "-e", "dbfleet_replace=true"
    )
    assert ambiguous.code == 2
    assert "Say which job to restore" in ambiguous.output


def test_one_table_comes_back_and_the_others_stay(ansible: Ansible, tmp_path: Path) -> None:
    make_database(tmp_path / "one.db")
    inventory = fleet(tmp_path, first={"dbfleet_jobs": [job(tmp_path, "one")]})
    ansible.playbook("dbfleet.recovery.backup", "-i", inventory).good()
    make_database(tmp_path / "other.db", rows=3).replace(tmp_path / "one.db")
    with sqlite3.connect(tmp_path / "one.db") as live:
        live.execute("CREATE TABLE newer(x)")
    partial = ("dbfleet.recovery.partial_restore", "-i", inventory, "-l", "first", "-e", "dbfleet_replace=true")
    nothing = ansible.playbook(*partial)
    assert nothing.code == 2 and "Say which tables to restore" in nothing.output
    done = ansible.playbook(*partial, "-e", '{"dbfleet_tables": ["prompts"]}').good()
    assert "restored tables prompts of one_backup_" in done.output
    assert rows_of(tmp_path / "one.db") == 100
    with sqlite3.connect(tmp_path / "one.db") as live:
        assert live.execute("SELECT count(*) FROM newer").fetchall() == [(0,)]
