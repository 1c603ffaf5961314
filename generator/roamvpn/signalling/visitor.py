"""What a foreign agent knows of one user: served, asked for, handed off to it and from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import Ama, RegRep
from roamvpn.tables.rows import replaced_often
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.messages import RegReq


class Stage(Word):
    """What a registration waits for."""

    AAA = "aaa"
    HOME_AGENT = "home agent"
    TUNNELS = "tunnels"
    OLD_AGENTS = "old agents"


@replaced_often
class Registration(NamedTuple):
    """A registration under way.

    `fresh` is VPN information that the AAA has set and nobody has applied yet: the flag "cache updated" of S208 and
    S220, which is of the session, set at the AMA, consumed at the reply (D6, D12). `packet` is the home agent's reply
    for the mobile.
    """

    request: RegReq
    stage: Stage
    deadline: int
    fresh: VpnInformation | None = None
    fresh_legs: tuple[Contribution, ...] = ()
    prepared: tuple[Contribution, ...] = ()
    lifetime: int = 0
    old_fas: tuple[str, ...] = ()
    local: bool = False
    packet: bytes = b""

    @property
    def asked(self) -> type:
        """The message by which the answer from home comes."""
        return RegRep if self.local else Ama


@replaced_often
class Incoming(NamedTuple):
    """A hand-off tunnel from an old foreign agent, or just the duty to tell that agent that the user has left.

    Until it is acknowledged the binding update is repeated, at `again_at`; then the tunnel lives to `until`.
    """

    old_fa: str
    seq: int
    information: VpnInformation | None
    until: int
    again_at: int | None
    attempts: int = 0
    legs: tuple[Contribution, ...] = ()


@replaced_often
class Outgoing(NamedTuple):
    """The hand-off tunnel to the foreign agent where the user is now."""

    new_fa: str
    seq: int
    information: VpnInformation
    until: int
    acknowledged: bool = False
    legs: tuple[Contribution, ...] = ()


@replaced_often
class Visitor(NamedTuple):
    """One user at this foreign agent, or on his way to it or from it.

    `stands` is false until the gateway has said that his tunnels stand: a registration waits for that.
    """

    nai: str
    seq: int = 0
    serving: VpnInformation | None = None
    expires: int = 0
    registration: Registration | None = None
    outgoing: Outgoing | None = None
    incoming: tuple[Incoming, ...] = ()
    legs: tuple[Contribution, ...] = ()
    stands: bool = True

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """All that is set for this user."""
        legs = self.legs if self.outgoing is None else self.legs + self.outgoing.legs
        for each in self.incoming:
            legs += each.legs
        return legs

    @property
    def idle(self) -> bool:
        """Whether nothing is left but the sequence, which is kept until `expires` against late messages."""
        return self.serving is None and self.registration is None and self.outgoing is None and not self.incoming
