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
    hand_off: bool = False

    @property
    def kind(self) -> str:
        """`own esp`, `shared ah`, `encapsulation only`; a hand-off tunnel says so."""
        how = "encapsulation only" if self.security is Security.ENCAPSULATION else f"{self.share} {self.security}"
        return f"hand-off, {how}" if self.hand_off else how


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
    sessions = "1 session" if len(fleet.sessions) == 1 else f"{len(fleet.sessions)} sessions"
    summary = f"{len(network.gateways)} gateways, {sessions}, {legs} legs"
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
    found: dict[tuple[str, str, Security, Share, bool], tuple[set[str], set[str]]] = {}
    for state in fleet.states.values():
        for leg in state.legs.values():
            # of a hand-off tunnel the old agent's end is the one that sends
            if leg.hand_off is (leg.direction == "up"):
                continue
            near, far = (leg.peer, leg.gateway) if leg.hand_off else (leg.gateway, leg.peer)
            key = (place[near], place[far], leg.security, leg.share, leg.hand_off)
            users, classes = found.setdefault(key, (set(), set()))
            users.add(leg.nai)
            service = leg.service_class or NO_CLASS
            classes.add(service if leg.hand_off else f"{service}/{_down(fleet, leg)}")
    return tuple(
        Edge(*key[:4], tuple(sorted(classes)), len(users), key[4]) for key, (users, classes) in sorted(found.items())
    )


def _down(fleet: Fleet, leg: Leg) -> str:
    """Class of the same flow in the other direction."""
    other = fleet.states[leg.peer].legs.get(naming.leg_name(leg.flow, leg.gateway))
    return (other.service_class if other is not None else None) or NO_CLASS
