"""Carries out a plan for one user, step by step; what was done is noted at once, so that another plan can follow."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.initiating import Initiating
from roamvpn.agent.plan import Verb, plan
from roamvpn.gateway.errors import GatewayError
from roamvpn.signalling.effects import Order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from roamvpn.agent.charon import Charon
    from roamvpn.agent.kernel import Kernel
    from roamvpn.agent.material import PeerMaterial
    from roamvpn.agent.peers import Peers
    from roamvpn.agent.plan import Key, Plan, Step, Want
    from roamvpn.agent.user import Limits, User


class Superseded(Exception):  # noqa: N818 - no error: a newer wish came
    """The plan is out of date."""


@dataclass(slots=True)
class Spent:
    """Seconds that went into one convergence."""

    charon: float = 0.0
    ike: float = 0.0
    kernel: float = 0.0


@dataclass(slots=True)
class Hooks:
    """Whom the carrier calls. `trace` is told of every step that was done, for tests and for metrics."""

    loaded: Callable[[User, int], None]
    done: Callable[[User, int, str, Spent], None]
    peer: Callable[[str], PeerMaterial]
    unused: Callable[[str], bool]
    trace: Callable[[str, Verb], None] = field(default=lambda _nai, _verb: None)


class _Turn(NamedTuple):
    """One plan being worked off: for whom, for which of his wishes, what it has cost, what was given up."""

    user: User
    version: int
    now: Plan
    spent: Spent
    stuck: frozenset[Key | str]


class Carrier:
    """One gateway's hands."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a step may touch
        self, charon: Charon, kernel: Kernel, peers: Peers, order: Order, limits: Limits, hooks: Hooks
    ) -> None:
        self._charon = charon
        self._kernel = kernel
        self._peers = peers
        self._order = order
        self._limits = limits
        self._hooks = hooks
        self._initiating = Initiating(charon, limits)
        self._turns = asyncio.Semaphore(limits.side_by_side)
        self._draining: dict[asyncio.Task[None], str] = {}
        self._lingering: set[asyncio.Task[None]] = set()
        self._steps: dict[Verb, Callable[[_Turn, Step], Awaitable[None]]] = {
            Verb.BUILD: self._build,
            Verb.LOAD: self._load,
            Verb.DECODE: self._set,
            Verb.LOADED: self._loaded,
            Verb.SWITCH: self._set,
            Verb.DONE: self._done,
            Verb.UNLOAD: self._unload,
            Verb.CLEAR: self._clear,
            Verb.RETIRE: self._retire,
            Verb.RELEASE: self._release,
        }

    def worth(self, user: User, want: Want) -> bool:
        """Whether anything is to be done for him."""
        return not plan(user.have(self._charon, self._peers), want, self._order).empty

    async def converge(self, user: User, want: Want) -> bool:
        """Bring a user to what he shall have; False where something of it did not come up.

        Raises:
            GatewayError: a step was refused; what had carried packets does so again.
            Superseded: he shall have something else by now.
        """
        version, spent = user.version, Spent()
        stuck: frozenset[Key | str] = frozenset()
        user.lean(want)
        while True:
            now = plan(user.have(self._charon, self._peers), want, self._order, stuck)
            turn = _Turn(user, version, now, spent, stuck)
            late = await self._work_off(turn)
            if not late:
                user.lean(want)
                return not stuck
            stuck |= late

    async def _work_off(self, turn: _Turn) -> frozenset[Key | str]:
        """Work a plan off; returns what did not come up, at which it ends."""
        user = turn.user
        for step in turn.now.steps:
            # what was switched is told before anything newer is looked at
            if user.version != turn.version and step.verb is not Verb.DONE:
                raise Superseded
            if step.verb is Verb.RAISE:
                late = await self._raise(turn, step)
                self._hooks.trace(user.nai, step.verb)
                if late:
                    return late
                continue
            async with self._turns:
                await self._steps[step.verb](turn, step)
            self._hooks.trace(user.nai, step.verb)
        return frozenset()

    # steps

    async def _build(self, turn: _Turn, step: Step) -> None:
        for name in step.peers:
            await _timed(turn.spent, "kernel", self._peers.build(self._hooks.peer(name)))

    async def _load(self, turn: _Turn, step: Step) -> None:
        for key in step.keys:
            association = turn.user.material[key].association
            if association is not None:
                await _timed(turn.spent, "charon", self._charon.load(association))

    async def _set(self, turn: _Turn, step: Step) -> None:
        await _timed(turn.spent, "kernel", self._make(turn.user, step.objects, turn.now))

    async def _loaded(self, turn: _Turn, _step: Step) -> None:
        self._hooks.loaded(turn.user, turn.version)

    async def _done(self, turn: _Turn, _step: Step) -> None:
        turn.user.force = turn.now.force
        reason = "; ".join(sorted(self._why(turn.user, each) for each in turn.stuck))
        self._hooks.done(turn.user, turn.version, reason, turn.spent)

    async def _unload(self, _turn: _Turn, step: Step) -> None:
        for key in step.keys:
            if self._charon.up(key):
                await self._charon.unload(key)

    async def _clear(self, turn: _Turn, step: Step) -> None:
        user = turn.user
        for name in step.objects:
            user.objects.pop(name, None)
        user.force = tuple(part for part in user.force if part in turn.now.force)
        if self._handed_off(turn):
            # until the mobile has its reply it sends by this agent; what it sends meanwhile still takes the old way
            user.lingering.update(dict.fromkeys(step.objects))
            lingering = asyncio.create_task(self._later(user, step.objects))
            self._lingering.add(lingering)
            lingering.add_done_callback(self._lingering.discard)
        else:
            await _timed(turn.spent, "kernel", self._kernel.remove(step.objects))

    def _handed_off(self, turn: _Turn) -> bool:
        """Whether the user goes elsewhere, and this agent sends his packets on."""
        before_break = self._order is Order.MAKE_BEFORE_BREAK
        return before_break and any(part.hand_off and part.waits for part in turn.now.force)

    async def _later(self, user: User, names: Iterable[str]) -> None:
        """Remove objects when the old way has drained, but for those that were set again."""
        await asyncio.sleep(self._limits.drain)
        gone = [name for name in names if name in user.lingering and name not in user.objects]
        for name in names:
            user.lingering.pop(name, None)
        # what cannot be removed now is found as a stray at the next look
        with suppress(GatewayError):
            await self._kernel.remove(gone)

    async def _retire(self, turn: _Turn, step: Step) -> None:
        for key in step.keys:
            await self._retired(turn.user, key)

    async def _release(self, turn: _Turn, step: Step) -> None:
        turn.user.peers.difference_update(step.peers)
        await self.release()

    async def release(self) -> None:
        """Take down shared peers that nobody leans on. Raises GatewayError."""
        for name in self._peers.names():
            if self._hooks.unused(name):
                await self._peers.release(name, self._hooks.unused)

    async def _make(self, user: User, names: Iterable[str], now: Plan) -> None:
        """Set objects; where that fails, those that carried packets do so again."""
        todo = [name for name in names if user.objects.get(name) != now.lines[name]]
        if not todo:
            return
        before = {name: user.objects.get(name) for name in todo}
        for name in todo:
            # until it is known to be done, it may be there or not
            user.objects[name] = ()
        try:
            await self._kernel.set((name, now.lines[name]) for name in todo)
        except GatewayError:
            with suppress(GatewayError):
                await self._restore(user, before)
            raise
        for name in todo:
            user.objects[name] = now.lines[name]

    async def _restore(self, user: User, before: dict[str, tuple[str, ...] | None]) -> None:
        old = {name: lines for name, lines in before.items() if lines}
        await self._kernel.remove(name for name in before if name not in old)
        for name in before:
            if name not in old:
                user.objects.pop(name, None)
        await self._kernel.set(old.items())
        user.objects.update(old)

    # associations

    async def _raise(self, turn: _Turn, step: Step) -> frozenset[Key | str]:
        """Bring up what is asked for; returns what did not come up in time. Raises Superseded."""
        user = turn.user
        started = time.monotonic()
        keys, names = set(step.keys), set(step.peers)
        every: list[Key | str] = [*keys, *names]
        for each in every:
            user.begun.setdefault(each, started)
        for name in names:
            self._peers.bring_up(name, initiate=user.initiate)
        for key in keys:
            self._initiating.start(user, key)
        try:
            while True:
                user.wake.clear()
                keys = {key for key in keys if not self._charon.up(key)}
                names = {name for name in names if not self._peers.ready(name)}
                if not keys and not names:
                    return frozenset()
                left = min(self._initiating.left(user, each) for each in every if each in keys or each in names)
                if user.version != turn.version:
                    raise Superseded
                if left <= 0:
                    return frozenset((*keys, *names))
                with suppress(TimeoutError):
                    await asyncio.wait_for(user.wake.wait(), min(left, self._limits.deadline))
        finally:
            for each in every:
                if each not in keys and each not in names:
                    user.begun.pop(each, None)
            turn.spent.ike += time.monotonic() - started

    async def _retired(self, user: User, key: Key) -> None:
        """Out of charon, and its SAs closed when what is under way in them has arrived."""
        task = user.tries.pop(key, None)
        if task is not None:
            task.cancel()
        with suppress(GatewayError):
            # where charon is gone, so is what it was given
            await self._charon.unload(key)
        uniques = self._charon.forget(key)
        user.keys.discard(key)
        user.begun.pop(key, None)
        for unique in uniques:
            closing = asyncio.create_task(self._close(unique))
            self._draining[closing] = unique
            closing.add_done_callback(self._drained)

    async def _close(self, unique: str) -> None:
        if self._order is Order.MAKE_BEFORE_BREAK:
            await asyncio.sleep(self._limits.drain)
        await self._charon.terminate(unique)

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._draining.pop(task, None)

    @property
    def draining(self) -> frozenset[str]:
        """Unique ids of the IKE_SAs that are about to be closed."""
        return frozenset(self._draining.values())

    async def drained(self) -> None:
        """Wait until old associations are closed, and old filters gone."""
        while tasks := {*self._draining, *self._lingering}:
            await asyncio.wait(tasks)

    def _why(self, user: User, each: Key | str) -> str:
        if isinstance(each, str):
            return f"{each}: the shared association is not up"
        return f"{each.name}: {user.wrong.get(each) or 'not up in time'}"


async def _timed(spent: Spent, what: str, work: Awaitable[object]) -> None:
    started = time.monotonic()
    try:
        await work
    finally:
        setattr(spent, what, getattr(spent, what) + time.monotonic() - started)
