"""One user at this gateway, as the applier keeps him: what he shall have, what he has, and who waits to hear of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.plan import Have, Key, Part, Want

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.agent.charon import Charon
    from roamvpn.agent.material import LegMaterial
    from roamvpn.agent.peers import Peers
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Apply


class Limits(NamedTuple):
    """Times in seconds, and how much at once."""

    deadline: float = 6.0
    """How long an association may take to come up; less than signalling's own patience."""
    drain: float = 1.0
    """How long the old association stays after the new one has taken over, for packets that are under way."""
    retry_first: float = 0.5
    retry_last: float = 30.0
    side_by_side: int = 32
    """Users of whom steps are carried out at the same time; waiting for the other end does not count."""
    pending: int = 20_000
    """Changes that may wait to be heard of; those beyond are answered with failure at once, and done all the same."""


class Timing(NamedTuple):
    """Where the time went between submit and done, in seconds: `ike` is waiting for associations."""

    total: float
    charon: float
    ike: float
    kernel: float

    @property
    def engine(self) -> float:
        """What is left: our own work, and the queue."""
        return self.total - self.charon - self.ike - self.kernel


class Outcome(NamedTuple):
    """The end of one change, for metrics and the audit."""

    nai: str
    seq: int
    ok: bool
    reason: str
    generation: int
    digest: str
    timing: Timing
    set: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


@dataclass(slots=True)
class Waiter:
    """Who submitted a change and is to hear of it."""

    apply: Apply
    loaded: Callable[[], None]
    done: Callable[[bool], None]
    at: float
    version: int
    """The wish of the user that it made."""
    told: bool = False


@dataclass(slots=True)
class User:
    """One user. Desired legs stand in the gateway's state; `legs` are their names."""

    nai: str
    legs: dict[str, None] = field(default_factory=dict)
    prepared: list[Contribution] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    """Peers that decode for him without a leg of his own."""
    waiters: list[Waiter] = field(default_factory=list)
    initiate: bool = False
    """Whether a change that is under way says that both ends are loaded."""
    force: tuple[Part, ...] = ()
    objects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lingering: dict[str, None] = field(default_factory=dict)
    """Objects that nobody wants any more and that are removed when the old way has drained."""
    keys: set[Key] = field(default_factory=set)
    peers: set[str] = field(default_factory=set)
    """Shared peers that he leans on, so that they stay."""
    material: dict[Key, LegMaterial] = field(default_factory=dict)
    made: dict[object, LegMaterial] = field(default_factory=dict, repr=False)
    begun: dict[Key | str, float] = field(default_factory=dict)
    """Since when an association is waited for."""
    tries: dict[Key, asyncio.Task[None]] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    wrong: dict[Key, str] = field(default_factory=dict)
    attempts: int = 0
    retry: asyncio.TimerHandle | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 0
    """Counts wishes, so that a plan under way notices a newer one."""
    task: asyncio.Task[None] | None = None
    busy: bool = False
    """Whether steps of his may be under way, so that what stands is known better by him than by a look."""

    def have(self, charon: Charon, peers: Peers) -> Have:
        """What stands for him now."""
        return Have(
            self.force,
            dict(self.objects),
            frozenset(key for key in self.keys if charon.loaded.get(key.name) == key),
            frozenset(key for key in self.keys if charon.up(key)),
            frozenset(name for name in self.peers if peers.ready(name)),
        )

    def heard(self, version: int) -> list[Waiter]:
        """Take those whose wishes are part of this one."""
        found = [waiter for waiter in self.waiters if waiter.version <= version]
        self.waiters = [waiter for waiter in self.waiters if waiter.version > version]
        return found

    def lean(self, want: Want) -> None:
        """Note on what he leans, and which associations are his, before anything is done."""
        parts = (*want.parts, *want.prepared, *self.force)
        self.peers = {part.peer for part in parts if part.peer is not None}
        self.keys |= {part.key for part in parts if part.key is not None}

    @property
    def idle(self) -> bool:
        """Whether nothing of his is left."""
        return not (
            self.legs
            or self.prepared
            or self.shared
            or self.waiters
            or self.force
            or self.objects
            or self.lingering
            or self.keys
            or self.retry
        )
