"""The terminal without its socket: what it asks, again and again until it is answered, and what it makes of answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import Code, ServiceUpdate
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import Asking, reply_of, request_packet

if TYPE_CHECKING:
    from roamvpn.wire.authentication import SecurityAssociation

_LOW = 0xFFFFFFFF
PATIENCE_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses before it asks again (RFC 5944 section 3.6.3: at least a second, then doubling)."""


class Identity(NamedTuple):
    """Who the terminal is. Addresses are dotted, keys those with home agent and AAAH."""

    nai: str
    home: str
    home_agent: str
    with_home: SecurityAssociation
    with_aaa: SecurityAssociation | None = None


class Outcome(NamedTuple):
    """What an answer means: code of RFC 5944, lifetime in seconds, whether home signed it, milliseconds since asked.

    With `clock_set` the terminal has taken over home's time and may ask once more.
    """

    code: int
    lifetime: int
    seq: int
    by_home: bool
    after_ms: float
    clock_set: bool = False


@dataclass(slots=True)
class Terminal:
    """One user's terminal. Times are given: NTP64 for identifications, seconds of any steady clock for the rest."""

    who: Identity
    lifetime: int
    agent: str | None = None
    """Where it registers, or is registered."""
    served_by: str | None = None
    waiting: bool = False
    seq: int = 0
    attempts: int = 0
    answered: int = 0
    offset: int = 0
    """What home's clock has before this one's, NTP64."""
    _clock_set: bool = False
    _asking: Asking | None = field(default=None, repr=False)
    _first_at: float = 0.0

    def ask(  # noqa: PLR0913 - what a request may say
        self, agent: str, ntp: int, now: float, *, old: str | None = None, update: bool = False, leave: bool = False
    ) -> bytes:
        """The next registration request, to the agent at that address."""
        self.agent, self.waiting, self.attempts, self._first_at = agent, True, 0, now
        self._clock_set = False
        lifetime = 0 if leave else self.lifetime
        self._asking = Asking(
            self.who.nai,
            self.who.home,
            self.who.home_agent,
            agent,
            lifetime,
            0,
            old,
            ServiceUpdate() if update else None,
            self.answered,
        )
        return self.again(ntp)

    def again(self, ntp: int) -> bytes:
        """The same once more; identifications are strictly increasing (section 5.7.1)."""
        assert self._asking is not None  # noqa: S101 - it has asked before
        self.seq = max(self.seq + 1, ntp + self.offset)
        self.attempts += 1
        asking = self._asking._replace(identification=self.seq, answered=self.answered)
        return request_packet(asking, self.who.with_home, self.who.with_aaa)

    @property
    def patience(self) -> float:
        """Seconds to wait for an answer before asking again."""
        return PATIENCE_S[min(self.attempts, len(PATIENCE_S)) - 1]

    def hear(self, data: bytes, now: float) -> Outcome | None:
        """What an answer means; None for one that is no answer to what was asked last.

        Raises:
            WireError: for a forged one.
        """
        reply, by_home = reply_of(data, self.who.with_home)
        if not self.waiting or self._asking is None:
            return None
        if reply.code is Code.STALE and by_home and not self._clock_set and (reply.seq ^ self.seq) & _LOW == 0:
            return self._set_clock(reply.seq, now)
        if reply.seq != self.seq and not (reply.code is Code.STALE and (reply.seq ^ self.seq) & _LOW == 0):
            return None
        if reply.nai and reply.nai != self.who.nai:
            raise WireError("a reply for somebody else")
        self.waiting = False
        if reply.code is Code.ACCEPTED:
            self.answered = reply.seq
            self.served_by = self.agent if self._asking.lifetime else None
        return Outcome(reply.code, reply.lifetime, reply.seq, by_home, (now - self._first_at) * 1000)

    def _set_clock(self, theirs: int, now: float) -> Outcome:
        """Home refuses the time and tells its own in the high half (section 5.7.1); once, lest it go on for ever."""
        ours = self.seq
        self.offset += ((theirs >> 32) - (ours >> 32)) << 32
        # counted anew from home's time: this clock may have been fast
        self.seq, self._clock_set = 0, True
        return Outcome(Code.STALE, 0, ours, by_home=True, after_ms=(now - self._first_at) * 1000, clock_set=True)
