"""A node at work: kept before sent, loaded before acknowledged, one failing message ends nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from roamvpn.daemon.clock import Clock
from roamvpn.daemon.logs import logger
from roamvpn.daemon.metrics import Metrics
from roamvpn.daemon.runtime import MAX_QUEUE, Runtime
from roamvpn.policy.compile import Decider
from roamvpn.policy.legs import LegCompiler
from roamvpn.signalling.assembly import node_of
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import NAMES, Address, Amr, Code, NodeRole, RegRep, RegReq
from roamvpn.stores.session_store import SessionStore
from roamvpn.tables.problems import RoamvpnError
from tests.signalled import ALICE, ENTROPY, FRANK, GRACE, SETTINGS, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from roamvpn.signalling.effects import Apply
    from roamvpn.signalling.messages import Message
    from roamvpn.tables.records import VpnRecord


class Tables:
    """The VPN database of the example; `down` makes it one that cannot be reached."""

    down = False

    async def find(self, nai: str) -> tuple[VpnRecord, ...]:
        if self.down:
            raise OSError("no route to database")
        return tuple(TABLES.vpn_database.get(nai, ()))


class Gateway:
    """Brings up at once what it is asked for, unless it is told to wait, or to fail."""

    def __init__(self) -> None:
        self.asked: list[Apply] = []
        self.held: asyncio.Queue[Callable[[], None]] | None = None
        self.ok = True

    def submit(self, effect: Apply, loaded: Callable[[], None], done: Callable[[bool], None]) -> None:
        self.asked.append(effect)
        if self.held is not None:
            self.held.put_nowait(loaded)
        elif self.ok:
            loaded()
            done(True)
        else:
            done(False)


class Net:
    """All nodes of the example network, and a wire between them."""

    def __init__(self, directory: Path | None = None) -> None:
        self.sent: list[tuple[str, str, Message]] = []
        self.replies: asyncio.Queue[RegRep] = asyncio.Queue()
        self.database = Tables()
        self.gateways = {name: Gateway() for name in TABLES.network.gateways}
        self.directory = directory
        self.runtimes = {name: self.runtime(name) for name in (*TABLES.network.gateways, *TABLES.network.aaa_servers)}

    def runtime(self, name: str) -> Runtime:
        network = TABLES.network
        surroundings = Surroundings(name, Directory(network), LegCompiler(network), SETTINGS)
        node = node_of(network, surroundings, ENTROPY, Decider(TABLES, None, ENTROPY))
        directory = self.directory
        return Runtime(
            node,
            Clock(),
            logger(node=name),
            Metrics(name),
            dict.fromkeys(NAMES, self),
            applier=self.gateways.get(name),
            database=self.database,
            store=(lambda: SessionStore(directory / f"{name}.db")) if directory is not None else None,
        )

    def send(self, here: Address, to: Address, message: Message) -> None:
        self.sent.append((here.name, to.name, message))
        if to.role is NodeRole.MN:
            assert isinstance(message, RegRep)
            self.replies.put_nowait(message)
        else:
            self.runtimes[to.name].receive(to.role, message)

    async def __aenter__(self) -> Self:
        for runtime in self.runtimes.values():
            await runtime.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for runtime in self.runtimes.values():
            await runtime.stop()

    async def register(self, nai: str, seq: int, at: str, old: str | None = None, **more: Any) -> RegRep:  # noqa: ANN401
        self.runtimes[at].receive(NodeRole.FA, RegReq(nai, seq, "ha31", 60, old, **more))
        return await asyncio.wait_for(self.replies.get(), 10)

    def names(self) -> list[str]:
        return [NAMES[type(message)] for _, _, message in self.sent]


def test_a_registration_and_a_move_go_through_all_five_roles() -> None:  # E4, E5
    async def run() -> None:
        async with Net() as net:
            assert (await net.register(FRANK, 1, "fa21")).code is Code.ACCEPTED
            assert net.names() == ["AMR", "AMR", "HAR", "BU", "BA", "HAA", "AMA", "AMA", "Reg Rep"]
            net.sent.clear()
            assert (await net.register(FRANK, 2, "fa21b", "fa21", answered=1)).code is Code.ACCEPTED
            assert net.names() == ["AMR", "AMA", "Reg Req", "BU", "BA", "Reg Rep", "BU", "BA", "Reg Rep"]
            state = net.runtimes["pcn41b"].node.state
            assert state is not None
            assert [leg.peer for leg in state.legs.values()] == ["fa21b"]

    asyncio.run(run())


def test_nobody_is_told_of_what_is_not_loaded() -> None:  # G4
    async def run() -> None:
        async with Net() as net:
            pcn = net.gateways["pcn41b"]
            pcn.held = asyncio.Queue()
            net.runtimes["fa21"].receive(NodeRole.FA, RegReq(FRANK, 1, "ha31", 60))
            loaded = await asyncio.wait_for(pcn.held.get(), 10)
            await net.runtimes["pcn41b"].settled()
            assert "BA" not in net.names()
            loaded()
            assert (await asyncio.wait_for(net.replies.get(), 10)).code is Code.ACCEPTED

    asyncio.run(run())


def test_a_gateway_that_cannot_set_its_tunnels_refuses_the_registration() -> None:
    async def run() -> None:
        async with Net() as net:
            net.gateways["fa21"].ok = False
            # what waits for `Applied` is not sent along with what is loaded
            assert (await net.register(FRANK, 1, "fa21")).code is Code.FA_RESOURCES
            assert "could not set its tunnels" in net.runtimes["fa21"].alarms[-1].text

    asyncio.run(run())


def test_a_database_that_is_down_refuses_new_sessions_and_lets_moves_go_on() -> None:  # G25
    async def run() -> None:
        async with Net() as net:
            await net.register(FRANK, 1, "fa21")
            net.database.down = True
            assert (await net.register(ALICE, 1, "fa21")).code is Code.FA_RESOURCES
            assert (await net.register(FRANK, 2, "fa22")).code is Code.ACCEPTED
            net.database.down = False
            assert (await net.register(ALICE, 2, "fa21")).code is Code.ACCEPTED

    asyncio.run(run())


def test_what_was_kept_is_known_after_a_restart(tmp_path: Path) -> None:  # E5 over a restart of home agent and PCN
    async def run() -> None:
        async with Net(tmp_path) as net:
            await net.register(FRANK, 1, "fa21")
            for name in ("ha31", "pcn41b"):
                await net.runtimes[name].stop()
                net.runtimes[name] = net.runtime(name)
                await net.runtimes[name].start()
            state = net.runtimes["pcn41b"].node.state
            assert state is not None
            assert [leg.peer for leg in state.legs.values()] == ["fa21"]
            assert (await net.register(FRANK, 2, "fa21b", "fa21", answered=1)).code is Code.ACCEPTED

    asyncio.run(run())


def test_nothing_leaves_a_node_that_cannot_keep_its_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with Net(tmp_path) as net:
            save, tried = SessionStore.save, asyncio.Event()
            loop = asyncio.get_running_loop()

            def full(store: SessionStore, stores: Any) -> None:  # noqa: ANN401 - as it is
                if store.path.name == "ha31.db":
                    loop.call_soon_threadsafe(tried.set)
                    raise RoamvpnError("disk full")
                save(store, stores)

            monkeypatch.setattr(SessionStore, "save", full)
            net.runtimes["fa21"].receive(NodeRole.FA, RegReq(FRANK, 1, "ha31", 60))
            await asyncio.wait_for(tried.wait(), 10)
            assert not [message for here, _, message in net.sent if here == "ha31"]
            assert "cannot keep" in net.runtimes["ha31"].alarms[-1].text
            monkeypatch.setattr(SessionStore, "save", save)
            assert (await asyncio.wait_for(net.replies.get(), 10)).code is Code.ACCEPTED

    asyncio.run(run())


def test_a_message_that_breaks_a_machine_is_lost_and_nothing_else() -> None:
    async def run() -> None:
        async with Net() as net:
            runtime = net.runtimes["aaah33"]
            broken = Amr(FRANK, 9, "fa21", None, "aaaf23")  # type: ignore[arg-type] # what no codec lets through
            assert runtime.receive(NodeRole.AAAH, broken)
            await runtime.settled()
            assert (await net.register(GRACE, 1, "fa21")).code is Code.ACCEPTED

    asyncio.run(run())


def test_too_many_events_are_refused_and_counted() -> None:
    async def run() -> None:
        net = Net()
        runtime = net.runtimes["fa21"]
        results = [runtime.receive(NodeRole.FA, RegReq(FRANK, seq, "ha31", 60)) for seq in range(MAX_QUEUE + 5)]
        assert results.count(False) == 5
        assert b"roamvpn_events_dropped_total 5.0" in runtime.metrics.text()
        for each in net.runtimes.values():
            await each.stop()

    asyncio.run(run())
