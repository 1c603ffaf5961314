"""VPN information as AVPs: the profile cache, with one AVP for each field of a profile (B9, B11, A10).

What comes in is checked like any other input: names that the network has, addresses without host bits, numbers in
range, keys of a length that keys have.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from roamvpn.policy.information import VpnInformation
from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.signalling.messages import InstanceId
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix, Security, Share, parse_address
from roamvpn.wire import diameter_avps as a

if TYPE_CHECKING:
    from roamvpn.tables.network import Network
    from roamvpn.wire.diameter_avps import Reader, Writer
    from roamvpn.wire.diameter_identities import Identities

MAX_PROFILES = 256
_KINDS = {SegmentKind.ACCESS: 1, SegmentKind.ENTERPRISE: 2, SegmentKind.DIRECT: 3, SegmentKind.HAND_OFF: 4}
_SECURITIES = {Security.ESP: 1, Security.AH: 2, Security.ENCAPSULATION: 3}
_SHARES = {Share.SHARED: 0, Share.OWN: 1}
_kind = {number: kind for kind, number in _KINDS.items()}.__getitem__
_security = {number: security for security, number in _SECURITIES.items()}.__getitem__
_share = {number: share for share, number in _SHARES.items()}.__getitem__
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9;._:-]{0,127}")
_NUMBERS = a.Numbers(
    a.SEGMENT_KIND,
    a.PROFILE_NUMBER,
    a.SOURCE_ADDRESS,
    a.SOURCE_MASK,
    a.DESTINATION_ADDRESS,
    a.DESTINATION_MASK,
    a.SECURITY_TYPE,
    a.VPN_SHARE,
    a.UP_SPI,
    a.DOWN_SPI,
)
_KEYS = (a.PSK, a.UP_ESP_KEY, a.DOWN_ESP_KEY, a.UP_AUTHENTICATION_KEY, a.DOWN_AUTHENTICATION_KEY)


class InformationCodec:
    """Between `VpnInformation` and its AVPs, on one network."""

    def __init__(self, network: Network, identities: Identities) -> None:
        self._identities = identities
        self._classes = frozenset(network.classes)

    def write(self, out: Writer, information: VpnInformation) -> Writer:
        """Profile-Cache (A10). The user is that of the message and stands nowhere else."""
        identity = self._identities.of
        out.add(a.CACHE_SESSION, information.session_id)
        out.add(a.MIP_MOBILE_NODE_ADDRESS, information.home_address)
        out.add(a.CACHE_VERSION, information.version)
        out.add(a.FOREIGN_AGENT, identity(information.foreign_agent))
        out.add(a.GENERATION, information.generation)
        return out.all(a.VPN_PROFILE, [self._profile(out.group(), each) for each in information.segments])

    def read(self, group: Reader, nai: str) -> VpnInformation:
        """The same back; raises DiameterError."""
        gateway = self._identities.gateway
        profiles = group.all(a.VPN_PROFILE, MAX_PROFILES)
        return VpnInformation(
            group.checked(a.CACHE_SESSION, session_id),
            nai,
            group.checked(a.MIP_MOBILE_NODE_ADDRESS, address),
            group.one(a.CACHE_VERSION),
            group.checked(a.FOREIGN_AGENT, gateway),
            group.one(a.GENERATION),
            tuple([self._segment(each, nai) for each in profiles]),
        )

    def _profile(self, out: Writer, segment: Segment) -> Writer:
        identity = self._identities.of
        numbers = (
            _KINDS[segment.kind],
            segment.profile_number,
            segment.mobile.first,
            segment.mobile.length,
            segment.correspondent.first,
            segment.correspondent.length,
            _SECURITIES[segment.security],
            _SHARES[segment.share],
            segment.up_spi,
            segment.down_spi,
        )
        out.numbers(_NUMBERS, numbers)
        out.add(a.SOURCE_GW, identity(segment.near)).add(a.DESTINATION_GW, identity(segment.far))
        out.add(a.UP_CLASS, segment.upclass).add(a.DOWN_CLASS, segment.downclass)
        if segment.keys is not None:
            keys = out.group()
            for kind, key in zip(_KEYS, segment.keys, strict=True):
                keys.add(kind, key)
            out.add(a.PROFILE_KEYS, keys)
        return out

    def _segment(self, group: Reader, nai: str) -> Segment:
        gateway = self._identities.gateway
        keys = group.maybe(a.PROFILE_KEYS)
        return Segment(
            group.checked(a.SEGMENT_KIND, _kind),
            group.checked(a.PROFILE_NUMBER, _profile_number),
            nai,
            _prefix(group, a.SOURCE_ADDRESS, a.SOURCE_MASK),
            _prefix(group, a.DESTINATION_ADDRESS, a.DESTINATION_MASK),
            group.maybe_checked(a.UP_CLASS, self._class),
            group.maybe_checked(a.DOWN_CLASS, self._class),
            group.checked(a.SECURITY_TYPE, _security),
            group.checked(a.VPN_SHARE, _share),
            group.checked(a.SOURCE_GW, gateway),
            group.checked(a.DESTINATION_GW, gateway),
            group.checked(a.UP_SPI, _spi),
            group.checked(a.DOWN_SPI, _spi),
            ProfileKeys(*[keys.maybe_checked(kind, _key) for kind in _KEYS]) if keys is not None else None,
        )

    def _class(self, name: str) -> str:
        if name not in self._classes:
            raise ValueError("no such service class")
        return name


def write_instance(out: Writer, instance: InstanceId) -> Writer:
    """Held-Instance: which state of the VPN information a node holds."""
    out.add(a.CACHE_SESSION, instance.session_id).add(a.CACHE_VERSION, instance.version)
    return out.add(a.GENERATION, instance.generation)


def read_instance(group: Reader) -> InstanceId:
    """The same back; raises DiameterError."""
    return InstanceId(group.checked(a.CACHE_SESSION, session_id), group.one(a.CACHE_VERSION), group.one(a.GENERATION))


def session_id(text: str) -> str:
    """A session identifier of a form that may stand in files; raises ValueError."""
    if not _SESSION.fullmatch(text):
        raise ValueError("no session identifier")
    return text


def address(value: tuple[int, str]) -> str:
    """An IPv4 unicast address (family 1); raises ValueError."""
    family, text = value
    if family != 1:
        raise ValueError("no IPv4 address")
    return parse_address(text)


def _prefix(group: Reader, address_kind: a.Avp, mask_kind: a.Avp) -> Prefix:
    length = group.checked(mask_kind, _mask)
    return group.checked(address_kind, partial(_network, length))  # type: ignore[no-any-return] # what the check returns


def _mask(length: int) -> int:
    if length > 32:
        raise ValueError("no mask")
    return length


def _network(length: int, first: int) -> Prefix:
    if first & (0xFFFFFFFF >> length):
        raise ValueError("has host bits set")
    dotted = ".".join([str(first >> shift & 0xFF) for shift in (24, 16, 8, 0)])
    return Prefix(first, length, f"{dotted}/{length}")


def _profile_number(number: int) -> int:
    if not 1 <= number <= 0x0FFFFFFF:
        raise ValueError("no profile number")
    return number


def _spi(spi: int) -> int:
    if 0 < spi < 0x100:
        raise ValueError("is reserved (RFC 4303)")
    return spi


def _key(octets: bytes) -> Secret:
    if not 16 <= len(octets) <= 128:
        raise ValueError("no key")
    return Secret(octets)
