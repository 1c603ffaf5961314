"""The simulated network: nodes, links, clock, and what may go wrong. Everything follows from the tables and the seed.

The clock counts microseconds; machines are given milliseconds. Nothing sleeps: the next event is the next thing that
happens.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from roamvpn.policy.compile import Compiler, Decider
from roamvpn.policy.legs import LegCompiler
from roamvpn.signalling.assembly import node_of
from roamvpn.signalling.codec import decode, encode
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.effects import Alarm, Apply, Effect, Search, Send, Store, Wake
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import Address, Applied, Found, NodeRole, RegRep, ServiceUpdate, Timer
from roamvpn.sim.mobile import SECOND, Mobile
from roamvpn.sim.options import MILLISECOND, Faults, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.policy.keys import Entropy
    from roamvpn.signalling.messages import Event, Message
    from roamvpn.signalling.node import Node
    from roamvpn.tables.records import VpnRecord
    from roamvpn.tables.secrets import Secrets
    from roamvpn.tables.tables import Tables


class Seen(NamedTuple):
    """Something that happened, for who watches: a message at its sender, or an effect at a node."""

    at: int
    node: Address
    what: Effect | Event


class _Delivery(NamedTuple):
    """An event on its way to a role at a node; `life` is the node's, for what does not outlive a restart."""

    to: Address
    event: Event
    life: int | None = None
    done: bool = False


@dataclass(slots=True)
class Load:
    """What a node has done."""

    events: int = 0
    busy: int = 0
    deepest: int = 0
    working: bool = False
    queue: deque[_Delivery] = field(default_factory=deque)
    legs_set: int = 0
    legs_deleted: int = 0


