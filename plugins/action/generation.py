# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Activate a generation on a gateway, and let it stand once the gateway is reached and healthy afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import based, generation, rolled_back
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {
        "confirm": {"type": "int", "default": 60},
        "together": {"type": "bool", "default": False},
        "to": {"type": "str", "default": "staged"},
        "based": {"type": "bool", "default": False},
    }

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Deliver what is staged, or go back to what the gateway has."""
        control, how = self.control(), self.delivery(arguments)
        if how.to != "staged":
            return rolled_back(control, self.gateway, how, self.call, self.fresh_connection)
        if arguments["based"] and not how.check:
            based(control.state, self.gateway)
        return generation(control, self.gateway, how, self.call, self.fresh_connection)
