# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module ``coverage_info``: on Windows, the command does what the module would do."""

from __future__ import annotations

from typing import Any

from ..module_utils._options import COVERAGE_INFO
from ..plugin_utils.host_module import HostModule


class ActionModule(HostModule):
    """``dbfleet.recovery.coverage_info``."""

    module = "coverage_info"

    def _spec(self) -> dict[str, Any]:
        return COVERAGE_INFO
