# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check, compile, compare and stage a whole site, once a run, on the controller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.fleet import Request, plan_fleet, stage_fleet
    from roamvpn.provision.rotation import Phase, advance
    from roamvpn.provision.state import holder
    from roamvpn.tables.problems import RoamvpnError
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    ARGUMENTS = {
        "gateways": {"type": "list", "elements": "str", "required": True},
        "stage": {"type": "bool", "default": True},
        "everything": {"type": "bool", "default": False},
        "canary": {"type": "str", "default": ""},
        "digest": {"type": "str", "default": ""},
        "rotation": {"type": "str", "choices": ["none", "beside", "switch", "remove"], "default": "none"},
        "sla": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Plan, and stage unless nothing may change."""
        control = self.control()
        names = sorted(str(name) for name in arguments["gateways"])
        canary = str(arguments["canary"])
        if canary:
            if canary not in names:
                raise RoamvpnError(f"canary {canary!a} is no gateway of this run")
            names.sort(key=lambda name: name != canary)
        phase = Phase(str(arguments["rotation"]))
        stage = bool(arguments["stage"])
        if stage:
            control.state.claim(os.getppid(), holder(), ())
        if phase is not Phase.NONE:
            if self._task.check_mode:
                raise RoamvpnError("a rotation of keys makes keys: it cannot be tried with --check")
            advance(control, phase, [str(name) for name in arguments["sla"]])
            phase = Phase.NONE if phase is Phase.REMOVE else phase
        request = Request(tuple(names), bool(arguments["everything"]), str(arguments["digest"]), phase)
        if not stage:
            plan = plan_fleet(control, request)
            # Ansible shows a diff of what changes; when it is staged, each gateway shows its own
            return {**plan.result(), "changed": bool(plan.reasons), "diff": {"prepared": plan.diff}}
        # --check stages as well: gateways try out what is staged, and change nothing
        plan = stage_fleet(control, request)
        control.state.claim(os.getppid(), holder(), tuple(plan.reasons))
        return plan.result()
