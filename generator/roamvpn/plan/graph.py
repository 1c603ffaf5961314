"""The fleet as a graph: gateways by domain, tunnels by kind and class; `graph_svg` and `graph_mermaid` draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.tables.records import NO_CLASS
from roamvpn.tables.types import Role, Security, Share

if TYPE_CHECKING:
    from roamvpn.policy.compile import Fleet
    from roamvpn.tables.gateway_state import Leg
    from roamvpn.tables.network import Network

LARGEST = 40
"""Gateways that are drawn one by one; a larger fleet is drawn by domains."""


class Node(NamedTuple):
    """A gateway, or a domain in an aggregated graph. `column` is 0 for visited, 1 for home, 2 for the far side."""

    name: str
    label: str
    detail: str
    column: int
    static: bool


class Group(NamedTuple):
    """A domain: its nodes, and its AAA servers by name."""

    name: str
    title: str
    realm: str
    column: int
    nodes: tuple[Node, ...]
    aaa: tuple[str, ...]


class Edge(NamedTuple):
    """Tunnels of one kind between two nodes, nearer to the mobile first; classes as up/down, users counted."""

    near: str
    far: str
    security: Security
    share: Share
    classes: tuple[str, ...]
    users: int

    @property
    def kind(self) -> str:
        """`own esp`, `shared ah`, `encapsulation only`."""
        return "encapsulation only" if self.security is Security.ENCAPSULATION else f"{self.share} {self.security}"


class Graph(NamedTuple):
    """What is drawn."""

    site: str
    summary: str
    aggregated: bool
    groups: tuple[Group, ...]
    edges: tuple[Edge, ...]


def fleet_graph(network: Network, fleet: Fleet) -> Graph:
    """The compiled fleet, gateway by gateway or, above `LARGEST`, domain by domain."""
    aggregated = len(network.gateways) > LARGEST
    place = {name: gateway.domain if aggregated else name for name, gateway in network.gateways.items()}
    edges = _edges(fleet, place)
    legs = sum(len(state.legs) for state in fleet.states.values())
    summary = f"{len(network.gateways)} gateways, {len(fleet.sessions)} sessions, {legs} legs"
    return Graph(network.site, summary, aggregated, tuple(_groups(network, aggregated=aggregated)), edges)


def _column(roles: set[Role]) -> int:
    return 1 if Role.HA in roles else 0 if Role.FA in roles else 2


def _groups(network: Network, *, aggregated: bool) -> list[Group]:
    groups = []
    for name, domain in sorted(network.domains.items()):
        members = {key: gateway for key, gateway in network.gateways.items() if gateway.domain == name}
        roles = {role for gateway in members.values() for role in gateway.roles}
        nodes = tuple(
            Node(
                key,
                key,
                f"{'/'.join(gateway.roles).upper()} {gateway.address}",
                _column(set(gateway.roles)),
                Role.STATIC in gateway.roles,
            )
            for key, gateway in sorted(members.items())
        )
        if aggregated:
            kinds = ", ".join(sorted(role.upper() for role in roles))
            nodes = (Node(name, f"{len(members)} gateways", kinds, _column(roles), roles == {Role.STATIC}),)
        aaa = tuple(sorted(key for key, server in network.aaa_servers.items() if server.domain == name))
        groups.append(Group(name, domain.title or name, domain.realm, _column(roles), nodes, aaa))
    return groups


def _edges(fleet: Fleet, place: dict[str, str]) -> tuple[Edge, ...]:
    """Each segment once: seen from the end that sends up, with the class that the other end sends down."""
    found: dict[tuple[str, str, Security, Share], tuple[set[str], set[str]]] = {}
    for state in fleet.states.values():
        for leg in state.legs.values():
            if leg.direction == "up":
                users, classes = found.setdefault(
                    (place[leg.gateway], place[leg.peer], leg.security, leg.share), (set(), set())
                )
                users.add(leg.nai)
                classes.add(f"{leg.service_class or NO_CLASS}/{_down(fleet, leg)}")
    return tuple(Edge(*key, tuple(sorted(classes)), len(users)) for key, (users, classes) in sorted(found.items()))


def _down(fleet: Fleet, leg: Leg) -> str:
    """Class of the same flow in the other direction."""
    other = fleet.states[leg.peer].legs.get(naming.leg_name(leg.flow, leg.gateway))
    return (other.service_class if other is not None else None) or NO_CLASS
