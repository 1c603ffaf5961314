"""Diameter messages as bytes: header and AVP structure, checked before anything else looks at them (RFC 6733 3, 4).

A length is believed only once it fits what surrounds it, so nothing is read beyond a message or an AVP, and a
hostile one costs a look at its header.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 20
MAX_LENGTH = 65532
"""Octets of the longest message that is taken: 64 KiB, and a multiple of four."""
MAX_AVPS = 4096
REQUEST, PROXIABLE, ERROR, RETRANSMITTED = 0x80, 0x40, 0x20, 0x10
_RESERVED = 0x0F
_VENDOR, MANDATORY, _PROTECTED = 0x80, 0x40, 0x20

COMMAND_UNSUPPORTED, UNABLE_TO_DELIVER, REALM_NOT_SERVED, LOOP_DETECTED = 3001, 3002, 3003, 3005
APPLICATION_UNSUPPORTED, INVALID_HDR_BITS, INVALID_AVP_BITS, UNKNOWN_PEER = 3007, 3008, 3009, 3010
TOO_BUSY, ELECTION_LOST = 3004, 4003
AVP_UNSUPPORTED, AUTHORIZATION_REJECTED, INVALID_AVP_VALUE, MISSING_AVP = 5001, 5003, 5004, 5005
OCCURS_TOO_MANY_TIMES, NO_COMMON_APPLICATION, UNSUPPORTED_VERSION = 5009, 5010, 5011
INVALID_AVP_LENGTH, INVALID_MESSAGE_LENGTH = 5014, 5015

_new = tuple.__new__
_header = struct.Struct("!IIIII")
_words = struct.Struct("!II")
_word = struct.Struct("!I")
_three = struct.Struct("!III")
_PADDING = (b"", bytes(3), bytes(2), bytes(1))


class DiameterError(RoamvpnError):
    """A message that does not hold. `result` is the Result-Code that is due (RFC 6733 section 7.1).

    `failed` is the content of the Failed-AVP that goes with it: the offending AVP, or an example of a missing one.
    The text never holds values, which may be keys.
    """

    def __init__(self, result: int, reason: str, failed: bytes = b"") -> None:
        self.result = result
        self.failed = failed
        super().__init__(f"{reason} ({result})")

    @property
    def is_protocol_error(self) -> bool:
        """Whether the answer has its E bit set: the class 3xxx."""
        return self.result // 1000 == 3


class Header(NamedTuple):
    """The twenty octets in front."""

    length: int
    flags: int
    command: int
    application: int
    hop_by_hop: int
    end_to_end: int

    @property
    def is_request(self) -> bool:
        """The R bit."""
        return bool(self.flags & REQUEST)

    @property
    def is_error(self) -> bool:
        """The E bit: a protocol error, whose answer has none of the command's AVPs."""
        return bool(self.flags & ERROR)

    def packed(self) -> bytes:
        """As bytes."""
        flags, command = self.flags << 24, self.command
        return _header.pack(1 << 24 | self.length, flags | command, self.application, self.hop_by_hop, self.end_to_end)


class RawAvp(NamedTuple):
    """An AVP whose length fits: `begin` to `end` is its payload, `start` its header."""

    code: int
    vendor: int
    flags: int
    start: int
    begin: int
    end: int

    @property
    def is_mandatory(self) -> bool:
        """The M bit."""
        return bool(self.flags & MANDATORY)


def message_length(start: bytes | bytearray, limit: int = MAX_LENGTH) -> int:
    """How long the message is that begins with these four octets or more; raises DiameterError (5011, 5015)."""
    (word,) = _word.unpack_from(start)
    if word >> 24 != 1:
        raise DiameterError(UNSUPPORTED_VERSION, f"Diameter version {word >> 24}")
    length = word & 0xFFFFFF
    if length < HEADER or length > limit or length % 4:
        raise DiameterError(INVALID_MESSAGE_LENGTH, f"a message of {length} octets")
    return int(length)


