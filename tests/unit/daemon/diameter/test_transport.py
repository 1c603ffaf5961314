"""Between machines and Diameter: which answer is whose, and what may be said by whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling.messages import Address, Ama, Amr, Code, Haa, Har, NodeRole, RegRep, RegReq, Result
from roamvpn.wire import diameter_avps as a
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_frames import DiameterError, with_ids
from tests.aaa_servers import AAAF23, AAAH33, FA21, ForeignAgent, HomeAgent, daemon
from tests.diameter import NETWORK
from tests.diameter_peers import AMR, HOME, LONG, Peer, connects_to, raw_peer, waits_for
from tests.registrations import har_of
from tests.signalled import ALICE, FRANK, Bench

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

REQUEST = RegReq(ALICE, 7, "ha31", 60)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 3 * LONG))


def aaaf() -> Peer:
    return Peer("aaaf23", "isp2.example", waits_for(FA21))


async def asked(visited: Peer, agent: ForeignAgent) -> Any:  # noqa: ANN401 - a request
    await agent.transport.node.connected(AAAF23)
    agent.ask("aaaf23", REQUEST)
    return await visited.requests.get()


def dropped(agent: ForeignAgent, why: str) -> float:
    return agent.metrics.registry.get_sample_value("roamvpn_diameter_dropped_total", {"why": why}) or 0.0


def test_who_hands_a_request_on_leaves_its_end_to_end_identifier(tmp_path: Path) -> None:  # RFC 6733 section 6.1.9
    async def test() -> None:
        async with Peer("aaah33", "isp3.example", waits_for(AAAF23)) as home:
            peers = [connects_to(AAAH33, home.port, "isp3.example"), waits_for(FA21)]
            visited = daemon(tmp_path, "aaaf23", peers)
            await visited.start()
            try:
                await home.node.connected(AAAF23)
                async with raw_peer(visited.diameter.node.ports[0], FA21) as agent:
                    direct = DiameterCodec(NETWORK, "fa21").request(Amr(ALICE, 7, "fa21", REQUEST), "aaaf23")
                    agent.ask(direct, 5, 4711)
                    handed_on = await home.requests.get()
                    assert handed_on.header.end_to_end == 4711
                    assert handed_on.origin == FA21
                    assert handed_on.reader.all(a.ROUTE_RECORD, 9) == [FA21]
            finally:
                await visited.stop()

    run(test())


@pytest.mark.parametrize(
    "ama",
    [
        Ama(ALICE, 7, "fa22", Result.SUCCESS),
        Ama(ALICE, 6, "fa21", Result.SUCCESS),
        Ama(FRANK, 7, "fa21", Result.SUCCESS),
    ],
)
def test_an_answer_about_something_else_is_dropped(ama: Ama) -> None:
    async def test() -> None:
        async with aaaf() as visited, ForeignAgent("fa21", connects_to(AAAF23, visited.port, "*")) as agent:
            request = await asked(visited, agent)
            request.answer(HOME.answer(ama, HOME.asked(request.raw)))
            # what is asked next is answered, and by then the first answer has come
            agent.ask("aaaf23", REQUEST._replace(seq=8))
            after = await visited.requests.get()
            right = Ama(ALICE, 8, "fa21", Result.SUCCESS)
            after.answer(HOME.answer(right, HOME.asked(after.raw)))
            assert await agent.next() == right
            assert dropped(agent, "answer to something else") == 1

    run(test())


@pytest.mark.parametrize(
    ("result", "heard"),
    [
        (3002, Result.UNABLE_TO_DELIVER),
        (3004, Result.UNABLE_TO_DELIVER),
        (4006, Result.HA_NOT_AVAILABLE),
        (5003, Result.AUTHENTICATION_REJECTED),
        (5001, Result.UNABLE_TO_COMPLY),
        (2001, Result.UNABLE_TO_COMPLY),
        (1001, Result.UNABLE_TO_COMPLY),
    ],
)
def test_a_refusal_reaches_the_machine_as_a_result_that_it_knows(result: int, heard: Result) -> None:
    async def test() -> None:
        async with aaaf() as visited, ForeignAgent("fa21", connects_to(AAAF23, visited.port, "*")) as agent:
            request = await asked(visited, agent)
            # 2001 with none of the AVPs that belong to it
            visited.node.refuse(request, DiameterError(result, "no"))
            assert await agent.next() == Ama(ALICE, 7, "fa21", heard)

    run(test())


def test_a_request_that_cannot_be_written_is_refused_at_once() -> None:
    async def test() -> None:
        async with aaaf() as visited, ForeignAgent("fa21", connects_to(AAAF23, visited.port, "*")) as agent:
            await agent.transport.node.connected(AAAF23)
            agent.ask("aaaf23", REQUEST._replace(packet=bytes(70_000)))
            assert await agent.next() == Ama(ALICE, 7, "fa21", Result.UNABLE_TO_COMPLY)
            here, to = Address(NodeRole.AAAH, "aaah33"), Address(NodeRole.HA, "nowhere")
            agent.transport.send(here, to, har_of(None, 7))
            refused = Haa(ALICE, 7, Result.HA_NOT_AVAILABLE, RegRep(ALICE, 7, Code.HA_UNREACHABLE))
            assert await agent.next() == refused

    run(test())


def test_a_user_is_posted_by_his_own_home_only() -> None:
    codec = DiameterCodec(NETWORK, "aaaf23")
    har = har_of(Bench().information(ALICE), 9)

    async def test() -> None:
        agent = HomeAgent(waits_for(AAAF23), waits_for(AAAH33))
        async with agent, raw_peer(agent.port, AAAF23) as visited, raw_peer(agent.port, AAAH33) as home:
            for claimed in (har, har._replace(origin="aaaf23")):
                visited.ask(codec.request(claimed, "ha31"))
                assert a.Reader(await visited.read(), a.ENTERPRISE).one(a.RESULT_CODE) == 5003
            assert agent.received.empty()
            home.ask(codec.request(har, "ha31"))
            assert a.Reader(await home.read(), a.ENTERPRISE).one(a.RESULT_CODE) == 2001
            found = await agent.next()
            assert isinstance(found, Har)

    run(test())


def test_what_a_node_does_not_do_is_refused() -> None:
    async def test() -> None:
        agent = HomeAgent(waits_for(AAAF23))
        async with agent, raw_peer(agent.port, AAAF23) as visited:
            visited.ask(AMR)
            assert a.Reader(await visited.read(), a.ENTERPRISE).one(a.RESULT_CODE) == 3001

    run(test())


def test_a_registration_that_is_asked_for_anew_is_answered_to_who_asked_last(tmp_path: Path) -> None:
    async def test() -> None:
        home = daemon(tmp_path, "aaah33", [waits_for(AAAF23)])
        await home.start()
        try:
            async with raw_peer(home.diameter.node.ports[0], AAAF23) as visited:
                waiting = home.diameter._waiting
                receive = home.runtime.receive
                home.runtime.receive = lambda *_: True  # type: ignore[method-assign] # nothing is answered yet
                visited.ask(AMR, 1, 1)
                visited.ask(AMR, 2, 2)
                visited.ask(visited.base.watchdog_request(), 3, 3)
                await visited.read()
                assert len(waiting) == 1
                home.runtime.receive = receive  # type: ignore[method-assign]
                home.diameter.send(Address(NodeRole.AAAH, "aaah33"), Address(NodeRole.AAAF, "aaaf23"), _AMA)
                assert with_ids(await visited.read(), 2, 2)[12:20] == (2).to_bytes(4) + (2).to_bytes(4)
                assert not waiting
                (connection,) = home.diameter.node._open.values()
                assert connection.inbound == 0
        finally:
            await home.stop()

    run(test())


def test_too_much_that_waits_is_said(tmp_path: Path) -> None:
    async def test() -> None:
        home = daemon(tmp_path, "aaah33", [waits_for(AAAF23)])
        await home.start()
        try:
            async with raw_peer(home.diameter.node.ports[0], AAAF23) as visited:
                home.runtime.receive = lambda *_: False  # type: ignore[method-assign]
                visited.ask(AMR)
                assert a.Reader(await visited.read(), a.ENTERPRISE).one(a.RESULT_CODE) == 3004
                assert not home.diameter._waiting
        finally:
            await home.stop()

    run(test())


_AMA = Ama(ALICE, 7, "fa21", Result.SUCCESS)
