"""What Mobile IP must refuse: forged, malformed, out of range; and what it must pass over."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling.messages import (
    Address,
    Ba,
    Br,
    Bu,
    Code,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    ServiceUpdate,
)
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.tables.types import Prefix
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import reply_packet, request_packet
from roamvpn.wire.mobileip_packet import header_bytes, parse
from tests.mobile_ip import BENCH, FA, HA, HOME, IDENT, NAI, PACKET, PCN, REQUEST, asked, codec_of, entropy
from tests.signalled import ALICE, FRANK, TABLES

if TYPE_CHECKING:
    from roamvpn.signalling.messages import Message


@pytest.mark.parametrize(
    "extension",
    [bytes([77, 1, 0]), bytes.fromhex("26 00 0006 00000009 0001"), bytes([35, 0])],
    ids=["unknown", "another vendor's critical one", "unassigned"],
)
def test_what_may_not_be_skipped_is_discarded_without_a_word(
    extension: bytes,
) -> None:  # RFC 5944 section 1.8, RFC 3115
    with pytest.raises(WireError, match=r"critical|may not be skipped") as caught:
        codec_of().decode(request_packet(asked(), HOME) + extension, "203.0.113.5")
    assert not caught.value.answer


def test_what_is_not_known_and_may_be_skipped_is() -> None:
    unknown = bytes([200, 3, 1, 2, 3]) + bytes.fromhex("86 09 0000 00000009 0001 02")
    data = HOME.authenticated(REQUEST + bytes([131, 18]) + NAI + unknown, wire.MN_HA)
    request = codec_of().decode(data, "203.0.113.5").message
    assert request == RegReq(ALICE, IDENT, "ha31", 600, packet=data)


def test_a_mobiles_word_that_its_key_does_not_cover_is_nobodys() -> None:  # G26
    said = request_packet(asked(old_agent="192.0.2.22", update=ServiceUpdate(), answered=7), HOME)
    packet = parse(said)
    added = b"".join(
        said[each.start : each.value + len(each.body)]
        for each in packet.extensions
        if each.kind in (wire.PREVIOUS_FA, wire.NVSE)
    )
    request = codec_of().decode(request_packet(asked(), HOME) + added, "203.0.113.5").message
    assert isinstance(request, RegReq)
    assert (request.old_fa, request.update, request.answered) == (None, None, 0)
    with pytest.raises(WireError, match="NAI is not authenticated"):
        codec_of().decode(HOME.authenticated(REQUEST, wire.MN_HA) + bytes([131, 18]) + NAI, "203.0.113.5")


def test_a_foreign_agent_is_the_only_one_whom_mobiles_ask() -> None:
    for here in ("ha31", "pcn41b"):
        with pytest.raises(WireError, match="without what agents send") as caught:
            codec_of(here).decode(PACKET, "203.0.113.5")
        assert not caught.value.answer
        with pytest.raises(WireError, match="says 20 bytes") as caught:
            codec_of(here).decode(PACKET[:-1], "203.0.113.5")
        assert not caught.value.answer


def test_a_malformed_request_is_answered_with_70() -> None:
    with pytest.raises(WireError) as caught:
        codec_of().decode(PACKET[:-1], "203.0.113.5")
    assert caught.value.answer == bytes.fromhex("03 46 0000 cb007105 c000021f ec00000000000000")


def test_a_clock_that_is_wrong_is_told_the_right_time() -> None:  # RFC 5944 section 5.7.1
    ours, theirs = IDENT + (1000 << 32) + 5, IDENT + 77
    data = reply_packet(RegRep(ALICE, theirs, Code.STALE), "203.0.113.5", "192.0.2.31", HOME, ours)
    header = parse(data).header
    assert (header.identification >> 32, header.identification & 0xFFFFFFFF) == (ours >> 32, 77)
    # and it comes through the foreign agent
    reply = RegRep(ALICE, theirs, Code.STALE, packet=data)
    received = codec_of("fa21").decode(codec_of("ha31").encode(FA, reply, entropy), "192.0.2.31")
    assert received.message == reply


def test_a_binding_update_need_not_be_identified() -> None:
    update = wire.BindingUpdate(0x80, 600, "203.0.113.5", "192.0.2.21", 0)
    data = bytes.fromhex("12 80 0258 cb007105 c0000215")
    assert header_bytes(update) == data
    assert parse(data + bytes([131, 18]) + NAI).header == update


def test_a_packet_has_a_bounded_number_of_extensions() -> None:
    many = bytes([200, 0]) * wire.MAX_EXTENSIONS
    assert len(parse(REQUEST + many).extensions) == wire.MAX_EXTENSIONS
    with pytest.raises(WireError, match="more than"):
        parse(REQUEST + many + bytes([200, 0]))
    with pytest.raises(WireError, match="no Mobile IP message"):
        parse(REQUEST + bytes(wire.MAX_BYTES))


def _first(information: Any, **changes: Any) -> Any:  # noqa: ANN401 - any field of a segment
    return information._replace(segments=(information.segments[0]._replace(**changes),))


STALE = RegRep(ALICE, 0xFFFFFFFF, Code.STALE)
INFORMATION = BENCH.information(FRANK).posted(7)


@pytest.mark.parametrize(
    "information",
    [
        INFORMATION._replace(nai=ALICE),
        INFORMATION._replace(home_address="224.0.0.1"),
        INFORMATION._replace(foreign_agent="fa99"),
        INFORMATION._replace(session_id="../../etc"),
        INFORMATION._replace(version=-1),
        INFORMATION._replace(generation=2**40),
        INFORMATION._replace(segments=INFORMATION.segments * 257),
        _first(INFORMATION, near="fa99"),
        _first(INFORMATION, nai=ALICE),
        _first(INFORMATION, upclass="gold; rm"),
        _first(INFORMATION, up_spi=7),
        _first(INFORMATION, profile_number=2**28),
        _first(INFORMATION, mobile=Prefix(1, 8, "0.0.0.1/8")),
        _first(INFORMATION, mobile=Prefix(0, 33, "0.0.0.0/33")),
        _first(INFORMATION, mobile=Prefix(0, 0, "0.0.0.0/0; true")),
        _first(INFORMATION, keys=ProfileKeys(Secret(b"short"))),
    ],
)
def test_an_agent_that_lies_is_not_believed(information: Any) -> None:  # noqa: ANN401 - broken ones too
    data = codec_of("ha31").encode(PCN, Bu(FRANK, 9, HA, 600, 7, information), entropy)
    with pytest.raises(WireError, match="Bu that cannot be") as caught:
        codec_of("pcn41b").decode(data, "192.0.2.31")
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("sender", "to", "message"),
    [
        (FA, HA, RegReq(ALICE, 7, "ha99", 600, care_of="fa21")),
        (FA, HA, RegReq(ALICE, 7, "ha31", 600, answered=-1, care_of="fa21")),
        (FA, HA, RegReq("nobody", 7, "ha31", 600, care_of="fa21")),
        (FA, HA, RegReq("alice@ISP3.example", 7, "ha31", 600, care_of="fa21")),
        (FA, HA, RegReq(ALICE, 7, "ha31", 600, care_of="fa21", held=InstanceId("a b", 1, 1))),
        (HA, FA, RegRep(ALICE, 7, Code.ACCEPTED, 600, ("fa99",))),
        (HA, FA, RegRep(ALICE, 7, Code.ACCEPTED, 600, ("fa21b",) * 65)),
        (HA, FA, RegRep(ALICE, -1, Code.STALE, packet=reply_packet(STALE, "203.0.113.5", "192.0.2.31", HOME, IDENT))),
        (PCN, HA, Ba(FRANK, 9, PCN, Code.ACCEPTED, -1)),
        (HA, PCN, Bu(FRANK, 9, HA, 0, 2**28)),
        (PCN, HA, Br(FRANK, PCN, 2**28)),
    ],
)
def test_nothing_out_of_range_gets_to_a_machine(sender: Address, to: Address, message: Message) -> None:
    data = codec_of(sender.name).encode(to, message, entropy)
    with pytest.raises(WireError, match="that cannot be"):
        codec_of(to.name).decode(data, TABLES.network.gateways[sender.name].address)


def test_an_old_agent_that_nobody_knows_is_left_out() -> None:  # G26
    data = codec_of("fa21").encode(HA, RegReq(ALICE, 7, "ha31", 600, "fa99", care_of="fa21"), entropy)
    assert codec_of("ha31").decode(data, "192.0.2.21").message == RegReq(ALICE, 7, "ha31", 600, care_of="fa21")


@pytest.mark.parametrize(
    ("here", "sender", "message"),
    [
        ("fa21", HA, Bu(FRANK, 9, HA, 0, 7)),
        ("fa21b", FA, Bu(FRANK, 9, FA._replace(name="fa22"), 0)),
        ("pcn41b", FA, Bu(FRANK, 9, FA, 0, 7)),
        ("fa21b", HA, Ba(FRANK, 9, HA, Code.ACCEPTED)),
        ("pcn41b", PCN._replace(name="pcn41"), Br(FRANK, PCN._replace(name="pcn41"), 7)),
        ("ha31", FA, Ba(FRANK, 9, FA, Code.ACCEPTED)),
        ("fa21", FA._replace(name="fa21b"), RegReq(ALICE, 7, "ha31", 600, care_of="fa21b")),
        ("pcn41b", HA, RegRep(ALICE, 7, Code.ACCEPTED)),
        ("ha31", FA, RegReq(ALICE, 7, "ha31", 600, care_of="fa21b")),
    ],
)
def test_what_an_agent_is_not_there_for_it_may_not_send(here: str, sender: Address, message: Message) -> None:
    data = codec_of(sender.name).encode(Address(NodeRole.FA, here), message, entropy)
    with pytest.raises(WireError, match="may not send"):
        codec_of(here).decode(data, TABLES.network.gateways[sender.name].address)


def test_what_does_not_fit_into_a_datagram_is_not_sent() -> None:
    long = tuple(f"fa{number}{'x' * 27}" for number in range(100_000, 100_900))
    with pytest.raises(WireError, match="do not fit into a datagram"):
        codec_of("ha31").encode(FA, RegRep(ALICE, 7, Code.ACCEPTED, 600, tuple(map(_scrambled, long))), entropy)


def _scrambled(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_a_caught_request_cannot_be_handed_to_another_agent() -> None:  # RFC 5944 section 3.7.2.1
    for local in ("10.90.21.1", "192.0.2.21"):
        data = request_packet(asked(care_of=local), HOME)
        assert codec_of("fa21").decode(data, "203.0.113.5", "10.90.21.1").role is NodeRole.FA
        with pytest.raises(WireError, match="not a care-of address") as caught:
            codec_of("fa22").decode(data, "203.0.113.5", "10.90.22.1")
        assert caught.value.answer[1] == 77


def test_a_reply_to_another_request_is_not_taken_for_this_ones() -> None:
    other = reply_packet(RegRep(ALICE, 6, Code.ACCEPTED, 60), "203.0.113.5", "192.0.2.31", HOME, IDENT)
    data = codec_of("ha31").encode(FA, RegRep(ALICE, 7, Code.ACCEPTED, 60, packet=other), entropy)
    with pytest.raises(WireError, match="different registrations"):
        codec_of("fa21").decode(data, "192.0.2.31")


def test_a_stale_reply_too_is_to_one_request() -> None:
    other = reply_packet(RegRep(ALICE, 6, Code.STALE), "203.0.113.5", "192.0.2.31", HOME, IDENT)
    data = codec_of("ha31").encode(FA, RegRep(ALICE, 7, Code.STALE, packet=other), entropy)
    with pytest.raises(WireError, match="different registrations"):
        codec_of("fa21").decode(data, "192.0.2.31")


def test_what_swells_when_it_is_unpacked_is_not_unpacked() -> None:
    swollen = RegReq(ALICE, 7, "x" * 1_000_000, 600, care_of="fa21")
    data = codec_of("fa21").encode(HA, swollen, entropy)
    assert len(data) < wire.MAX_BYTES
    with pytest.raises(WireError, match="cannot be read"):
        codec_of("ha31").decode(data, "192.0.2.21")