def read_header(raw: bytes) -> Header:
    """The header of a whole message; raises DiameterError (5011, 5015, 3008)."""
    if len(raw) < HEADER or message_length(raw) != len(raw):
        raise DiameterError(INVALID_MESSAGE_LENGTH, "a message of another length than it says")
    header = peek_header(raw)
    if header.flags & _RESERVED or (header.is_request and header.is_error):
        raise DiameterError(INVALID_HDR_BITS, f"command flags {header.flags:#04x}")
    return header


def peek_header(raw: bytes) -> Header:
    """The header, unchecked: to answer what does not hold."""
    word, flags, application, hop_by_hop, end_to_end = _header.unpack_from(raw)
    return Header(word & 0xFFFFFF, flags >> 24, flags & 0xFFFFFF, application, hop_by_hop, end_to_end)


def walk(raw: bytes, start: int = HEADER, end: int | None = None) -> Iterator[RawAvp]:
    """The AVPs between two offsets, one after the other; raises DiameterError (5014, 3009) at one that does not fit."""
    limit = len(raw) if end is None else end
    for _ in range(MAX_AVPS):
        if start >= limit:
            return
        if limit - start < 8:
            raise DiameterError(INVALID_AVP_LENGTH, "octets behind the last AVP", _failed(raw[start:limit]))
        code, word = _words.unpack_from(raw, start)
        flags, length = word >> 24, word & 0xFFFFFF
        begin, vendor = start + 8, 0
        if flags & _VENDOR:
            begin += 4
        stop = start + length
        if stop < begin or stop > limit or begin > limit:
            raise DiameterError(INVALID_AVP_LENGTH, f"AVP {code} of {length} octets", _failed(raw[start : start + 12]))
        if flags & _VENDOR:
            (vendor,) = _word.unpack_from(raw, start + 8)
        if flags & ~(_VENDOR | MANDATORY | _PROTECTED):
            raise DiameterError(INVALID_AVP_BITS, f"AVP {code} with flags {flags:#04x}", copy_of(raw, start, stop))
        # half the time of the constructor, where a message has a hundred
        yield _new(RawAvp, (code, vendor, flags, start, begin, stop))
        # the padding of the last AVP of a group may be left out by careless peers: it holds nothing
        start = stop + (-length & 3)
    raise DiameterError(OCCURS_TOO_MANY_TIMES, f"more than {MAX_AVPS} AVPs")


def pack_avp(code: int, payload: bytes, *, vendor: int = 0, mandatory: bool = True) -> bytes:
    """One AVP with header and padding."""
    flags = MANDATORY << 24 if mandatory else 0
    length = len(payload)
    if vendor:
        head = _three.pack(code, _VENDOR << 24 | flags | length + 12, vendor)
    else:
        head = _words.pack(code, flags | length + 8)
    return head + payload + _PADDING[length & 3]


def pack_message(header: Header, avps: bytes) -> bytes:
    """A whole message; raises DiameterError (5015) where it would be longer than any peer takes."""
    length = HEADER + len(avps)
    if length > MAX_LENGTH:
        raise DiameterError(INVALID_MESSAGE_LENGTH, f"a message of {length} octets")
    return header._replace(length=length).packed() + avps


def with_ids(raw: bytes, hop_by_hop: int, end_to_end: int | None = None, *, again: bool = False) -> bytes:
    """The message with other identifiers; `again` sets the T bit, for one that may have been received before."""
    header = peek_header(raw)
    flags = header.flags | RETRANSMITTED if again else header.flags
    kept = header.end_to_end if end_to_end is None else end_to_end
    return header._replace(flags=flags, hop_by_hop=hop_by_hop, end_to_end=kept).packed() + raw[HEADER:]


def copy_of(raw: bytes, start: int, end: int) -> bytes:
    """An AVP as it stands, padded."""
    return raw[start:end] + bytes(-(end - start) & 3)


def _failed(seen: bytes) -> bytes:
    """What of an AVP of impossible length goes into Failed-AVP: its header, made to fit (RFC 6733 section 7.5)."""
    head = bytes(seen[:8]).ljust(8, b"\0")
    code, word = _words.unpack(head)
    flags = word >> 24 & ~_VENDOR & 0xFF
    return _words.pack(code, flags << 24 | 8)
