"""Mobile IP survives the wire, and whatever comes from it is a message or a typed error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roamvpn.signalling.messages import Address, Ba, Br, Bu, Code, NodeRole, RegRep, RegReq
from roamvpn.tables.secrets import Secret
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import Asking, genuine_at_aaah, refusal_at_home, reply_of, reply_packet, request_packet
from roamvpn.wire.mobileip_packet import TypeNumbers, extension_bytes, header_bytes, parse
from tests.diameter import addresses, gateways, informations, instances, lifetimes, nais, old_fas, requests, u32, u64
from tests.mobile_ip import BETWEEN, HOME, PACKET, codec_of, entropy
from tests.signalled import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.signalling.messages import Message
    from roamvpn.wire.mobileip_packet import Header

ADDRESSES = {name: gateway.address for name, gateway in TABLES.network.gateways.items()}
FA, OTHER, HA, PCN = (
    Address(NodeRole.FA, "fa21"),
    Address(NodeRole.FA, "fa21b"),
    Address(NodeRole.HA, "ha31"),
    Address(NodeRole.PCN, "pcn41b"),
)
CODECS = {each.name: codec_of(each.name) for each in (FA, OTHER, HA, PCN)}
u8, u16 = st.integers(0, 255), st.integers(0, 0xFFFF)
profile_numbers = st.integers(0, 2**28 - 1)
kinds = st.one_of(st.sampled_from((32, 33, 34, 36, 38, 96)), st.integers(128, 255))
associations = st.builds(
    SecurityAssociation,
    st.integers(256, 2**32 - 1),
    st.binary(min_size=16, max_size=64).map(Secret),
    st.sampled_from(Algorithm),
)


@st.composite
def headers(draw: Callable[[Any], Any]) -> Header:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return wire.Request(draw(u8), draw(u16), draw(addresses), draw(addresses), draw(addresses), draw(u64))
    if kind == 1:
        return wire.Reply(draw(u8), draw(u16), draw(addresses), draw(addresses), draw(u64))
    if kind == 2:
        return wire.BindingRequest(draw(addresses), draw(u64))
    if kind == 3:
        return wire.BindingAcknowledge(draw(u8), draw(addresses), draw(u64))
    flags = draw(u8)
    identification = draw(u64) if flags & wire.FLAG_IDENTIFICATION else 0
    return wire.BindingUpdate(flags, draw(u16), draw(addresses), draw(addresses), identification)


@st.composite
def sent(draw: Callable[[Any], Any]) -> tuple[Address, Address, Message]:
    """Something that an agent may send, from whom and to whom."""
    nai, seq = draw(nais), draw(u64)
    information = draw(st.one_of(st.none(), informations(nai)))
    ready = draw(st.booleans())
    kind = draw(st.integers(0, 5))
    if kind == 0:
        request = draw(requests(nai, seq))._replace(care_of=FA.name, held=draw(instances), packet=b"")
        return FA, HA, request._replace(home_agent=HA.name)
    if kind == 1:
        code = draw(st.sampled_from([each for each in Code if each is not Code.STALE]))
        return HA, FA, RegRep(nai, seq, code, draw(lifetimes), draw(old_fas))
    if kind == 2:
        return HA, PCN, Bu(nai, seq, HA, draw(lifetimes), draw(profile_numbers), information, ready)
    if kind == 3:
        return FA, OTHER, Bu(nai, seq, FA, draw(lifetimes), 0, information, ready)
    if kind == 4:
        return PCN, HA, Ba(nai, seq, PCN, draw(st.sampled_from(Code)), draw(profile_numbers))
    return PCN, HA, Br(nai, PCN, draw(profile_numbers))


@st.composite
def askings(draw: Callable[[Any], Any]) -> Asking:
    old = draw(st.one_of(st.none(), gateways.map(ADDRESSES.__getitem__)))
    where = (draw(addresses), ADDRESSES["ha31"], draw(addresses))
    return Asking(draw(nais), *where, draw(lifetimes), draw(u64), old, None, draw(u64))


@given(headers(), st.lists(st.tuples(kinds, st.binary(max_size=255)), max_size=8), st.permutations((17, 18, 19)))
def test_a_packet_is_what_it_was_made_of(header: Header, parts: list[tuple[int, bytes]], order: list[int]) -> None:
    numbers = TypeNumbers(*order)
    data = header_bytes(header, numbers) + b"".join(extension_bytes(kind, body) for kind, body in parts)
    packet = parse(data, numbers)
    assert packet.header == header
    assert [(each.kind, each.body) for each in packet.extensions] == parts
    again = [data[each.start : each.value + len(each.body)] for each in packet.extensions]
    assert header_bytes(packet.header, numbers) + b"".join(again) == data


@given(sent())
def test_what_an_agent_sends_comes_as_it_was(each: tuple[Address, Address, Message]) -> None:
    sender, to, message = each
    data = CODECS[sender.name].encode(to, message, entropy)
    received = CODECS[to.name].decode(data, ADDRESSES[sender.name])
    assert (received.role, received.sender, received.message) == (to.role, sender, message)


@given(askings(), associations, associations)
def test_what_a_mobile_asks_is_understood_everywhere(
    asking: Asking, home: SecurityAssociation, aaa: SecurityAssociation
) -> None:
    data = request_packet(asking, home, aaa)
    request = CODECS["fa21"].decode(data, "203.0.113.5").message
    assert isinstance(request, RegReq)
    assert (request.nai, request.seq, request.lifetime) == (asking.nai, asking.identification, asking.lifetime)
    assert request.answered == asking.answered
    assert ADDRESSES.get(request.old_fa or "") == asking.old_agent
    assert request.packet == data
    assert refusal_at_home(request, home, asking.identification) is None
    assert genuine_at_aaah(request, aaa)
    direct = request._replace(care_of="fa21")
    sealed = CODECS["fa21"].encode(HA, direct, entropy)
    assert CODECS["ha31"].decode(sealed, ADDRESSES["fa21"]).message == direct


@given(nais, u64, st.sampled_from(Code), lifetimes, associations, u64)
def test_what_home_answers_is_heard(  # noqa: PLR0917 - a reply has these parts
    nai: str, seq: int, code: Code, lifetime: int, home: SecurityAssociation, now: int
) -> None:
    data = reply_packet(RegRep(nai, seq, code, lifetime), "203.0.113.5", "192.0.2.31", home, now)
    reply, by_home = reply_of(data, home)
    assert by_home
    assert (reply.nai, reply.code, reply.lifetime) == (nai, code, lifetime)
    assert (reply.seq ^ seq) & 0xFFFFFFFF == 0
    assert code is Code.STALE or reply.seq == seq


SENT = [(sender.name, to.name, codec_of(sender.name).encode(to, message, entropy)) for sender, to, message in BETWEEN]


@given(st.sampled_from(SENT), st.data())
def test_nothing_sealed_can_be_tampered_with(each: tuple[str, str, bytes], data: st.DataObject) -> None:
    sender, to, raw = each
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(changed[: data.draw(st.sampled_from((len(raw), data.draw(st.integers(0, len(raw))))))])
    if cut == raw:
        return
    with pytest.raises(WireError):
        CODECS[to].decode(cut, ADDRESSES[sender])


@given(st.integers(0, len(PACKET) - 1), st.integers(1, 255))
def test_a_mobiles_packet_cannot_be_tampered_with(place: int, change: int) -> None:
    raw = bytearray(PACKET)
    raw[place] ^= change
    try:
        request = CODECS["fa21"].decode(bytes(raw), "203.0.113.5").message
    except WireError:
        return
    assert isinstance(request, RegReq)
    proof = parse(PACKET).find(wire.MN_HA)
    assert proof is not None
    # the MN-AAA authentication behind it is the AAAH's to verify
    if place < proof.value + len(proof.body):
        assert refusal_at_home(request, HOME, request.seq) is not None


@given(st.sampled_from(sorted(CODECS)), st.sampled_from([*sorted(ADDRESSES.values()), "203.0.113.5"]), st.binary())
@example("fa21", "203.0.113.5", b"")
@example("ha31", "192.0.2.21", b"\x12\x40" + bytes(10))
@example("fa21", "203.0.113.5", bytes([1]) + bytes(23) + b"\x26\x00\x00")
@example("fa21", "203.0.113.5", bytes([1]) + bytes(23) + b"\x83\x02\xff\xfe")
@example("fa21", "203.0.113.5", bytes([1]) + bytes(23) + b"\x60\x00")
def test_any_bytes_are_a_typed_error(here: str, source: str, raw: bytes) -> None:
    with pytest.raises(WireError) as caught:
        CODECS[here].decode(raw, source)
    assert len(caught.value.answer) in {0, 20}


@given(headers(), st.lists(st.tuples(u8, st.binary(max_size=40)), max_size=6), st.binary(max_size=8))
def test_any_extensions_are_a_message_or_a_typed_error(
    header: Header, parts: list[tuple[int, bytes]], tail: bytes
) -> None:
    data = header_bytes(header) + b"".join(extension_bytes(kind, body) for kind, body in parts) + tail
    for codec in CODECS.values():
        try:
            received = codec.decode(data, ADDRESSES["fa21"])
        except WireError as error:
            if error.answer:
                reply = parse(error.answer).header
                assert isinstance(reply, wire.Reply)
                assert isinstance(header, wire.Request)
                assert (reply.home, reply.identification) == (header.home, header.identification)
        else:
            assert received.sender.role is NodeRole.MN


@given(st.one_of(st.just(b""), st.binary(max_size=200)), associations, u32)
def test_any_reply_is_heard_or_refused(tail: bytes, home: SecurityAssociation, low: int) -> None:
    data = header_bytes(wire.Reply(0, 600, "203.0.113.5", "192.0.2.31", low)) + tail
    with pytest.raises(WireError):
        reply_of(data, home)
