"""Keys by which mobiles and agents know each other (RFC 5944 section 2: mobility security associations).

All follow from one secret of the site, so none is stored at the controller. A mobile has two keys, one with its home
agent and one with its AAAH; each of those holds a root from which it makes the key of any of its users, and no more.
"""

from __future__ import annotations

import hmac
import zlib
from typing import TYPE_CHECKING

from roamvpn.tables.secrets import Secret
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from roamvpn.policy.keys import Entropy

_BYTES = 32
_FIRST_SPI = 0x100
"""SPIs up to 255 are reserved (RFC 5944 section 1.6)."""


class Verifier(Word):
    """Who shares a key with every mobile of its users."""

    HOME_AGENT = "mn-ha"
    AAAH = "mn-aaa"


def agents_key(entropy: Entropy, one: str, other: str) -> Secret:
    """What two agents share, the same for both."""
    first, second = sorted((one, other))
    return Secret(entropy(f"mobility {first} {second}", _BYTES))


def agents_spi(one: str, other: str) -> int:
    """The SPI of what two agents share; not a secret, so a name's checksum will do."""
    return _spi(" ".join(sorted((one, other))))


def mobiles_root(entropy: Entropy, verifier: Verifier, server: str) -> Secret:
    """What a home agent or an AAAH makes its users' keys from."""
    return Secret(entropy(f"{verifier} {server}", _BYTES))


def mobile_key(root: Secret, nai: str) -> Secret:
    """One user's key with the holder of the root."""
    return Secret(hmac.digest(root, b"roamvpn mobile\x00" + nai.encode(), "sha256"))


def mobile_spi(verifier: Verifier) -> int:
    """The SPI of a mobile's key with its home agent or its AAAH."""
    return _spi(str(verifier))


def _spi(text: str) -> int:
    return _FIRST_SPI + zlib.crc32(text.encode()) % (2**32 - _FIRST_SPI)
