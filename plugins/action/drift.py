# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare what a gateway's kernel and charon have with its generation, object by object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.roamvpn.gateway.plugins.plugin_utils.action import GatewayAction

try:
    from roamvpn.provision.deliver import answered
    from roamvpn.tables.problems import RoamvpnError
except ImportError:
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(GatewayAction):
    """The action as Ansible loads it."""

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:  # noqa: ARG002 - it takes none
        """Ask the gateway; fails where something differs."""
        answer = self.call("verify")
        if not answer:
            raise RoamvpnError(f"{self.gateway}: is bare; nothing of ours is on it")
        answered(self.gateway, answer)
        rows = answer.get("drift")
        rows = rows if isinstance(rows, list) else []
        record = self.control().state.record(self.gateway)
        if record is not None and record.generation != answer.get("digest"):
            runs = {"object": "generation", "state": "changed", "detail": f"is {answer.get('digest')}"}
            rows = [{**runs, "detail": f"{runs['detail']}, this controller brought {record.generation}"}, *rows]
        lines = [" ".join(str(row[key]) for key in ("object", "state", "detail")).strip() for row in rows]
        result = {"changed": False, "digest": answer.get("digest"), "drift": rows, "lines": lines}
        if rows:
            things = "1 object differs" if len(rows) == 1 else f"{len(rows)} objects differ"
            result.update(
                failed=True, msg="\n".join([f"{self.gateway}: {things} from generation {answer.get('digest')}", *lines])
            )
        return result
