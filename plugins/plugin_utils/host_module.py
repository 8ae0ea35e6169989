# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that also serves hosts with Windows, where the command ``dbfleet`` does what the module would do."""

from __future__ import annotations

import json
from typing import Any, Optional

from ansible.plugins.action import ActionBase

from ..module_utils._module import argument_spec
from ..module_utils._options import OPTIONS
from ..module_utils.dbfleet.errors import DbfleetError
from .requests import request_of, result_of

COMMAND = r"C:\Program Files\dbfleet\dbfleet.bat"  # where the role agent puts it
Vars = dict[str, Any]


class HostModule(ActionBase):
    """The action of the module ``module``."""

    module = ""
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Optional[Vars] = None) -> dict[str, Any]:
        """Run the module, or on Windows the command."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        windows = getattr(self._connection._shell, "_IS_WINDOWS", False)
        result.update(self._on_windows(task_vars or {}) if windows else self._on_posix(task_vars or {}))
        return result

    def _on_posix(self, task_vars: Vars) -> dict[str, Any]:
        wrap = bool(self._task.async_val) and not self._connection.has_native_async
        done: dict[str, Any] = self._execute_module(task_vars=task_vars, wrap_async=wrap)
        return done

    def _on_windows(self, task_vars: Vars) -> dict[str, Any]:
        limit, self._task.async_val = self._task.async_val, 0  # Ansible need not follow what has ended
        params = self._params()
        try:
            request = request_of(self.module, params, dry=self._task.check_mode)
        except DbfleetError as error:
            return {"failed": True, "changed": False, "msg": str(error), "error": error.to_json()}
        return self._answer(request, params, task_vars, 0 if self._task.check_mode else limit)

    def _params(self) -> Vars:
        """The options, checked as the module itself would check them."""
        _result, params = self.validate_argument_spec(argument_spec=self._spec())
        return dict(params)

    def _spec(self) -> dict[str, Any]:
        return argument_spec(**OPTIONS[self.module])

    def _answer(self, request: Vars, params: Vars, task_vars: Vars, limit: int) -> dict[str, Any]:
        return result_of(self.module, params, self._command(request, task_vars))

    def _command(self, request: Vars, task_vars: Vars, limit: int = 0) -> dict[str, Any]:
        """Run the command with ``request`` on its stdin; with ``limit`` (seconds), it is started only."""
        command = task_vars.get("dbfleet_command") or COMMAND
        arguments = {"argv": [self._templar.template(command), "--request"], "stdin": json.dumps(request)}
        return self._other("ansible.windows.win_command", arguments, task_vars, limit)

    def _other(self, name: str, arguments: Vars, task_vars: Vars, limit: int = 0) -> dict[str, Any]:
        """Run another module on the host, as a task would; also in check mode, where the request changes nothing."""
        task = self._task.copy()
        task.action, task.args = name, arguments
        task.check_mode, task.async_val, task.poll = False, limit, 0
        actions = self._shared_loader_obj.action_loader
        handler = actions.get(
            name if actions.has_plugin(name) else "ansible.legacy.normal",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        done: dict[str, Any] = handler.run(task_vars=task_vars)
        return done
