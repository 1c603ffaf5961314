# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring the gateway's program, and let charon and swanctl read the current generation."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import answered
    from roamvpn.stores.program import gateway_program
    from roamvpn.tables.problems import RoamvpnError
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {"hardening": {"type": "bool", "default": True}}

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Bring what differs; says whether charon was ever started with it."""
        settings = self.control().state.staged / self.gateway / "base/strongswan.conf"
        if not settings.exists():
            raise RoamvpnError(f"{self.gateway}: nothing is staged for it; plan first")
        words = ["--hardening"] if arguments["hardening"] else []
        words += ["--check"] if self._task.check_mode else []
        start = base64.b64encode(settings.read_bytes()).decode()
        self.install = base64.b64encode(gateway_program()).decode()
        answer = self.call("setup", *words, stdin=start)
        if not answer and self._task.check_mode:
            return {"changed": True, "started": False, "installed": True}
        if not answer:
            raise RoamvpnError(f"{self.gateway}: roamvpn-gateway cannot be started")
        answered(self.gateway, answer)
        result = {key: answer.get(key) for key in ("done", "started")}
        return {**result, "changed": bool(answer["changed"]) or self.installed, "installed": self.installed}
