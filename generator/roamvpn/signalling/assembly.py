"""A node from the tables: which machines a gateway or an AAA server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.policy.compile import add
from roamvpn.signalling.aaaf import Aaaf
from roamvpn.signalling.aaah import Aaah
from roamvpn.signalling.fa import Fa
from roamvpn.signalling.ha import Ha
from roamvpn.signalling.node import Node
from roamvpn.signalling.pcn import Pcn
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.types import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.policy.compile import Decider
    from roamvpn.policy.keys import Entropy
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.machine import Machine, Surroundings
    from roamvpn.tables.network import Network


def node_of(
    network: Network,
    surroundings: Surroundings,
    entropy: Entropy,
    decider: Decider | None = None,
    provisioned: Iterable[Contribution] = (),
) -> Node:
    """The node that `surroundings` names; an AAAH needs a `decider`.

    `provisioned` is what a gateway runs whoever is registered (E1.1).
    """
    name = surroundings.name
    machines: list[Machine[Any]] = []
    gateway = network.gateways.get(name)
    if gateway is None:
        if network.aaa_servers[name].role == "home" and decider is not None:
            machines.append(Aaah(surroundings, decider, entropy))
        machines.append(Aaaf(surroundings))
        return Node(name, machines)
    if Role.FA in gateway.roles:
        machines.append(Fa(surroundings, entropy))
    if Role.HA in gateway.roles:
        machines.append(Ha(surroundings))
    if Role.PCN in gateway.roles:
        machines.append(Pcn(surroundings))
    state = GatewayState(name)
    for contribution in provisioned:
        add(state, contribution)
    return Node(name, machines, state)
