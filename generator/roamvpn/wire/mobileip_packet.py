"""Mobile IPv4 packets: headers and extensions, byte for byte (RFC 5944 sections 1.8 to 1.10, 3.3, 3.4; optim-09).

All integers are big-endian, lifetimes seconds, addresses four bytes. Nothing here knows keys or names.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

from roamvpn.wire.errors import WireError

REQUEST, REPLY = 1, 3
MN_HA, MN_FA, FA_HA, GENERALISED, CVSE, PREVIOUS_FA, NAI, NVSE = 32, 33, 34, 36, 38, 96, 131, 134
MN_AAA = 1
"""Subtype of the generalised authentication extension (RFC 4721 section 2.2)."""
SKIPPABLE = 128
"""From here on an extension that is not known is passed over (RFC 5944 section 1.8)."""
POORLY_FORMED_FA, POORLY_FORMED_HA = 70, 134
MAX_BYTES = 65_507
"""The largest UDP payload."""

FLAG_ACKNOWLEDGE, FLAG_IDENTIFICATION = 0x80, 0x40
"""Of a binding update: it is to be acknowledged, it carries an identification."""

_LONG = frozenset({GENERALISED, CVSE})
_U32, _U64 = 2**32, 2**64


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
    """Binding update (optim-09 section 5.3), always with an identification here."""

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
    BindingUpdate: struct.Struct("!BH4s4sQ"),
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
    if not 1 <= len(data) <= MAX_BYTES:
        raise WireError(f"a datagram of {len(data)} bytes is no Mobile IP message")
    kind = _kinds(numbers).get(data[0])
    if kind is None:
        raise WireError(f"message type {data[0]} is not known")
    fields = _FIELDS[kind]
    end = 1 + fields.size
    if len(data) < end:
        raise WireError(f"message type {data[0]} is cut off after {len(data)} bytes", POORLY_FORMED_FA)
    values = [dotted(value) if isinstance(value, bytes) else value for value in fields.unpack_from(data, 1)]
    header: Header = kind(*values)
    return Packet(header, tuple(_extensions(data, end)), data)


def header_bytes(header: Header, numbers: TypeNumbers = USUAL) -> bytes:
    """A header's bytes; raises WireError where a field does not fit."""
    kind, fields = _numbers(numbers)[type(header)], _FIELDS[type(header)]
    try:
        values = [packed(value) if isinstance(value, str) else value for value in header]
        return bytes([kind]) + fields.pack(*values)
    except (struct.error, ValueError) as error:
        raise WireError(f"{type(header).__name__}: {error}") from None


def extension_bytes(kind: int, body: bytes, subtype: int = 0) -> bytes:
    """An extension's bytes, in the format that its kind has; raises WireError where the body does not fit."""
    if kind in _LONG:
        if len(body) > 0xFFFF:
            raise WireError(f"extension {kind}: {len(body)} bytes do not fit")
        return struct.pack("!BBH", kind, subtype, len(body)) + body
    if len(body) > 0xFF:
        raise WireError(f"extension {kind}: {len(body)} bytes do not fit")
    return bytes([kind, len(body)]) + body


def vendor_bytes(vendor: int, number: int, data: bytes, *, critical: bool) -> bytes:
    """A vendor's extension: number and data of its own (RFC 3115 section 2)."""
    if critical:
        return extension_bytes(CVSE, struct.pack("!IH", vendor, number) + data)
    return extension_bytes(NVSE, struct.pack("!HIH", 0, vendor, number) + data)


def vendor_data(extension: Extension) -> tuple[int, int, bytes]:
    """Vendor, number and data of a vendor's extension; raises WireError."""
    head = struct.Struct("!IH" if extension.kind == CVSE else "!2xIH")
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
    found = []
    while position < len(data):
        kind, start = data[position], position
        subtype = 0
        if kind in _LONG:
            head = data[position + 1 : position + 4]
            if len(head) < 3:
                raise WireError(f"extension {kind} is cut off", POORLY_FORMED_FA)
            # the reserved byte of a critical vendor's extension is none
            subtype = head[0] if kind == GENERALISED else 0
            length, position = int.from_bytes(head[1:]), position + 4
        elif kind == 0:
            # one byte of padding (section 1.9)
            position += 1
            continue
        else:
            if position + 1 >= len(data):
                raise WireError(f"extension {kind} is cut off", POORLY_FORMED_FA)
            length, position = data[position + 1], position + 2
        body = data[position : position + length]
        if len(body) < length:
            raise WireError(f"extension {kind} says {length} bytes and has {len(body)}", POORLY_FORMED_FA)
        found.append(Extension(kind, subtype, body, start, position))
        position += length
    return found
