# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts and groups of a roamvpn site, derived from its network.yml."""

from __future__ import annotations

DOCUMENTATION = r"""
name: roamvpn
short_description: Hosts and groups of a roamvpn site
description:
  - Derives hosts, groups and connection variables from C(network.yml) of a roamvpn site.
  - The whole site is checked as C(roamvpn check) does. If something does not hold, the run ends with the same
    messages, and with exit code 1.
  - Texts of the site's tables are data. They are never templated.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  plugin:
    description: Names this plugin.
    type: str
    required: true
    choices: [roamvpn.gateway.roamvpn]
  site:
    description:
      - The directory of the site, seen from the directory of this file.
    type: str
    default: .
notes:
  - The file's name must end with C(roamvpn.yml) or C(roamvpn.yaml).
  - "Groups: C(gateways); by role C(foreign_agents), C(home_agents), C(proxy_cns) and C(static_gateways); C(aaa_home)
    and C(aaa_foreign); C(domain_*) and C(tenant_*) with C(-) written as C(_). The group C(roamvpn_unknown) has gateways
    of which this controller does not know what they run."
"""

EXAMPLES = r"""
# inventory/example/roamvpn.yml, beside network.yml
plugin: roamvpn.gateway.roamvpn
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.roamvpn.gateway.plugins.plugin_utils.vault import unlocker

try:
    from roamvpn.provision.inventory import inventory
    from roamvpn.provision.sites import site_of
    from roamvpn.provision.state import State
    from roamvpn.tables.problems import RoamvpnError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader


class InventoryModule(BaseInventoryPlugin):
    """The plugin as Ansible loads it."""

    NAME = "roamvpn.gateway.roamvpn"

    def verify_file(self, path: str) -> bool:
        """Whether a file may be ours, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("roamvpn.yml", "roamvpn.yaml"))

    def parse(self, inventory_data: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:  # noqa: FBT001, FBT002 - as Ansible calls it
        """Fill the inventory; raises AnsibleParserError with every problem of the site."""
        super().parse(inventory_data, loader, path, cache)
        # An inventory that cannot be read is a warning to Ansible, and a run without hosts succeeds. A site that does
        # not hold must not look like a site without work.
        constants.INVENTORY_ANY_UNPARSED_IS_FAILED = True
        if MISSING is not None:
            raise AnsibleParserError(f"the Python package roamvpn is needed on the controller: {MISSING}")
        self._read_config_data(path)
        directory = (Path(path).parent / str(self.get_option("site"))).resolve()
        try:
            site = site_of(directory, unlocker(loader))
            found = inventory(site.tables, State(directory))
        except RoamvpnError as error:
            raise AnsibleParserError(f"the site {directory} does not hold:\n{error}") from None
        for group in sorted(found.groups):
            inventory_data.add_group(group)
        inventory_data.set_variable("all", "roamvpn_site", str(directory))
        for host, variables in found.hosts.items():
            inventory_data.add_host(host)
            for name, value in variables.items():
                inventory_data.set_variable(host, name, value)
        for group, hosts in found.groups.items():
            for host in hosts:
                inventory_data.add_child(group, host)
