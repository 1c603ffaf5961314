"""What signalling can be told: orders, lifetimes, patience. Times in seconds."""

from __future__ import annotations

from typing import NamedTuple

from roamvpn.signalling.effects import Order

MS = 1000
"""Machines count time in milliseconds of one clock; where it starts does not matter."""


class Settings(NamedTuple):
    """Defaults fit a real network; simulations shorten them."""

    order: Order = Order.MAKE_BEFORE_BREAK
    max_lifetime: int = 1800
    """The longest registration that is granted."""
    hand_off: int = 10
    """How long the hand-off tunnel lives (G25)."""
    request_timeout: int = 8
    """How long a node waits for others before it gives a registration up; the mobile tries again."""
    ba_timeout: int = 3
    """How long a reply waits for binding acknowledgements (G25)."""
    retry_first: int = 1
    retry_last: int = 30
    """Binding updates are repeated after these pauses, the second of which is the longest."""
    br_threshold: int = 60
    """Below this remaining lifetime the PCN asks whether its VPN is still wanted (E7.5)."""
    authorization: int = 3600
    """How long the AAAF may answer moves from its cache, and the AAAH keeps a session that it does not hear of."""
    remember: int = 300
    """How long the sequence number of an ended session is kept, longer than any message is under way."""

    @property
    def prepares(self) -> bool:
        """Whether a foreign agent sets its inbound half before the others switch (G23)."""
        return self.order is Order.MAKE_BEFORE_BREAK

    def pause(self, attempts: int) -> int:
        """Milliseconds before the next attempt."""
        return int(min(self.retry_first << min(attempts, 16), self.retry_last)) * MS
