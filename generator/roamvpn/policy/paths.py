"""Path determination (Fig 13, steps S109 to S113): which gateways a VPN joins, segment by segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.records import NO_CLASS
from roamvpn.tables.rows import replaced_often
from roamvpn.tables.types import GwType, Security, Share, Word, host_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.tables.records import CnGwRow, VpnRecord
    from roamvpn.tables.secrets import ProfileKeys
    from roamvpn.tables.tables import Tables
    from roamvpn.tables.types import Prefix


class SegmentKind(Word):
    """Which two gateways a segment lies between."""

    ACCESS = "access"
    """FA to HA, of a static destination."""
    ENTERPRISE = "enterprise"
    """HA to GW, of a static destination; its keys are the SLA's (G11)."""
    DIRECT = "direct"
    """FA to PCN, of a dynamic destination."""
    HAND_OFF = "hand-off"
    """New FA to old FA: for some seconds after a move, what still reaches the old FA goes on to the new one."""


class VpnProfile(NamedTuple):
    """One profile of a VPN information cache instance (B11, Fig 7), directional (G10).

    `source` and `destination` are the user's packets' own, with their masks; `tos` is the name of the
    service class or None for TOS 0. `keys` fill the four key fields; under IKEv2 one PSK stands for them.
    """

    profile_number: int
    nai: str
    direction: str
    source: Prefix
    destination: Prefix
    tos: str | None
    security: Security
    share: Share
    source_gw: str
    destination_gw: str
    destination_gw_type: GwType
    up_spi: int
    down_spi: int
    keys: ProfileKeys | None = None


@replaced_often
class Segment(NamedTuple):
    """The stretch of one VPN between two gateways, both directions: what travels in messages and lies in caches.

    `near` is the gateway on the mobile's side. `upclass` and `downclass` name service classes, None is TOS 0.
    `keys` are as much of the key as their holder may know (`roamvpn.policy.keys`).
    """

    kind: SegmentKind
    profile_number: int
    nai: str
    mobile: Prefix
    correspondent: Prefix
    upclass: str | None
    downclass: str | None
    security: Security
    share: Share
    near: str
    far: str
    up_spi: int
    down_spi: int
    keys: ProfileKeys | None = None

    @property
    def own(self) -> bool:
        """Whether the segment has a security association of the user's own."""
        return self.share is Share.OWN and self.security is not Security.ENCAPSULATION

    @property
    def empty(self) -> bool:
        """Whether one gateway is both ends, as for a user at home: no tunnel is needed."""
        return self.near == self.far

    def profiles(self) -> tuple[VpnProfile, VpnProfile]:
        """The segment as the seed writes it: one profile for each direction (C8, C9 with G1 and G2)."""
        up = VpnProfile(
            profile_number=self.profile_number,
            nai=self.nai,
            direction="up",
            source=self.mobile,
            destination=self.correspondent,
            tos=self.upclass,
            security=self.security,
            share=self.share,
            source_gw=self.near,
            destination_gw=self.far,
            destination_gw_type=GwType.STATIC if self.kind is SegmentKind.ENTERPRISE else GwType.DYNAMIC,
            up_spi=self.up_spi,
            down_spi=self.down_spi,
            keys=self.keys,
        )
        down = up._replace(
            direction="down",
            source=self.correspondent,
            destination=self.mobile,
            tos=self.downclass,
            source_gw=self.far,
            destination_gw=self.near,
            destination_gw_type=GwType.DYNAMIC,
        )
        return up, down


DEFAULT_SPI = 0
"""Stands for the SPI preset on each gateway, which never travels (D17); S107 draws no key for it."""


class VpnPath(NamedTuple):
    """What Fig 13 decides for one record: the gateways from the mobile's side, and the segments between them."""

    gateways: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def profiles(self) -> tuple[VpnProfile, ...]:
        """A profile for every gateway that sends."""
        return tuple(profile for segment in self.segments if not segment.empty for profile in segment.profiles())


class Rejected(NamedTuple):
    """A profile that cannot be set up; the user's others go on (G25)."""

    nai: str
    profile_number: int
    reason: str

    def __str__(self) -> str:
        """One sentence for a person."""
        return f"profile {self.profile_number} of {self.nai} is rejected: {self.reason}"


def determine_path(tables: Tables, record: VpnRecord, foreign_agent: str) -> VpnPath | Rejected:
    """Fig 13 for one record of a user who is at `foreign_agent`."""
    user = tables.subscribers[record.nai]
    # S109 the mobile's side: the gateway that sent the request, never a field of the mobile's (C6)
    mobile_side = foreign_agent
    # S110 the correspondent's side: CN-GW table
    row = tables.cn_gw_table.lookup(record.destaddr, user.tenant)
    if row is None:
        return Rejected(record.nai, record.profile_number, f"{record.destaddr.text} has no CN-GW row")
    correspondent_side = tables.gateway_at(row.gw_address)
    if correspondent_side is None:
        return Rejected(record.nai, record.profile_number, f"no gateway has the address {row.gw_address}")
    # S111 which type?
    if row.gw_type is GwType.DYNAMIC:
        # S112 dynamic: one VPN, past the home agent (F6)
        gateways: tuple[str, ...] = (mobile_side, correspondent_side)
    else:
        # S113 static: two VPNs, anchored at the home agent
        gateways = (mobile_side, user.home_agent, correspondent_side)
    segments = tuple(_segments(record, row, user.home_address, gateways))
    # one gateway in two roles, as for a user at home, needs no tunnel to itself
    return VpnPath(tuple(dict.fromkeys(gateways)), segments)


def _segments(record: VpnRecord, row: CnGwRow, home_address: str, gateways: tuple[str, ...]) -> Iterator[Segment]:
    own = record.share is Share.OWN
    if row.gw_type is GwType.DYNAMIC:
        kinds: tuple[SegmentKind, ...] = (SegmentKind.DIRECT,)
    else:
        kinds = (SegmentKind.ACCESS, SegmentKind.ENTERPRISE)
    mobile = host_prefix(home_address)
    for kind, near, far in zip(kinds, gateways, gateways[1:], strict=False):
        yield Segment(
            kind=kind,
            profile_number=record.profile_number,
            nai=record.nai,
            mobile=mobile,
            correspondent=record.destaddr,
            upclass=None if record.upclass == NO_CLASS else record.upclass,
            downclass=None if record.downclass == NO_CLASS else record.downclass,
            security=record.security,
            share=record.share,
            near=near,
            far=far,
            up_spi=(record.up_spi or DEFAULT_SPI) if own else DEFAULT_SPI,
            down_spi=(record.down_spi or DEFAULT_SPI) if own else DEFAULT_SPI,
        )
