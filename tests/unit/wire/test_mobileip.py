"""Mobile IP packets byte for byte, against vectors written by hand from RFC 5944 and optim-09."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from roamvpn.signalling.messages import (
    Address,
    Ba,
    Bu,
    Code,
    FrontEnd,
    NodeRole,
    RegRep,
    RegReq,
    ServiceUpdate,
)
from roamvpn.tables.secrets import Secret
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.authentication import Algorithm
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import genuine_at_aaah, refusal_at_home, reply_of, reply_packet, request_packet
from roamvpn.wire.mobileip import MobileIpCodec
from roamvpn.wire.mobileip_packet import TypeNumbers, header_bytes, parse
from tests.mobile_ip import (
    AAA,
    ACKNOWLEDGE,
    BENCH,
    BETWEEN,
    BINDING_REQUEST,
    FA,
    HA,
    HOME,
    IDENT,
    KEY,
    NAI,
    PCN,
    PROOF,
    REPLY,
    REQUEST,
    UPDATE,
    asked,
    codec_of,
    entropy,
)
from tests.signalled import ALICE, FRANK, TABLES


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


def test_agents_authenticate_with_half_a_sha_256() -> None:  # RFC 2104 section 5
    data = HOME._replace(algorithm=Algorithm.SHA256).authenticated(UPDATE, wire.FA_HA)
    covered = UPDATE + bytes([34, 20]) + (0x1234).to_bytes(4)
    assert data == covered + hmac.new(KEY, covered, hashlib.sha256).digest()[:16]


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


def test_what_a_mobile_asks_is_understood_by_its_foreign_agent() -> None:  # D7, E2.1, E7.2
    asking = asked(old_agent="192.0.2.22", update=ServiceUpdate(FrontEnd.DIALLED), answered=77)
    data = request_packet(asking, HOME, AAA)
    received = codec_of().decode(data, "203.0.113.5")
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
        (REQUEST + bytes([131, 18]) + NAI[:-1], 70),
        (REQUEST + bytes([131, 18]) + NAI + bytes([134, 3, 0, 0, 0]) + PROOF, 70),
    ],
)
def test_what_a_mobile_asks_wrongly_is_answered_with_its_code(data: bytes, code: int) -> None:
    with pytest.raises(WireError) as caught:
        codec_of().decode(data, "203.0.113.5")
    answer = parse(caught.value.answer).header
    assert isinstance(answer, wire.Reply)
    assert (answer.code, answer.identification) == (code, IDENT)


def test_home_takes_only_the_mobiles_own_word() -> None:
    data = request_packet(asked(), HOME, AAA)
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
    data = reply_packet(RegRep(ALICE, IDENT, Code.ACCEPTED, 300), "203.0.113.5", "192.0.2.31", HOME, IDENT)
    assert reply_of(data, HOME) == (RegRep(ALICE, IDENT, Code.ACCEPTED, 300), True)
    with pytest.raises(WireError, match="not the home agent's"):
        reply_of(data[:-1] + bytes([data[-1] ^ 1]), HOME)
    with pytest.raises(WireError, match="has not signed"):
        reply_of(REPLY, HOME)
    refused = codec_of().encode(Address(NodeRole.MN, ALICE), RegRep(ALICE, IDENT, Code.FA_RESOURCES), entropy)
    assert reply_of(refused, HOME) == (RegRep(ALICE, IDENT, Code.FA_RESOURCES), False)


# agents


@pytest.mark.parametrize(("sender", "to", "message"), BETWEEN)
def test_what_agents_send_comes_as_it_was(sender: Address, to: Address, message: RegReq) -> None:
    data = codec_of(sender.name).encode(to, message, entropy)
    received = codec_of(to.name).decode(data, TABLES.network.gateways[sender.name].address)
    assert (received.role, received.sender, received.message) == (to.role, sender, message)


def test_a_signed_reply_goes_through_the_foreign_agent_unchanged() -> None:
    signed = reply_packet(RegRep(ALICE, IDENT, Code.ACCEPTED, 300), "203.0.113.5", "192.0.2.31", HOME, IDENT)
    reply = RegRep(ALICE, IDENT, Code.ACCEPTED, 300, ("fa21b",), signed)
    received = codec_of("fa21").decode(codec_of("ha31").encode(FA, reply, entropy), "192.0.2.31")
    assert received.message == reply
    assert codec_of("fa21").encode(Address(NodeRole.MN, ALICE), received.message, entropy) == signed


def test_no_key_and_no_session_can_be_read_on_the_wire() -> None:
    information = BENCH.information(FRANK).posted(7)
    keys = information.segments[0].keys
    assert keys is not None
    assert keys.psk is not None
    data = codec_of("ha31").encode(PCN, Bu(FRANK, 9, HA, 600, 7, information), entropy)
    for secret in (bytes(keys.psk), keys.psk.hex().encode(), information.session_id.encode(), b"10.5.1.9"):
        assert secret not in data


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_what_an_agent_sends_cannot_be_changed(place: int) -> None:
    data = bytearray(codec_of("ha31").encode(PCN, BETWEEN[3][2], entropy))
    data[place % len(data)] ^= 0x40
    with pytest.raises(WireError):
        codec_of("pcn41b").decode(bytes(data), "192.0.2.31")


def test_an_agent_speaks_for_itself_only() -> None:
    update = Bu(FRANK, 9, HA, 0, 7)
    data = codec_of("ha31").encode(PCN, update, entropy)
    with pytest.raises(WireError, match="not from an agent"):
        codec_of("pcn41b").decode(data, "192.0.2.21")
    forged = codec_of("fa21").encode(PCN, update, entropy)
    with pytest.raises(WireError, match="may not send"):
        codec_of("pcn41b").decode(forged, "192.0.2.21")
    as_home = Bu(FRANK, 9, Address(NodeRole.HA, "fa21"), 0, 7)
    with pytest.raises(WireError, match="may not send"):
        codec_of("pcn41b").decode(codec_of("fa21").encode(PCN, as_home, entropy), "192.0.2.21")


def test_a_message_cannot_be_sent_back_to_its_sender() -> None:
    acknowledge = Ba(FRANK, 9, FA, Code.ACCEPTED)
    data = codec_of("fa21").encode(Address(NodeRole.FA, "fa21b"), acknowledge, entropy)
    with pytest.raises(WireError, match="cannot be read"):
        codec_of("fa21").decode(data, "192.0.2.22")


def test_an_agent_without_association_is_not_spoken_to() -> None:
    alone = MobileIpCodec(TABLES.network, "fa21", {})
    with pytest.raises(WireError, match="no security association"):
        alone.encode(HA, BETWEEN[0][2], entropy)
    with pytest.raises(WireError, match="not from an agent"):
        alone.decode(codec_of("ha31").encode(FA, BETWEEN[2][2], entropy), "192.0.2.31")
