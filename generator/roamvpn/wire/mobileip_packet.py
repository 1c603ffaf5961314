"""Mobile IPv4 packets: headers and extensions, byte for byte (RFC 5944 sections 1.8 to 1.10, 3.3, 3.4; optim-09).

All integers are big-endian, lifetimes seconds, addresses four bytes. Nothing here knows keys or names.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

from roamvpn.wire.errors import WireError

REQUEST, REPLY = 1, 3
MN_HA, MN_FA, FA_HA, GENERALISED, CVSE, PREVIOUS_FA, NAI, CHALLENGE, NVSE = 32, 33, 34, 36, 38, 96, 131, 132, 134
MN_AAA = 1
"""Subtype of the generalised authentication extension (RFC 4721 section 2.2)."""
SKIPPABLE = 128
"""From here on an extension that is not known is passed over (RFC 5944 section 1.8)."""
POORLY_FORMED_FA, POORLY_FORMED_HA = 70, 134
MAX_BYTES = 8192
"""The largest datagram that is sent or taken: a few fragments."""
MAX_EXTENSIONS = 64

FLAG_ACKNOWLEDGE, FLAG_IDENTIFICATION = 0x80, 0x40
"""Of a binding update: it is to be acknowledged, it carries an identification."""

_LONG = frozenset({GENERALISED, CVSE})
_KNOWN = frozenset({MN_HA, MN_FA, FA_HA, GENERALISED, CVSE, PREVIOUS_FA})
_LONG_HEAD = struct.Struct("!BBH")
_CVSE_HEAD, _NVSE_HEAD = struct.Struct("!IH"), struct.Struct("!2xIH")
_U64 = struct.Struct("!Q")


class Request(NamedTuple):
    """Registration request (section 3.3)."""

    flags: int
    lifetime: int
    home: str
    home_agent: str
    care_of: str
    identification: int


class Reply(NamedTuple):
    """Registration reply (section 3.4)."""

    code: int
    lifetime: int
    home: str
    home_agent: str
    identification: int


class BindingRequest(NamedTuple):
    """Binding request (optim-09 section 5.2)."""

    home: str
    identification: int


class BindingUpdate(NamedTuple):
    """Binding update (optim-09 section 5.3); the identification is there where flag I is set, else it is 0."""

    flags: int
    lifetime: int
    home: str
    care_of: str
    identification: int


class BindingAcknowledge(NamedTuple):
    """Binding acknowledge (optim-09 section 5.4)."""

    status: int
    home: str
    identification: int


Header = Request | Reply | BindingRequest | BindingUpdate | BindingAcknowledge


class TypeNumbers(NamedTuple):
    """Type numbers of optim-09's messages; IANA later gave them to others."""

    binding_request: int = 17
    binding_update: int = 18
    binding_acknowledge: int = 19


USUAL = TypeNumbers()

_FIELDS: dict[type[tuple[object, ...]], struct.Struct] = {
    # bytes behind the type: numbers and addresses (`4s`) in the order of the header's fields
    Request: struct.Struct("!BH4s4s4sQ"),
    Reply: struct.Struct("!BH4s4sQ"),
    BindingRequest: struct.Struct("!3x4sQ"),
    # and the identification, where there is one
    BindingUpdate: struct.Struct("!BH4s4s"),
    BindingAcknowledge: struct.Struct("!2xB4sQ"),
}


class Extension(NamedTuple):
    """One extension: `start` is where it begins in its packet, `value` where its value does."""

    kind: int
    subtype: int
    body: bytes
    start: int
    value: int


class Packet(NamedTuple):
    """A parsed packet, with its bytes, over parts of which authenticators are computed."""

    header: Header
    extensions: tuple[Extension, ...]
    data: bytes

    def find(self, kind: int, subtype: int = 0) -> Extension | None:
        """The first extension of that kind."""
        return next((each for each in self.extensions if (each.kind, each.subtype) == (kind, subtype)), None)


def parse(data: bytes, numbers: TypeNumbers = USUAL) -> Packet:
    """A packet from its bytes.

    Raises:
        WireError: for anything that is cut off, unknown or in conflict with its own lengths.
    """
    header, end = parse_header(data, numbers)
    return Packet(header, tuple(_extensions(data, end)), data)


