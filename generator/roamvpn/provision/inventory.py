"""Hosts and groups of a site, as Ansible wants them: derived from network.yml, never written twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from roamvpn.provision.state import State
    from roamvpn.tables.tables import Tables

GATEWAYS, UNKNOWN = "gateways", "roamvpn_unknown"
_ROLES = {
    Role.FA: "foreign_agents",
    Role.HA: "home_agents",
    Role.PCN: "proxy_cns",
    Role.STATIC: "static_gateways",
}
_SERVERS = {"home": "aaa_home", "foreign": "aaa_foreign"}


@dataclass(slots=True)
class Inventory:
    """Variables by host, hosts by group."""

    hosts: dict[str, dict[str, object]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)

    def add(self, host: str, groups: list[str], variables: dict[str, object]) -> None:
        """One host."""
        self.hosts[host] = variables
        for group in groups:
            self.groups.setdefault(group, []).append(host)


def inventory(tables: Tables, state: State) -> Inventory:
    """Gateways and AAA servers by role, domain and tenant.

    A tenant's group has the home agents of its subscribers and the gateways of its correspondents. The group
    `roamvpn_unknown` has gateways of which it is not known what they run.
    """
    network = tables.network
    found = Inventory(groups={group: [] for group in (GATEWAYS, UNKNOWN, *_ROLES.values(), *_SERVERS.values())})
    tenants = _tenants(tables)
    for name, gateway in sorted(network.gateways.items()):
        groups = [GATEWAYS, *(_ROLES[role] for role in gateway.roles), group("domain", gateway.domain)]
        groups += [group("tenant", tenant) for tenant in sorted(tenants) if name in tenants[tenant]]
        if state.record(name) is None:
            groups.append(UNKNOWN)
        variables = {
            "ansible_host": gateway.management or gateway.address,
            # gateways are Debian: looking for a Python costs a second, and may find one of somebody's own
            "ansible_python_interpreter": "/usr/bin/python3",
            "roamvpn_address": gateway.address,
            "roamvpn_domain": gateway.domain,
            "roamvpn_identity": tables.identity(name),
            "roamvpn_roles": [str(role) for role in gateway.roles],
        }
        found.add(name, groups, dict(variables))
    for name, server in sorted(network.aaa_servers.items()):
        groups = [_SERVERS[server.role], group("domain", server.domain)]
        found.add(name, groups, {"ansible_host": server.address, "roamvpn_domain": server.domain})
    return found


def group(kind: str, name: str) -> str:
    """Name of a group: Ansible takes no dash in it."""
    return f"{kind}_{name.replace('-', '_')}"


def _tenants(tables: Tables) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {tenant: set() for tenant in tables.network.tenants}
    for subscriber in tables.network.subscribers:
        if subscriber.tenant is not None:
            found[subscriber.tenant].add(subscriber.home_agent)
    for row in tables.cn_gw_table.rows:
        gateway = tables.gateway_at(row.gw_address)
        if row.tenant is not None and gateway is not None:
            found[row.tenant].add(gateway)
    return found
