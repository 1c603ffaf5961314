# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set up associations that are down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import associated
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {"again": {"type": "list", "elements": "str", "default": []}}

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Initiate what this gateway initiates."""
        if self._task.check_mode:
            return {"changed": False, "skipped": True}
        again = [str(name) for name in arguments["again"]]
        return associated(self.control(), self.gateway, again, self.call)
