"""Carries out what a node's machines ask for: keep, then apply, send, search, wake.

Events are taken in batches: all of a batch are handled, what must outlive a restart is kept in one transaction, and
only then does anything leave the node. A machine that fails on a message loses that message and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from roamvpn.signalling.effects import Alarm, Apply, Effect, Search, Send, Store, Wake
from roamvpn.signalling.messages import NAMES, Address, Applied, Found, NodeRole, RegRep, RegReq, Timer
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.clock import Clock
    from roamvpn.daemon.metrics import Metrics
    from roamvpn.signalling.messages import Event, Message
    from roamvpn.signalling.node import Node
    from roamvpn.stores.session_store import SessionStore
    from roamvpn.tables.records import VpnRecord

BATCH = 200
MAX_QUEUE = 20_000
_SAVE_AGAIN_S = (0.05, 0.2, 1.0)
_SEARCH_S = 5.0
_ALARMS = 50


class Transport(Protocol):
    """A wire. Never blocks and never raises: what cannot be sent is logged, and asked for again by its machine."""

    def send(self, here: Address, to: Address, message: Message) -> None:
        """Give the message its bytes and let it go."""


class Applier(Protocol):
    """What brings the gateway to a change.

    `loaded` is called when both ends may be brought up, `done` when tunnels stand or could not be set. Where loading
    fails `loaded` is never called, so that nothing is acknowledged.
    """

    def submit(self, effect: Apply, loaded: Callable[[], None], done: Callable[[bool], None]) -> None:
        """Begin; changes of one user are made one after the other."""


class Database(Protocol):
    """The VPN database."""

    async def find(self, nai: str) -> tuple[VpnRecord, ...]:
        """All records of a user (B4); raises OSError or RoamvpnError where it cannot be reached."""


class Raised(NamedTuple):
    """An alarm as `status` shows it: seconds since 1970, user, sentence."""

    at: float
    nai: str
    text: str


class _Queued(NamedTuple):
    """An event that waits; `kept` is told when what follows from it outlives a restart."""

    role: NodeRole
    event: Event
    kept: Callable[[], None] | None


class Runtime:
    """One node at work. All methods but `start` and `stop` are called from the loop's thread and return at once."""

    def __init__(  # noqa: PLR0913 - a node's world has these parts
        self,
        node: Node,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: Metrics,
        transports: Mapping[type[Any], Transport],
        *,
        applier: Applier | None = None,
        database: Database | None = None,
        store: Callable[[], SessionStore] | None = None,
    ) -> None:
        """`transports` by kind of message; `store` opens what is kept over restarts, in the thread that uses it."""
        self.node = node
        self.metrics = metrics
        self.alarms: deque[Raised] = deque(maxlen=_ALARMS)
        self._clock = clock
        self._log = log
        self._transports = transports
        self._applier = applier
        self._database = database
        self._open = store
        self._store: SessionStore | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._queue: deque[_Queued] = deque()
        self._work: asyncio.Event = asyncio.Event()
        self._idle: asyncio.Event = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._searches: set[asyncio.Task[None]] = set()
        self._asked: dict[tuple[str, int], float] = {}
        self._stopping = False

    # life

    async def start(self) -> None:
        """Read back what was kept, and begin; raises RoamvpnError where that cannot be read."""
        loop = asyncio.get_running_loop()
        for role, rows in (await loop.run_in_executor(self._disk, self._load)).items():
            self._carry_out(role, self.node.restore(role, rows))
            if rows:
                self._log.info("restored", role=str(role), entries=len(rows))
        self._worker = asyncio.create_task(self._run(), name=f"runtime {self.node.name}")

    def _load(self) -> dict[NodeRole, list[tuple[str, Any]]]:
        if self._open is None:
            return {}
        self._store = self._open()
        machines = self.node.machines.items()
        return {role: list(self._store.load(role, machine.entry)) for role, machine in machines if machine.durable}

    async def stop(self) -> None:
        """Handle what has come, then let go."""
        self._stopping = True
        if self._worker is not None:
            self._work.set()
            with suppress(asyncio.CancelledError):
                await self._worker
        for task in self._searches:
            task.cancel()
        if self._store is not None:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._store.close)
        self._disk.shutdown()

    async def settled(self) -> None:
        """Wait until nothing is queued."""
        await self._idle.wait()

    @property
    def waiting(self) -> int:
        """How many events are queued."""
        return len(self._queue)

    # what comes in

    def receive(self, role: NodeRole, event: Event, kept: Callable[[], None] | None = None) -> bool:
        """An event for one role; False if it was refused because too many wait.

        `kept` is called when the event was handled and what follows from it is on the disk.
        """
        kind = type(event)
        name = NAMES.get(kind)
        if len(self._queue) >= MAX_QUEUE and name is not None:
            # machines' own events are never refused: they end what others wait for
            self.metrics.dropped.inc()
            return False
        if name is not None:
            self.metrics.received.labels(name).inc()
        if kind is RegReq and role is NodeRole.FA:
            self._note(event)  # type: ignore[arg-type] # a request
        self._queue.append(_Queued(role, event, kept))
        self._idle.clear()
        self._work.set()
        return True

    def _note(self, request: RegReq) -> None:
        if len(self._asked) >= MAX_QUEUE:
            self._asked.clear()
        self._asked.setdefault((request.nai, request.seq), time.monotonic())

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                await self._batch()
                # others get their turn: sockets, timers
                await asyncio.sleep(0)
            self._idle.set()
            if self._stopping:
                return

    async def _batch(self) -> None:
        handled: list[tuple[_Queued, list[Effect]]] = []
        stores: list[Store] = []
        now = self._clock.now()
        while self._queue and len(handled) < BATCH:
            queued = self._queue.popleft()
            effects = self._step(queued.role, queued.event, now)
            stores += [effect for effect in effects if type(effect) is Store]
            handled.append((queued, effects))
        self.metrics.queue.set(len(self._queue))
        if stores and self._store is not None:
            await self._save(stores)
        for queued, effects in handled:
            if queued.kept is not None:
                queued.kept()
            self._carry_out(queued.role, effects)

    def _step(self, role: NodeRole, event: Event, now: int) -> list[Effect]:
        try:
            return self.node.receive(role, event, now)
        except Exception:  # noqa: BLE001 - whatever a message does to a machine, the next one is served
            self._log.error("machine failed", role=str(role), what=type(event).__name__, nai=event[0], exc_info=True)
            self.metrics.refused.labels("machine failed").inc()
            return []

    async def _save(self, stores: list[Store]) -> None:
        """Until it is kept nothing leaves the node, so a full disk stops it, and it goes on by itself."""
        started, attempt = time.monotonic(), 0
        store = self._store
        assert store is not None  # noqa: S101 - asked before
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk, store.save, stores)
            except RoamvpnError as error:
                if self._stopping:
                    raise
                self._log.error("cannot keep entries", reason=str(error))
                if not attempt:
                    self._raise("", f"{self.node.name} cannot keep its sessions: {error}")
                await asyncio.sleep(_SAVE_AGAIN_S[min(attempt, len(_SAVE_AGAIN_S) - 1)])
                attempt += 1
            else:
                break
        self.metrics.saving.observe(time.monotonic() - started)

    # what goes out

    def _carry_out(self, role: NodeRole, effects: Sequence[Effect]) -> None:
        loop = asyncio.get_running_loop()
        for effect in effects:
            if type(effect) is Wake:
                delay = max(effect.at - self._clock.now(), 0) / 1000
                loop.call_later(delay, self.receive, effect.role, Timer(effect.key))
            elif type(effect) is Alarm:
                self._raise(effect.nai, effect.text)
        self._in_order(role, [effect for effect in effects if type(effect) not in (Wake, Alarm, Store)])

    def _in_order(self, role: NodeRole, effects: Sequence[Effect]) -> None:
        for index, effect in enumerate(effects):
            if type(effect) is Send:
                self._send(role, effect)
            elif type(effect) is Search:
                self._search(role, effect)
            elif type(effect) is Apply:
                # who is told of a change is told when it is loaded
                self._apply(role, effect, partial(self._in_order, role, effects[index + 1 :]))
                return

    def _send(self, role: NodeRole, send: Send) -> None:
        to, message = send.to, send.message
        self.metrics.sent.labels(NAMES[type(message)]).inc()
        if type(message) is RegRep and to.role is NodeRole.MN:
            asked = self._asked.pop((message.nai, message.seq), None)
            if asked is not None:
                self.metrics.registration.observe(time.monotonic() - asked)
        self._tell(role, to, message)
        if to.name == self.node.name and to.role in self.node.machines:
            self.receive(to.role, message)
            return
        self._transports[type(message)].send(Address(role, self.node.name), to, message)

    def _tell(self, role: NodeRole, to: Address, message: Message) -> None:
        """A line for every message that leaves, with the session and its generation."""
        entry = self.node.tables[role].get(message.nai)
        information = getattr(message, "information", None) or getattr(entry, "information", None)
        information = information or getattr(entry, "serving", None)
        session = {"session": information.session_id, "generation": information.generation} if information else {}
        seq, code = getattr(message, "seq", 0), getattr(message, "code", None)
        fields = {"code": int(code)} if code is not None else {}
        self._log.info("sent", message=NAMES[type(message)], to=str(to), nai=message.nai, seq=seq, **session, **fields)

    def _apply(self, role: NodeRole, apply: Apply, loaded: Callable[[], None]) -> None:
        started = time.monotonic()
        assert self._applier is not None  # noqa: S101 - an AAA server applies nothing

        def done(ok: bool) -> None:  # noqa: FBT001 - the applier's word
            self.metrics.apply.observe(time.monotonic() - started)
            if apply.wait:
                self.receive(role, Applied(apply.nai, apply.seq, ok))

        self._applier.submit(apply, loaded, done)

    def _search(self, role: NodeRole, search: Search) -> None:
        task = asyncio.create_task(self._searched(role, search))
        self._searches.add(task)
        task.add_done_callback(self._searches.discard)

    async def _searched(self, role: NodeRole, search: Search) -> None:
        records: tuple[VpnRecord, ...] | None = None
        if self._database is not None:
            try:
                records = await asyncio.wait_for(self._database.find(search.nai), _SEARCH_S)
            except (OSError, RoamvpnError, TimeoutError) as error:
                self._log.error("database", nai=search.nai, reason=str(error) or "takes too long")
        self.receive(role, Found(search.nai, search.seq, records))

    def _raise(self, nai: str, text: str) -> None:
        self.metrics.alarms.inc()
        self.alarms.append(Raised(self._clock.stamp(), nai, text))
        self._log.warning("alarm", nai=nai, text=text)

    def alarm(self, nai: str, text: str) -> None:
        """Something an operator must hear of, from beside the machines."""
        self._raise(nai, text)
