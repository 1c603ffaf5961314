"""Field types, checked once at the edge: what they admit can stand in any file that we write.

Sources: NAI RFC 4282 section 2.1, DSCP names RFC 4594, reserved SPIs RFC 4303 section 2.1.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from netaddr import INET_PTON, AddrFormatError, IPAddress, IPNetwork
from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, WithJsonSchema


class Word(StrEnum):
    """A word of the tables. Its repr is the bare text, so that digests of rows are quick and plain.

    Its hash is the text's as well: an enumeration's own is computed in Python, and words are keys everywhere.
    """

    __repr__ = str.__repr__
    __hash__ = str.__hash__


class Security(Word):
    """Security type of a profile (Fig 7)."""

    ESP = "esp"
    AH = "ah"
    ENCAPSULATION = "encapsulation"


class GwType(Word):
    """GW type of a CN-GW row (Fig 8): whether a VPN can be set to it by signalling."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class Role(Word):
    """What a gateway is: foreign agent, home agent, proxy correspondent node, static enterprise gateway."""

    FA = "fa"
    HA = "ha"
    PCN = "pcn"
    STATIC = "static"


class Keying(Word):
    """How an SLA's security associations get their keys: by IKEv2, or set by hand."""

    IKE = "ike"
    STATIC = "static"


class Share(Word):
    """vpnshare (Fig 5) in words: the gateways' shared security relationship or the user's own."""

    SHARED = "shared"
    OWN = "own"


class Prefix(NamedTuple):
    """An IPv4 network with no host bits set: `first` is its address as an integer."""

    first: int
    length: int
    text: str

    def contains(self, other: Prefix) -> bool:
        """Whether `other` lies inside this prefix."""
        return other.length >= self.length and not (self.first ^ other.first) & self.mask

    @property
    def mask(self) -> int:
        """The netmask as an integer."""
        return (0xFFFFFFFF << (32 - self.length)) & 0xFFFFFFFF

    @property
    def address(self) -> str:
        """The network address, dotted."""
        return self.text.partition("/")[0]


def parse_address(value: object) -> str:
    """A dotted IPv4 address in canonical form; raises ValueError."""
    if not isinstance(value, str) or len(value) > 15:
        raise ValueError("must be an IPv4 address such as 192.0.2.1")
    try:
        address = IPAddress(value, version=4, flags=INET_PTON)
    except (AddrFormatError, ValueError):
        raise ValueError("must be an IPv4 address such as 192.0.2.1") from None
    if not int(address) or int(address) >> 28 >= 14 or int(address) >> 24 == 127:
        raise ValueError("is not a unicast address")
    return str(address)


def parse_prefix(value: object) -> Prefix:
    """An IPv4 host or prefix; a host is /32 and never widened (G17); raises ValueError."""
    if not isinstance(value, str) or len(value) > 18:
        raise ValueError("must be an IPv4 address or prefix such as 10.5.0.0/16")
    address, slash, length = value.partition("/")
    if slash and not re.fullmatch(r"[0-9]|[12][0-9]|3[0-2]", length):
        raise ValueError("has no prefix length from 0 to 32")
    try:
        network = IPNetwork(f"{IPAddress(address, version=4, flags=INET_PTON)}/{length or 32}")
    except (AddrFormatError, ValueError):
        raise ValueError("must be an IPv4 address or prefix such as 10.5.0.0/16") from None
    if network.ip != network.network:
        raise ValueError(f"has host bits set; did you mean {network.cidr}?")
    return Prefix(int(network.network), network.prefixlen, str(network.cidr))


def host_prefix(address: str) -> Prefix:
    """The /32 of a checked address."""
    a, b, c, d = address.split(".")
    return Prefix(int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d), 32, f"{address}/32")


_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_NAI = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_LABEL}(?:\.{_LABEL})+\Z")
_MAX_NAI = 253


def parse_nai(value: str) -> str:
    """A network access identifier `user@realm` (RFC 4282, ASCII); the realm in lower case."""
    if len(value) > _MAX_NAI:
        raise ValueError(f"is longer than the {_MAX_NAI} octets of an NAI")
    if not value.isascii():
        raise ValueError("has characters outside ASCII; write the realm in its xn-- form")
    if not _NAI.match(value):
        raise ValueError("must be an NAI such as alice@isp3.example (RFC 4282)")
    user, _, realm = value.rpartition("@")
    return f"{user}@{realm.lower()}"


_CLASS_SELECTORS = {f"CS{n}": 8 * n for n in range(8)}
_ASSURED = {f"AF{i}{j}": 8 * i + 2 * j for i in range(1, 5) for j in range(1, 4)}
DSCP_NAMES = {"BE": 0, "LE": 1, "VA": 44, "EF": 46, **_CLASS_SELECTORS, **_ASSURED}


def parse_dscp(value: object) -> int:
    """A code point from 1 to 63 or its name (EF, AF41, CS3)."""
    code = DSCP_NAMES.get(value.upper()) if isinstance(value, str) else value
    if not isinstance(code, int) or isinstance(code, bool) or not 1 <= code <= 63:
        raise ValueError("must be a DSCP from 1 to 63 or a name such as EF or AF41")
    return code


_RATE = re.compile(r"([1-9][0-9]{0,8})(kbit|mbit|gbit)\Z")
_UNITS = {"kbit": 1, "mbit": 1000, "gbit": 1_000_000}


def parse_rate(value: object) -> int:
    """A rate such as `2mbit`, in kbit/s."""
    match = _RATE.match(value) if isinstance(value, str) else None
    if not match or not 8 <= int(match[1]) * _UNITS[match[2]] <= 1_000_000_000:
        raise ValueError("must be a rate such as 500kbit, 2mbit or 1gbit")
    return int(match[1]) * _UNITS[match[2]]


def _spi(value: int) -> int:
    if value < 0x100:
        raise ValueError("an SPI below 0x100 is reserved (RFC 4303)")
    return value


Name = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9-]{0,30}$"),
    Field(description="lower case, digits, dashes"),
]
Realm = Annotated[str, StringConstraints(strict=True, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})+$")]
Interface = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,14}$")]
Nai = Annotated[str, Field(strict=True), AfterValidator(parse_nai)]
Address = Annotated[str, PlainValidator(parse_address), WithJsonSchema({"type": "string", "format": "ipv4"})]
Net = Annotated[
    Prefix, PlainValidator(parse_prefix), WithJsonSchema({"type": "string", "description": "IPv4 host or prefix"})
]
Spi = Annotated[int, Field(strict=True, le=0xFFFFFFFF), AfterValidator(_spi)]
Dscp = Annotated[
    int,
    PlainValidator(parse_dscp),
    WithJsonSchema({"type": ["integer", "string"], "description": "1 to 63, or EF, AF41 …"}),
]
Rate = Annotated[
    int, PlainValidator(parse_rate), WithJsonSchema({"type": "string", "pattern": _RATE.pattern[:-2] + "$"})
]
GatewayNumber = Annotated[int, Field(strict=True, ge=1, le=65535)]
ProfileNumber = Annotated[int, Field(strict=True, ge=1, le=0x0FFFFFFF)]
VpnShare = Literal[0, 1]
