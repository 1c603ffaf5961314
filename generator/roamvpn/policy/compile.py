"""compile(tables, sessions) → the state of every gateway, session by session.

A session contributes legs to few gateways; the fleet is the sum of all contributions and of what the
tables alone provision (static gateways and their SLA peers). Registering one more session therefore
touches just its gateways, and gives the same state as a compile of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from roamvpn.policy.information import VpnInformation, flow_of, hand_off, with_keys
from roamvpn.policy.keys import KeyGenerator
from roamvpn.policy.legs import Contribution, LegCompiler
from roamvpn.policy.paths import Rejected, Segment, SegmentKind, determine_path
from roamvpn.tables.gateway_state import BASE, GatewayState
from roamvpn.tables.types import GwType, Security

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from roamvpn.policy.keys import Entropy
    from roamvpn.tables.records import Session, VpnRecord
    from roamvpn.tables.secrets import ProfileKeys, Secrets
    from roamvpn.tables.tables import Tables


class Decider:
    """Path determination and keys for a user's records: what the AAAH decides (C4, C5)."""

    def __init__(self, tables: Tables, secrets: Secrets | None = None, entropy: Entropy | None = None) -> None:
        self.tables = tables
        self._secrets = secrets
        self._keys = KeyGenerator(entropy) if entropy is not None else None

    def segments(
        self, session_id: str, foreign_agent: str, records: Iterable[VpnRecord], held: Iterable[Segment] = ()
    ) -> tuple[tuple[Segment, ...], list[Rejected]]:
        """The segments of all VPNs of a session, with root keys; of VPNs that are `held` with the same end they stay.

        A far end that a VPN has left knew its root, so the next one must have another.
        """
        known = {
            (flow_of(segment), segment.far): segment.keys
            for segment in held
            if segment.kind is not SegmentKind.ENTERPRISE
        }
        found: list[Segment] = []
        rejected: list[Rejected] = []
        for record in records:
            path = determine_path(self.tables, record, foreign_agent)
            if isinstance(path, Rejected):
                rejected.append(path)
                continue
            for segment in path.segments:
                keys = self._segment_keys(segment, session_id, known)
                found.append(with_keys(segment, keys) if keys is not None else segment)
        return tuple(found), rejected

    def enterprise_keys(self, segment: Segment) -> ProfileKeys | None:
        """The SLA's keys for a segment to a static gateway: the user's own or the shared association's (G11)."""
        sla = self._secrets.sla.get(segment.far) if self._secrets is not None else None
        if sla is None or segment.security is Security.ENCAPSULATION:
            return None
        keys = sla.profiles.get(str(segment.profile_number)) if segment.own else sla.shared
        return keys.profile_keys() if keys is not None else None

    def _segment_keys(
        self, segment: Segment, session_id: str, known: dict[tuple[str, str], ProfileKeys | None]
    ) -> ProfileKeys | None:
        if segment.kind is SegmentKind.ENTERPRISE:
            return self.enterprise_keys(segment)
        # S107: the default SPI needs no key, gateways share certificates. S108: any other draws its own
        if self._keys is None or not segment.own:
            return None
        flow = flow_of(segment)
        return known.get((flow, segment.far)) or self._keys.root(session_id, flow, segment.far)


class Compiler:
    """Turns sessions into contributions. Holds the tables, and keys where secrets are at hand."""

    def __init__(self, tables: Tables, secrets: Secrets | None = None, entropy: Entropy | None = None) -> None:
        self.tables = tables
        self.legs = LegCompiler(tables.network)
        self.decider = Decider(tables, secrets, entropy)
        self._keys = KeyGenerator(entropy) if entropy is not None else None

    def information(
        self, session: Session, records: Iterable[VpnRecord] | None = None
    ) -> tuple[VpnInformation, list[Rejected]]:
        """The session's VPN information, from the database or from `records` found there earlier."""
        found = self.tables.vpn_database.get(session.nai, ()) if records is None else records
        segments, rejected = self.decider.segments(session.session_id, session.foreign_agent, found)
        home = self.tables.subscribers[session.nai].home_address
        head = (session.session_id, session.nai, home, 0, session.foreign_agent, session.generation)
        return VpnInformation(*head, segments), rejected

    def session(
        self, session: Session, records: Iterable[VpnRecord] | None = None
    ) -> tuple[list[Contribution], list[Rejected]]:
        """Everything that this session needs, at the gateways that signalling reaches."""
        information, rejected = self.information(session, records)
        generation, agent = session.generation, session.foreign_agent
        contributions: list[Contribution] = []
        for segment in information.segments:
            if segment.empty:
                continue
            keys = self.legs.leg_keys(segment, generation)
            contributions.append(self.legs.near_end(segment, generation, keys, agent))
            # what a static gateway runs comes from the tables alone (F2)
            if segment.kind is not SegmentKind.ENTERPRISE:
                contributions.append(self.legs.far_end(segment, generation, keys))
        return contributions, rejected

    def hand_off(
        self, session: Session, old: str, new: str, records: Iterable[VpnRecord] | None = None
    ) -> list[Contribution]:
        """The hand-off tunnels that stand for some seconds after the session moved from `old` to `new`."""
        information = self.information(session, records)[0].moved(new, session.generation)
        contributions: list[Contribution] = []
        generation = session.generation
        keys = self._keys
        draw = partial(keys.hand_off, session.session_id, (old, new), generation) if keys is not None else None
        for segment in hand_off(information, old, draw):
            contributions.append(self.legs.near_end(segment, generation, segment.keys, None))
            contributions.append(self.legs.far_end(segment, generation, segment.keys))
        return contributions

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
            segment = path.segments[-1]
            keys = self.decider.enterprise_keys(segment)
            yield self.legs.far_end(segment, 0, keys, BASE)
            if not segment.own:
                yield self.legs.shared(segment, keys)


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
            add(self.states[contribution.gateway], contribution)
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
            remove(self.states[contribution.gateway], contribution)
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
        add(fleet.states[contribution.gateway], contribution)
    for session in sessions:
        fleet.register(session)
    return fleet


def add(state: GatewayState, contribution: Contribution) -> None:
    """Add one contribution to the state of its gateway; a leg of the same name is replaced."""
    _, leg, peer, keys = contribution
    if leg is not None:
        state.legs[leg.name] = leg
        if peer is None and keys is not None:
            state.secrets[leg.name] = keys
        else:
            # one of the same name may have had an association, and a key, of its own
            state.secrets.pop(leg.name, None)
    if peer is not None:
        # shared by several users: counted, and gone only with the last (F7)
        state.references[peer.name] = state.references.get(peer.name, 0) + 1
        state.peers[peer.name] = peer
        if keys is not None:
            state.secrets[peer.name] = keys


def remove(state: GatewayState, contribution: Contribution) -> None:
    """Take one contribution away again; a leg that was replaced since stays."""
    _, leg, peer, keys = contribution
    # the same leg with another key is another one
    same_key = leg is None or peer is not None or state.secrets.get(leg.name) == keys
    if leg is not None and same_key and state.legs.get(leg.name) == leg:
        del state.legs[leg.name]
        state.secrets.pop(leg.name, None)
    if peer is not None:
        state.references[peer.name] -= 1
        if not state.references[peer.name]:
            del state.references[peer.name], state.peers[peer.name]
            state.secrets.pop(peer.name, None)
