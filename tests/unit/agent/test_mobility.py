"""Mobile IP at an agent: real datagrams of mobiles, and what a home agent verifies and signs."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from roamvpn.agent.config import AgentConfig, Association, Keyring, Setup
from roamvpn.agent.mobility import Mobility
from roamvpn.daemon.clock import Clock
from roamvpn.daemon.diameter.settings import DiameterConfig
from roamvpn.daemon.logs import logger
from roamvpn.daemon.metrics import Metrics
from roamvpn.policy.legs import LegCompiler
from roamvpn.policy.mobility_keys import Verifier, mobile_key, mobile_spi
from roamvpn.signalling.assembly import node_of
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import Address, Code, Haa, Har, NodeRole, RegRep, RegReq, Result
from roamvpn.tables.secrets import Secret
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.mobile import reply_of, request_packet
from roamvpn.wire.mobileip_packet import parse
from tests.mobile_ip import HOME, asked, pair
from tests.registrations import bound
from tests.signalled import ALICE, ENTROPY, SETTINGS, TABLES, Bench

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roamvpn.signalling.messages import Event, Message

ROOT = Secret(b"r" * 32)
OURS = SecurityAssociation(mobile_spi(Verifier.HOME_AGENT), mobile_key(ROOT, ALICE), Algorithm.MD5)
MN, FA, HA, AAAH = (
    Address(NodeRole.MN, ALICE),
    Address(NodeRole.FA, "fa21"),
    Address(NodeRole.HA, "ha31"),
    Address(NodeRole.AAAH, "aaah33"),
)


class Sent:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[tuple[Address, Address, Message]] = []

    def send(self, here: Address, to: Address, message: Message) -> None:
        self.messages.append((here, to, message))


class Here(NamedTuple):
    """An agent's mobility, and what it hands to its machines."""

    mobility: Mobility
    events: asyncio.Queue[tuple[NodeRole, Event]]
    clock: Clock
    metrics: Metrics


def agent(name: str) -> Here:
    clock, metrics = Clock(), Metrics(name)
    network = TABLES.network
    surroundings = Surroundings(name, Directory(network), LegCompiler(network), SETTINGS)
    config = AgentConfig(name=name, network="/n", keys="/k", diameter=DiameterConfig(peers=()))
    others = {
        other: Association.model_construct(spi=0x500, key=Secret(pair(name, other))) for other in network.gateways
    }
    keyring = Keyring.model_construct(associations=others, mobiles=ROOT if name == "ha31" else None)
    events: asyncio.Queue[tuple[NodeRole, Event]] = asyncio.Queue()

    def receive(role: NodeRole, event: Event) -> bool:
        events.put_nowait((role, event))
        return True

    node = node_of(network, surroundings, ENTROPY)
    mobility = Mobility(Setup(config, network, keyring), node, clock, logger(), metrics, receive)
    return Here(mobility, events, clock, metrics)


# datagrams


