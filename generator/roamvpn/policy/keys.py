"""Key generator (S108): separate keys for each user, segment and direction, from injected entropy.

Two sources of entropy exist outside: an AAA server or an agent injects the kernel's; provisioning injects
`derived(site_key)`, so that the same inputs give the same keys and no key need be stored.

A VPN's keys form a hierarchy, as in RFC 5295: the root, drawn once a session, is known to the AAAH and to
the gateway at the segment's far end; from it comes a key for each visited domain, known to its AAAF; from that a key
for each leg, by its ends and its generation, the only one that a foreign agent gets. So a move needs no new
key from home, each leg has its own, and a foreign agent that was left can make none of those that follow.
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
        stream = block = hmac.digest(site_key, info + b"\x01", "sha256")
        counter = 2
        while len(stream) < length:
            block = hmac.digest(site_key, block + info + bytes([counter]), "sha256")
            stream, counter = stream + block, counter + 1
        return stream[:length]

    return expand


class KeyGenerator:
    """Draws keys; each purpose is drawn once, so no user, session or use shares one."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def root(self, session_id: str, flow: str, far: str) -> ProfileKeys:
        """The root of all keys of one VPN of one session towards its far end (S108); the AAAH draws it."""
        return ProfileKeys(psk=self._draw("root", f"{session_id} {flow} {far}"))

    def hand_off(self, session_id: str, ends: tuple[str, str], generation: int, flow: str) -> ProfileKeys:
        """The key of a hand-off tunnel from the old foreign agent to the new one, which draws it (G21)."""
        return ProfileKeys(psk=self._draw("hand-off", f"{session_id} {flow} {ends[0]} {ends[1]} {generation}"))

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


def domain_key(root: ProfileKeys, domain: str) -> ProfileKeys:
    """What the AAAF of a visited domain may know: enough for the domain's own foreign agents."""
    return _expand(root, f"domain {domain}")


def leg_key(domain: ProfileKeys, near: str, far: str, generation: int) -> ProfileKeys:
    """The PSK of one leg between two gateways, the same for both its ends."""
    return _expand(domain, f"leg {near} {far} {generation}")


def _expand(key: ProfileKeys, label: str) -> ProfileKeys:
    """One block of HKDF-Expand (RFC 5869 section 2.3) with SHA-256, as a PSK."""
    psk = key.psk
    if psk is None:
        raise ValueError("a key of the hierarchy is a psk")
    return ProfileKeys(Secret(hmac.digest(psk, f"roamvpn {label}\x01".encode(), "sha256")))


def fingerprint(key: bytes, value: bytes) -> str:
    """Twelve hexadecimal digits that change with a secret and tell nothing of it without `key`."""
    return hmac.digest(key, b"roamvpn fingerprint\x00" + value, "sha256").hex()[:12]
