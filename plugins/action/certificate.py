# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""See that a gateway has a certificate of the site's CA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import certificate
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {"passphrase": {"type": "str", "default": "", "no_log": True}}

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Request, sign and install."""
        if self._task.check_mode:
            return {"changed": True, "msg": "a certificate would be issued, or a CRL installed"}
        return certificate(self.control(str(arguments["passphrase"])), self.gateway, self.call)
