# Copyright (c) The dbfleet.recovery contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module ``verify``: it follows a verification that runs with ``async``."""

from __future__ import annotations

from ..plugin_utils.long_run import LongRun


class ActionModule(LongRun):
    """``dbfleet.recovery.verify``."""

    module = "verify"