def on_the_wire(scene: Callable[[Here, socket.socket, tuple[str, int]], Awaitable[None]]) -> None:
    """fa21 on a port of its own, a mobile's socket, and the address at which the mobile asks."""

    async def play() -> None:
        here = agent("fa21")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        here.mobility.socket.open(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mobile:
            mobile.bind(("127.0.0.7", 0))
            mobile.setblocking(False)
            try:
                await asyncio.wait_for(scene(here, mobile, ("127.0.0.2", port)), 20)
            finally:
                here.mobility.socket.close()

    asyncio.run(play())


async def heard(mobile: socket.socket) -> tuple[bytes, tuple[str, int]]:
    return await asyncio.get_running_loop().sock_recvfrom(mobile, 8192)


def test_a_reply_leaves_from_where_the_mobile_asked() -> None:
    async def scene(here: Here, mobile: socket.socket, at: tuple[str, int]) -> None:
        mobile.sendto(request_packet(asked(care_of="127.0.0.2"), HOME), at)
        role, request = await here.events.get()
        assert (role, type(request)) == (NodeRole.FA, RegReq)
        here.mobility.send(FA, MN, RegRep(ALICE, 7, Code.FA_RESOURCES))
        data, peer = await heard(mobile)
        assert peer == at
        assert reply_of(data, HOME) == (RegRep(ALICE, 7, Code.FA_RESOURCES), False)
        here.mobility.send(FA, MN, RegRep(ALICE, 7, Code.ACCEPTED, packet=b"signed at home"))
        assert (await heard(mobile))[0] == b"signed at home"

    on_the_wire(scene)


def test_a_request_that_does_not_hold_is_answered_and_goes_nowhere() -> None:
    async def scene(here: Here, mobile: socket.socket, at: tuple[str, int]) -> None:
        # another agent's care-of address; no NAI; cut off
        for data, code in (
            (request_packet(asked(care_of="192.0.2.22"), HOME), 77),
            (request_packet(asked(), HOME)[:24], 97),
            (request_packet(asked(), HOME)[:-1], 70),
        ):
            mobile.sendto(data, at)
            answer, peer = await heard(mobile)
            assert peer == at
            assert parse(answer).header == wire.Reply(code, 0, "203.0.113.5", "192.0.2.31", asked().identification)
        assert here.events.empty()
        assert b'reason="datagram"} 3.0' in here.metrics.text()

    on_the_wire(scene)


def test_what_is_too_long_or_no_message_is_dropped() -> None:
    async def scene(here: Here, mobile: socket.socket, at: tuple[str, int]) -> None:
        good = request_packet(asked(), HOME)
        for data in (b"", b"\x00", good + bytes(wire.MAX_BYTES), bytes(wire.MAX_BYTES)):
            mobile.sendto(data, at)
        mobile.sendto(good, at)
        _, request = await here.events.get()
        assert isinstance(request, RegReq)
        assert request.packet == good
        assert here.events.empty()

    on_the_wire(scene)


def test_who_asked_by_another_way_is_answered_that_way() -> None:
    async def scene(here: Here, _mobile: socket.socket, _at: tuple[str, int]) -> None:
        unheard: list[Message] = []
        here.mobility.socket.unheard = unheard.append
        reply = RegRep(ALICE, 7, Code.ACCEPTED, 60)
        here.mobility.send(FA, MN, reply)
        assert unheard == [reply]

    on_the_wire(scene)


# at home


def asked_of(here: Here, association: SecurityAssociation = OURS, late_s: int = 0) -> RegReq:
    now = here.clock.ntp() - (late_s << 32)
    packet = request_packet(asked(identification=now), association)
    return RegReq(ALICE, now, "ha31", 600, care_of="fa21", packet=packet)


def test_a_genuine_request_gets_to_the_machine_from_either_wire() -> None:
    here = agent("ha31")
    request = asked_of(here)
    by_trigger = request._replace(packet=b"")
    har = Har(ALICE, request.seq, "aaah33", request)
    for message in (request, har, by_trigger):
        assert here.mobility.received(NodeRole.HA, message)
        assert here.events.get_nowait() == (NodeRole.HA, message)


@pytest.mark.parametrize(
    ("association", "late_s", "code"),
    [
        (OURS._replace(key=mobile_key(ROOT, "bob@isp3.example")), 0, Code.HA_AUTHENTICATION),
        (OURS, 9, Code.STALE),
        (OURS, -9, Code.STALE),
    ],
)
def test_what_a_mobile_did_not_say_now_is_refused_on_either_wire(
    association: SecurityAssociation, late_s: int, code: Code
) -> None:  # RFC 5944 sections 3.8.2.1 and 5.7.1
    here, diameter, udp = agent("ha31"), Sent(), Sent()
    here.mobility.over(diameter)
    here.mobility.socket = udp  # type: ignore[assignment] # fa21 is not here
    request = asked_of(here, association, late_s)
    assert here.mobility.received(NodeRole.HA, request)
    assert here.mobility.received(NodeRole.HA, Har(ALICE, request.seq, "aaah33", request))
    assert here.events.empty()
    ((_, to, direct),), ((_, aaah, haa),) = udp.messages, diameter.messages
    assert (to, aaah) == (FA, AAAH)
    assert isinstance(direct, RegRep)
    assert isinstance(haa, Haa)
    assert haa.result is Result.MIP_REPLY_FAILURE
    for reply in (direct, haa.reply):
        assert (reply.nai, reply.seq, reply.code) == (ALICE, request.seq, code)
        told, by_home = reply_of(reply.packet, OURS)
        assert (told.code, by_home) == (code, True)
        away = (told.seq >> 32) - (here.clock.ntp() >> 32)
        assert code is not Code.STALE or abs(away) <= 1


def test_replies_are_signed_for_the_mobile_with_its_home_address() -> None:
    here, diameter, udp = agent("ha31"), Sent(), Sent()
    here.mobility.socket = udp  # type: ignore[assignment] # fa21 is not here
    here.mobility._node.tables[NodeRole.HA][ALICE] = bound(Bench(), ALICE)
    reply = RegRep(ALICE, 7, Code.ACCEPTED, 60, ("fa21b",))
    here.mobility.over(diameter).send(HA, AAAH, Haa(ALICE, 7, Result.SUCCESS, reply, 1))
    here.mobility.send(HA, FA, reply)
    ((_, _, direct),), ((_, _, haa),) = udp.messages, diameter.messages
    assert isinstance(direct, RegRep)
    assert isinstance(haa, Haa)
    assert direct == haa.reply == reply._replace(packet=direct.packet)
    assert reply_of(direct.packet, OURS) == (RegRep(ALICE, 7, Code.ACCEPTED, 60), True)
    header = parse(direct.packet).header
    assert isinstance(header, wire.Reply)
    assert (header.home, header.home_agent) == ("203.0.113.5", "192.0.2.31")


def test_an_agent_without_mobiles_of_its_own_signs_nothing() -> None:
    here, udp = agent("fa21"), Sent()
    here.mobility.socket = udp  # type: ignore[assignment] # nobody listens
    reply = RegRep(ALICE, 7, Code.FA_RESOURCES)
    here.mobility.send(FA, MN, reply)
    assert udp.messages == [(FA, MN, reply)]
