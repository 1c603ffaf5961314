"""The terminal without its socket: what it asks, again and again until it is answered, and what it makes of answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import Code, ServiceUpdate
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import Asking, reply_of, request_packet

if TYPE_CHECKING:
    from roamvpn.wire.authentication import SecurityAssociation

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
    """What an answer means: code of RFC 5944, lifetime in seconds, whether home signed it, milliseconds since asked."""

    code: int
    lifetime: int
    seq: int
    by_home: bool
    after_ms: float


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
    _asking: Asking | None = field(default=None, repr=False)
    _first_at: float = 0.0

    def ask(  # noqa: PLR0913 - what a request may say
        self, agent: str, ntp: int, now: float, *, old: str | None = None, update: bool = False, leave: bool = False
    ) -> bytes:
        """The next registration request, to the agent at that address."""
        self.agent, self.waiting, self.attempts, self._first_at = agent, True, 0, now
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
        self.seq = max(self.seq + 1, ntp)
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
        if not self.waiting or reply.seq != self.seq or self._asking is None:
            return None
        if reply.nai and reply.nai != self.who.nai:
            raise WireError("a reply for somebody else")
        self.waiting = False
        if reply.code is Code.ACCEPTED:
            self.answered = reply.seq
            self.served_by = self.agent if self._asking.lifetime else None
        return Outcome(reply.code, reply.lifetime, reply.seq, by_home, (now - self._first_at) * 1000)
