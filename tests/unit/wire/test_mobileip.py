"""Mobile IP packets byte for byte, against vectors written by hand from RFC 5944 and optim-09."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from roamvpn.signalling.messages import (
    Address,
    Ba,
    Br,
    Bu,
    Code,
    FrontEnd,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    ServiceUpdate,
)
from roamvpn.tables.secrets import Secret
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import Asking, genuine_at_aaah, refusal_at_home, reply_of, reply_packet, request_packet
from roamvpn.wire.mobileip import MobileIpCodec
from roamvpn.wire.mobileip_packet import TypeNumbers, header_bytes, parse
from tests.signalled import ALICE, FRANK, TABLES, Bench

KEY = Secret(b"0123456789abcdef")
HOME = SecurityAssociation(0x1234, KEY, Algorithm.MD5)
AAA = SecurityAssociation(0x4321, Secret(b"fedcba9876543210"), Algorithm.MD5)
IDENT = 0xEC000000_00000000
NAI = b"alice@isp3.example"
# type 1, flags 0, lifetime 600, home 203.0.113.5, home agent 192.0.2.31, care-of 192.0.2.21, identification
REQUEST = bytes.fromhex("01 00 0258 cb007105 c000021f c0000215 ec00000000000000")
REPLY = bytes.fromhex("03 00 0258 cb007105 c000021f ec00000000000000")
BINDING_REQUEST = bytes.fromhex("11 000000 cb007105 ec00000000000000")
UPDATE = bytes.fromhex("12 c0 0258 cb007105 c0000215 ec00000000000000")
ACKNOWLEDGE = bytes.fromhex("13 0000 85 cb007105 ec00000000000000")


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (wire.Request(0, 600, "203.0.113.5", "192.0.2.31", "192.0.2.21", IDENT), REQUEST),
        (wire.Reply(0, 600, "203.0.113.5", "192.0.2.31", IDENT), REPLY),
        (wire.BindingRequest("203.0.113.5", IDENT), BINDING_REQUEST),
        (wire.BindingUpdate(0xC0, 600, "203.0.113.5", "192.0.2.21", IDENT), UPDATE),
        (wire.BindingAcknowledge(133, "203.0.113.5", IDENT), ACKNOWLEDGE),
    ],
)
def test_headers_have_the_bytes_of_the_documents(header: wire.Header, data: bytes) -> None:
    assert header_bytes(header) == data
    assert parse(data).header == header


def test_extensions_are_found_where_they_are() -> None:
    nai = bytes([131, 18]) + NAI
    vendor = bytes.fromhex("86 09 0000 00007ed9 0001 02")
    long = bytes.fromhex("26 00 0008 00007ed9 0010 aabb")
    generalised = bytes.fromhex("24 01 0005 00004321 ff")
    packet = parse(REQUEST + nai + vendor + b"\x00" + long + generalised)
    assert [(each.kind, each.subtype, each.start) for each in packet.extensions] == [
        (131, 0, 24),
        (134, 0, 44),
        (38, 0, 56),
        (36, 1, 68),
    ]
    assert [wire.vendor_data(each) for each in packet.extensions[1:3]] == [
        (32473, 1, b"\x02"),
        (32473, 16, b"\xaa\xbb"),
    ]


def test_numbers_of_binding_messages_can_be_others() -> None:
    numbers = TypeNumbers(117, 118, 119)
    update = wire.BindingUpdate(0xC0, 600, "203.0.113.5", "192.0.2.21", IDENT)
    data = header_bytes(update, numbers)
    assert data == b"\x76" + UPDATE[1:]
    assert parse(data, numbers).header == update
    with pytest.raises(WireError, match="18 is not known"):
        parse(UPDATE, numbers)


@pytest.mark.parametrize("end", range(len(REQUEST) + 20))
def test_what_is_cut_off_is_refused(end: int) -> None:
    whole = REQUEST + bytes([131, 18]) + NAI
    if end == len(REQUEST):
        assert not parse(whole[:end]).extensions
        return
    with pytest.raises(WireError):
        parse(whole[:end])


# authenticators


def test_an_authenticator_covers_everything_up_to_its_spi() -> None:  # RFC 5944 section 3.5.1
    data = HOME.authenticated(REQUEST, wire.MN_HA)
    covered = REQUEST + bytes([32, 20]) + (0x1234).to_bytes(4)
    assert data == covered + hmac.new(KEY, covered, hashlib.md5).digest()
    packet = parse(data)
    assert HOME.holds(packet, packet.extensions[0])


@pytest.mark.parametrize("place", range(len(REQUEST) + 22))
def test_no_bit_of_it_can_be_changed(place: int) -> None:
    data = bytearray(HOME.authenticated(REQUEST, wire.MN_HA))
    data[place] ^= 1
    try:
        packet = parse(bytes(data))
    except WireError:
        return
    found = packet.find(wire.MN_HA)
    assert found is None or not HOME.holds(packet, found)


def test_another_key_spi_or_algorithm_does_not_hold() -> None:
    packet = parse(HOME.authenticated(REQUEST, wire.MN_HA))
    for other in (
        HOME._replace(key=Secret(b"x" * 16)),
        HOME._replace(spi=7777),
        HOME._replace(algorithm=Algorithm.SHA256),
    ):
        assert not other.holds(packet, packet.extensions[0])


def test_keys_do_not_print() -> None:
    assert KEY.decode() not in repr(HOME)


# mobiles


def _asked(**more: object) -> Asking:
    asking = Asking("alice@isp3.example", "203.0.113.5", "192.0.2.31", "192.0.2.21", 600, IDENT)
    return asking._replace(**more)  # type: ignore[arg-type] # fields of it


def _codec(here: str = "fa21", **keys: bytes) -> MobileIpCodec:
    others = {
        name: SecurityAssociation(0x500, Secret(keys.get(name, _pair(here, name)))) for name in TABLES.network.gateways
    }
    return MobileIpCodec(TABLES.network, here, others)


def _pair(one: str, other: str) -> bytes:
    return hashlib.sha256(" ".join(sorted((one, other))).encode()).digest()


def _entropy(purpose: str, length: int) -> bytes:
    return hashlib.shake_128(purpose.encode()).digest(length)


def test_what_a_mobile_asks_is_understood_by_its_foreign_agent() -> None:  # D7, E2.1, E7.2
    asking = _asked(old_agent="192.0.2.22", update=ServiceUpdate(FrontEnd.DIALLED), answered=77)
    data = request_packet(asking, HOME, AAA)
    received = _codec().decode(data, "203.0.113.5")
    assert received.role is NodeRole.FA
    assert received.message == RegReq(
        ALICE, IDENT, "ha31", 600, "fa21b", ServiceUpdate(FrontEnd.DIALLED), 77, packet=data
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (REQUEST, 97),
        (REQUEST + bytes([131, 3]) + b"a b", 70),
        (REQUEST[:4] + bytes(4) + REQUEST[8:] + bytes([131, 18]) + NAI, 99),
        (REQUEST[:8] + bytes(4) + REQUEST[12:] + bytes([131, 18]) + NAI, 98),
        (REQUEST[:8] + bytes([9] * 4) + REQUEST[12:] + bytes([131, 18]) + NAI, 88),
        (REQUEST + bytes([131, 18]) + NAI, 67),
        (REQUEST + bytes([131, 18]) + NAI + bytes([77, 1, 0]), 70),
    ],
)
def test_what_a_mobile_asks_wrongly_is_answered_with_its_code(data: bytes, code: int) -> None:
    with pytest.raises(WireError) as caught:
        _codec().decode(data, "203.0.113.5")
    answer = parse(caught.value.answer).header
    assert isinstance(answer, wire.Reply)
    assert (answer.code, answer.identification) == (code, IDENT)


def test_home_takes_only_the_mobiles_own_word() -> None:
    data = request_packet(_asked(), HOME, AAA)
    request = RegReq(ALICE, IDENT, "ha31", 600, packet=data)
    assert refusal_at_home(request, HOME, IDENT) is None
    assert genuine_at_aaah(request, AAA)
    for changed in (request._replace(nai=FRANK), request._replace(seq=IDENT + 1), request._replace(lifetime=9)):
        assert refusal_at_home(changed, HOME, IDENT) is Code.HA_AUTHENTICATION
        assert not genuine_at_aaah(changed, AAA)
    assert refusal_at_home(request, HOME._replace(key=Secret(b"y" * 16)), IDENT) is Code.HA_AUTHENTICATION
    assert not genuine_at_aaah(request, HOME)
    for late in (8 << 32, -(8 << 32)):
        assert refusal_at_home(request, HOME, IDENT + late) is Code.STALE


def test_a_reply_holds_for_the_mobile_only_as_home_signed_it() -> None:
    data = reply_packet(RegRep(ALICE, IDENT, Code.ACCEPTED, 300), "203.0.113.5", "192.0.2.31", HOME)
    assert reply_of(data, HOME) == (RegRep(ALICE, IDENT, Code.ACCEPTED, 300), True)
    with pytest.raises(WireError, match="not the home agent's"):
        reply_of(data[:-1] + bytes([data[-1] ^ 1]), HOME)
    with pytest.raises(WireError, match="has not signed"):
        reply_of(REPLY, HOME)
    refused = _codec().encode(Address(NodeRole.MN, ALICE), RegRep(ALICE, IDENT, Code.FA_RESOURCES), _entropy)
    assert reply_of(refused, HOME) == (RegRep(ALICE, IDENT, Code.FA_RESOURCES), False)


# agents

BENCH = Bench()
FA, HA, PCN = Address(NodeRole.FA, "fa21"), Address(NodeRole.HA, "ha31"), Address(NodeRole.PCN, "pcn41b")
HELD = InstanceId("aaah33;1", 1, 2)
PACKET = request_packet(_asked(), HOME, AAA)
BETWEEN = [
    (FA, HA, RegReq(ALICE, IDENT, "ha31", 600, "fa21b", None, 5, "fa21", HELD, PACKET)),
    (FA, HA, RegReq(ALICE, 7, "ha31", 600, "fa21b", ServiceUpdate(), 5, "fa21", HELD)),
    (HA, FA, RegRep(ALICE, 7, Code.ACCEPTED, 600, ("fa22", "fa21b"))),
    (HA, PCN, Bu(FRANK, 9, HA, 600, 7, BENCH.information(FRANK).posted(7), ready=True)),
    (HA, PCN, Bu(FRANK, 9, HA, 0, 7)),
    (PCN, HA, Ba(FRANK, 9, PCN, Code.STALE, 7)),
    (PCN, HA, Br(FRANK, PCN, 7)),
    (FA, Address(NodeRole.FA, "fa21b"), Bu(FRANK, 9, FA, 10, 0, BENCH.on_leg(FRANK), ready=True)),
    (FA, Address(NodeRole.FA, "fa21b"), Ba(FRANK, 9, FA, Code.ACCEPTED)),
]


@pytest.mark.parametrize(("sender", "to", "message"), BETWEEN)
def test_what_agents_send_comes_as_it_was(sender: Address, to: Address, message: RegReq) -> None:
    data = _codec(sender.name).encode(to, message, _entropy)
    received = _codec(to.name).decode(data, TABLES.network.gateways[sender.name].address)
    assert (received.role, received.sender, received.message) == (to.role, sender, message)


def test_a_signed_reply_goes_through_the_foreign_agent_unchanged() -> None:
    signed = reply_packet(RegRep(ALICE, IDENT, Code.ACCEPTED, 300), "203.0.113.5", "192.0.2.31", HOME)
    reply = RegRep(ALICE, IDENT, Code.ACCEPTED, 300, ("fa21b",), signed)
    received = _codec("fa21").decode(_codec("ha31").encode(FA, reply, _entropy), "192.0.2.31")
    assert received.message == reply
    assert _codec("fa21").encode(Address(NodeRole.MN, ALICE), received.message, _entropy) == signed


def test_no_key_and_no_session_can_be_read_on_the_wire() -> None:
    information = BENCH.information(FRANK).posted(7)
    keys = information.segments[0].keys
    assert keys is not None
    assert keys.psk is not None
    data = _codec("ha31").encode(PCN, Bu(FRANK, 9, HA, 600, 7, information), _entropy)
    for secret in (bytes(keys.psk), keys.psk.hex().encode(), information.session_id.encode(), b"10.5.1.9"):
        assert secret not in data


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_what_an_agent_sends_cannot_be_changed(place: int) -> None:
    data = bytearray(_codec("ha31").encode(PCN, BETWEEN[3][2], _entropy))
    data[place % len(data)] ^= 0x40
    with pytest.raises(WireError):
        _codec("pcn41b").decode(bytes(data), "192.0.2.31")


def test_an_agent_speaks_for_itself_only() -> None:
    update = Bu(FRANK, 9, HA, 0, 7)
    data = _codec("ha31").encode(PCN, update, _entropy)
    with pytest.raises(WireError, match="not from an agent"):
        _codec("pcn41b").decode(data, "192.0.2.21")
    forged = _codec("fa21").encode(PCN, update, _entropy)
    with pytest.raises(WireError, match="may not send"):
        _codec("pcn41b").decode(forged, "192.0.2.21")
    as_home = Bu(FRANK, 9, Address(NodeRole.HA, "fa21"), 0, 7)
    with pytest.raises(WireError, match="may not send"):
        _codec("pcn41b").decode(_codec("fa21").encode(PCN, as_home, _entropy), "192.0.2.21")


def test_a_message_cannot_be_sent_back_to_its_sender() -> None:
    acknowledge = Ba(FRANK, 9, FA, Code.ACCEPTED)
    data = _codec("fa21").encode(Address(NodeRole.FA, "fa21b"), acknowledge, _entropy)
    with pytest.raises(WireError, match="cannot be read"):
        _codec("fa21").decode(data, "192.0.2.22")


def test_an_agent_without_association_is_not_spoken_to() -> None:
    alone = MobileIpCodec(TABLES.network, "fa21", {})
    with pytest.raises(WireError, match="no security association"):
        alone.encode(HA, BETWEEN[0][2], _entropy)
    with pytest.raises(WireError, match="not from an agent"):
        alone.decode(_codec("ha31").encode(FA, BETWEEN[2][2], _entropy), "192.0.2.31")
