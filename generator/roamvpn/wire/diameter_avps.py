"""AVPs: which there are, of which type, and their values. Sources: RFC 6733 section 4.5, RFC 4004 section 7.

VPN information travels in AVPs of an enterprise, whose number is a setting; 32473 is reserved for documentation
(RFC 5612). Those never have the M bit: a command of RFC 4004 may not be given new mandatory AVPs (RFC 6733 section
1.3.4), and who does not know them answers without, which is refused here. Types are python-diameter's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diameter.message import constants as c
from diameter.message.avp import (
    AvpAddress,
    AvpDecodeError,
    AvpGrouped,
    AvpOctetString,
    AvpUnsigned32,
    AvpUnsigned64,
    AvpUtf8String,
    avp,
)

from roamvpn.wire.diameter_frames import (
    AVP_UNSUPPORTED,
    HEADER,
    INVALID_AVP_LENGTH,
    INVALID_AVP_VALUE,
    MISSING_AVP,
    OCCURS_TOO_MANY_TIMES,
    DiameterError,
    copy_of,
    pack_avp,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.wire.diameter_frames import RawAvp

ENTERPRISE = 32473


class Identity(AvpOctetString):  # type: ignore[misc] # the library has no published types
    """DiameterIdentity: a host name, ASCII, compared without case (RFC 6733 section 4.3.1); octets to the library."""


@dataclass(frozen=True, slots=True, eq=False)
class Avp:
    """What an AVP is. `ours`: its number is of the enterprise."""

    name: str
    code: int
    type: type[Any]
    ours: bool
    size: int | None
    """Octets of a value of fixed size, which is a number."""
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    key: int
    """Tells it from those of others with the same number."""
    mandatory: bool


def _avp(name: str, code: int, kind: type[Any], *, ours: bool = False, mandatory: bool = True) -> Avp:
    encode, decode = _VALUES.get(kind, (_encoder(kind), _decoder(kind)))
    key = code | (_OF_OURS if ours else 0)
    return Avp(name, code, kind, ours, _SIZES.get(kind), encode, decode, key, mandatory and not ours)


def _own(name: str, code: int, kind: type[Any]) -> Avp:
    return _avp(name, code, kind, ours=True)


def _encoder(kind: type[Any]) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:  # noqa: ANN401 - what the type takes
        holder = kind(0)
        holder.value = value
        return bytes(holder.payload)

    return encode


def _decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    return lambda payload: kind(0, payload=payload).value


_OF_OURS = 1 << 32
_SIZES: dict[type[Any], int] = {AvpUnsigned32: 4, AvpUnsigned64: 8}
# the types of which there are most go without an object of python-diameter's for each value
_VALUES: dict[type[Any], tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    AvpUnsigned32: (lambda value: value.to_bytes(4), int.from_bytes),
    AvpUnsigned64: (lambda value: value.to_bytes(8), int.from_bytes),
    AvpOctetString: (bytes, bytes),
    AvpUtf8String: (str.encode, bytes.decode),
    Identity: (lambda name: name.encode("ascii"), lambda payload: payload.decode("ascii").lower()),
}
_U32, _U64, _TEXT, _OCTETS, _GROUP = AvpUnsigned32, AvpUnsigned64, AvpUtf8String, AvpOctetString, AvpGrouped

# the base protocol
SESSION_ID = _avp("Session-Id", c.AVP_SESSION_ID, _TEXT)
USER_NAME = _avp("User-Name", c.AVP_USER_NAME, _TEXT)
ORIGIN_HOST = _avp("Origin-Host", c.AVP_ORIGIN_HOST, Identity)
ORIGIN_REALM = _avp("Origin-Realm", c.AVP_ORIGIN_REALM, Identity)
DESTINATION_HOST = _avp("Destination-Host", c.AVP_DESTINATION_HOST, Identity)
DESTINATION_REALM = _avp("Destination-Realm", c.AVP_DESTINATION_REALM, Identity)
ROUTE_RECORD = _avp("Route-Record", c.AVP_ROUTE_RECORD, Identity)
PROXY_INFO = _avp("Proxy-Info", c.AVP_PROXY_INFO, _GROUP)
RESULT_CODE = _avp("Result-Code", c.AVP_RESULT_CODE, _U32)
ERROR_MESSAGE = _avp("Error-Message", c.AVP_ERROR_MESSAGE, _TEXT, mandatory=False)
FAILED_AVP = _avp("Failed-AVP", c.AVP_FAILED_AVP, _GROUP)
AUTH_APPLICATION_ID = _avp("Auth-Application-Id", c.AVP_AUTH_APPLICATION_ID, _U32)
ACCT_APPLICATION_ID = _avp("Acct-Application-Id", c.AVP_ACCT_APPLICATION_ID, _U32)
AUTH_SESSION_STATE = _avp("Auth-Session-State", c.AVP_AUTH_SESSION_STATE, _U32)
AUTHORIZATION_LIFETIME = _avp("Authorization-Lifetime", c.AVP_AUTHORIZATION_LIFETIME, _U32)
HOST_IP_ADDRESS = _avp("Host-IP-Address", c.AVP_HOST_IP_ADDRESS, _OCTETS)
VENDOR_ID = _avp("Vendor-Id", c.AVP_VENDOR_ID, _U32)
PRODUCT_NAME = _avp("Product-Name", c.AVP_PRODUCT_NAME, _TEXT, mandatory=False)
SUPPORTED_VENDOR_ID = _avp("Supported-Vendor-Id", c.AVP_SUPPORTED_VENDOR_ID, _U32)
VENDOR_SPECIFIC_APPLICATION_ID = _avp("Vendor-Specific-Application-Id", c.AVP_VENDOR_SPECIFIC_APPLICATION_ID, _GROUP)
ORIGIN_STATE_ID = _avp("Origin-State-Id", c.AVP_ORIGIN_STATE_ID, _U32)
DISCONNECT_CAUSE = _avp("Disconnect-Cause", c.AVP_DISCONNECT_CAUSE, _U32)

# Mobile IPv4
MIP_REG_REQUEST = _avp("MIP-Reg-Request", c.AVP_MIP_REG_REQUEST, _OCTETS)
MIP_REG_REPLY = _avp("MIP-Reg-Reply", c.AVP_MIP_REG_REPLY, _OCTETS)
MIP_MOBILE_NODE_ADDRESS = _avp("MIP-Mobile-Node-Address", c.AVP_MIP_MOBILE_NODE_ADDRESS, AvpAddress)
MIP_FEATURE_VECTOR = _avp("MIP-Feature-Vector", c.AVP_MIP_FEATURE_VECTOR, _U32)
MIP_MN_AAA_AUTH = _avp("MIP-MN-AAA-Auth", c.AVP_MIP_MN_AAA_AUTH, _GROUP)
MIP_AUTH_INPUT_DATA_LENGTH = _avp("MIP-Auth-Input-Data-Length", c.AVP_MIP_AUTH_INPUT_DATA_LENGTH, _U32)
MIP_AUTHENTICATOR_LENGTH = _avp("MIP-Authenticator-Length", c.AVP_MIP_AUTHENTICATOR_LENGTH, _U32)
MIP_AUTHENTICATOR_OFFSET = _avp("MIP-Authenticator-Offset", c.AVP_MIP_AUTHENTICATOR_OFFSET, _U32)
MIP_MN_AAA_SPI = _avp("MIP-MN-AAA-SPI", c.AVP_MIP_MN_AAA_SPI, _U32)
MIP_ORIGINATING_FOREIGN_AAA = _avp("MIP-Originating-Foreign-AAA", c.AVP_MIP_ORIGINATING_FOREIGN_AAA, _GROUP)
MIP_HOME_AGENT_HOST = _avp("MIP-Home-Agent-Host", c.AVP_MIP_HOME_AGENT_HOST, _GROUP)

# the enterprise's: a registration
SEQUENCE = _own("Registration-Sequence", 1, _U64)
LIFETIME = _own("Registration-Lifetime", 2, _U32)
PREVIOUS_FA = _own("Previous-FA", 3, Identity)
SERVICE_UPDATE = _own("Service-Update", 4, _U32)
ANSWERED = _own("Answered", 5, _U64)
CARE_OF = _own("Care-Of", 6, Identity)
HELD_INSTANCE = _own("Held-Instance", 7, _GROUP)
REQUESTER = _own("Requester", 8, Identity)
REGISTRATION_REPLY = _own("Registration-Reply", 9, _GROUP)
REPLY_CODE = _own("Reply-Code", 10, _U32)
# an instance of the VPN information cache (B9)
PROFILE_CACHE = _own("Profile-Cache", 20, _GROUP)
CACHE_SESSION = _own("Cache-Session", 21, _TEXT)
CACHE_VERSION = _own("Cache-Version", 22, _U64)
GENERATION = _own("Generation", 23, _U32)
FOREIGN_AGENT = _own("Foreign-Agent", 24, Identity)
# one profile (B11)
VPN_PROFILE = _own("VPN-Profile", 30, _GROUP)
PROFILE_NUMBER = _own("Profile-Number", 31, _U32)
SEGMENT_KIND = _own("Segment-Kind", 32, _U32)
SOURCE_ADDRESS = _own("Source-Address", 33, _U32)
SOURCE_MASK = _own("Source-Mask", 34, _U32)
DESTINATION_ADDRESS = _own("Destination-Address", 35, _U32)
DESTINATION_MASK = _own("Destination-Mask", 36, _U32)
UP_CLASS = _own("Up-Class", 37, _TEXT)
DOWN_CLASS = _own("Down-Class", 38, _TEXT)
SECURITY_TYPE = _own("Security-Type", 39, _U32)
VPN_SHARE = _own("VPN-Share", 40, _U32)
SOURCE_GW = _own("Source-GW", 41, Identity)
DESTINATION_GW = _own("Destination-GW", 42, Identity)
UP_SPI = _own("Up-SPI", 43, _U32)
DOWN_SPI = _own("Down-SPI", 44, _U32)
PROFILE_KEYS = _own("Profile-Keys", 45, _GROUP)
PSK = _own("PSK", 46, _OCTETS)
UP_ESP_KEY = _own("Up-ESP-Encryption-Key", 47, _OCTETS)
DOWN_ESP_KEY = _own("Down-ESP-Encryption-Key", 48, _OCTETS)
UP_AUTHENTICATION_KEY = _own("Up-Authentication-Key", 49, _OCTETS)
DOWN_AUTHENTICATION_KEY = _own("Down-Authentication-Key", 50, _OCTETS)

_ALL = [each for each in tuple(globals().values()) if isinstance(each, Avp)]
OURS = tuple(each for each in _ALL if each.ours)
_OURS = frozenset(each.code for each in OURS)
# what a receiver of these commands knows though it has no use for it: RFC 6733 section 4.5, RFC 4004 section 7
_UNDERSTOOD = frozenset({*range(257, 300), *range(318, 349), 1, 25, 27, 33, 44, 50, 55, 363, 367, 480, 483, 485})


def teach(vendor: int = ENTERPRISE) -> None:
    """Tell python-diameter the enterprise's AVPs, so that its own decoder names them."""
    for each in OURS:
        avp.register(each.code, each.name, each.type, vendor=vendor, mandatory=False)


