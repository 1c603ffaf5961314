"""Who is responsible: the AAA server of a foreign agent's domain, the AAAH of a user's realm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.signalling.messages import Address, NodeRole
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from roamvpn.tables.network import Network


class Directory:
    """Looks up nodes by domain and realm. Every node has one; it holds the network only."""

    def __init__(self, network: Network) -> None:
        self._gateways = network.gateways
        servers: dict[str, str] = {}
        self._home: dict[str, Address] = {}
        for name, server in sorted(network.aaa_servers.items()):
            # where a domain has both kinds, its foreign agents talk to the foreign one
            if server.role == "foreign" or server.domain not in servers:
                servers[server.domain] = name
            if server.role == "home":
                self._home.setdefault(network.domains[server.domain].realm, Address(NodeRole.AAAH, name))
        self._aaa = {
            name: Address(NodeRole.AAAF, servers[gateway.domain])
            for name, gateway in network.gateways.items()
            if gateway.domain in servers
        }

    def aaa_of(self, foreign_agent: str, nai: str) -> Address | None:
        """Where a foreign agent sends its AMR: its domain's AAA server, else the user's own; None if there is none."""
        home = self.aaah_of(nai)
        server = self._aaa.get(foreign_agent)
        if server is None or (home is not None and server.name == home.name):
            return home
        return server

    def aaah_of(self, nai: str) -> Address | None:
        """The AAAH of the NAI's realm."""
        return self._home.get(nai.rpartition("@")[2])

    def is_foreign_agent(self, name: str) -> bool:
        """Whether a gateway of that name is a foreign agent."""
        gateway = self._gateways.get(name)
        return gateway is not None and Role.FA in gateway.roles

    def is_home_agent(self, name: str) -> bool:
        """Whether a gateway of that name is a home agent."""
        gateway = self._gateways.get(name)
        return gateway is not None and Role.HA in gateway.roles

    def domain(self, gateway: str) -> str:
        """The domain of a gateway."""
        return self._gateways[gateway].domain
