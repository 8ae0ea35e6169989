"""What the modules for Windows do to a host, done to the drive C: of Wine.

Files and programs are real: a role's files are there for the programs that then run under Wine. What Wine does not have
(access lists, accounts, rights, the Task Scheduler) is written down in a file, with the refusals of the real modules:
a path, an account or a group that is not there. Options are held against those that the real modules document.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import yaml
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display

DRIVE = Path(os.environ["STAND_IN_DRIVE"])
STATE = Path(os.environ["STAND_IN_STATE"])
DOCUMENTED = Path(os.environ["STAND_IN_DOCUMENTED"])
KNOWN_BY_NUMBER = ("S-1-5-18", "S-1-5-32-544")
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
NO_CHECK_MODE = ("win_acl", "win_command")


# Runs a program to its end, and says its exit code last.
DETACHED = """
import os, subprocess, sys
with open("in", "rb") as given:
    done = subprocess.run(sys.argv[1:], input=given.read(), capture_output=True)
for name, data in (("out", done.stdout), ("err", done.stderr), ("code.new", str(done.returncode).encode())):
    with open(name, "wb") as file:
        file.write(data)
os.rename("code.new", "code")
"""


def ended(code: int, out: str, err: str) -> dict[str, Any]:
    """What ``win_command`` returns."""
    result = {"changed": True, "rc": code, "stdout": out, "stderr": err}
    return {**result, **({"failed": True, "msg": "non-zero return code"} if code else {})}


class Refused(Exception):
    """What a real module would say."""


def place(path: str) -> Path:
    """Where a path of Windows is here."""
    found = re.fullmatch(r"[Cc]:\\(.*)", path)
    if not found or "/" in path:
        raise Refused(f"{path} is no absolute path of Windows")
    return DRIVE.joinpath(*found[1].rstrip("\\").split("\\"))


def remembered() -> dict[str, Any]:
    """What was done that Wine cannot do."""
    empty: dict[str, Any] = {
        "acls": [],
        "inherits": [],
        "users": {},
        "groups": {},
        "rights": {},
        "tasks": {},
        "services": {},
    }
    return {**empty, **(json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {})}


def check_options(name: str, options: dict[str, Any]) -> None:
    """That the real module documents these options and their values."""
    [file] = DOCUMENTED.glob(f"*/windows/plugins/modules/{name}.py")
    found = re.search(r"DOCUMENTATION = r?('''|\"\"\")(.*?)\1", file.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    known = yaml.safe_load(found[2])["options"]
    if name == "win_template":  # its options stand in a fragment of documentation
        known = dict.fromkeys(("src", "dest", "newline_sequence"), {})
    for option, value in options.items():
        if option not in known:
            raise Refused(f"{name} has no option {option}")
        choices = known[option].get("choices")
        if choices and value not in choices:
            raise Refused(f"{option} of {name} is none of {choices}: {value}")
        kind = {"list": list, "dict": dict, "bool": bool}.get(known[option].get("type", "str"), str)
        if not isinstance(value, kind):
            raise Refused(f"{option} of {name} is no {kind.__name__}: {value!r}")
    missing = [option for option, says in known.items() if says.get("required") and option not in options]
    if missing:
        raise Refused(f"{name} needs {', '.join(missing)}")


class ActionModule(ActionBase):
    """Does what the module of the task's name would do."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """As of any action plugin."""
        name = self._task.action.rpartition(".")[2]
        options = dict(self._task.args)
        self.dry, self.task_vars = self._task.check_mode, task_vars
        self.memory = remembered()
        try:
            if name != "async_status":
                check_options(name, options)
            if self.dry and name in NO_CHECK_MODE:
                return {"skipped": True, "msg": f"{name} does not support check mode", "changed": False}
            result: dict[str, Any] = getattr(self, "_" + name)(**options)
        except Refused as refused:
            return {"failed": True, "msg": str(refused), "changed": False}
        if not self.dry and self.memory != remembered():
            STATE.write_text(json.dumps(self.memory), encoding="utf-8")
        Display().vv(f"{name}: {result}")
        return {"changed": False, **result}

    # --- files ---

    def _win_file(self, path: str, state: str) -> dict[str, Any]:
        there = place(path)
        if state == "absent":
            changed = there.exists()
            if changed and not self.dry:
                shutil.rmtree(there) if there.is_dir() else there.unlink()
            return {"changed": changed}
        changed = state == "touch" or not there.is_dir()
        if not self.dry and state == "directory":
            there.mkdir(parents=True, exist_ok=True)
        elif not self.dry:
            there.touch()
        return {"changed": changed}

    def _write(self, dest: str, data: bytes) -> dict[str, Any]:
        there = place(dest)
        changed = not there.exists() or there.read_bytes() != data
        if changed and not self.dry:
            if not there.parent.is_dir():
                raise Refused(f"Destination directory '{there.parent}' does not exist")
            there.write_bytes(data)
            # Python's slurp, which runs in the place of the one for Windows, finds the file by this name.
            name = Path(self._loader.get_basedir()) / dest
            if not name.is_symlink():
                name.symlink_to(there)
        return {"changed": changed}

    def _win_copy(self, dest: str, content: str | None = None, src: str | None = None) -> dict[str, Any]:
        if content is not None:
            return self._write(dest, content.encode())
        assert src is not None
        return self._write(dest, Path(self._find_needle("files", src)).read_bytes())

    def _win_template(self, src: str, dest: str, newline_sequence: str) -> dict[str, Any]:
        text = self._loader.get_text_file_contents(self._find_needle("templates", src))
        with self._templar.set_temporary_context(available_variables=self.task_vars):
            made = str(self._templar.template(trust_as_template(text), preserve_trailing_newlines=True))
        return self._write(dest, made.replace("\n", newline_sequence).encode())

    def _win_stat(self, path: str, get_checksum: bool) -> dict[str, Any]:
        return {"stat": {"exists": place(path).exists()}}

    def _win_find(self, paths: list[str], patterns: list[str], get_checksum: bool) -> dict[str, Any]:
        found = [
            {"path": f"{path}\\{one.name}"}
            for path in paths
            for one in sorted(place(path).iterdir() if place(path).is_dir() else [])
            if one.is_file() and any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)
        ]
        return {"files": found, "matched": len(found)}

    # --- programs ---

    def _win_command(self, argv: list[str], stdin: str = "") -> dict[str, Any]:
        program = argv[0]
        if "\\" in program and not place(program).exists() or program == "py.exe":
            raise Refused("The system cannot find the file specified")
        if self._task.async_val:
            return self._detached(argv, stdin)
        done = subprocess.run(["wine", *argv], capture_output=True, text=True, input=stdin, check=False)
        return ended(done.returncode, done.stdout, done.stderr)

    def _detached(self, argv: list[str], stdin: str) -> dict[str, Any]:
        """As with ``async``: it is started, and asked for by ``async_status``."""
        folder = Path(tempfile.mkdtemp(dir=STATE.parent))
        (folder / "in").write_text(stdin, encoding="utf-8")
        line = [sys.executable, "-c", DETACHED, *("wine", *argv)]
        subprocess.Popen(line, cwd=folder, start_new_session=True, stdin=subprocess.DEVNULL)
        return {"ansible_job_id": folder.name, "started": 1, "finished": 0, "results_file": str(folder)}

    def _async_status(self, jid: str, mode: str = "status") -> dict[str, Any]:
        folder = STATE.parent / jid
        if mode == "cleanup":
            shutil.rmtree(folder)
            return {"erased": str(folder)}
        if not (folder / "code").exists():
            return {"ansible_job_id": jid, "started": 1, "finished": 0}
        out, err = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return {**ended(int((folder / "code").read_text()), out, err), "ansible_job_id": jid, "finished": 1}

    # --- who may do what ---

    def _account(self, name: str) -> None:
        if name not in (*KNOWN_BY_NUMBER, *self.memory["users"], *self.memory["groups"]):
            raise Refused(f"the user or group {name} could not be found")

    def _win_service(self, name: str, state: str) -> dict[str, Any]:
        changed = self.memory["services"].get(name) != state
        self.memory["services"][name] = state
        return {"changed": changed}

    def _win_group(self, name: str, state: str = "present", description: str = "") -> dict[str, Any]:
        return self._there("groups", name, state, description)

    def _win_user(self, name: str, state: str = "present", **options: Any) -> dict[str, Any]:
        for group in options.get("groups", []):
            if not self.dry:
                self._account(group)
        return self._there("users", name, state, options.get("groups"))

    def _there(self, kind: str, name: str, state: str, value: Any) -> dict[str, Any]:
        before = json.dumps(self.memory[kind], sort_keys=True)
        if state == "absent":
            self.memory[kind].pop(name, None)
        else:
            self.memory[kind][name] = value
        return {"changed": before != json.dumps(self.memory[kind], sort_keys=True)}

    def _win_user_right(self, name: str, users: list[str], action: str) -> dict[str, Any]:
        before = self.memory["rights"].get(name, [])
        for user in users:
            self._account(user)
        after = sorted({*before, *users} if action == "add" else {*before} - {*users})
        self.memory["rights"][name] = after
        return {"changed": before != after}

    def _exists(self, path: str) -> None:
        if not place(path).exists():
            raise Refused(f"{path} file or directory does not exist on the host")

    def _win_acl(self, path: str, user: str, type: str, rights: str) -> dict[str, Any]:
        self._exists(path)
        self._account(user)
        entry = [path, user, type, rights]
        changed = entry not in self.memory["acls"]
        self.memory["acls"] += [entry] if changed else []
        return {"changed": changed}

    def _win_acl_inheritance(self, path: str, state: str, reorganize: bool) -> dict[str, Any]:
        self._exists(path)
        changed = path not in self.memory["inherits"]
        if not any(entry[0] == path and entry[1] == KNOWN_BY_NUMBER[1] for entry in self.memory["acls"]):
            raise Refused(f"nobody could open {path} any more")
        self.memory["inherits"] += [path] if changed else []
        return {"changed": changed}

    # --- tasks ---

    def _win_powershell(self, script: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Of the one script there is, what it says of itself: PowerShell is not here."""
        if "Register-ScheduledTask" not in script or set(parameters) != set(re.findall(r"\] \$([A-Z]\w+)", script)):
            raise Refused(f"no such script, or not its parameters: {sorted(parameters)}")
        wanted, tasks = parameters["Wanted"], self.memory["tasks"]
        surplus = [name for name in tasks if name not in wanted]
        changed = [name for name, xml in wanted.items() if name not in tasks or version(tasks[name]) != version(xml)]
        for name in surplus:
            del tasks[name]
        tasks.update({name: wanted[name] for name in changed})
        return {"changed": bool(surplus or changed)}

    def _win_scheduled_task_stat(self, path: str) -> dict[str, Any]:
        names = list(self.memory["tasks"])
        return {"folder_exists": bool(names), "folder_task_count": len(names), "folder_task_names": names}


def version(xml: str) -> str:
    """By which the script knows a task again."""
    return Xml.fromstring(xml.encode("utf-16")).findtext(f"{TASK}RegistrationInfo/{TASK}Version", "")