class Numbers:
    """AVPs of the enterprise that are written together: 32-bit numbers all."""

    __slots__ = ("kinds", "struct")

    def __init__(self, *kinds: Avp) -> None:
        self.kinds = kinds
        self.struct = struct.Struct("!" + "12sI" * len(kinds))


class Writer:
    """Gathers AVPs of one level."""

    __slots__ = ("_heads", "_parts", "_vendor")

    def __init__(self, vendor: int, heads: dict[int, bytes] | None = None) -> None:
        """`heads` are those of numbers, which are always the same; groups share them with what they are in."""
        self._parts: list[bytes] = []
        self._vendor = vendor
        self._heads = heads if heads is not None else _HEADS.setdefault(vendor, {})

    def add(self, kind: Avp, value: Any) -> Writer:  # noqa: ANN401 - what the type takes
        """One AVP; None adds none."""
        if value is None:
            return self
        if kind.size is not None:
            self._parts.append((self._heads.get(kind.key) or self._head(kind)) + value.to_bytes(kind.size))
        else:
            payload = value.payload() if type(value) is Writer else kind.encode(value)
            vendor = self._vendor if kind.ours else 0
            self._parts.append(pack_avp(kind.code, payload, vendor=vendor, mandatory=kind.mandatory))
        return self

    def numbers(self, kinds: Numbers, values: Iterable[int]) -> Writer:
        """Several numbers at once, in a tenth of the time that they take one by one."""
        heads = [self._heads.get(kind.key) or self._head(kind) for kind in kinds.kinds]
        fields: list[Any] = []
        for pair in zip(heads, values, strict=True):
            fields += pair
        self._parts.append(kinds.struct.pack(*fields))
        return self

    def _head(self, kind: Avp) -> bytes:
        assert kind.size is not None  # noqa: S101 - of numbers only
        vendor = self._vendor if kind.ours else 0
        head = pack_avp(kind.code, bytes(kind.size), vendor=vendor, mandatory=kind.mandatory)[: -kind.size]
        self._heads[kind.key] = head
        return head

    def all(self, kind: Avp, values: Iterable[Any]) -> Writer:
        """One AVP for each value."""
        for value in values:
            self.add(kind, value)
        return self

    def raw(self, avps: bytes) -> Writer:
        """AVPs that are packed already."""
        self._parts.append(avps)
        return self

    def group(self) -> Writer:
        """For the AVPs of a grouped one."""
        return Writer(self._vendor, self._heads)

    def payload(self) -> bytes:
        """All of them."""
        return b"".join(self._parts)


