"""The daemons' clock: the time of day as it was at the start, carried on by a clock that nobody sets.

Entries outlive restarts, so their deadlines are times of day; but a time of day that is corrected must not end a
thousand sessions at once.
"""

from __future__ import annotations

import time

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970."""


class Clock:
    """Milliseconds since 1970."""

    def __init__(self) -> None:
        self._offset = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def now(self) -> int:
        """Milliseconds since 1970; never goes back while the process lives."""
        return self._offset + time.monotonic_ns() // 1_000_000

    def stamp(self) -> float:
        """Seconds since 1970, for logs and audit."""
        return self.now() / 1000

    def ntp(self) -> int:
        """64-bit NTP timestamp (RFC 5905 section 6), as registrations are identified."""
        milliseconds = self.now()
        return (milliseconds // 1000 + NTP_EPOCH) << 32 | (milliseconds % 1000 * 2**32 // 1000)
