"""From a segment to what each of its two gateways must run: a leg, and what it shares with others.

Provisioning and signalling both come through here, so a gateway that learns of a user by message runs exactly
what a compile of the whole fleet would give it. Only the network is needed, no subscriber and no VPN record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.policy.keys import domain_key, leg_key
from roamvpn.policy.paths import SegmentKind
from roamvpn.tables.gateway_state import BASE, SESSION, Leg, Peer
from roamvpn.tables.types import Keying, Role, Security, Share

if TYPE_CHECKING:
    from roamvpn.policy.paths import Segment
    from roamvpn.tables.network import Network, Sla
    from roamvpn.tables.secrets import ProfileKeys


# half the time of a named tuple's own constructor, for the two that a compile makes most
_new = tuple.__new__
# to look up an enumeration's member takes as long as a call, and a leg asks for these again and again
_ENCAPSULATION, _HAND_OFF, _IKE, _OWN = Security.ENCAPSULATION, SegmentKind.HAND_OFF, Keying.IKE, Share.OWN


class Contribution(NamedTuple):
    """What one end of a segment brings to its gateway: a leg, the peer it leans on, its keys."""

    gateway: str
    leg: Leg | None
    peer: Peer | None
    keys: ProfileKeys | None


class _Node(NamedTuple):
    """What a compile asks of a gateway again and again."""

    address: str
    number: int
    identity: str
    domain: str
    access: str | None
    static: bool
    sla: Sla | None


class LegCompiler:
    """Makes the ends of segments. Holds the network only; peers, which many users share, are made once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._dscp = {name: service.dscp for name, service in network.classes.items()}
        self._peers: dict[tuple[object, ...], Peer] = {}
        self._nodes = {
            name: _Node(
                gateway.address,
                gateway.number,
                f"{name}.{network.domains[gateway.domain].realm}",
                gateway.domain,
                gateway.access[0] if gateway.access else None,
                Role.STATIC in gateway.roles,
                gateway.sla,
            )
            for name, gateway in network.gateways.items()
        }

    def domain(self, gateway: str) -> str:
        """The domain of a gateway."""
        return self._nodes[gateway].domain

    def is_static(self, gateway: str) -> bool:
        """Whether the gateway is never signalled (A2)."""
        return self._nodes[gateway].static

    def leg_keys(self, segment: Segment, generation: int) -> ProfileKeys | None:
        """The keys of a leg, from those that the gateway at the far end of the segment holds."""
        if segment.keys is None or segment.kind in (SegmentKind.ENTERPRISE, SegmentKind.HAND_OFF):
            return segment.keys
        domain = domain_key(segment.keys, self._nodes[segment.near].domain)
        return leg_key(domain, segment.near, segment.far, generation)

    def near_end(
        self,
        segment: Segment,
        generation: int,
        keys: ProfileKeys | None,
        foreign_agent: str | None,
    ) -> Contribution:
        """What the gateway on the mobile's side runs; it delivers to the mobile if it is the foreign agent."""
        here = self._nodes[segment.near]
        visitor = here.access if segment.near == foreign_agent else None
        return self._end(segment, generation, keys, visitor, SESSION, up=True)

    def far_end(
        self, segment: Segment, generation: int, keys: ProfileKeys | None, owner: str = SESSION
    ) -> Contribution:
        """What the gateway on the correspondent's side runs."""
        return self._end(segment, generation, keys, None, owner, up=False)

    def shared(self, segment: Segment, keys: ProfileKeys | None) -> Contribution:
        """What the near end shares with the far end, whoever is registered."""
        return Contribution(segment.near, None, self._peer(segment, BASE, up=True), keys)

    def _end(  # noqa: PLR0913 - the two ends of a segment differ in just these
        self,
        segment: Segment,
        generation: int,
        keys: ProfileKeys | None,
        visitor: str | None,
        owner: str,
        *,
        up: bool,
    ) -> Contribution:
        kind, number, nai, mobile, correspondent, upclass, downclass, security, share = segment[:9]
        here, there, out_spi, in_spi = segment[9:13]
        own = share is _OWN and security is not _ENCAPSULATION
        hand_off = kind is _HAND_OFF
        service, source, destination = upclass, mobile, correspondent
        if not up:
            here, there, out_spi, in_spi = there, here, in_spi, out_spi
            service, source, destination = downclass, correspondent, mobile
        near, far = self._nodes[here], self._nodes[there]
        sla = near.sla or far.sla
        peer = None if own else self._peer(segment, BASE if sla is not None else SESSION, up=up)
        if hand_off and up and not own:
            # what is shared is all that decoding needs
            return Contribution(here, None, peer, keys)
        if not own:
            device, mark = naming.shared_device(security, far.number)
        elif sla is not None:
            # a segment under an SLA is not touched by moves, so it stays on the first device
            device, mark = naming.own_device(0)
        else:
            # packets of a hand-off arrive beside those of the new leg, with the same selectors: on the other device
            device, mark = naming.own_device(generation + 1 if hand_off else generation)
        flow = naming.hand_off_name(number, nai) if hand_off else naming.flow_name(number, nai)
        keying = sla.keying if sla is not None else _IKE
        direction = "up" if up else "down"
        leg = _new(
            Leg,
            (
                naming.leg_name(flow, there),
                owner,
                nai,
                number,
                flow,
                direction,
                here,
                there,
                near.address,
                far.address,
                source.text,
                source.length,
                destination.text,
                destination.length,
                security,
                share,
                keying,
                service,
                self._dscp[service] if service is not None else None,
                device,
                mark,
                out_spi,
                in_spi,
                # the gateway that learns last initiates: the foreign agent, the home agent towards an enterprise,
                # and for a hand-off the old foreign agent
                own and up is not hand_off and keying is _IKE,
                visitor,
                None if hand_off and up else naming.filter_handle(number, direction, hand_off=hand_off),
                naming.filter_priority(owner, source.length, destination.length),
                naming.filter_priority(owner, destination.length, source.length),
            ),
        )
        return _new(Contribution, (here, leg, peer, keys))

    def _peer(self, segment: Segment, owner: str, *, up: bool) -> Peer:
        here, there = (segment.near, segment.far) if up else (segment.far, segment.near)
        key = (here, there, segment.security, owner)
        found = self._peers.get(key)
        if found is None:
            found = self._peers[key] = self._new_peer(segment.security, here, there, owner)
        return found

    def _new_peer(self, security: Security, here: str, there: str, owner: str) -> Peer:
        near, far = self._nodes[here], self._nodes[there]
        sla = near.sla or far.sla
        device, mark = naming.shared_device(security, far.number)
        associated = security is not Security.ENCAPSULATION
        keying = sla.keying if sla is not None else Keying.IKE
        up_spi, down_spi = (sla.up_spi or 0, sla.down_spi or 0) if sla is not None else (0, 0)
        # two gateways may each be foreign agent to one user and correspondent's side to another, so what they share
        # has a direction of its own: up is towards the enterprise, else towards the higher number
        up = far.static if sla is not None else near.number < far.number
        return Peer(
            name=naming.peer_name(security, there),
            owner=owner,
            gateway=here,
            peer=there,
            local_address=near.address,
            peer_address=far.address,
            local_identity=naming.peer_identity(security, near.identity),
            peer_identity=naming.peer_identity(security, far.identity),
            security=security,
            keying=keying,
            sla=here if near.static else there if far.static else None,
            device=device,
            mark=mark,
            out_spi=up_spi if up else down_spi,
            in_spi=down_spi if up else up_spi,
            direction="up" if up else "down",
            initiate=associated and up and keying is Keying.IKE,
            associated=associated,
        )
