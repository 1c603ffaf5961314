"""compile(tables, sessions) → the state of every gateway, session by session.

A session contributes legs to few gateways; the fleet is the sum of all contributions and of what the
tables alone provision (static gateways and their SLA peers). Registering one more session therefore
touches just its gateways, and gives the same state as a compile of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.policy.keys import KeyGenerator
from roamvpn.policy.paths import Rejected, VpnProfile, determine_path
from roamvpn.tables.gateway_state import BASE, SESSION, GatewayState, Leg, Peer
from roamvpn.tables.types import GwType, Keying, Role, Security

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from roamvpn.policy.keys import Entropy
    from roamvpn.tables.network import Sla
    from roamvpn.tables.records import Session
    from roamvpn.tables.secrets import ProfileKeys, Secrets
    from roamvpn.tables.tables import Tables


class Contribution(NamedTuple):
    """What one profile brings to one gateway: a leg, the peer it leans on, its keys."""

    gateway: str
    leg: Leg | None
    peer: Peer | None
    keys: ProfileKeys | None


class _Node(NamedTuple):
    """What a compile asks of a gateway again and again."""

    address: str
    number: int
    identity: str
    access: str | None
    static: bool
    sla: Sla | None


class Compiler:
    """Turns sessions into contributions. Holds the tables, and keys where secrets are at hand."""

    def __init__(self, tables: Tables, secrets: Secrets | None = None, entropy: Entropy | None = None) -> None:
        self.tables = tables
        self._secrets = secrets
        self._keys = KeyGenerator(entropy) if entropy is not None else None
        self._dscp = {name: service.dscp for name, service in tables.network.classes.items()}
        self._nodes = {
            name: _Node(
                gateway.address,
                gateway.number,
                tables.identity(name),
                gateway.access[0] if gateway.access else None,
                Role.STATIC in gateway.roles,
                gateway.sla,
            )
            for name, gateway in tables.network.gateways.items()
        }

    def session(self, session: Session) -> tuple[list[Contribution], list[Rejected]]:
        """Everything that this session needs, at the gateways that signalling reaches."""
        contributions: list[Contribution] = []
        rejected: list[Rejected] = []
        for record in self.tables.vpn_database.get(session.nai, ()):
            path = determine_path(self.tables, record, session.foreign_agent)
            if isinstance(path, Rejected):
                rejected.append(path)
                continue
            for up, down in zip(path.profiles[::2], path.profiles[1::2], strict=True):
                keys = self._segment_keys(up, session)
                contributions.append(self._contribution(up, SESSION, session, keys))
                # what a static gateway runs comes from the tables alone (F2)
                if not self._nodes[down.source_gw].static:
                    contributions.append(self._contribution(down, SESSION, session, keys))
        return contributions, rejected

    def provisioned(self) -> Iterator[Contribution]:
        """What the SLAs ask of static gateways, and of home agents towards them, whoever is registered (E1.1)."""
        for record in self.tables.records:
            user = self.tables.subscribers.get(record.nai)
            row = self.tables.cn_gw_table.lookup(record.destaddr, user.tenant) if user is not None else None
            if user is None or row is None or row.gw_type is GwType.DYNAMIC:
                continue
            # the path from home is the end of every path, wherever the user is
            path = determine_path(self.tables, record, user.home_agent)
            if isinstance(path, Rejected):
                continue
            up, down = path.profiles[-2:]
            keys = self._segment_keys(up, None)
            yield self._contribution(down, BASE, None, keys)
            if not up.own:
                yield Contribution(up.source_gw, None, self._peer(up, BASE), keys)

    def _contribution(
        self, profile: VpnProfile, owner: str, session: Session | None, keys: ProfileKeys | None
    ) -> Contribution:
        here, there = profile.source_gw, profile.destination_gw
        near, far = self._nodes[here], self._nodes[there]
        sla = near.sla or far.sla
        own = profile.own
        flow = naming.flow_name(profile.profile_number, profile.nai)
        if own:
            # a segment under an SLA is not touched by moves, so it stays on the first device
            device, mark = naming.own_device(session.generation if session is not None and sla is None else 0)
        else:
            device, mark = naming.shared_device(profile.security, far.number)
        keying = sla.keying if sla is not None else Keying.IKE
        up = profile.direction == "up"
        at_foreign_agent = session is not None and here == session.foreign_agent and up
        leg = Leg(
            naming.leg_name(flow, there),
            owner,
            profile.nai,
            profile.profile_number,
            flow,
            profile.direction,
            here,
            there,
            near.address,
            far.address,
            profile.source.text,
            profile.source.length,
            profile.destination.text,
            profile.destination.length,
            profile.security,
            profile.share,
            keying,
            profile.tos,
            self._dscp[profile.tos] if profile.tos is not None else None,
            device,
            mark,
            profile.up_spi if up else profile.down_spi,
            profile.down_spi if up else profile.up_spi,
            # the gateway that learns last initiates: the foreign agent, and towards an enterprise the home agent
            own and up and keying is Keying.IKE,
            near.access if at_foreign_agent else None,
            naming.filter_handle(profile.profile_number, profile.direction),
            naming.filter_priority(owner, profile.source.length, profile.destination.length),
            naming.filter_priority(owner, profile.destination.length, profile.source.length),
        )
        peer = None if own else self._peer(profile, BASE if sla is not None else SESSION)
        return Contribution(here, leg, peer, keys)

    def _peer(self, profile: VpnProfile, owner: str) -> Peer:
        here, there = profile.source_gw, profile.destination_gw
        near, far = self._nodes[here], self._nodes[there]
        security = profile.security
        sla = near.sla or far.sla
        device, mark = naming.shared_device(security, far.number)
        associated = security is not Security.ENCAPSULATION
        up = profile.direction == "up"
        keying = sla.keying if sla is not None else Keying.IKE
        up_spi, down_spi = (sla.up_spi or 0, sla.down_spi or 0) if sla is not None else (0, 0)
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
            sla=self._sla_name(profile),
            device=device,
            mark=mark,
            out_spi=up_spi if up else down_spi,
            in_spi=down_spi if up else up_spi,
            direction=profile.direction,
            initiate=associated and up and keying is Keying.IKE,
            associated=associated,
        )

    def _sla_name(self, profile: VpnProfile) -> str | None:
        for name in (profile.source_gw, profile.destination_gw):
            if self._nodes[name].static:
                return name
        return None

    def _segment_keys(self, profile: VpnProfile, session: Session | None) -> ProfileKeys | None:
        """The keys of a segment, the same for both its ends: the SLA's, or drawn for this session, or none."""
        sla = self._sla_name(profile)
        if sla is None:
            # S107: the default SPI needs no key, gateways share certificates. S108: any other draws its own
            if self._keys is None or session is None or not profile.own:
                return None
            flow = naming.flow_name(profile.profile_number, profile.nai)
            ends = (profile.source_gw, profile.destination_gw)
            return self._keys.segment(session.session_id, flow, ends, session.generation)
        known = self._secrets.sla.get(sla) if self._secrets is not None else None
        if known is None or profile.security is Security.ENCAPSULATION:
            return None
        keys = known.profiles.get(str(profile.profile_number)) if profile.own else known.shared
        return keys.profile_keys() if keys is not None else None


