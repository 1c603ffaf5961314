"""The applier: brings charon and the kernel of this gateway to what signalling asks for.

A change that is submitted alters at once what shall be; a task for each user brings him there. So a burst comes to one
change, and what fails is tried again until it stands or is no longer wanted. Source: design.md section 5.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from roamvpn.agent.carry import Carrier, Hooks, Spent, Superseded
from roamvpn.agent.charon import Charon
from roamvpn.agent.desired import Desired
from roamvpn.agent.kernel import Kernel
from roamvpn.agent.ownership import user_in
from roamvpn.agent.peers import Peers
from roamvpn.agent.reconcile import Reconciler
from roamvpn.agent.user import Limits, Outcome, Timing, User, Waiter
from roamvpn.gateway.errors import GatewayError
from roamvpn.signalling.effects import Order
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from roamvpn.agent.charon import Sa
    from roamvpn.agent.plan import Key, Verb, Want
    from roamvpn.policy.legs import Contribution
    from roamvpn.render.artefacts import Renderer
    from roamvpn.signalling.effects import Apply
    from roamvpn.tables.gateway_state import GatewayState
    from roamvpn.tables.network import Network

_WAITERS_OF_ONE = 256
_MODULUS = 1 << 128


class Applier:
    """One gateway's. Everything runs in one event loop; `start` before the first change, `close` at the end."""

    def __init__(  # noqa: PLR0913 - the gateway, its tools, and who hears of what happens
        self,
        gateway: str,
        network: Network,
        renderer: Renderer,
        *,
        vici: str,
        credentials: Path,
        order: Order = Order.MAKE_BEFORE_BREAK,
        limits: Limits | None = None,
        alarm: Callable[[str, str, str], None] = lambda _nai, _object, _reason: None,
        ended: Callable[[Outcome], None] = lambda _outcome: None,
        trace: Callable[[str, Verb], None] = lambda _nai, _verb: None,
    ) -> None:
        """`alarm` is told NAI, object and reason of what does not work; `ended` how each change came to its end."""
        self.limits = limits or Limits()
        self.desired = Desired(gateway, network, renderer, credentials)
        self.generation = 0
        self.kernel = Kernel()
        self.charon = Charon(vici, raised=self._raised, lost=self._lost, stray=self._came_too_late, back=self._back)
        self.peers = Peers(self.charon, self.kernel, self._peer_up, partial(alarm, ""))
        hooks = Hooks(self._loaded, self._done, self.desired.peer, self.desired.unused, trace)
        self.carrier = Carrier(self.charon, self.kernel, self.peers, order, self.limits, hooks)
        self.alarm = alarm
        self._ended = ended
        self._pending = 0
        self._background: set[asyncio.Task[None]] = set()
        self._observed = asyncio.Event()
        """Not set while it is being found out what stands: nobody begins anything then."""
        self._reconciler = Reconciler(self, network)

    async def start(self, state: GatewayState) -> int:
        """Listen to charon and bring everything to `state`; returns how many stray objects were removed.

        Raises:
            GatewayError: kernel or charon cannot be asked.
        """
        self.charon.start()
        try:
            async with asyncio.timeout(self.limits.retry_last):
                await self.charon.present.wait()
        except TimeoutError:
            raise GatewayError("charon", "does not answer") from None
        return await self.reconcile(state)

    async def close(self) -> None:
        """Stop; what stands stays."""
        for user in self.users.values():
            if user.retry is not None:
                user.retry.cancel()
        tasks = [user.task for user in self.users.values() if user.task is not None]
        tasks += [task for user in self.users.values() for task in user.tries.values()]
        tasks += self._background
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.carrier.drained()
        await self.peers.close()
        await self.charon.close()

    @property
    def users(self) -> dict[str, User]:
        """Those who have something here, or had, or shall have."""
        return self.desired.users

    # what is asked for

    def submit(self, effect: Apply, loaded: Callable[[], None], done: Callable[[bool], None]) -> None:
        """Carry out a change.

        `loaded` is called once connections and secrets are in charon; `done` once packets take the new way, or with
        False where that failed: then `loaded` may never have been called. Calls for one user come in the order of his
        changes, and never from within.
        """
        user = self.desired.user(effect.nai)
        for contribution in effect.set:
            self.desired.add(user, contribution)
        for contribution in effect.delete:
            self.desired.remove(user, contribution)
        for contribution in (*effect.withdrawn, *effect.set):
            if contribution in user.prepared:
                user.prepared.remove(contribution)
        user.prepared += effect.prepare
        user.initiate |= effect.initiate
        user.attempts = 0
        if self._pending >= self.limits.pending or len(user.waiters) >= _WAITERS_OF_ONE:
            self.alarm(effect.nai, "applier", "too many changes wait to be heard of")
            asyncio.get_running_loop().call_soon(done, False)  # noqa: FBT003 - the answer
        else:
            self._pending += 1
            user.waiters.append(Waiter(effect, loaded, done, time.monotonic(), user.version + 1))
        self.wish(user)

    async def reconcile(self, state: GatewayState) -> int:
        """Find what stands and bring it to `state`, from the node's store; returns how many strays were removed.

        Only what sessions own is touched. Users are brought there in the background: see `settled`.
        Raises GatewayError.
        """
        self._observed.clear()
        self.desired.renew(state)
        try:
            return await self._reconciler.run()
        finally:
            self._observed.set()

    async def drift(self) -> list[dict[str, str]]:
        """What is not as it shall be: object, state (missing, changed, foreign, down). Changes nothing."""
        return await self._reconciler.drift()

    async def settled(self) -> None:
        """Wait until nobody is on his way, and old associations are closed; later retries are not waited for."""
        while tasks := [user.task for user in self.users.values() if user.task is not None] + [*self._background]:
            await asyncio.wait(tasks)
        await self.carrier.drained()

    @property
    def digest(self) -> str:
        """Of everything that sessions shall have here; equal for equal legs, whatever came before."""
        return self.desired.digest

    def wish(self, user: User) -> None:
        """Bring a user to what he shall have."""
        user.version += 1
        user.wake.set()
        if user.retry is not None:
            user.retry.cancel()
            user.retry = None
        if user.task is None:
            user.task = asyncio.create_task(self._run(user))

    # a user's task

    async def _run(self, user: User) -> None:
        version = -1
        await self._observed.wait()
        user.busy = True
        while version != user.version:
            version = user.version
            reason = ""
            try:
                want = self.desired.want(user)
                await self.carrier.converge(user, want)
                await self.carrier.release()
                if version == user.version:
                    reason = self._incomplete(user, want)
            except Superseded:
                continue
            except (GatewayError, RoamvpnError) as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - one user's trouble is not the others'
                reason = f"{type(error).__name__}"
            if reason:
                self._failed(user, reason, version)
        user.busy, user.task = False, None
        if user.idle:
            self.users.pop(user.nai, None)

    def _incomplete(self, user: User, want: Want) -> str:
        """Why a user who came to rest must be looked at again; nothing where all is well."""
        if self.carrier.worth(user, want):
            return "; ".join(sorted(user.wrong.values())) or "not all of it is up"
        user.attempts = 0
        user.initiate = False
        user.wrong.clear()
        self._tidy(user)
        return ""

    def _tidy(self, user: User) -> None:
        user.keys = {key for key in user.keys if key in user.material or self.charon.up(key)}
        names = {key.name for key in user.keys}
        for key in [key for key in user.material if key not in user.keys]:
            del user.material[key]
            if key.name not in names:
                self.desired.owners.pop(key.name, None)
        user.tried &= names

    def _failed(self, user: User, reason: str, version: int) -> None:
        for waiter in user.heard(version):
            self._answer(user, waiter, reason, Spent())
        if version != user.version:
            # he is on his way to something else already
            return
        if user.attempts == 0:
            self.alarm(user.nai, "session", reason)
        user.begun.clear()
        pause = min(self.limits.retry_first * 2 ** min(user.attempts, 16), self.limits.retry_last)
        user.attempts += 1
        user.retry = asyncio.get_running_loop().call_later(pause, self._again, user)

    def _again(self, user: User) -> None:
        user.retry = None
        for key in user.keys:
            if not self.charon.up(key):
                self.charon.doubt(key)
        self.wish(user)

    def _loaded(self, user: User, version: int) -> None:
        for waiter in user.waiters:
            if waiter.version <= version and not waiter.told:
                waiter.told = True
                self._tell(user, waiter.loaded)

    def _done(self, user: User, version: int, reason: str, spent: Spent) -> None:
        waiters = user.heard(version)
        if waiters:
            self.generation += 1
        for waiter in waiters:
            self._answer(user, waiter, reason, spent)

    def _answer(self, user: User, waiter: Waiter, reason: str, spent: Spent) -> None:
        self._pending -= 1
        self._tell(user, partial(waiter.done, not reason))
        timing = Timing(time.monotonic() - waiter.at, spent.charon, spent.ike, spent.kernel)
        names = [tuple(_named(each) for each in part) for part in (waiter.apply.set, waiter.apply.delete)]
        outcome = Outcome(user.nai, waiter.apply.seq, not reason, reason, self.generation, self.digest, timing, *names)
        self._tell(user, partial(self._ended, outcome))

    def _tell(self, user: User, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - whoever listens must not stop what is under way
            self.alarm(user.nai, "listener", type(error).__name__)

    # what charon tells

    def _raised(self, key: Key) -> None:
        user = self._owner(key)
        if user is None:
            self.peers.raised(key)
            return
        user.wake.set()
        if user.task is None:
            # it came later than its deadline, or is the decoding half of a hand-off: unload it, switch
            self.wish(user)

    def _lost(self, key: Key) -> None:
        user = self._owner(key)
        if user is None:
            self.peers.lost(key)
        elif key in user.keys and user.task is None:
            self.wish(user)

    def _came_too_late(self, sa: Sa) -> None:
        """It was asked for, and is no longer wanted; while it is found out what stands nobody knows yet."""
        if self._observed.is_set() and user_in(sa.name) is not None:
            self._spawn(self.charon.terminate(sa.unique))

    def _back(self) -> None:
        """A charon is there, maybe another one: whatever it lacks is loaded again."""
        self._spawn(self._reload())

    async def _reload(self) -> None:
        with suppress(GatewayError):
            await self.peers.reload()
        for user in list(self.users.values()):
            self.wish(user)

    def _peer_up(self, name: str) -> None:
        for user in self.users.values():
            if name in user.peers:
                user.wake.set()
                if user.task is None and user.attempts:
                    self.wish(user)

    def _owner(self, key: Key) -> User | None:
        nai = self.desired.owners.get(key.name)
        return self.users.get(nai) if nai is not None else None

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type] # a coroutine
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _named(contribution: Contribution) -> str:
    """The name of the leg, or of the peer that decodes for it."""
    leg, peer = contribution.leg, contribution.peer
    return leg.name if leg is not None else peer.name if peer is not None else ""
