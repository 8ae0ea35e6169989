"""The roles on a stand-in for a Windows host, and what they leave there, run under Wine as the Task Scheduler would.

The drive of the host is that of Wine, and its programs run; what the modules for Windows do besides is written down
(stand_in_modules.py). That a real Windows takes the access lists, the accounts and the tasks was not seen.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WINDOWS = ROOT / "build" / "windows"
DRIVE = WINDOWS / "prefix" / "drive_c"
COLLECTIONS = ROOT / ".venv" / "collections"
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
STAND_INS = {
    "ansible": (
        "win_acl win_acl_inheritance win_command win_copy win_file win_find win_group win_powershell win_stat "
        "win_service win_template win_user win_user_right"
    ).split(),
    "community": ["win_scheduled_task_stat"],
}
# Starts a program with its command line as it is, which wine itself would put together anew.
STARTER = """
import subprocess, sys
with open(sys.argv[1], encoding="utf-8") as file:
    sys.exit(subprocess.run(file.read(), cwd=sys.argv[2]).returncode)
"""


class Host:
    """A host whose drive C: is a folder of Wine's, and a controller that runs roles on it."""

    def __init__(self, folder: Path) -> None:
        self.controller = folder
        self.name = f"t{os.getpid()}"
        self.drive = DRIVE / self.name
        (self.drive / "data").mkdir(parents=True)
        (self.drive / "Program Files").mkdir()
        (self.drive / "ProgramData").mkdir()
        self.python = self.path("Python & co", "python.exe")
        (self.drive / "Python & co").symlink_to(WINDOWS / "python")
        for namespace, names in STAND_INS.items():
            plugins = folder / "ansible_collections" / namespace / "windows" / "plugins" / "action"
            plugins.mkdir(parents=True)
            for name in names:
                shutil.copy(Path(__file__).with_name("stand_in_modules.py"), plugins / f"{name}.py")
        (folder / "actions").mkdir()
        shutil.copy(Path(__file__).with_name("stand_in_modules.py"), folder / "actions" / "async_status.py")
        self.database = self.drive / "data" / "app.db"
        self.dbfleet = self.path("ProgramData", "dbfleet")
        self.job: dict[str, Any] = {
            "name": "app",
            "source": {"url": "sqlite:///" + self.path("data", "app.db").replace("\\", "/")},
            "repository": {"url": "file:///" + self.path("backups").replace("\\", "/")},
            "retention": {"keep_last": 3},
        }
        self.variables: dict[str, Any] = {
            "ansible_python_interpreter": sys.executable,  # of what stands in for slurp
            "agent_python": self.python,
            "agent_jobs": [self.job],
            "agent_secrets": {"app": "a secret"},
            "schedule_jobs": ["app"],
            "schedule_window": "1h",
        }

    def path(self, *parts: str) -> str:
        """A path of Windows."""
        return "\\".join(["C:", self.name, *parts])

    def play(self, *options: str, role: str = "both", **variables: Any) -> tuple[int, str]:
        """Run the roles; the exit code, and what was said."""
        names = {"both": ["agent", "schedule"]}.get(role, [role])
        facts = {
            "os_family": "Windows",
            "system": "Win32NT",
            "env": {"ProgramData": self.path("ProgramData"), "ProgramFiles": self.path("Program Files")},
        }
        tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {**facts, "cacheable": True}}]
        tasks += [{"ansible.builtin.include_role": {"name": f"dbfleet.recovery.{name}"}} for name in names]
        play = {"hosts": "all", "gather_facts": False, "vars": {**self.variables, **variables}, "tasks": tasks}
        (self.controller / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
        return self._ansible("play.yml", *options)

    def playbook(self, name: str, *options: str, **variables: Any) -> tuple[int, str]:
        """Run a playbook of the collection, with a connection that says that it is one to Windows."""
        given = {
            "ansible_shell_type": "powershell",
            "dbfleet_command": self.path("Program Files", "dbfleet", "dbfleet.bat"),
            "dbfleet_jobs": [self.job],
            **variables,
        }
        (self.controller / "variables.json").write_text(json.dumps(given), encoding="utf-8")
        return self._ansible(f"dbfleet.recovery.{name}", "-e", "@variables.json", *options)

    def _ansible(self, playbook: str, *options: str) -> tuple[int, str]:
        environ = {
            **os.environ,
            "ANSIBLE_ACTION_PLUGINS": str(self.controller / "actions"),
            "ANSIBLE_COLLECTIONS_PATH": f"{self.controller}:{COLLECTIONS}",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "STAND_IN_DOCUMENTED": str(COLLECTIONS / "ansible_collections"),
            "STAND_IN_DRIVE": str(DRIVE),
            "STAND_IN_STATE": str(self.controller / "host.json"),
        }
        ansible = Path(sys.executable).with_name("ansible-playbook")
        line = [str(ansible), "-i", "winhost,", "-c", "local", playbook, *options]
        done = subprocess.run(line, cwd=self.controller, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def converge(self, **variables: Any) -> str:
        """Run the roles, which have to succeed."""
        code, said = self.play(**variables)
        assert code == 0, said
        return said

    def remembers(self, kind: str) -> Any:
        """What the stand-ins wrote down."""
        return json.loads((self.controller / "host.json").read_text(encoding="utf-8"))[kind]

    def fires(self, task: str) -> int:
        """Do what the Task Scheduler does with a task when its time has come."""
        root = Xml.fromstring(self.remembers("tasks")[task].encode("utf-16"))
        program, arguments, folder = (
            root.findtext(f"{TASK}Actions/{TASK}Exec/{TASK}{name}", "")
            for name in ("Command", "Arguments", "WorkingDirectory")
        )
        assert program == r"%SystemRoot%\System32\cmd.exe"
        line = self.controller / "line.txt"
        line.write_text(f"cmd.exe {arguments}", encoding="utf-8")
        argv = ["wine", str(WINDOWS / "python" / "python.exe"), "-c", STARTER, f"Z:{line}", folder]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Somebody types the command."""
        argv = ["wine", "cmd.exe", "/d", "/c", self.path("Program Files", "dbfleet", "dbfleet.bat"), *words]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def log(self, task: str) -> str:
        """What its last run said."""
        return (self.drive / "ProgramData/dbfleet/state/scheduled" / f"{task}.log").read_text(encoding="utf-8")


def rows(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM prompts ORDER BY id").fetchall()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    host = Host(tmp_path_factory.mktemp("controller"))
    with closing(sqlite3.connect(host.database)) as database:
        database.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, title TEXT)")
        database.executemany("INSERT INTO prompts(title) VALUES (?)", [(f"tïtle {i}",) for i in range(300)])
        database.commit()
    yield host
    shutil.rmtree(host.drive)


def test_check_mode_says_and_does_nothing(host: Host) -> None:
    before = sorted(host.drive.rglob("*"))
    code, said = host.play("--check", "--diff")
    assert code == 0, said
    assert "changed=0" not in said
    assert sorted(host.drive.rglob("*")) == before
    assert not (host.controller / "host.json").exists()
    assert "a secret" not in said


def test_a_host_is_set_up_once(host: Host) -> None:
    said = host.converge()
    assert "a secret" not in said
    assert "changed=0" in host.converge()
    assert (host.drive / "ProgramData/dbfleet/secrets/app").read_text(encoding="utf-8") == "a secret\n"
    assert set(host.remembers("tasks")) == {"dbfleet-backup-app", "dbfleet-verify-app", "dbfleet-prune-app"}
    assert host.remembers("rights")["SeBatchLogonRight"] == ["dbfleet"]
    acls = {(path, user): rights for path, user, _type, rights in host.remembers("acls")}
    assert acls[host.dbfleet, "dbfleet"] == "ReadAndExecute"
    assert acls[host.dbfleet + r"\state\audit.jsonl", "dbfleet"] == "Read, Write"
    assert acls[host.path("backups"), "dbfleet"] == "Modify"
    # Nobody but these reads secrets and backups.
    assert set(host.remembers("inherits")) == {host.dbfleet, host.path("backups")}
    assert {user for _path, user in acls} == {"dbfleet", "S-1-5-18", "S-1-5-32-544"}


def test_what_the_scheduler_runs_backs_up_and_what_it_made_comes_back(host: Host) -> None:
    expected = rows(host.database)
    assert host.fires("dbfleet-backup-app") == 0, host.log("dbfleet-backup-app")
    assert host.fires("dbfleet-verify-app") == 0, host.log("dbfleet-verify-app")
    assert host.fires("dbfleet-prune-app") == 0, host.log("dbfleet-prune-app")
    assert "app_backup_" in host.log("dbfleet-backup-app")
    with closing(sqlite3.connect(host.database)) as database:
        database.execute("DELETE FROM prompts WHERE id > 5")
        database.commit()
    done = host.types("restore", "latest", "--job", "app", "--replace")
    assert done.returncode == 0, done.stderr
    assert rows(host.database) == expected
    audit = (host.drive / "ProgramData/dbfleet/state/audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["verb"] for line in audit} >= {"backup", "restore", "prune"}


def test_a_run_that_fails_shows_in_its_exit_code_and_in_its_log(host: Host) -> None:
    away = host.database.with_name("away.db")
    host.database.rename(away)
    assert host.fires("dbfleet-backup-app") == 1
    assert "does not exist" in host.log("dbfleet-backup-app")
    away.rename(host.database)
    assert host.types("backup", "--job", "nowhere").returncode in (1, 2)


def test_a_job_that_the_command_refuses_stops_no_other_one(host: Host) -> None:
    before = (host.drive / "ProgramData/dbfleet/jobs.d/app.json").read_bytes()
    bad = {**host.job, "retntion": {}}
    code, said = host.play(agent_jobs=[bad, {**host.job, "name": "second"}], role="agent")
    assert code != 0
    assert "retntion" in said and "retention" in said
    assert (host.drive / "ProgramData/dbfleet/jobs.d/app.json").read_bytes() == before
    assert (host.drive / "ProgramData/dbfleet/jobs.d/second.json").exists()
    host.converge(agent_only_these_jobs=True)
    assert not (host.drive / "ProgramData/dbfleet/jobs.d/second.json").exists()
    assert "changed=0" in host.converge(agent_only_these_jobs=True)


def test_an_upgrade_keeps_the_version_before(host: Host) -> None:
    library = host.drive / "Program Files/dbfleet"
    [first] = library.glob("dbfleet-*.pyz")
    names = [first.name]
    for number in range(2):
        newer = host.controller / f"newer{number}.pyz"
        newer.write_bytes(b"#!/usr/bin/env python3\n" + b"#\n" * (number + 1) + first.read_bytes())
        host.converge(agent_pyz=str(newer))
        names = sorted(path.name for path in library.glob("dbfleet-*.pyz"))
        assert len(names) == 2 and (first.name in names) == (number == 0)
        compiled = {path.name.partition(".pyz.")[0] + ".pyz" for path in library.glob("dbfleet-*.pyz.*")}
        assert compiled == set(names)
    host.variables["agent_pyz"] = str(newer)
    assert host.fires("dbfleet-backup-app") == 0, host.log("dbfleet-backup-app")


def test_what_is_not_asked_for_any_more_goes_and_backups_stay(host: Host) -> None:
    code, said = host.play(role="agent", agent_state="absent")
    assert code != 0 and "still has schedules" in said
    host.converge(schedule_jobs=[{"name": "app", "verify": "", "prune": ""}])
    assert set(host.remembers("tasks")) == {"dbfleet-backup-app"}
    code, said = host.play(role="schedule", schedule_state="absent")
    assert code == 0 and host.remembers("tasks") == {}, said
    code, said = host.play(role="agent", agent_state="absent", agent_purge=True)
    assert code == 0, said
    assert not (host.drive / "Program Files/dbfleet").exists()
    assert not (host.drive / "ProgramData/dbfleet").exists()
    assert host.remembers("users") == host.remembers("groups") == {}
    assert list((host.drive / "backups").glob("app_backup_*.manifest.json"))


@pytest.mark.parametrize(
    ("role", "variables", "said"),
    [
        ("agent", {"agent_python": "C:\\nowhere\\python.exe"}, "does not start"),
        ("agent", {"agent_jobs": [{"name": "Bad Name"}]}, "agent_jobs must be a list of jobs"),
        ("schedule", {"schedule_jobs": ["nowhere"]}, "These jobs are not installed: nowhere"),
        ("schedule", {"schedule_jobs": [], "schedule_kind": "cron"}, "Windows has no cron"),
    ],
)
def test_bad_variables_get_one_line(host: Host, role: str, variables: dict[str, Any], said: str) -> None:
    code, text = host.play(role=role, **variables)
    assert code != 0
    assert said in " ".join(text.split())
