"""Diameter nodes on real sockets: they find each other, ask and answer, and lose each other (RFC 6733)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from diameter.message import Message
from diameter.message import constants as c

from roamvpn.daemon.diameter.requests import Undelivered
from roamvpn.daemon.diameter.settings import DiameterConfig, Listen
from roamvpn.signalling.messages import Result
from roamvpn.wire.diameter_base import BUSY, DEVICE_WATCHDOG, DISCONNECT_PEER
from roamvpn.wire.diameter_frames import DiameterError, pack_avp, pack_message, peek_header, with_ids
from tests.diameter_peers import (
    AAAF,
    AAAH,
    AMA,
    AMR,
    CODEC,
    FA,
    HOME,
    HOST,
    LONG,
    QUICK,
    Peer,
    connects_to,
    raw_peer,
    waits_for,
)
from tests.registrations import amr_of
from tests.signalled import ALICE

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from roamvpn.signalling.messages import Ama


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, LONG * 2))


def home(*peers: str, **more: Any) -> Peer:  # noqa: ANN401 - of a peer
    return Peer("aaah33", "isp3.example", *map(waits_for, peers or (AAAF,)), **more)


def visited(*ports: int, identities: tuple[str, ...] = (AAAH,), **more: Any) -> Peer:  # noqa: ANN401 - of a peer
    peers = [connects_to(identity, port, "isp3.example") for identity, port in zip(identities, ports, strict=True)]
    return Peer("aaaf23", "isp2.example", *peers, listen=(), **more)


async def answered(peer: Peer, message: Ama = AMA) -> None:
    request = await peer.requests.get()
    request.answer(HOME.answer(message, HOME.asked(request.raw, request.reader)))


def result(raw: object) -> int:
    assert isinstance(raw, bytes)
    return int(Message.from_bytes(raw).result_code)


# together


def test_a_request_is_answered() -> None:
    async def test() -> None:
        async with home() as aaah, visited(aaah.port) as aaaf:
            await aaaf.node.connected(AAAH)
            answer = aaaf.ask(AMR, "isp3.example")
            await answered(aaah)
            assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


def test_a_hundred_requests_at_once_are_told_apart() -> None:
    async def test() -> None:
        async with home() as aaah, visited(aaah.port) as aaaf:
            await aaaf.node.connected(AAAH)
            answers = [aaaf.ask(CODEC.request(amr_of(ALICE, seq), "aaah33"), "isp3.example") for seq in range(1, 101)]
            requests = [await aaah.requests.get() for _ in answers]
            for request in reversed(requests):
                seq = HOME.decode(request.raw).seq
                request.answer(HOME.answer(AMA._replace(seq=seq), HOME.asked(request.raw)))
            found = [HOME.decode(_bytes(await answer)).seq for answer in answers]
            assert found == list(range(1, 101))

    run(test())


def test_both_sides_may_connect_and_one_connection_stays() -> None:  # RFC 6733 section 5.6.4
    async def test() -> None:
        with socket.create_server((HOST, 0)) as found:
            port = found.getsockname()[1]
        async with Peer("aaah33", "isp3.example", connects_to(AAAF, port)) as aaah:
            listen = [Listen(host=HOST, port=port, tls=False)]
            async with Peer("aaaf23", "isp2.example", connects_to(AAAH, aaah.port), listen=listen) as aaaf:
                await asyncio.gather(aaaf.node.connected(AAAH), aaah.node.connected(AAAF))
                answer = aaaf.ask(AMR, "isp3.example", host=AAAH)
                await answered(aaah)
                assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


def _bytes(answer: object) -> bytes:
    assert isinstance(answer, bytes)
    return answer


# identities and capabilities


def test_a_stranger_is_refused() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, "stranger.isp9.example", greets=False) as peer:
            assert result(await peer.greet()) == c.E_RESULT_CODE_DIAMETER_UNKNOWN_PEER
            assert await peer.ended() == b""
            assert aaah.node.peers == ()

    run(test())


def test_a_peer_without_our_application_is_refused() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF, greets=False) as peer:
            peer.base._application = 4
            assert result(await peer.greet()) == c.E_RESULT_CODE_DIAMETER_NO_COMMON_APPLICATION
            assert await peer.ended() == b""

    run(test())


def test_a_relay_serves_every_application() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF, greets=False) as peer:
            peer.base._application = 0xFFFFFFFF
            assert result(await peer.greet()) == c.E_RESULT_CODE_DIAMETER_SUCCESS

    run(test())


def test_who_answers_with_another_name_is_not_talked_to() -> None:
    async def test() -> None:
        async with home() as aaah, visited(aaah.port, identities=("other.isp3.example",)) as aaaf:
            assert await aaaf.ask(AMR, "isp3.example") is Undelivered.NO_PEER
            await aaah.node.connected(AAAF)
            await aaah.node.disconnected(AAAF)
            assert aaaf.node.peers == ()

    run(test())


@pytest.mark.parametrize(
    "octets",
    [
        bytes(20),
        b"\x01\0\0\0" + bytes(16),  # a length of 0
        b"\x01\0\0\x13" + bytes(16),
        b"\x01\0\xff\xfc" + bytes(16),  # longer than any capabilities
        b"\x02\0\0\x14" + bytes(16),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_capabilities_ends_that_connection_and_no_other(octets: bytes) -> None:
    async def test() -> None:
        async with home() as aaah, visited(aaah.port) as aaaf:
            await aaaf.node.connected(AAAH)
            async with raw_peer(aaah.port, "x.y", greets=False) as peer:
                peer.send(octets)
                assert await peer.ended() == b""
            answer = aaaf.ask(AMR, "isp3.example")
            await answered(aaah)
            assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


def test_a_request_before_capabilities_ends_the_connection() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF, greets=False) as peer:
            peer.ask(AMR)
            assert await peer.ended() == b""
            assert aaah.requests.empty()

    run(test())


def test_who_says_nothing_is_closed_in_time() -> None:
    async def test() -> None:
        limits = QUICK._replace(handshake=0.05)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF, greets=False) as peer:
            assert await peer.ended() == b""

    run(test())


def test_who_trickles_a_message_is_closed_in_time() -> None:
    async def test() -> None:
        limits = QUICK._replace(message=0.05)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.send(AMR[:50])
            assert await peer.ended() == b""
            assert aaah.requests.empty()

    run(test())


def test_a_slow_sender_costs_nobody_elses_answer() -> None:
    async def test() -> None:
        async with home(AAAF, FA) as aaah, visited(aaah.port) as aaaf, raw_peer(aaah.port, FA) as slow:
            await aaaf.node.connected(AAAH)
            for at in range(0, len(AMR) - 40, 40):
                slow.send(AMR[at : at + 40])
                answer = aaaf.ask(CODEC.request(amr_of(ALICE, at + 1), "aaah33"), "isp3.example")
                await answered(aaah, AMA._replace(seq=at + 1))
                assert HOME.decode(_bytes(await answer)).seq == at + 1
            slow.send(AMR[at + 40 :])
            assert (await aaah.requests.get()).peer == FA

    run(test())


def test_only_so_many_connections_are_taken() -> None:
    async def test() -> None:
        limits = QUICK._replace(connections=2)
        async with (
            home(limits=limits) as aaah,
            raw_peer(aaah.port, AAAF) as kept,
            raw_peer(aaah.port, "x.y", greets=False),
        ):
            async with raw_peer(aaah.port, "x.y", greets=False) as third:
                assert await third.ended() == b""
            kept.ask(kept.base.watchdog_request())
            assert result(await kept.read()) == c.E_RESULT_CODE_DIAMETER_SUCCESS

    run(test())


# what does not hold


def hostile() -> dict[str, tuple[bytes, int, bool]]:
    header = peek_header(AMR)
    unknown = pack_avp(4711, b"hello", vendor=4242)
    other_host = pack_avp(293, b"elsewhere.isp3.example")
    been_here = pack_avp(282, AAAH.encode())
    return {
        "unknown mandatory AVP": (pack_message(header, AMR[20:] + unknown), 5001, False),
        "unknown command": (header._replace(command=999).packed() + AMR[20:], 3001, True),
        "unknown base command": (header._replace(command=258, application=0).packed() + AMR[20:], 3001, True),
        "unknown application": (header._replace(application=4).packed() + AMR[20:], 3007, True),
        "truncated AVP": (AMR[:25] + b"\0\xff\xff" + AMR[28:], 5014, False),
        "contradicting bits": (AMR[:4] + b"\xe0" + AMR[5:], 3008, True),
        "another host": (pack_message(header, AMR[20:] + other_host), 3002, True),
        "a loop": (pack_message(header, AMR[20:] + been_here), 3005, True),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_request_that_does_not_hold_is_answered_and_the_next_is_served(name: str) -> None:
    raw, code, e_bit = hostile()[name]

    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.ask(raw, 77, 78)
            answer = await peer.read()
            assert result(answer) == code
            header = peek_header(answer)
            assert header.is_error == e_bit
            assert (header.is_request, header.hop_by_hop, header.end_to_end) == (False, 77, 78)
            failed = Message.from_bytes(answer, plain_msg=True).find_avps((c.AVP_FAILED_AVP, 0))
            assert bool(failed) == (code in (5001, 5014))
            assert aaah.requests.empty()
            peer.ask(AMR, 79, 80)
            await answered(aaah)
            assert peek_header(await peer.read()).hop_by_hop == 79

    run(test())


@pytest.mark.parametrize("start", [b"\x02\0\0\x14", b"\x01\0\0\0", b"\x01\0\0\x16"])
def test_an_open_peer_whose_messages_cannot_be_told_apart_is_told_and_closed(start: bytes) -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.send(start + AMR[4:20])
            assert result(await peer.read()) == (5011 if start[0] == 2 else 5015)
            assert await peer.ended() == b""
            await aaah.node.disconnected(AAAF)

    run(test())


# answers


def test_an_answer_from_another_peer_than_was_asked_is_dropped() -> None:
    async def test() -> None:
        async with home(AAAF, FA) as aaah, raw_peer(aaah.port, AAAF) as asked, raw_peer(aaah.port, FA) as other:
            answer = aaah.ask(AMR, "isp2.example", host=AAAF)
            request = await asked.read()
            forged = HOME.answer(AMA._replace(result=Result.UNABLE_TO_COMPLY), HOME.asked(request))
            other.send(forged)
            # this one comes after the forged one
            other.ask(other.base.watchdog_request())
            await other.read()
            assert not answer.done()
            asked.send(HOME.answer(AMA, HOME.asked(request)))
            assert HOME.decode(_bytes(await answer)) == AMA
            assert aaah.count("diameter", what="answer to nothing") == 1

    run(test())


def test_an_answer_with_another_end_to_end_identifier_is_dropped() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as asked:
            answer = aaah.ask(AMR, "isp2.example", host=AAAF)
            request = await asked.read()
            right = HOME.answer(AMA, HOME.asked(request))
            asked.send(with_ids(right, peek_header(request).hop_by_hop, 1))
            asked.send(right)
            assert _bytes(await answer) == right

    run(test())


def test_a_request_that_nobody_answers_ends_in_time() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF):
            assert await aaah.ask(AMR, "isp2.example", host=AAAF, timeout=0.02) is Undelivered.TIMEOUT
            (connection,) = aaah.node._open.values()
            assert connection.pending == {}

    run(test())


def test_a_request_without_a_way_fails_at_once() -> None:
    async def test() -> None:
        async with home() as aaah:
            assert await aaah.ask(AMR, "isp2.example", host=AAAF) is Undelivered.NO_PEER

    run(test())


def test_a_request_that_is_not_answered_is_sent_again_with_the_t_bit() -> None:
    async def test() -> None:
        limits = QUICK._replace(again=0.02)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF) as peer:
            answer = aaah.ask(AMR, "isp2.example", host=AAAF)
            first, second = peek_header(await peer.read()), await peer.read()
            header = peek_header(second)
            assert (first.flags & 0x10, header.flags & 0x10) == (0, 0x10)
            assert first.end_to_end == header.end_to_end
            assert first.hop_by_hop != header.hop_by_hop
            peer.send(HOME.answer(AMA, HOME.asked(second)))
            assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


# duplicates


def test_a_duplicate_is_answered_without_being_handled_again() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.ask(AMR, 5, 9)
            await answered(aaah)
            first = await peer.read()
            peer.ask(AMR, 6, 9)
            second = await peer.read()
            assert peek_header(second).hop_by_hop == 6
            assert second[20:] == first[20:]
            assert aaah.requests.empty()

    run(test())


def test_a_duplicate_of_what_is_under_way_waits_for_the_same_answer() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.ask(AMR, 5, 9)
            request = await aaah.requests.get()
            peer.ask(AMR, 6, 9)
            peer.ask(peer.base.watchdog_request(), 7)
            await peer.read()
            assert aaah.requests.empty()
            request.answer(HOME.answer(AMA, HOME.asked(request.raw)))
            assert {peek_header(await peer.read()).hop_by_hop for _ in range(2)} == {5, 6}

    run(test())


def test_what_was_refused_may_come_again() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.ask(AMR, 5, 9)
            aaah.node.refuse(await aaah.requests.get(), DiameterError(3004, "busy"))
            assert result(await peer.read()) == 3004
            peer.ask(AMR, 6, 9)
            await answered(aaah)
            assert result(await peer.read()) == 2001

    run(test())


def test_requests_that_are_never_answered_do_not_pile_up() -> None:
    async def test() -> None:
        limits = QUICK._replace(answer=0, pending=3)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF) as peer:
            for number in range(1, 11):
                peer.ask(AMR, number, number)
                await aaah.requests.get()
            assert len(aaah.node._under_way) == 1
            assert len(aaah.node._seen) == 1

    run(test())


def test_a_peer_that_asks_more_than_is_answered_is_told_so() -> None:
    async def test() -> None:
        limits = QUICK._replace(pending=3)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF) as peer:
            for number in range(1, 5):
                peer.ask(AMR, number, number)
            assert result(await peer.read()) == c.E_RESULT_CODE_DIAMETER_TOO_BUSY

    run(test())


# watchdog, disconnect, loss


def test_a_silent_peer_is_asked_and_then_lost() -> None:
    async def test() -> None:
        limits = QUICK._replace(watchdog=0.05)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF) as peer:
            for _ in range(2):
                asked = await peer.read()
                assert peek_header(asked).command == DEVICE_WATCHDOG
                peer.send(peer.base.success(asked))
            pending = aaah.ask(AMR, "isp2.example", host=AAAF)
            # now it hears, and says nothing
            await aaah.node.disconnected(AAAF)
            assert await pending is Undelivered.NO_PEER

    run(test())


def test_on_stop_peers_are_told() -> None:
    async def test() -> None:
        aaah = home()
        await aaah.node.start()
        async with raw_peer(aaah.port, AAAF) as peer:
            stopping = asyncio.create_task(aaah.node.stop())
            asked = await peer.read()
            assert peek_header(asked).command == DISCONNECT_PEER
            assert Message.from_bytes(asked).disconnect_cause == c.E_DISCONNECT_CAUSE_REBOOTING
            peer.send(peer.base.success(asked))
            assert await peer.ended() == b""
            await stopping

    run(test())


def test_a_peer_that_leaves_is_answered_and_let_go() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as peer:
            peer.ask(peer.base.disconnect_request(BUSY))
            assert result(await peer.read()) == c.E_RESULT_CODE_DIAMETER_SUCCESS
            assert await peer.ended() == b""
            await aaah.node.disconnected(AAAF)

    run(test())


def test_what_a_lost_peer_leaves_unanswered_goes_to_another_with_the_t_bit() -> None:
    async def test() -> None:
        first = home()
        second = Peer("aaah34", "isp3.example", waits_for(AAAF))
        identities = (AAAH, "aaah34.isp3.example")
        await first.node.start()
        async with second, visited(first.port, second.port, identities=identities) as aaaf:
            await aaaf.node.connected(*identities)
            answer = aaaf.ask(AMR, "isp3.example")
            assert not (await first.requests.get()).header.flags & 0x10
            for connection in first.node._connections:
                connection.abort("crash")
            request = await second.requests.get()
            assert request.header.flags & 0x10
            request.answer(HOME.answer(AMA, HOME.asked(request.raw)))
            assert HOME.decode(_bytes(await answer)) == AMA
        await first.node.stop()

    run(test())


def test_what_a_relay_cannot_deliver_goes_to_another() -> None:
    async def test() -> None:
        second = Peer("aaah34", "isp3.example", waits_for(AAAF))
        identities = (AAAH, "aaah34.isp3.example")
        async with home() as first, second, visited(first.port, second.port, identities=identities) as aaaf:
            await aaaf.node.connected(*identities)
            answer = aaaf.ask(AMR, "isp3.example")
            first.node.refuse(await first.requests.get(), DiameterError(3002, "no way"))
            await answered(second)
            assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


def test_a_peer_that_comes_back_abruptly_takes_its_place() -> None:
    async def test() -> None:
        async with home() as aaah, raw_peer(aaah.port, AAAF) as old:
            pending = aaah.ask(AMR, "isp2.example", host=AAAF)
            await old.read()
            async with raw_peer(aaah.port, AAAF) as new:
                assert await old.ended() == b""
                # what the old one was asked, the new one is
                again = await new.read()
                assert peek_header(again).flags & 0x10
                new.send(HOME.answer(AMA, HOME.asked(again)))
                assert HOME.decode(_bytes(await pending)) == AMA

    run(test())


def test_a_lost_connection_is_made_again() -> None:
    async def test() -> None:
        async with home() as aaah, visited(aaah.port) as aaaf:
            await aaaf.node.connected(AAAH)
            for connection in list(aaah.node._connections):
                connection.abort("crash")
            await aaaf.node.disconnected(AAAH)
            await aaaf.node.connected(AAAH)
            answer = aaaf.ask(AMR, "isp3.example")
            await answered(aaah)
            assert HOME.decode(_bytes(await answer)) == AMA

    run(test())


def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async def test() -> None:
        limits = QUICK._replace(backlog=100_000, pending=10_000_000)
        async with home(limits=limits) as aaah, raw_peer(aaah.port, AAAF):
            big = pack_message(peek_header(AMR), AMR[20:] + pack_avp(999, bytes(60_000), mandatory=False))
            while aaah.node.peers:
                aaah.ask(big, "isp2.example", host=AAAF)
                await asyncio.sleep(0)

    run(test())


def test_a_configuration_says_all_that_is_wrong() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        DiameterConfig(peers=(waits_for(AAAF), waits_for(AAAF)))
    with pytest.raises(ValueError, match="tls is missing"):
        DiameterConfig(peers=(waits_for(AAAF, tls=True),))
    assert DiameterConfig(peers=(waits_for(AAAF),), listen=(Listen(host=HOST, tls=False),)).limits().watchdog == 30
