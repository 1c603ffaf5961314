"""VPN information cache instance (Fig 7, B9): what a node knows of one registered user."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.policy.keys import domain_key, leg_key
from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.tables.rows import replaced_often

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.tables.secrets import ProfileKeys


@replaced_often
class VpnInformation(NamedTuple):
    """One user's session with its VPNs; a node holds those segments, and as much of their keys, as it needs.

    `version` is the sequence number of the registration for which the VPN database was searched; `generation`
    counts the moves, so that both ends of a leg use the same key and device. Found by NAI and by home address (B10).
    """

    session_id: str
    nai: str
    home_address: str
    version: int
    foreign_agent: str
    generation: int
    segments: tuple[Segment, ...]

    def moved(self, foreign_agent: str, generation: int) -> VpnInformation:
        """The same with the old foreign agent replaced by another, and nothing else (C10, F8)."""
        # lists first: half the time of a generator, and a move makes many
        segments = [
            segment._replace(near=foreign_agent) if segment.kind is not SegmentKind.ENTERPRISE else segment
            for segment in self.segments
        ]
        return self._replace(foreign_agent=foreign_agent, generation=generation, segments=tuple(segments))

    def for_foreign_agent(self) -> VpnInformation:
        """Without what lies beyond the home agent: a foreign agent never sees those keys (C12)."""
        segments = [segment for segment in self.segments if segment.kind is not SegmentKind.ENTERPRISE]
        return self._replace(segments=tuple(segments)) if len(segments) < len(self.segments) else self

    def in_domain(self, domain: str) -> VpnInformation:
        """Root keys become those of a visited domain, for its AAAF."""
        segments = [with_keys(s, domain_key(s.keys, domain)) if s.keys else s for s in self.segments]
        return self._replace(segments=tuple(segments))

    def on_leg(self) -> VpnInformation:
        """Keys of a domain become those of the legs from its foreign agent, for that agent."""
        segments = [
            with_keys(s, leg_key(s.keys, s.near, s.far, self.generation)) if s.keys else s for s in self.segments
        ]
        return self._replace(segments=tuple(segments))

    def posted(self, profile_number: int) -> VpnInformation:
        """Only the one VPN that a binding update posts to its PCN (D10)."""
        segments = [s for s in self.segments if s.kind is SegmentKind.DIRECT and s.profile_number == profile_number]
        return self._replace(segments=tuple(segments)) if len(segments) < len(self.segments) else self

    @property
    def dynamic(self) -> tuple[Segment, ...]:
        """The segments that a PCN must be told of (D10)."""
        return tuple([segment for segment in self.segments if segment.kind is SegmentKind.DIRECT])

    def same_vpns(self, other: VpnInformation) -> bool:
        """Whether both hold the same VPNs of the same session at the same place."""
        return (
            self.session_id == other.session_id
            and self.foreign_agent == other.foreign_agent
            and self.segments == other.segments
        )

    def collides_with(self, other: VpnInformation) -> bool:
        """Whether an association of `other` must give way to another one for the same packets.

        Those two cannot share a device, so the generation must change; another class alone does not ask for it.
        """
        before = {(s.kind, s.mobile, s.correspondent): _association(s) for s in other.segments}
        return any(
            _association(s) != before.get((s.kind, s.mobile, s.correspondent), _association(s)) for s in self.segments
        )


def with_keys(segment: Segment, keys: ProfileKeys) -> Segment:
    """The segment with other keys."""
    return segment._replace(keys=keys)


def hand_off(information: VpnInformation, old: str, draw: Callable[[str], ProfileKeys] | None) -> tuple[Segment, ...]:
    """What the new foreign agent asks of the old one (G21, E2.3): the same VPNs, from the old to the new.

    The old agent takes the correspondent's place, so packets to the mobile leave by it. `draw` gives a fresh key for a
    flow, by its name.
    """
    found = []
    for segment in information.segments:
        if segment.kind is not SegmentKind.ENTERPRISE:
            flow = naming.hand_off_name(segment.profile_number, segment.nai)
            keys = draw(flow) if draw is not None and segment.own else None
            found.append(segment._replace(kind=SegmentKind.HAND_OFF, far=old, up_spi=0, down_spi=0, keys=keys))
    return tuple(found)


def _association(segment: Segment) -> tuple[object, ...]:
    keys = segment.keys
    return (segment.far, segment.security, segment.share, segment.up_spi, segment.down_spi, keys)


def flow_of(segment: Segment) -> str:
    """The name of the segment's VPN on its gateways."""
    name = naming.hand_off_name if segment.kind is SegmentKind.HAND_OFF else naming.flow_name
    return name(segment.profile_number, segment.nai)