@dataclass(slots=True)
class Fleet:
    """The state of every gateway, with the sessions it stands for."""

    compiler: Compiler
    states: dict[str, GatewayState]
    sessions: dict[str, Session] = field(default_factory=dict)
    rejected: dict[str, list[Rejected]] = field(default_factory=dict)

    def register(self, session: Session) -> set[str]:
        """Add a session, or move it if its user has one; returns the gateways whose state changed."""
        touched = self.deregister(session.nai)
        contributions, rejected = self.compiler.session(session)
        for contribution in contributions:
            _add(self.states[contribution.gateway], contribution)
            touched.add(contribution.gateway)
        self.sessions[session.nai] = session
        if rejected:
            self.rejected[session.nai] = rejected
        return touched

    def deregister(self, nai: str) -> set[str]:
        """Remove a user's session and everything of it (F10); returns the gateways whose state changed."""
        session = self.sessions.pop(nai, None)
        self.rejected.pop(nai, None)
        if session is None:
            return set()
        touched = set()
        for contribution in self.compiler.session(session)[0]:
            _remove(self.states[contribution.gateway], contribution)
            touched.add(contribution.gateway)
        return touched


def compile_fleet(
    tables: Tables,
    sessions: Iterable[Session],
    secrets: Secrets | None = None,
    entropy: Entropy | None = None,
) -> Fleet:
    """The whole fleet. Without secrets and entropy the states are the same, but hold no keys."""
    compiler = Compiler(tables, secrets, entropy)
    fleet = Fleet(compiler, {name: GatewayState(name) for name in sorted(tables.network.gateways)})
    for contribution in compiler.provisioned():
        _add(fleet.states[contribution.gateway], contribution)
    for session in sessions:
        fleet.register(session)
    return fleet


def _add(state: GatewayState, contribution: Contribution) -> None:
    leg, peer = contribution.leg, contribution.peer
    if leg is not None:
        state.legs[leg.name] = leg
        if peer is None and contribution.keys is not None:
            state.secrets[leg.name] = contribution.keys
    if peer is not None:
        # shared by several users: counted, and gone only with the last (F7)
        state.references[peer.name] = state.references.get(peer.name, 0) + 1
        state.peers[peer.name] = peer
        if contribution.keys is not None:
            state.secrets[peer.name] = contribution.keys


def _remove(state: GatewayState, contribution: Contribution) -> None:
    leg, peer = contribution.leg, contribution.peer
    if leg is not None:
        del state.legs[leg.name]
        state.secrets.pop(leg.name, None)
    if peer is not None:
        state.references[peer.name] -= 1
        if not state.references[peer.name]:
            del state.references[peer.name], state.peers[peer.name]
            state.secrets.pop(peer.name, None)
