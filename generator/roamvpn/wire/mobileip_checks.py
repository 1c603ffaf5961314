"""What agents send each other is checked like any other input, though it was sealed with a key that only they have.

Names must be the network's, numbers and lengths in range: an agent that was broken into can lie, and no more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roamvpn.signalling.messages import Ba, Br, Bu, RegRep, RegReq
from roamvpn.tables.types import parse_address, parse_nai
from roamvpn.wire.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.paths import Segment
    from roamvpn.signalling.messages import InstanceId, Message
    from roamvpn.tables.network import Network
    from roamvpn.tables.types import Prefix

MAX_PROFILES = 256
MAX_OLD_FAS = 64
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9;._:-]{0,127}")
_U16, _U32, _U64 = 1 << 16, 1 << 32, 1 << 64
_PROFILE_NUMBERS = 1 << 28


class Checker:
    """Checks against one network."""

    def __init__(self, network: Network) -> None:
        self._gateways = frozenset(network.gateways)
        self._classes = frozenset(network.classes)

    def check(self, message: Message) -> None:
        """Raises WireError with the first thing that cannot be.

        Types were checked before, and that the sequence is the identification of the header.
        """
        try:
            self._any(message)
        except ValueError as error:
            # of the checks' own words only: the message may hold keys
            raise WireError(f"a {type(message).__name__} that cannot be: {error}") from None

    def _any(self, message: Message) -> None:
        if parse_nai(message.nai) != message.nai:
            raise ValueError("a realm with capitals")
        if isinstance(message, RegReq):
            self._request(message)
        elif isinstance(message, RegRep):
            # of a stale one the header shows but half
            _below(_U64, message.seq)
            _below(_U16, message.lifetime)
            self._known(message.old_fas)
            if len(message.old_fas) > MAX_OLD_FAS:
                raise ValueError("too many old foreign agents")
        elif isinstance(message, Bu):
            self._update(message)
        elif isinstance(message, Ba | Br):
            _below(_PROFILE_NUMBERS, message.profile_number)

    def _request(self, request: RegReq) -> None:
        _below(_U64, request.answered)
        _below(_U16, request.lifetime)
        self._known(name for name in (request.home_agent, request.old_fa, request.care_of) if name)
        if request.held is not None:
            _instance(request.held)

    def _update(self, update: Bu) -> None:
        _below(_U16, update.lifetime)
        _below(_PROFILE_NUMBERS, update.profile_number)
        if update.information is not None:
            self._information(update.information, update.nai)

    def _information(self, information: VpnInformation, nai: str) -> None:
        _instance(information)
        self._known((information.foreign_agent,))
        parse_address(information.home_address)
        if information.nai != nai or len(information.segments) > MAX_PROFILES:
            raise ValueError("VPN information of somebody else, or of too many VPNs")
        for segment in information.segments:
            self._segment(segment, nai)

    def _segment(self, segment: Segment, nai: str) -> None:
        _below(_PROFILE_NUMBERS, segment.profile_number)
        self._known((segment.near, segment.far))
        _prefix(segment.mobile)
        _prefix(segment.correspondent)
        if segment.nai != nai:
            raise ValueError("a VPN of somebody else")
        if not {segment.upclass, segment.downclass} <= {*self._classes, None}:
            raise ValueError("no such service class")
        for spi in (segment.up_spi, segment.down_spi):
            if not (spi == 0 or 0x100 <= spi < _U32):
                raise ValueError("a reserved SPI")
        for key in segment.keys or ():
            if key is not None and not 16 <= len(key) <= 128:
                raise ValueError("a key of a length that keys do not have")

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._gateways:
                raise ValueError("a gateway that the network does not have")


def _instance(instance: InstanceId | VpnInformation) -> None:
    if not _SESSION.fullmatch(instance.session_id):
        raise ValueError("no session identifier")
    _below(_U64, instance.version)
    _below(_U32, instance.generation)


def _prefix(prefix: Prefix) -> None:
    first, length, text = prefix
    _below(33, length)
    _below(_U32, first)
    dotted = f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/{length}"
    if text != dotted or first & (0xFFFFFFFF >> length):
        raise ValueError("no prefix")


def _below(limit: int, *numbers: int) -> None:
    for number in numbers:
        if not 0 <= number < limit:
            raise ValueError("a number that is out of range")
