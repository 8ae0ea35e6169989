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
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

LOST = 300  # seconds without the host after which it counts as unreachable
GRACE = 30  # seconds that Ansible's own watcher on the host may take to end what is over its limit


class LongRun(ActionBase):
    """The action of a module that can take hours; ``verb`` is the module's name, and what it calls its run."""

    verb = ""
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the module; with ``async`` and ``poll``, detached and followed until it ends."""
        task = self._task
        if task.check_mode:
            task.async_val = 0  # a plan takes no time, and Ansible knows no check mode of what runs with async
        result: dict[str, Any] = super().run(tmp, task_vars)
        limit, every = task.async_val, task.poll
        result.update(self._execute_module(task_vars=task_vars, wrap_async=bool(limit)))
        if not limit or not every or not result.get("results_file"):
            return result
        task.async_val = 0  # from here on it is followed here, not by Ansible
        return self._follow(result, limit, every, task_vars or {})

    def _follow(self, started: Mapping[str, Any], limit: int, every: int, task_vars: dict[str, Any]) -> dict[str, Any]:
        results_file = started["results_file"]
        began = told = heard = time.monotonic()
        for pause in _pauses(every):
            time.sleep(pause)
            now = time.monotonic()
            try:
                ended = self._ended(results_file)
                if ended is None and now - told >= every:
                    told = now
                    self._tell(task_vars)
                heard = time.monotonic()
            except AnsibleConnectionFailure:
                if time.monotonic() - heard > LOST:
                    raise
                self._line(task_vars, "the host cannot be reached; what runs there goes on")
                self._reconnect()
                continue
            if ended is not None:
                self._low_level_execute_command(f"rm -f {shlex.quote(results_file)}")
                return self._result(ended, limit)
            if now - began > limit + GRACE:
                break
        return self._over(limit)

    def _ended(self, results_file: str) -> Optional[dict[str, Any]]:
        """What the module returned, once it has; a result without ``started`` is the last one."""
        answer = self._low_level_execute_command(f"cat {shlex.quote(results_file)}")
        try:
            found = json.loads(answer["stdout"])
        except ValueError:  # being written, or gone
            return None
        return found if isinstance(found, dict) and "started" not in found else None

    def _result(self, ended: dict[str, Any], limit: int) -> dict[str, Any]:
        if "child_pid" in ended:  # Ansible's watcher has killed it
            return self._over(limit)
        if ended.get("failed") and "cmd" in ended:  # it ended without a result
            ended["msg"] = (
                f"the {self.verb} ended without a result: its process was killed, for example for want of memory. "
                "Look into the log of the host; what was left behind is swept by the next run"
            )
        ended.setdefault("changed", False)
        return ended

    def _over(self, limit: int) -> dict[str, Any]:
        return {
            "failed": True,
            "changed": False,
            "msg": f"the {self.verb} took longer than async allows ({limit} s) and was killed. A backup is listed only "
            "if it was complete; what else it left is swept by the next run. Allow more (dbfleet_async), or set "
            "limits.timeout, which ends a run cleanly",
        }

    def _tell(self, task_vars: dict[str, Any]) -> None:
        name = self._task.args.get("name") or self._task.args.get("job")
        seen = self._execute_module(
            module_name="dbfleet.recovery.status_info", module_args={"job": name}, task_vars=task_vars
        )
        texts = [run["text"] for run in seen.get("runs", []) if run.get("verb") == self.verb and run.get("runs")]
        self._line(task_vars, texts[-1] if texts else "it runs; how far it is cannot be seen")

    def _line(self, task_vars: dict[str, Any], text: str) -> None:
        name = self._task.args.get("name") or self._task.args.get("job") or self.verb
        self._display.display(f"{task_vars.get('inventory_hostname', '')}: {name}: {text}")

    def _reconnect(self) -> None:
        try:
            self._connection.reset()
        except (AttributeError, NotImplementedError, AnsibleConnectionFailure):
            pass  # a connection that is made anew for each command


def _pauses(every: int) -> Iterator[float]:
    """Seconds between two looks: a short run ends soon, a long one is not asked often."""
    return itertools.chain((0.2, 0.3, 0.5, 1, 1, 2), itertools.repeat(float(max(1, min(5, every)))))
