"""The mobile's own packets ride along unread: his request to whoever verifies it, home's reply back to him."""

from __future__ import annotations

import pytest

from roamvpn.signalling.codec import decode, encode
from roamvpn.signalling.messages import Address, Amr, Applied, Code, Har, NodeRole, RegRep
from roamvpn.signalling.visitor import Visitor
from roamvpn.sim.world import seconds
from tests.registrations import NOW, ama_of, local_ama_of, reply_of, request_of
from tests.signalled import ALICE, FRANK, ORIGIN, Bench, one, watched, world_of

ASKED, SAID = b"\x01 as the mobile sent it", b"\x03 as home signed it"


def test_the_request_comes_to_aaah_and_home_agent_as_it_was() -> None:  # A10
    world = world_of()
    sent = watched(world)
    mobile = world.mobile(FRANK)
    mobile.at = "fa21"
    request = mobile.request(world.now)._replace(packet=ASKED)
    world._send(Address(NodeRole.MN, FRANK), Address(NodeRole.FA, "fa21"), request)
    world.run(seconds(1))
    carried = [m.request.packet for _, _, m in sent if isinstance(m, (Amr, Har))]
    assert carried == [ASKED] * 3


@pytest.mark.parametrize("local", [False, True])
def test_the_reply_goes_to_the_mobile_as_home_signed_it(*, local: bool) -> None:  # F3
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 1, "fa21b" if local else None), NOW)
    if local:
        entry, _ = machine.handle(entry, local_ama_of(bench, ALICE, 1, ORIGIN), NOW)
        entry, _ = machine.handle(entry, reply_of(ALICE, 1)._replace(packet=SAID), NOW)
    else:
        ama = ama_of(bench, ALICE, 1, ORIGIN)
        assert ama.reply is not None
        entry, _ = machine.handle(entry, ama._replace(reply=ama.reply._replace(packet=SAID)), NOW)
    assert entry is not None
    # over a restart in between, too
    entry = decode(Visitor, encode(entry))
    _, effects = machine.handle(entry, Applied(ALICE, 1), NOW)
    assert one(effects, RegRep).packet == SAID


def test_a_refusal_of_home_is_passed_on_with_its_packet() -> None:
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 1, "fa21b"), NOW)
    entry, _ = machine.handle(entry, local_ama_of(bench, ALICE, 1, ORIGIN), NOW)
    _, effects = machine.handle(entry, RegRep(ALICE, 1, Code.STALE, packet=SAID), NOW)
    assert one(effects, RegRep) == RegRep(ALICE, 1, Code.STALE, packet=SAID)
