# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let charon and swanctl on a gateway read the current generation."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.tables.problems import RoamvpnError
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {"hardening": {"type": "bool", "default": True}}

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Write what differs there; says whether charon was ever started with it."""
        start = self.control().state.staged / self.gateway / "base/strongswan.conf"
        if not start.exists():
            raise RoamvpnError(f"{self.gateway}: nothing is staged for it; plan first")
        words = ["--hardening"] if arguments["hardening"] else []
        words += ["--check"] if self._task.check_mode else []
        answer = self.call("setup", *words, stdin=base64.b64encode(start.read_bytes()).decode())
        if not answer:
            if self._task.check_mode:
                return {"changed": True, "started": False}
            raise RoamvpnError(f"{self.gateway}: roamvpn-gateway is not there")
        if "error" in answer:
            raise RoamvpnError(f"{self.gateway}: {answer['error']}")
        return {key: answer.get(key) for key in ("changed", "done", "started")}
