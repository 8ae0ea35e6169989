# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module ``restore``: on Windows, the command does what the module would do."""

from __future__ import annotations

from ..plugin_utils.host_module import HostModule


class ActionModule(HostModule):
    """``dbfleet.recovery.restore``."""

    module = "restore"
