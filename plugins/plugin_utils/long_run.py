# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a module that can take hours: with ``async`` and ``poll`` it runs detached from the connection, and
every ``poll`` seconds a line says how far it is.

Ansible's own loop would look every ``poll`` seconds whether it has ended, so a short run would wait, and its lines
hold nothing but a number. Here the end is looked for more often, at the price of one small command.
"""

from __future__ import annotations

import itertools
import json
import shlex
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

from ansible.errors import AnsibleConnectionFailure

from .host_module import HostModule, Vars
from .requests import result_of

LOST = 300  # seconds without the host after which it counts as unreachable
GRACE = 30  # seconds that Ansible's own watcher on the host may take to end what is over its limit
Ended = Callable[[], Optional[dict[str, Any]]]  # the last result, once there is one


class LongRun(HostModule):
    """The action of a module that can take hours; its name is also what it calls its run."""

    def _on_posix(self, task_vars: Vars) -> dict[str, Any]:
        if self._task.check_mode:
            self._task.async_val = 0  # a plan takes no time, and Ansible knows no check mode of what runs with async
        limit, every = self._task.async_val, self._task.poll
        started: dict[str, Any] = self._execute_module(task_vars=task_vars, wrap_async=bool(limit))
        if not limit or not every or not started.get("results_file"):
            return started
        self._task.async_val = 0  # from here on it is followed here, not by Ansible
        file = shlex.quote(started["results_file"])
        ended = self._follow(lambda: self._result_in(file), limit, every, task_vars)
        if ended is None:
            return self._over(limit)
        self._low_level_execute_command(f"rm -f {file}")
        return self._result(ended, limit)

    def _answer(self, request: Vars, params: Vars, task_vars: Vars, limit: int) -> dict[str, Any]:
        every = self._task.poll
        if not limit or not every:
            return super()._answer(request, params, task_vars, 0)
        started = self._command(request, task_vars, limit)
        if not started.get("ansible_job_id"):
            return result_of(self.module, params, started)
        run = {"jid": started["ansible_job_id"]}
        ended = self._follow(lambda: self._status_of(run, task_vars), limit, every, task_vars)
        if ended is None:
            return self._over(limit)
        self._other("ansible.legacy.async_status", {**run, "mode": "cleanup"}, task_vars)
        return result_of(self.module, params, ended)

    def _follow(self, ended: Ended, limit: int, every: int, task_vars: Vars) -> Optional[dict[str, Any]]:
        """Wait until it has ended, telling how far it is; ``None`` when it takes too long."""
        began = told = heard = time.monotonic()
        for pause in _pauses(every):
            time.sleep(pause)
            now = time.monotonic()
            try:
                found = ended()
                if found is None and now - told >= every:
                    told = now
                    self._tell(task_vars)
                heard = time.monotonic()
            except AnsibleConnectionFailure:
                if time.monotonic() - heard > LOST:
                    raise
                self._line(task_vars, "the host cannot be reached; what runs there goes on")
                self._reconnect()
                continue
            if found is not None:
                return found
            if now - began > limit + GRACE:
                break
        return None

    def _result_in(self, file: str) -> Optional[dict[str, Any]]:
        """What the module returned, once it has; a result without ``started`` is the last one."""
        answer = self._low_level_execute_command(f"cat {file}")
        try:
            found = json.loads(answer["stdout"])
        except ValueError:  # being written, or gone
            return None
        return found if isinstance(found, dict) and "started" not in found else None

    def _status_of(self, run: Vars, task_vars: Vars) -> Optional[dict[str, Any]]:
        found = self._other("ansible.legacy.async_status", run, task_vars)
        return found if found.get("finished") else None

    def _result(self, ended: dict[str, Any], limit: int) -> dict[str, Any]:
        if "child_pid" in ended:  # Ansible's watcher has killed it
            return self._over(limit)
        if ended.get("failed") and "cmd" in ended:  # it ended without a result
            ended["msg"] = (
                f"the {self.module} ended without a result: its process was killed, for example for want of memory. "
                "Look into the log of the host; what was left behind is swept by the next run"
            )
        ended.setdefault("changed", False)
        return ended

    def _over(self, limit: int) -> dict[str, Any]:
        return {
            "failed": True,
            "changed": False,
            "msg": f"the {self.module} took longer than async allows ({limit} s) and was killed. A backup is listed "
            "only if it was complete; what else it left is swept by the next run. Allow more (dbfleet_async), or set "
            "limits.timeout, which ends a run cleanly",
        }

    def _tell(self, task_vars: Vars) -> None:
        seen = self._other("dbfleet.recovery.status_info", {"job": self._name()}, task_vars)
        texts = [run["text"] for run in seen.get("runs", []) if run.get("verb") == self.module and run.get("runs")]
        self._line(task_vars, texts[-1] if texts else "it runs; how far it is cannot be seen")

    def _name(self) -> Optional[str]:
        return self._task.args.get("name") or self._task.args.get("job")

    def _line(self, task_vars: Vars, text: str) -> None:
        name = self._name() or self.module
        self._display.display(f"{task_vars.get('inventory_hostname', '')}: {name}: {text}")

    def _reconnect(self) -> None:
        try:
            self._connection.reset()
        except (AttributeError, NotImplementedError, AnsibleConnectionFailure):
            pass  # a connection that is made anew for each command


def _pauses(every: int) -> Iterator[float]:
    """Seconds between two looks: a short run ends soon, a long one is not asked often."""
    return itertools.chain((0.2, 0.3, 0.5, 1, 1, 2), itertools.repeat(float(max(1, min(5, every)))))
