# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a gateway what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:  # noqa: ARG002 - it takes none
        """Fetch the generation's files and note them; the gateway is not changed."""
        state = self.control().state
        bundle, ours = self.fetched()
        state.learnt(self.gateway, bundle, bare=not ours)
        record = state.record(self.gateway)
        return {"changed": False, "generation": record.generation if record is not None else None}
