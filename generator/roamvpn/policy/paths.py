"""Path determination (Fig 13, steps S109 to S113): which gateways a VPN joins, and its profiles."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.records import NO_CLASS
from roamvpn.tables.types import GwType, Security, Share, host_prefix

if TYPE_CHECKING:
    from roamvpn.tables.records import CnGwRow, VpnRecord
    from roamvpn.tables.tables import Tables
    from roamvpn.tables.types import Prefix


class VpnProfile(NamedTuple):
    """One profile of a VPN information cache instance (B11, Fig 7), directional (G10).

    `source` and `destination` are the user's packets' own, with their masks; `tos` is the name of the
    service class or None for TOS 0. Keys are held apart, by reference to the profile.
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

    @property
    def own(self) -> bool:
        """Whether the segment has a security association of the user's own."""
        return self.share is Share.OWN and self.security is not Security.ENCAPSULATION


DEFAULT_SPI = 0
"""Stands for the SPI preset on each gateway, which never travels (D17); S107 draws no key for it."""


class VpnPath(NamedTuple):
    """What Fig 13 decides for one record: the gateways from the mobile's side, and a profile per sending gateway."""

    gateways: tuple[str, ...]
    profiles: tuple[VpnProfile, ...]


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
        return _path(record, row, user.home_address, (mobile_side, correspondent_side))
    # S113 static: two VPNs, anchored at the home agent
    return _path(record, row, user.home_address, (mobile_side, user.home_agent, correspondent_side))


def _path(record: VpnRecord, row: CnGwRow, home_address: str, gateways: tuple[str, ...]) -> VpnPath:
    """A profile for every gateway that sends, in both directions (C8, C9 with G1 and G2)."""
    # one gateway in two roles, as for a user at home, needs no tunnel to itself
    gateways = tuple(dict.fromkeys(gateways))
    mobile, correspondent = host_prefix(home_address), record.destaddr
    profiles = []
    for near, far in pairwise(gateways):
        # a segment that ends at the foreign agent's far side is signalled unless that is the SLA's
        last_of_static = row.gw_type is GwType.STATIC and far == gateways[-1]
        far_type = GwType.STATIC if last_of_static else GwType.DYNAMIC
        up = _profile(record, "up", mobile, correspondent, near, far, far_type)
        down = _profile(record, "down", correspondent, mobile, far, near, GwType.DYNAMIC)
        profiles += [up, down]
    return VpnPath(gateways, tuple(profiles))


def _profile(  # noqa: PLR0913, PLR0917 - the two directions of a record differ in just these
    record: VpnRecord, direction: str, source: Prefix, destination: Prefix, near: str, far: str, far_type: GwType
) -> VpnProfile:
    tos = record.upclass if direction == "up" else record.downclass
    own = record.share is Share.OWN
    return VpnProfile(
        profile_number=record.profile_number,
        nai=record.nai,
        direction=direction,
        source=source,
        destination=destination,
        tos=None if tos == NO_CLASS else tos,
        security=record.security,
        share=record.share,
        source_gw=near,
        destination_gw=far,
        destination_gw_type=far_type,
        up_spi=(record.up_spi or DEFAULT_SPI) if own else DEFAULT_SPI,
        down_spi=(record.down_spi or DEFAULT_SPI) if own else DEFAULT_SPI,
    )
