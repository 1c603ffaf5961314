# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take everything of roamvpn off a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import removed
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {"passphrase": {"type": "str", "default": "", "no_log": True}}

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Remove, revoke, forget."""
        if self._task.check_mode:
            return {"changed": True, "msg": "everything of roamvpn would be removed"}
        how = self.delivery({"confirm": 0})
        return removed(self.control(str(arguments["passphrase"])), self.gateway, how, self.call)