class Reader:
    """The AVPs of one level, found by kind. Raises DiameterError for all that does not hold."""

    __slots__ = ("_found", "_raw", "_vendor")

    def __init__(self, raw: bytes, vendor: int, start: int = HEADER, end: int | None = None) -> None:
        """Checks the structure, and that nothing mandatory is unknown (5001)."""
        self._raw, self._vendor = raw, vendor
        found: dict[int, list[RawAvp]] = {}
        self._found = found
        for each in walk(raw, start, end):
            code, whose = each.code, each.vendor
            if not whose and code in _UNDERSTOOD:
                key = code
            elif whose == vendor and code in _OURS:
                key = code | _OF_OURS
            else:
                key = -1
            if key >= 0:
                if key in found:
                    found[key].append(each)
                else:
                    found[key] = [each]
            elif each.is_mandatory:
                raise DiameterError(
                    AVP_UNSUPPORTED, f"unknown mandatory AVP {each.vendor}/{each.code}", self._copy(each)
                )

    def one(self, kind: Avp) -> Any:  # noqa: ANN401 - a value of the type
        """The value of the AVP that must be there (5005)."""
        found = self._rows(kind)
        if not found:
            raise self.missing(kind)
        return self._value(kind, self._only(kind, found))

    def maybe(self, kind: Avp) -> Any:  # noqa: ANN401
        """The value, or None."""
        found = self._rows(kind)
        return self._value(kind, self._only(kind, found)) if found else None

    def all(self, kind: Avp, most: int) -> list[Any]:
        """The values in order, at most so many (5009)."""
        found = self._rows(kind)
        if len(found) > most:
            raise DiameterError(OCCURS_TOO_MANY_TIMES, f"{kind.name} {len(found)} times", self._copy(found[most]))
        return [self._value(kind, each) for each in found]

    def checked(self, kind: Avp, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        """The value that must be there, as `check` returns it; its ValueError, KeyError is an invalid value (5004)."""
        return self._checked(kind, self.one(kind), check)

    def maybe_checked(self, kind: Avp, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        """The same of one that may be missing."""
        value = self.maybe(kind)
        return None if value is None else self._checked(kind, value, check)

    def all_checked(self, kind: Avp, most: int, check: Callable[[Any], Any]) -> tuple[Any, ...]:
        """The same of several."""
        return tuple([self._checked(kind, value, check) for value in self.all(kind, most)])

    def has(self, kind: Avp) -> bool:
        """Whether it is there."""
        return kind.key in self._found

    def copies(self, kind: Avp, most: int) -> bytes:
        """These AVPs as they stand, for an answer that must repeat them."""
        return b"".join(self._copy(each) for each in self._rows(kind)[:most])

    def invalid(self, kind: Avp) -> DiameterError:
        """The error of an AVP whose value does not hold."""
        found = self._rows(kind)
        return DiameterError(INVALID_AVP_VALUE, f"the value of {kind.name}", self._copy(found[0]) if found else b"")

    def missing(self, kind: Avp) -> DiameterError:
        """The error of one that is not there, with an example of the least length (RFC 6733 section 7.5)."""
        vendor = self._vendor if kind.ours else 0
        example = pack_avp(kind.code, bytes(kind.size or 0), vendor=vendor, mandatory=kind.mandatory)
        return DiameterError(MISSING_AVP, f"{kind.name} is missing", example)

    def _rows(self, kind: Avp) -> list[RawAvp]:
        return self._found.get(kind.key, _NONE)

    def _only(self, kind: Avp, found: list[RawAvp]) -> RawAvp:
        if len(found) > 1:
            raise DiameterError(OCCURS_TOO_MANY_TIMES, f"{kind.name} {len(found)} times", self._copy(found[1]))
        return found[0]

    def _value(self, kind: Avp, row: RawAvp) -> Any:  # noqa: ANN401
        if kind.type is AvpGrouped:
            return Reader(self._raw, self._vendor, row.begin, row.end)
        payload = self._raw[row.begin : row.end]
        if kind.size is not None and len(payload) != kind.size:
            raise DiameterError(INVALID_AVP_LENGTH, f"{kind.name} of {len(payload)} octets", self._copy(row))
        try:
            return kind.decode(payload)
        except (AvpDecodeError, ValueError, struct.error):
            # python-diameter's own text has the value in it
            raise DiameterError(INVALID_AVP_VALUE, f"the value of {kind.name}", self._copy(row)) from None

    def _checked(self, kind: Avp, value: Any, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        try:
            return check(value)
        except (ValueError, KeyError):
            raise self.invalid(kind) from None

    def _copy(self, row: RawAvp) -> bytes:
        return copy_of(self._raw, row.start, row.end)


_NONE: list[RawAvp] = []
_HEADS: dict[int, dict[int, bytes]] = {}
"""By vendor and key."""
