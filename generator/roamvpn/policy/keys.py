"""Key generator (S108): separate keys for each user, segment and direction, from injected entropy.

Two sources of entropy exist outside: a gateway's agent injects the kernel's; provisioning injects
`derived(site_key)`, so that the same inputs give the same keys and no key need be stored.
"""

from __future__ import annotations

import hmac
from typing import Protocol

from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Keying


class Entropy(Protocol):
    """Returns `length` unpredictable bytes; `purpose` says what for and is unique to the key."""

    def __call__(self, purpose: str, length: int) -> bytes:
        """Unpredictable bytes."""


def derived(site_key: bytes) -> Entropy:
    """Entropy from the site key: HKDF-Expand (RFC 5869 section 2.3) with the purpose as info."""

    def expand(purpose: str, length: int) -> bytes:
        info = b"roamvpn key\x00" + purpose.encode()
        block = hmac.digest(site_key, info + b"\x01", "sha256")
        stream, counter = block, 2
        while len(stream) < length:
            block = hmac.digest(site_key, block + info + bytes([counter]), "sha256")
            stream, counter = stream + block, counter + 1
        return stream[:length]

    return expand


class KeyGenerator:
    """Draws keys; each purpose is drawn once, so no user, segment or direction shares one."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def segment(self, session_id: str, flow: str, ends: tuple[str, str], generation: int) -> ProfileKeys:
        """Keys of one segment of one session, the same whichever end asks; IKEv2 needs just a PSK."""
        low, high = sorted(ends)
        return self.keys(f"{session_id} {flow} {low} {high} {generation}", Keying.IKE)

    def keys(self, purpose: str, keying: Keying) -> ProfileKeys:
        """A PSK for IKEv2, or a key for each direction and use (G14), 256 bits each."""
        if keying is Keying.IKE:
            return ProfileKeys(psk=self._draw("psk", purpose))
        return ProfileKeys(
            up_esp_encryption=self._draw("up encryption", purpose),
            down_esp_encryption=self._draw("down encryption", purpose),
            up_authentication=self._draw("up authentication", purpose),
            down_authentication=self._draw("down authentication", purpose),
        )

    def _draw(self, use: str, purpose: str) -> Secret:
        return Secret(self._entropy(f"{use} {purpose}", 32))


def fingerprint(key: bytes, value: bytes) -> str:
    """Twelve hexadecimal digits that change with a secret and tell nothing of it without `key`."""
    return hmac.digest(key, b"roamvpn fingerprint\x00" + value, "sha256").hex()[:12]