def parse_header(data: bytes, numbers: TypeNumbers = USUAL) -> tuple[Header, int]:
    """The header alone, and where it ends; raises WireError."""
    if not 1 <= len(data) <= MAX_BYTES:
        raise WireError(f"a datagram of {len(data)} bytes is no Mobile IP message")
    kind = _kinds(numbers).get(data[0])
    if kind is None:
        raise WireError(f"message type {data[0]} is not known")
    fields = _FIELDS[kind]
    end = 1 + fields.size
    identified = kind is BindingUpdate and len(data) > 1 and data[1] & FLAG_IDENTIFICATION
    if len(data) < end + (_U64.size if identified else 0):
        raise WireError(f"message type {data[0]} is cut off after {len(data)} bytes")
    values = [dotted(value) if isinstance(value, bytes) else value for value in fields.unpack_from(data, 1)]
    if kind is BindingUpdate:
        values += _U64.unpack_from(data, end) if identified else (0,)
        end += _U64.size if identified else 0
    return kind(*values), end


def header_bytes(header: Header, numbers: TypeNumbers = USUAL) -> bytes:
    """A header's bytes; raises WireError where a field does not fit."""
    kind, fields = _numbers(numbers)[type(header)], _FIELDS[type(header)]
    try:
        values: list[object] = [packed(value) if isinstance(value, str) else value for value in header]
        tail = b""
        if isinstance(header, BindingUpdate):
            identification = values.pop()
            tail = _U64.pack(identification) if header.flags & FLAG_IDENTIFICATION else b""
        return bytes([kind]) + fields.pack(*values) + tail
    except (struct.error, ValueError) as error:
        raise WireError(f"{type(header).__name__}: {error}") from None


def extension_bytes(kind: int, body: bytes, subtype: int = 0) -> bytes:
    """An extension's bytes, in the format that its kind has; raises WireError where the body does not fit."""
    if kind in _LONG:
        if len(body) > 0xFFFF:
            raise WireError(f"extension {kind}: {len(body)} bytes do not fit")
        return _LONG_HEAD.pack(kind, subtype, len(body)) + body
    if len(body) > 0xFF:
        raise WireError(f"extension {kind}: {len(body)} bytes do not fit")
    return bytes([kind, len(body)]) + body


def vendor_bytes(vendor: int, number: int, data: bytes, *, critical: bool) -> bytes:
    """A vendor's extension: number and data of its own (RFC 3115 section 2)."""
    if critical:
        return extension_bytes(CVSE, _CVSE_HEAD.pack(vendor, number) + data)
    return extension_bytes(NVSE, _NVSE_HEAD.pack(vendor, number) + data)


def vendor_data(extension: Extension) -> tuple[int, int, bytes]:
    """Vendor, number and data of a vendor's extension; raises WireError."""
    head = _CVSE_HEAD if extension.kind == CVSE else _NVSE_HEAD
    if len(extension.body) < head.size:
        raise WireError("a vendor's extension is cut off", POORLY_FORMED_FA)
    vendor, number = head.unpack_from(extension.body)
    return vendor, number, extension.body[head.size :]


def dotted(raw: bytes) -> str:
    """`192.0.2.1` of four bytes."""
    return ".".join(map(str, raw))


def packed(address: str) -> bytes:
    """Four bytes of an address that was checked; raises ValueError."""
    parts = [int(part) for part in address.split(".")]
    if len(parts) != 4:
        raise ValueError("no IPv4 address")
    return bytes(parts)


@cache
def _kinds(numbers: TypeNumbers) -> dict[int, type]:
    others = (BindingRequest, BindingUpdate, BindingAcknowledge)
    return {REQUEST: Request, REPLY: Reply, **dict(zip(numbers, others, strict=True))}


@cache
def _numbers(numbers: TypeNumbers) -> dict[type, int]:
    return {kind: number for number, kind in _kinds(numbers).items()}


def _extensions(data: bytes, position: int) -> list[Extension]:
    found: list[Extension] = []
    end = len(data)
    while position < end:
        kind, start, subtype = data[position], position, 0
        if kind == 0:
            # one byte of padding (section 1.9)
            position += 1
            continue
        head = _LONG_HEAD.size if kind in _LONG else 2
        if position + head > end:
            raise WireError(f"extension {kind} is cut off", POORLY_FORMED_FA)
        if kind in _LONG:
            _, second, length = _LONG_HEAD.unpack_from(data, position)
            # the reserved byte of a critical vendor's extension is none
            subtype = second if kind == GENERALISED else 0
        elif kind < SKIPPABLE and kind not in _KNOWN:
            # such a message is discarded, and nobody is told (section 1.8)
            raise WireError(f"extension {kind} is not known, and may not be skipped")
        else:
            length = data[position + 1]
        position += head
        if position + length > end:
            raise WireError(f"extension {kind} says {length} bytes and has {end - position}", POORLY_FORMED_FA)
        if len(found) == MAX_EXTENSIONS:
            raise WireError(f"more than {MAX_EXTENSIONS} extensions", POORLY_FORMED_FA)
        found.append(Extension(kind, subtype, data[position : position + length], start, position))
        position += length
    return found
