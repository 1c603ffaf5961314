"""Mobility security associations and authenticators (RFC 5944 sections 1.6 and 3.5; RFC 4721).

An authenticator covers the UDP payload, all earlier extensions, and its own extension up to the SPI.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.types import Word
from roamvpn.wire.mobileip_packet import extension_bytes

if TYPE_CHECKING:
    from roamvpn.tables.secrets import Secret
    from roamvpn.wire.mobileip_packet import Extension, Packet

_SPI = struct.Struct("!I")
_LENGTH = 16
"""Bytes of an authenticator."""


class Algorithm(Word):
    """How an authenticator is made."""

    MD5 = "hmac-md5"
    """The default of RFC 5944, for mobiles."""
    SHA256 = "hmac-sha-256"
    """Between agents of ours; the extension has room for half of it (RFC 2104 section 5)."""


class SecurityAssociation(NamedTuple):
    """What two nodes share. The key does not print."""

    spi: int
    key: Secret
    algorithm: Algorithm = Algorithm.SHA256

    def authenticated(self, data: bytes, kind: int, subtype: int = 0) -> bytes:
        """The data with an authentication extension of that kind behind it."""
        head = extension_bytes(kind, _SPI.pack(self.spi) + bytes(_LENGTH), subtype)
        covered = data + head[:-_LENGTH]
        return covered + self._digest(covered)

    def holds(self, packet: Packet, extension: Extension) -> bool:
        """Whether an authentication extension of the packet is ours and right; takes the same time for any content."""
        body = extension.body
        if len(body) != _SPI.size + _LENGTH or _SPI.unpack_from(body)[0] != self.spi:
            return False
        covered = packet.data[: extension.value + _SPI.size]
        return hmac.compare_digest(self._digest(covered), body[_SPI.size :])

    def secret_for(self, use: str) -> bytes:
        """A key for another use, by HKDF-Expand (RFC 5869 section 2.3)."""
        return hmac.digest(self.key, f"roamvpn {use}\x01".encode(), "sha256")

    def _digest(self, data: bytes) -> bytes:
        if self.algorithm is Algorithm.MD5:
            return hmac.new(self.key, data, hashlib.md5).digest()
        return hmac.digest(self.key, data, "sha256")[:_LENGTH]
