"""Diameter identities of the nodes of a network: `fa21.isp2.example`, the name and its domain's realm."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roamvpn.tables.network import Network


class Identities:
    """Names, which are unique in a network, to identities and back. Realms are lower case: identities have no case."""

    def __init__(self, network: Network) -> None:
        self._realms: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._gateways = network.gateways
        domains = [(name, gateway.domain) for name, gateway in network.gateways.items()]
        domains += [(name, server.domain) for name, server in network.aaa_servers.items()]
        for name, domain in domains:
            self._realms[name] = network.domains[domain].realm.lower()
            self._names[self.of(name)] = name

    def of(self, name: str) -> str:
        """The identity of a node; raises KeyError."""
        return f"{name}.{self._realms[name]}"

    def realm(self, name: str) -> str:
        """The realm of a node; raises KeyError."""
        return self._realms[name]

    def knows(self, name: str) -> bool:
        """Whether there is a node of that name."""
        return name in self._realms

    def is_node(self, identity: str) -> bool:
        """Whether it is the identity of a gateway or an AAA server."""
        return identity in self._names

    def gateway(self, identity: str) -> str:
        """The name of a gateway; raises KeyError."""
        name = self._names[identity]
        if name not in self._gateways:
            raise KeyError(identity)
        return name

    def server(self, identity: str) -> str:
        """The name of an AAA server; raises KeyError."""
        name = self._names[identity]
        if name in self._gateways:
            raise KeyError(identity)
        return name
