"""Carries out a plan for one user, step by step; what was done is noted at once, so that another plan can follow."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roamvpn.agent.charon import NOT_YET
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

_TRY_AGAIN = 0.25


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

    loaded: Callable[[User], None]
    done: Callable[[User, str, Spent], None]
    peer: Callable[[str], PeerMaterial]
    unused: Callable[[str], bool]
    trace: Callable[[str, Verb], None] = field(default=lambda _nai, _verb: None)


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
        self._turns = asyncio.Semaphore(limits.side_by_side)
        self._draining: dict[asyncio.Task[None], str] = {}

    def worth(self, user: User, want: Want) -> bool:
        """Whether anything is to be done for him."""
        return not plan(user.have(self._charon, self._peers), want, self._order).empty

    async def converge(self, user: User, want: Want) -> bool:
        """Bring a user to what he shall have; False where something of it did not come up.

        Raises:
            GatewayError: a step was refused; what had carried packets does so again.
            Superseded: he shall have something else by now.
        """
        spent, version = Spent(), user.version
        stuck: frozenset[Key | str] = frozenset()
        user.lean(want)
        while True:
            now = plan(user.have(self._charon, self._peers), want, self._order, stuck)
            for step in now.steps:
                if step.verb is Verb.RAISE:
                    late = await self._raise(user, step, version, spent)
                    self._hooks.trace(user.nai, step.verb)
                    if late:
                        stuck |= late
                        break
                    continue
                async with self._turns:
                    await self._step(user, step, now, spent, stuck)
                self._hooks.trace(user.nai, step.verb)
            else:
                user.lean(want)
                return not stuck

    async def _step(  # noqa: PLR0913, PLR0917 - a step and what it counts to
        self, user: User, step: Step, now: Plan, spent: Spent, stuck: frozenset[Key | str]
    ) -> None:
        match step.verb:
            case Verb.BUILD:
                for name in step.peers:
                    await _timed(spent, "kernel", self._peers.build(self._hooks.peer(name)))
            case Verb.LOAD:
                for key in step.keys:
                    association = user.material[key].association
                    if association is not None:
                        await _timed(spent, "charon", self._charon.load(association))
            case Verb.DECODE | Verb.SWITCH:
                await _timed(spent, "kernel", self._set(user, step.objects, now))
            case Verb.LOADED:
                self._hooks.loaded(user)
            case Verb.DONE:
                user.force = now.force
                reason = "; ".join(sorted(self._why(user, each) for each in stuck))
                self._hooks.done(user, reason, spent)
            case Verb.UNLOAD:
                for key in step.keys:
                    if self._charon.up(key):
                        await self._charon.unload(key)
            case Verb.CLEAR:
                await self._kernel.remove(step.objects)
                for name in step.objects:
                    user.objects.pop(name, None)
                user.force = tuple(part for part in user.force if part in now.force)
            case Verb.RETIRE:
                for key in step.keys:
                    await self._retire(user, key)
            case Verb.RELEASE:
                user.peers.difference_update(step.peers)
                await self.release()

    async def release(self) -> None:
        """Take down shared peers that nobody leans on. Raises GatewayError."""
        for name in self._peers.names():
            if self._hooks.unused(name):
                await self._peers.release(name, self._hooks.unused)

    async def _set(self, user: User, names: Iterable[str], now: Plan) -> None:
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

    async def _raise(self, user: User, step: Step, version: int, spent: Spent) -> frozenset[Key | str]:
        """Bring up what is asked for; returns what did not come up in time. Raises Superseded."""
        started = now = time.monotonic()
        keys, names = set(step.keys), set(step.peers)
        deadline = min(user.begun.setdefault(each, now) for each in (*keys, *names)) + self._limits.deadline
        for name in names:
            self._peers.bring_up(name, initiate=user.initiate)
        for key in keys:
            if self._initiates(user, key) and key not in user.tries:
                user.tries[key] = asyncio.create_task(self._try(user, key, deadline))
        try:
            while True:
                user.wake.clear()
                keys = {key for key in keys if not self._charon.up(key)}
                names = {name for name in names if not self._peers.ready(name)}
                left = deadline - time.monotonic()
                if not keys and not names:
                    return frozenset()
                if user.version != version:
                    raise Superseded
                if left <= 0:
                    return frozenset((*keys, *names))
                with suppress(TimeoutError):
                    await asyncio.wait_for(user.wake.wait(), left)
        finally:
            for each in (*step.keys, *step.peers):
                if each not in keys and each not in names:
                    user.begun.pop(each, None)
            spent.ike += time.monotonic() - started

    def _initiates(self, user: User, key: Key) -> bool:
        """The end that learns last: this one if the change says so; towards an enterprise always; else as recovery."""
        material = user.material[key]
        alone = not user.waiters or user.attempts > 0
        return user.initiate or (material.leg.initiate and (material.static or alone))

    async def _try(self, user: User, key: Key, deadline: float) -> None:
        """Initiate until it is up or too late; what was said against it is kept for the alarm."""
        pause = _TRY_AGAIN
        try:
            if not user.waiters:
                # it was lost: the other end may have meant it, and may be about to tell
                await asyncio.sleep(self._limits.retry_first)
            while not self._charon.up(key) and (left := deadline - time.monotonic()) > 0:
                if key.name in user.tried:
                    await self._charon.abandon(key.name)
                user.tried.add(key.name)
                wrong = await self._charon.initiate(key, left)
                if not wrong or NOT_YET in wrong:
                    break
                user.wrong[key] = wrong
                await asyncio.sleep(pause)
                pause *= 2
        except GatewayError as error:
            user.wrong[key] = error.message
        finally:
            user.tries.pop(key, None)

    async def _retire(self, user: User, key: Key) -> None:
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
        """Wait until old associations are closed."""
        while self._draining:
            await asyncio.wait(set(self._draining))

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
