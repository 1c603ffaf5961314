"""The users of the lab and what must be seen of each: the example network's, and those that complete the matrix."""

from __future__ import annotations

from dataclasses import dataclass

EF, AF41, AF11, NONE = 46, 34, 10, None

# the example lacks two combinations of security, route and share; these users complete E1 and E4
EXTRA_SUBSCRIBERS = """
  - {nai: kim@isp3.example,   home_address: 203.0.113.20, home_agent: ha31, tenant: acme}
  - {nai: leo@isp3.example,   home_address: 203.0.113.21, home_agent: ha31}
"""
EXTRA_RECORDS = """
  - {profile_number: 20, nai: kim@isp3.example, vpnshare: 0, destaddr: 10.5.0.0/16, upclass: ef,
     downclass: af11, security: encapsulation}
  - {profile_number: 21, nai: leo@isp3.example, vpnshare: 0, destaddr: 198.51.100.0/25, upclass: af41,
     downclass: af41, security: ah}
"""
EXTRA_SESSIONS = """
  - {session_id: s-kim, nai: kim@isp3.example, foreign_agent: fa22}
  - {session_id: s-leo, nai: leo@isp3.example, foreign_agent: fa21b}
"""


@dataclass(frozen=True, slots=True)
class Vpn:
    """One VPN: who, where, to what, and how it must look on the wire. Classes are DSCP, None for no class."""

    name: str
    user: str
    home: str
    path: tuple[str, ...]
    correspondent: str
    address: str
    protocol: str
    up: int | None
    down: int | None


VPNS = (
    Vpn("static own ESP", "alice", "203.0.113.5", ("fa21", "ha31", "gw51"), "cn51", "10.5.1.9", "esp", EF, AF41),
    Vpn("static shared ESP", "heidi", "203.0.113.12", ("fa22", "ha31", "gw51"), "cn51", "10.5.1.9", "esp", AF11, AF11),
    Vpn("static own AH", "dave", "203.0.113.8", ("fa21", "ha31", "gw51"), "cn51", "10.5.1.9", "ah", NONE, NONE),
    Vpn("static shared AH", "judy", "203.0.113.14", ("fa21", "ha31", "gw51"), "cn52", "10.5.2.9", "ah", NONE, NONE),
    Vpn("static encapsulation", "kim", "203.0.113.20", ("fa22", "ha31", "gw51"), "cn51", "10.5.1.9", "ipip", EF, AF11),
    Vpn("dynamic own ESP", "frank", "203.0.113.10", ("fa21b", "pcn41b"), "cn43", "10.5.1.9", "esp", EF, EF),
    Vpn("dynamic shared ESP", "bob", "203.0.113.6", ("fa21", "pcn41"), "cn41", "198.51.100.9", "esp", AF11, NONE),
    Vpn("dynamic own AH", "ivan", "203.0.113.13", ("fa22", "pcn41"), "cn41", "198.51.100.9", "ah", AF41, NONE),
    Vpn("dynamic shared AH", "leo", "203.0.113.21", ("fa21b", "pcn41"), "cn41", "198.51.100.9", "ah", AF41, AF41),
    Vpn(
        "dynamic encapsulation", "erin", "203.0.113.9", ("fa21", "pcn41b"), "cn42", "198.51.100.200", "ipip", NONE, AF41
    ),
    Vpn("both: own ESP", "carol", "203.0.113.7", ("fa21b", "ha31", "gw51"), "cn51", "10.5.1.9", "esp", AF41, EF),
    Vpn("both: shared ESP", "carol", "203.0.113.7", ("fa21b", "pcn41"), "cn41", "198.51.100.9", "esp", NONE, NONE),
)

ASPECTS = (
    "the mobile reaches the correspondent",
    "the correspondent reaches the mobile",
    "a transfer up arrives whole",
    "a transfer down arrives whole",
    "only the protocol asked for is on the wire",
    "the outer header carries the class up",
    "the outer header carries the class down",
    "ECN is kept",
    "each packet leaves once",
    "HTB counts the class",
)
"""What is checked of every VPN."""

ALONE = (
    "an unlisted user's packets are ordinary traffic",
    "a listed user's other packets are ordinary traffic",
    "a forged packet in clear is not taken for a user's",
    "own SA down: dropped, not leaked",
    "own SA back: packets flow again",
    "shared SA down: dropped, not leaked",
    "device gone: dropped, not leaked",
    "two users of one pair keep their own class and security at once",
    "charon reads what our parser reads",
)
"""What is checked once."""
