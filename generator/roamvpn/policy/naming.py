"""Names and numbers of everything that we own on a gateway.

A hostile NAI never reaches a name: users appear by hash, gateways by their checked names, devices by
the peer's number. Everything owned is called `rv-…` or sits in the numbers below.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from roamvpn.tables.types import Security

VISITORS_TABLE = 400_000
OWN_NUMBER = 400_001
_SHARED_BASE = {Security.ESP: 500_000, Security.AH: 600_000, Security.ENCAPSULATION: 700_000}
_SHARED_LETTER = {Security.ESP: "e", Security.AH: "a", Security.ENCAPSULATION: "i"}

INGRESS_BLOCK = 5222
UPLINK_BLOCK = 5223
DEVICE_RULE = 10_000
VISITORS_RULE = 20_000
UNREACHABLE_METRIC = 4_000

# one filter priority per pair of prefix lengths, so that flower hashes all filters of a mask;
# the longer the prefixes the earlier the priority. The two owners have ranges of their own.
_PRIORITY_BASE = {"session": 10_000, "base": 20_000}
_LENGTHS = 33
# what all legs share is made once: a leg brings but few objects of its own to make, to hold and to free
_PRIORITIES = {
    owner: [[base + (32 - s) * _LENGTHS + (32 - d) for d in range(_LENGTHS)] for s in range(_LENGTHS)]
    for owner, base in _PRIORITY_BASE.items()
}
_OWN_DEVICES = (("rv-own0", OWN_NUMBER), ("rv-own1", OWN_NUMBER + 1))


@lru_cache(maxsize=262_144)
def user_hash(nai: str) -> str:
    """Eight hexadecimal digits that stand for a user in names."""
    return hashlib.sha256(nai.encode()).hexdigest()[:8]


def flow_name(profile_number: int, nai: str) -> str:
    """One VPN of one user, the same at each gateway and over moves (F8): `p1-u4f0a91c3`."""
    return f"p{profile_number}-u{user_hash(nai)}"


def hand_off_name(profile_number: int, nai: str) -> str:
    """The same VPN on its way from an old foreign agent to the new one: `h1-u4f0a91c3`."""
    return f"h{profile_number}-u{user_hash(nai)}"


def leg_name(flow: str, peer: str) -> str:
    """A leg of a VPN as its gateway sees it, also its connection name and file name."""
    return f"rv-{flow}-{peer}"


def leg_identity(flow: str, gateway: str) -> str:
    """IKE identity of one end of a user's own leg: distinct per connection, as responders need."""
    return f"{flow}@{gateway}"


def peer_identity(security: Security, identity: str) -> str:
    """Identity of a gateway for what it shares: AH has one of its own, for responders choose by identities."""
    return f"ah.{identity}" if security is Security.AH else identity


def own_device(generation: int) -> tuple[str, int]:
    """Device and number for users' own SAs; successive generations of a session alternate."""
    return _OWN_DEVICES[generation & 1]


def shared_device(security: Security, peer_number: int) -> tuple[str, int]:
    """Device and number of what a gateway shares with the peer: if_id, mark and table in one."""
    return f"rv-{_SHARED_LETTER[security]}{peer_number}", _SHARED_BASE[security] + peer_number


def peer_name(security: Security, peer: str) -> str:
    """Connection and file name of a shared association: `rv-e-ha31`."""
    return f"rv-{_SHARED_LETTER[security]}-{peer}"


def filter_handle(profile_number: int, direction: str, *, hand_off: bool = False) -> int:
    """Handle of a flower filter, unique on a gateway; a leg's successor replaces it in one step."""
    return profile_number * 4 + (3 if hand_off else 1 if direction == "up" else 2)


def filter_priority(owner: str, source_length: int, destination_length: int) -> int:
    """tc priority of all filters with these prefix lengths."""
    return _PRIORITIES[owner][source_length][destination_length]


_UNSAFE = re.compile(r"[^A-Za-z0-9@._+ ,:/<>()\-]")


def comment(text: str) -> str:
    """A text that can stand in a comment of any file: printable, one line, nothing that quotes or expands."""
    return _UNSAFE.sub("?", text)[:120]
