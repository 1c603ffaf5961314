"""A mobile terminal as signalling sees it: it registers, asks again until it is answered, and refreshes (A1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roamvpn.signalling.messages import Code, RegRep, RegReq, ServiceUpdate

if TYPE_CHECKING:
    from roamvpn.tables.network import Subscriber

SECOND = 1_000_000
"""The clock of a simulation counts microseconds."""


@dataclass(slots=True)
class Mobile:
    """One user's terminal. `names_old` says whether it gives the previous foreign agent when it moves to `at`."""

    user: Subscriber
    lifetime: int
    patience: int = 2 * SECOND
    attempts: int = 0
    seq: int = 0
    at: str | None = None
    served_at: str | None = None
    leaving: bool = False
    update: ServiceUpdate | None = None
    named: str | None = None
    first_asked_at: int = 0
    waiting: bool = False
    refresh_at: int | None = None
    answered_seq: int = 0
    accepted: set[int] = field(default_factory=set)
    updated_seq: int = 0
    gone: bool = False
    """Signed off, and confirmed."""
    codes: dict[Code, int] = field(default_factory=dict)

    @property
    def nai(self) -> str:
        """The user."""
        return self.user.nai

    def request(self, now: int) -> RegReq:
        """The next registration request; its identification is strictly increasing, and follows the clock."""
        self.seq = max(self.seq + 1, now // 1000)
        self.gone = False
        if not self.waiting:
            self.first_asked_at = now
            self.attempts = 0
        self.waiting = True
        self.attempts += 1
        lifetime = 0 if self.leaving else self.lifetime
        return RegReq(self.nai, self.seq, self.user.home_agent, lifetime, self.named, self.update, self.answered_seq)

    def answered(self, reply: RegRep, now: int) -> bool:
        """Take a reply; whether it answers what was asked last."""
        if not self.waiting or reply.seq != self.seq:
            return False
        self.codes[reply.code] = self.codes.get(reply.code, 0) + 1
        if reply.code is not Code.ACCEPTED:
            return True
        self.waiting = False
        self.answered_seq = reply.seq
        self.accepted.add(reply.seq)
        if self.update is not None:
            self.updated_seq = reply.seq
        self.update = None
        self.named = None
        if self.leaving:
            self.at = self.served_at = self.refresh_at = None
            self.leaving, self.gone = False, True
        else:
            self.served_at = self.at
            self.refresh_at = now + reply.lifetime * SECOND // 2
        return True
