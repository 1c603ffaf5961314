"""Whatever machines and mobiles say in any history survives Mobile IP: sealed, signed, understood as it was meant."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.messages import NAMES, Address, Ba, Br, Bu, Haa, NodeRole, RegRep, RegReq
from roamvpn.sim import chaos
from roamvpn.sim.history import draw
from roamvpn.tables.secrets import Secret
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.mobile import Asking, refusal_at_home, reply_of, reply_packet, request_packet
from roamvpn.wire.mobileip import MobileIpCodec
from tests.mobile_ip import pair

if TYPE_CHECKING:
    from roamvpn.signalling.messages import Message
    from roamvpn.sim.world import World

SPI = 0x500


class Wires:
    """Takes every message of a world that Mobile IP carries through its bytes."""

    def __init__(self) -> None:
        self.carried: Counter[str] = Counter()

    def watch(self, world: World) -> None:
        """From now on, in this world."""
        self._network = world.tables.network
        self._homes = {user.nai: user.home_address for user in self._network.subscribers}
        names = sorted(self._network.gateways)
        self._codecs = {
            here: MobileIpCodec(
                self._network, here, {other: SecurityAssociation(SPI, Secret(pair(here, other))) for other in names}
            )
            for here in names
        }
        send = world._send

        def sending(here: Address, to: Address, message: Message, after: int = 0) -> None:
            send(here, to, self._carried(here, to, message), after)

        world._send = sending  # type: ignore[method-assign]

    def _carried(self, here: Address, to: Address, message: Message) -> Message:
        if isinstance(message, Haa):
            return message._replace(reply=self._signed(here, message.reply))
        if not isinstance(message, RegReq | RegRep | Bu | Ba | Br):
            return message
        received: Message
        if here.role is NodeRole.MN:
            assert isinstance(message, RegReq)
            received = self._asked(to, message)
        elif to.role is NodeRole.MN:
            assert isinstance(message, RegRep)
            received = self._heard(here, to, message)
        else:
            if isinstance(message, RegRep):
                message = self._signed(here, message)
            data = self._codecs[here.name].encode(to, message, _entropy)
            role, sender, received = self._codecs[to.name].decode(data, self._network.gateways[here.name].address)
            assert (role, sender, received) == (to.role, here, message)
            if isinstance(received, RegReq):
                assert refusal_at_home(received, _key(received.nai), received.seq) is None
        self.carried[f"{NAMES[type(message)]} to {to.role}"] += 1
        return received

    def _asked(self, to: Address, request: RegReq) -> Message:
        addresses = {name: gateway.address for name, gateway in self._network.gateways.items()}
        asking = Asking(
            request.nai,
            self._homes[request.nai],
            addresses[request.home_agent],
            addresses[to.name],
            request.lifetime,
            request.seq,
            addresses[request.old_fa] if request.old_fa is not None else None,
            request.update,
            request.answered,
        )
        data = request_packet(asking, _key(request.nai))
        received = self._codecs[to.name].decode(data, asking.home, addresses[to.name]).message
        assert received == request._replace(packet=data)
        return received

    def _heard(self, here: Address, to: Address, reply: RegRep) -> RegRep:
        told, by_home = reply_of(self._codecs[here.name].encode(to, reply, _entropy), _key(reply.nai))
        assert (told.nai, told.seq, told.code, told.lifetime) == (reply.nai, reply.seq, reply.code, reply.lifetime)
        assert by_home == bool(reply.packet)
        return reply

    def _signed(self, here: Address, reply: RegRep) -> RegRep:
        home = self._network.gateways[here.name].address
        packet = reply_packet(reply, self._homes[reply.nai], home, _key(reply.nai), reply.seq)
        return reply._replace(packet=packet)


def _key(nai: str) -> SecurityAssociation:
    return SecurityAssociation(SPI, Secret(hashlib.sha256(nai.encode()).digest()), Algorithm.MD5)


def _entropy(purpose: str, length: int) -> bytes:
    return hashlib.shake_128(purpose.encode()).digest(length)


def test_histories_over_the_wire_end_as_they_must() -> None:  # F9, D7
    wires = Wires()
    for seed in range(40):
        history = draw(seed)
        outcome = chaos.run(history, wires.watch)
        if outcome.differences:
            pytest.fail(f"seed {seed}: {outcome.differences}")
        # the bytes change nothing: neither what is said nor what becomes of it
        assert outcome == chaos.run(history)
    assert set(wires.carried) == {
        "Reg Req to fa", "Reg Req to ha", "Reg Rep to fa", "Reg Rep to mn", "BU to pcn", "BU to fa",
        "BA to ha", "BA to fa", "BR to ha",
    }  # fmt: skip
    assert min(wires.carried.values()) > 10
