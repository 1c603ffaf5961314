"""Who roams in the live lab, and what is checked, in this order."""

from __future__ import annotations

MOBILES = {
    "alice": ("alice@isp3.example", "203.0.113.5"),
    "frank": ("frank@isp3.example", "203.0.113.10"),
}
"""Name of the namespace: user and home address."""

STEPS = (
    "E1: a first registration sets both VPNs of a static destination",
    "E2: a move within the domain loses no packet",
    "E3: a move between domains loses no packet",
    "E4: a first registration sets one VPN past the home agent",
    "E5: a move within the domain loses no packet, past the home agent",
    "E6: a move between domains loses no packet, past the home agent",
    "E7: another destination, chosen by the user, takes the traffic; the old PCN ends by itself",
    "a hard break loses no more than what was on its way until the new tunnels stood",
    "the AAAH is away: moves within a domain go on, and lose no packet",
    "the home agent's agent is killed in the middle of a move: traffic recovers, nothing is left behind",
    "charon is killed at a foreign agent: its users' tunnels come back by themselves",
    "moves to and fro, as fast as they are answered, end where the user is, and leave nothing behind",
    "who signs off leaves nothing behind",
)