class World:
    """All nodes of a site, and its mobiles. `seed` decides about faults; without one there are none."""

    def __init__(
        self,
        tables: Tables,
        entropy: Entropy,
        options: Options | None = None,
        seed: int | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self.tables = tables
        self.options = options or Options()
        self.settings = self.options.settings
        self.entropy = entropy
        self.secrets = secrets
        self.compiler = Compiler(tables, secrets, entropy)
        self.now = 0
        self.down: set[str] = set()
        self.cut: set[frozenset[str]] = set()
        self.database: dict[str, tuple[VpnRecord, ...]] = {n: tuple(r) for n, r in tables.vpn_database.items()}
        self.database_up = True
        self.searched: dict[tuple[str, int], tuple[VpnRecord, ...]] = {}
        self.alarms: list[tuple[int, str, Alarm]] = []
        self.mobiles: dict[str, Mobile] = {}
        self.watchers: list[Callable[[Seen], None]] = []
        self.answered: Callable[[Mobile, RegRep], None] = lambda _mobile, _reply: None
        self.loads: dict[str, Load] = {}
        self.registrations = 0
        self.messages = 0
        self.lost = False
        """Whether any message ever was."""
        self._seed = seed
        self._sent: dict[str, int] = {}
        self._queue: list[tuple[int, int, Any]] = []
        self._order = count()
        self._lives: dict[str, int] = {}
        self._stores: dict[str, dict[tuple[NodeRole, str], str]] = {}
        self._directory = Directory(tables.network)
        self._legs = LegCompiler(tables.network)
        self._provisioned: dict[str, list[Any]] = {}
        for contribution in self.compiler.provisioned():
            self._provisioned.setdefault(contribution.gateway, []).append(contribution)
        self.nodes: dict[str, Node] = {}
        for name in (*tables.network.gateways, *tables.network.aaa_servers):
            self._stores[name], self._lives[name], self.loads[name] = {}, 0, Load()
            self.nodes[name] = self._node(name)

    # nodes

    def _node(self, name: str) -> Node:
        surroundings = Surroundings(name, self._directory, self._legs, self.settings)
        decider = Decider(self.tables, self.secrets, self.entropy)
        return node_of(self.tables.network, surroundings, self.entropy, decider, self._provisioned.get(name, ()))

    def crash(self, name: str) -> None:
        """Stop a node: what it has in memory is lost, what it has stored is kept."""
        self.down.add(name)
        self._lives[name] += 1

    def restart(self, name: str) -> None:
        """Start it again from its store."""
        if name not in self.down:
            return
        self.down.discard(name)
        node = self.nodes[name] = self._node(name)
        self.loads[name].working = False
        self.loads[name].queue.clear()
        for role, machine in node.machines.items():
            rows = [
                (key, decode(machine.entry, text)) for (kept, key), text in self._stores[name].items() if kept == role
            ]
            self._carry_out(Address(role, name), node.restore(role, rows))

    def mobile(self, nai: str) -> Mobile:
        """The user's terminal."""
        found = self.mobiles.get(nai)
        if found is None:
            found = self.mobiles[nai] = Mobile(self.tables.subscribers[nai], self.options.lifetime)
        return found

    # what mobiles do

    def register(self, nai: str, at: str, *, names: str | None = None) -> None:
        """The user appears at a foreign agent; `names` is the old one, if his terminal gives it."""
        mobile = self.mobile(nai)
        mobile.at, mobile.named, mobile.leaving = at, names, False
        mobile.waiting = False
        self._ask(mobile)

    def move(self, nai: str, at: str) -> None:
        """The user goes to another foreign agent; within a domain his terminal names the old one (E2, E3)."""
        old = self.mobile(nai).served_at
        within = old is not None and self._directory.domain(old) == self._directory.domain(at)
        self.register(nai, at, names=old if within and old != at else None)

    def refresh(self, nai: str) -> None:
        """The terminal registers again where it is."""
        mobile = self.mobile(nai)
        if mobile.at is not None:
            self._ask(mobile)

    def customise(self, nai: str, records: tuple[VpnRecord, ...]) -> None:
        """The user's VPNs in the database become others, and his terminal asks for them (E7)."""
        self.database[nai] = records
        self.mobile(nai).update = ServiceUpdate()
        self.refresh(nai)

    def deregister(self, nai: str) -> None:
        """The terminal signs off."""
        mobile = self.mobile(nai)
        if mobile.at is not None:
            mobile.leaving, mobile.waiting, mobile.update = True, False, None
            self._ask(mobile)

    def vanish(self, nai: str) -> None:
        """The terminal is switched off, without a word."""
        mobile = self.mobile(nai)
        mobile.at = mobile.served_at = mobile.refresh_at = mobile.named = mobile.update = None
        mobile.waiting = mobile.leaving = False

    def _ask(self, mobile: Mobile) -> None:
        if mobile.at is None:
            return
        request = mobile.request(self.now)
        self.registrations += 1
        self._send(Address(NodeRole.MN, mobile.nai), Address(NodeRole.FA, mobile.at), request)
        self._schedule(self.now + mobile.patience, (mobile, mobile.seq))

    def _again(self, mobile: Mobile, seq: int) -> None:
        if (mobile.waiting and mobile.seq == seq) or (
            not mobile.waiting and mobile.refresh_at is not None and self.now >= mobile.refresh_at
        ):
            self._ask(mobile)

    def _mobile_hears(self, mobile: Mobile, reply: RegRep) -> None:
        if mobile.answered(reply, self.now):
            self.answered(mobile, reply)
            if mobile.refresh_at is not None:
                self._schedule(mobile.refresh_at, (mobile, mobile.seq))

    # time

    def run(self, until: int | None = None) -> None:
        """Let everything happen that happens up to `until`, or until nothing does any more."""
        queue = self._queue
        while queue and (until is None or queue[0][0] <= until):
            at, _, item = heapq.heappop(queue)
            self.now = at
            if type(item) is _Delivery:
                self._deliver(item)
            elif type(item) is tuple:
                self._again(*item)
            else:
                item()
        if until is not None and until > self.now:
            self.now = until

    def at(self, time: int, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._schedule(time, action)

    @property
    def next_at(self) -> int | None:
        """When the next thing happens."""
        return self._queue[0][0] if self._queue else None

    def _schedule(self, at: int, item: Any) -> None:  # noqa: ANN401 - a delivery, a mobile's timer, or an action
        heapq.heappush(self._queue, (at, next(self._order), item))

    def _deliver(self, delivery: _Delivery) -> None:
        to, event, life, done = delivery
        if to.role is NodeRole.MN:
            mobile = self.mobiles.get(to.name)
            if mobile is not None and isinstance(event, RegRep):
                self._mobile_hears(mobile, event)
            return
        name = to.name
        if name in self.down or (life is not None and life != self._lives[name]):
            self.lost = True
            return
        load = self.loads[name]
        if self.options.costs.event and not done:
            load.queue.append(delivery)
            load.deepest = max(load.deepest, len(load.queue))
            if not load.working:
                self._work(name)
            return
        load.events += 1
        took = self._carry_out(to, self.nodes[name].receive(to.role, event, self.now // MILLISECOND))
        if done:
            load.busy += took
            self._schedule(self.now + took, partial(self._free, name, self._lives[name]))

    def _work(self, name: str) -> None:
        """The node takes up the next event that waits."""
        load, cost = self.loads[name], self.options.costs.event
        load.working = True
        load.busy += cost
        self._schedule(self.now + cost, load.queue.popleft()._replace(done=True, life=self._lives[name]))

    def _free(self, name: str, life: int) -> None:
        load = self.loads[name]
        if life == self._lives[name]:
            load.working = False
            if load.queue:
                self._work(name)

    def _carry_out(self, here: Address, effects: list[Effect]) -> int:
        """Do what a machine asks for, one after the other; how long the node was at it."""
        took = 0
        for effect in effects:
            if type(effect) is Send:
                self._send(here, effect.to, effect.message, took)
            elif type(effect) is Store:
                self._store(here.name, effect)
            elif type(effect) is Wake:
                timer = _Delivery(Address(effect.role, here.name), Timer(effect.key), self._lives[here.name])
                self._schedule(max(effect.at * MILLISECOND, self.now), timer)
            elif type(effect) is Apply:
                self._seen(here, effect)
                took += self._apply(here, effect, took)
            elif type(effect) is Search:
                self._seen(here, effect)
                self._search(here, effect)
            elif type(effect) is Alarm:
                self._seen(here, effect)
                self.alarms.append((self.now, here.name, effect))
        return took

    def _store(self, name: str, store: Store) -> None:
        if self.options.durable:
            if store.entry is None:
                self._stores[name].pop((store.role, store.key), None)
            else:
                self._stores[name][store.role, store.key] = encode(store.entry)

    def _seen(self, here: Address, what: Effect | Event) -> None:
        for watcher in self.watchers:
            watcher(Seen(self.now, here, what))

    def _apply(self, here: Address, apply: Apply, after: int) -> int:
        load, costs = self.loads[here.name], self.options.costs
        load.legs_set += len(apply.set)
        load.legs_deleted += len(apply.delete)
        took = costs.leg * (len(apply.set) + len(apply.delete) + len(apply.prepare))
        if apply.wait:
            own = any(each.leg is not None and each.leg.has_association for each in apply.set)
            up = self.now + after + took + (costs.association if own else 0)
            self._schedule(up, _Delivery(here, Applied(apply.nai, apply.seq), self._lives[here.name]))
        return took

    def _search(self, here: Address, search: Search) -> None:
        records = self.database.get(search.nai, ()) if self.database_up else None
        if records is not None:
            self.searched[search.nai, search.seq] = records
        found = Found(search.nai, search.seq, records)
        self._schedule(self.now + self.options.latency, _Delivery(here, found, self._lives[here.name]))

    # links

    def _send(self, here: Address, to: Address, message: Message, after: int = 0) -> None:
        self.messages += 1
        if self.watchers:
            self._seen(here, Send(to, message))
        if self.cut and frozenset((here.name, to.name)) in self.cut:
            self.lost = True
            return
        for delay in self._delays(here, to, message):
            self._schedule(self.now + after + delay, _Delivery(to, message))

    def _delays(self, here: Address, to: Address, message: Message) -> Iterable[int]:
        """When a message arrives, from now: never, once, or twice.

        Its fate follows from what it is, not from what happened before, so that a history that is cut down meets the
        same faults in what is left of it.
        """
        latency, faults = self.options.latency, self.options.faults
        if self._seed is None or faults == Faults():
            return (latency,)
        what = f"{self._seed} {here} {to} {type(message).__name__} {message.nai} {getattr(message, 'seq', 0)}"
        number = self._sent[what] = self._sent.get(what, 0) + 1
        draw = Random(f"{what} {number}")  # noqa: S311 - a simulation, and it must repeat
        if draw.randrange(1000) < faults.loss:
            self.lost = True
            return ()
        copies = 2 if draw.randrange(1000) < faults.duplicate else 1
        return [
            latency
            + draw.randrange(faults.jitter + 1)
            + (draw.randrange(faults.lateness + 1) if draw.randrange(1000) < faults.late else 0)
            for _ in range(copies)
        ]


def seconds(time: float) -> int:
    """A time in seconds on the simulation's clock."""
    return round(time * SECOND)
