# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions of the collection share: the site, the way to a gateway, and errors told in one place."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.roamvpn.gateway.plugins.plugin_utils.vault import sealer, unlocker

try:
    from roamvpn.provision.control import Control
    from roamvpn.provision.deliver import Delivery, answered
    from roamvpn.provision.state import holder
    from roamvpn.tables.problems import RoamvpnError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

if TYPE_CHECKING:
    from collections.abc import Mapping


class GatewayAction(ActionBase):
    """An action on one gateway of a site; subclasses say what they take and what they do."""

    _supports_check_mode = True
    _supports_async = False
    ARGUMENTS: Mapping[str, Mapping[str, object]] = {}
    install = ""
    """The program, in base64, where it is to be brought first."""
    installed = False

    def run(self, tmp: str | None = None, task_vars: dict[str, object] | None = None) -> dict[str, object]:
        """Check arguments, open the site, and turn every error that people can cause into a failed task."""
        result = dict(super().run(tmp, task_vars))
        if MISSING is not None:
            raise AnsibleActionFail(f"the Python package roamvpn is needed on the controller: {MISSING}")
        _validation, arguments = self.validate_argument_spec(argument_spec=dict(self.ARGUMENTS))
        self.variables = task_vars or {}
        try:
            result.update(self.act(arguments))
        except RoamvpnError as error:
            result.update(failed=True, msg=str(error))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as Ansible's own actions do
        return result

    def act(self, arguments: dict[str, object]) -> Mapping[str, object]:
        """Do it; returns what the task's result has."""
        raise NotImplementedError

    # -- what subclasses use ------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> str:
        """Name of the gateway, as inventory and tables have it."""
        return str(self.variables["inventory_hostname"])

    def control(self, passphrase: str = "") -> Control:
        """The site of this host; checked by the inventory already, unless a file has changed."""
        directory = self._templar.template(self.variables.get("roamvpn_site", ""))
        if not directory:
            raise RoamvpnError("roamvpn_site is not set: is the inventory that of roamvpn.gateway.roamvpn?")
        now = datetime.now(timezone.utc)  # noqa: UP017 - ansible-test compiles this for older Pythons as well
        control = Control.of(Path(str(directory)), now, unlocker(self._loader), passphrase)
        control.seal = sealer(self._loader)
        return control

    def delivery(self, arguments: Mapping[str, object]) -> Delivery:
        """How to deliver, from the task's arguments."""
        return Delivery(
            holder=f"{holder()}, process {os.getppid()}",
            confirm=int(str(arguments["confirm"])),
            check=bool(self._task.check_mode),
            to=str(arguments.get("to", "staged")),
            together=bool(arguments.get("together")),
        )

    def call(self, *arguments: str, stdin: str = "") -> dict[str, object]:
        """Run roamvpn-gateway there; returns its answer, empty where it is not installed."""
        words = self.variables.get("roamvpn_gateway_command")
        given: dict[str, object] = {"arguments": list(arguments), "stdin": stdin}
        if words:
            # a stand-in: there is nothing to be installed
            given["command"] = self._templar.template(words)
        elif self.install:
            given["install"] = self.install
        result = self._execute_module(
            module_name="roamvpn.gateway.program", module_args=given, task_vars=self.variables
        )
        self.installed = bool(result.get("installed"))
        if result.get("missing"):
            return {}
        answer = result.get("answer")
        if isinstance(answer, dict):
            return answer
        if result.get("unreachable"):
            raise RoamvpnError(f"{self.gateway}: cannot be reached: {result.get('msg')}")
        said = str(result.get("msg") or result.get("module_stderr") or "no answer")
        raise RoamvpnError(f"{self.gateway}: {said.strip()[-500:]}")

    def fresh_connection(self) -> None:
        """Let go of the connection, so that the next call must make a new one through whatever has changed."""
        reset = getattr(self._connection, "reset", None)
        if reset is not None:
            reset()

    def fetched(self) -> tuple[bytes | None, bool]:
        """The bundle of what the gateway runs, and whether our program is there. As a file: it holds secrets."""
        remote = self._connection._shell.tmpdir or self._make_tmp_path()  # noqa: SLF001 - as Ansible's own actions do
        path = f"{remote}/bundle"
        answer = self.call("fetch", "--out", path)
        if not answer:
            return None, False
        if answered(self.gateway, answer).get("digest") is None:
            return None, True
        local = self.control().state.root / f".{self.gateway}.bundle"
        local.parent.mkdir(mode=0o700, exist_ok=True)
        before = os.umask(0o077)
        try:
            self._connection.fetch_file(path, str(local))
            return local.read_bytes(), True
        finally:
            os.umask(before)
            local.unlink(missing_ok=True)
