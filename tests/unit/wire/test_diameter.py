"""Messages of registrations as Diameter: which AVPs they have, what others read in them, what is refused and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from diameter.message import Message
from diameter.message import constants as c
from diameter.message.commands.aa_mobile_node import AaMobileNodeAnswer, AaMobileNodeRequest
from diameter.message.commands.home_agent_mip import HomeAgentMipAnswer, HomeAgentMipRequest

from roamvpn.signalling.messages import Amr, InstanceId, RegReq, Result, ServiceUpdate
from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.wire import diameter_avps as a
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_avps import ENTERPRISE, teach
from roamvpn.wire.diameter_frames import HEADER, DiameterError, pack_avp, pack_message, peek_header, walk
from roamvpn.wire.mobile import Asking, request_packet
from tests.diameter import NETWORK, asked_of
from tests.registrations import ama_of, amr_of, haa_of, har_of
from tests.signalled import ALICE, FRANK, Bench

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Bench()
AT_HOME, VISITED, HOME_AGENT = (DiameterCodec(NETWORK, name) for name in ("aaah33", "aaaf23", "ha31"))
PACKET = bytes(range(60))


def avps(raw: bytes) -> dict[str, Any]:
    """As python-diameter reads them."""
    teach()
    return {each.name: each.value for each in Message.from_bytes(raw, plain_msg=True).avps}


def amr(packet: bytes = b"") -> bytes:
    return VISITED.request(amr_of(ALICE, 2**40 + 5, packet=packet), "aaah33", 9)


def changed(raw: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """The message with other AVPs."""
    parts = [raw[each.start : each.end] + bytes(-(each.end - each.start) & 3) for each in walk(raw)]
    return pack_message(peek_header(raw), b"".join(change(parts)))


def without(kind: a.Avp) -> Callable[[list[bytes]], list[bytes]]:
    return lambda parts: [
        part for part in parts if int.from_bytes(part[:4]) != kind.code or (part[4] >= 0x80) != kind.ours
    ]


def with_value(kind: a.Avp, payload: bytes) -> Callable[[list[bytes]], list[bytes]]:
    vendor = ENTERPRISE if kind.ours else 0
    return lambda parts: [*without(kind)(parts), pack_avp(kind.code, payload, vendor=vendor)]


def refused(raw: bytes, codec: DiameterCodec = AT_HOME) -> DiameterError:
    with pytest.raises(DiameterError) as caught:
        codec.decode(raw)
    return caught.value


def test_an_independent_decoder_reads_an_amr_as_rfc_4004_has_it() -> None:  # C6
    message = Message.from_bytes(amr(packet=PACKET))
    assert isinstance(message, AaMobileNodeRequest)
    assert (message.header.command_code, message.header.application_id) == (260, 2)
    assert message.header.is_request
    assert message.header.is_proxyable
    # the foreign agent stays the origin behind its AAAF
    assert message.origin_host == b"fa21.isp2.example"
    assert message.origin_realm == b"isp2.example"
    assert message.mip_originating_foreign_aaa.origin_host == b"aaaf23.isp2.example"
    assert message.route_record == [b"fa21.isp2.example"]
    assert message.destination_realm == b"isp3.example"
    assert message.user_name == ALICE
    assert message.auth_application_id == 2
    assert message.mip_reg_request == PACKET
    # AVP 348 names the home agent, not who sends the message
    assert message.mip_home_agent_host.origin_host == b"ha31.isp3.example"
    assert message.session_id == f"fa21.isp2.example;256;5;{ALICE}"


def test_where_a_mobiles_authenticator_for_home_stands_is_told() -> None:  # RFC 4004 section 7.6
    key = SecurityAssociation(0x1234, Secret(bytes(32)), Algorithm.MD5)
    packet = request_packet(Asking(ALICE, "203.0.113.5", "192.0.2.31", "192.0.2.21", 60, 7), key, key)
    told = Message.from_bytes(amr(packet)).mip_mn_aaa_auth
    assert told.mip_mn_aaa_spi == 0x1234
    assert told.mip_authenticator_length == 16
    assert told.mip_authenticator_offset == told.mip_auth_input_data_length == len(packet) - 16
    assert packet[told.mip_authenticator_offset - 4 :][:4] == (0x1234).to_bytes(4)


def test_an_independent_decoder_reads_a_har() -> None:  # C12
    information = BENCH.information(ALICE)
    message = Message.from_bytes(AT_HOME.request(har_of(information, 1), "ha31"))
    assert isinstance(message, HomeAgentMipRequest)
    assert message.destination_host == b"ha31.isp3.example"
    assert message.destination_realm == b"isp3.example"
    assert message.origin_host == b"aaah33.isp3.example"
    assert message.mip_mobile_node_address == (1, "203.0.113.5")
    assert message.authorization_lifetime == 60
    assert message.auth_session_state == 1
    assert message.mip_feature_vector == 0


def test_an_independent_decoder_reads_the_answers() -> None:  # C3
    haa, ama = haa_of(ALICE, 1, 3), ama_of(BENCH, ALICE, 1, "fa21", "fa22")
    message = Message.from_bytes(HOME_AGENT.answer(haa, asked_of(haa)))
    assert isinstance(message, HomeAgentMipAnswer)
    assert (message.result_code, message.origin_host) == (2001, b"ha31.isp3.example")
    message = Message.from_bytes(AT_HOME.answer(ama, asked_of(ama)))
    assert isinstance(message, AaMobileNodeAnswer)
    assert (message.header.hop_by_hop_identifier, message.header.end_to_end_identifier) == (3, 4)
    assert not message.header.is_request
    assert message.header.is_proxyable
    assert message.authorization_lifetime == 120
    assert message.session_id == "fa21.isp2.example;0;1"


def test_a_profile_has_an_avp_for_each_field() -> None:  # B11
    information = BENCH.information(FRANK)
    keys = ProfileKeys(*[Secret(bytes([number]) * 32) for number in range(5)])
    information = information._replace(segments=(information.segments[0]._replace(keys=keys),))
    found = avps(AT_HOME.request(har_of(information, 1), "ha31"))
    cache = {each.name: each.value for each in found["Profile-Cache"]}
    profile = {each.name: each.value for each in cache["VPN-Profile"]}
    assert profile["Source-GW"] == b"fa21.isp2.example"
    assert profile["Destination-GW"] == b"pcn41b.isp4.example"
    assert (profile["Source-Mask"], profile["Up-Class"]) == (32, "ef")
    assert len(profile) == 15
    assert {each.name: each.value for each in profile["Profile-Keys"]} == {
        "PSK": bytes(32),
        "Up-ESP-Encryption-Key": b"\1" * 32,
        "Down-ESP-Encryption-Key": b"\2" * 32,
        "Up-Authentication-Key": b"\3" * 32,
        "Down-Authentication-Key": b"\4" * 32,
    }


def test_the_enterprise_number_is_a_setting() -> None:
    other = DiameterCodec(NETWORK, "aaaf23", 9)
    raw = other.request(amr_of(ALICE, 1), "aaah33")
    assert {each.vendor for each in walk(raw)} == {0, 9}
    assert other.decode(raw) == amr_of(ALICE, 1)
    assert refused(raw).result == c.E_RESULT_CODE_DIAMETER_MISSING_AVP


def test_all_that_a_request_may_say_arrives() -> None:
    held = InstanceId("aaah33;1", 7, 3)
    request = RegReq(ALICE, 8, "ha31", 60, "fa22", ServiceUpdate(), 6, "fa21", held, PACKET)
    message = Amr(ALICE, 8, "fa21", request)
    assert VISITED.decode(VISITED.request(message, "aaaf23")) == message


def test_names_that_a_mobile_made_up_are_left_out() -> None:  # G26
    message = Amr(ALICE, 8, "fa21", RegReq(ALICE, 8, "nowhere", 60, old_fa="elsewhere"))
    decoded = VISITED.decode(VISITED.request(message, "aaaf23"))
    assert isinstance(decoded, Amr)
    assert (decoded.request.home_agent, decoded.request.old_fa) == ("", None)


def test_a_message_is_about_one_user() -> None:
    message = amr_of(ALICE, 1)
    with pytest.raises(ValueError, match="one user"):
        VISITED.request(message._replace(seq=2), "aaah33")
    with pytest.raises(ValueError, match="its own user"):
        AT_HOME.request(har_of(BENCH.information(FRANK), 1, nai=ALICE), "ha31")


def test_a_user_with_too_many_vpns_is_told_so() -> None:
    information = BENCH.information(ALICE)
    information = information._replace(segments=information.segments * 200)
    with pytest.raises(DiameterError) as caught:
        AT_HOME.request(har_of(information, 1), "ha31")
    assert caught.value.result == c.E_RESULT_CODE_DIAMETER_INVALID_MESSAGE_LENGTH


@pytest.mark.parametrize(
    "kind",
    [a.SESSION_ID, a.AUTH_APPLICATION_ID, a.USER_NAME, a.ORIGIN_HOST, a.DESTINATION_REALM, a.SEQUENCE, a.LIFETIME],
)
def test_a_missing_avp_is_named(kind: a.Avp) -> None:
    error = refused(changed(amr(), without(kind)))
    assert error.result == c.E_RESULT_CODE_DIAMETER_MISSING_AVP
    (example,) = walk(error.failed, 0)
    assert (example.code, example.vendor) == (kind.code, ENTERPRISE if kind.ours else 0)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (a.USER_NAME, b"no nai"),
        (a.USER_NAME, b"\xff@isp3.example"),
        (a.ORIGIN_HOST, b"stranger.isp2.example"),
        (a.ORIGIN_HOST, b"aaaf23.isp2.example"),  # an AAA server is no foreign agent
        (a.ORIGIN_HOST, b"\xfffa21"),
        (a.LIFETIME, (65536).to_bytes(4)),
        (a.SERVICE_UPDATE, (9).to_bytes(4)),
        (a.AUTH_APPLICATION_ID, (3).to_bytes(4)),
        (a.MIP_REG_REQUEST, bytes(5000)),
        (a.CARE_OF, b"aaah33.isp3.example"),
    ],
)
def test_an_invalid_value_is_given_back(kind: a.Avp, payload: bytes) -> None:
    error = refused(changed(amr(), with_value(kind, payload)))
    assert error.result == c.E_RESULT_CODE_DIAMETER_INVALID_AVP_VALUE
    assert payload in error.failed


def test_a_number_of_the_wrong_size_is_an_invalid_length() -> None:
    error = refused(changed(amr(), with_value(a.SEQUENCE, bytes(4))))
    assert error.result == c.E_RESULT_CODE_DIAMETER_INVALID_AVP_LENGTH


def test_an_unknown_mandatory_avp_is_given_back_whole() -> None:
    unknown = pack_avp(4711, b"hello", vendor=4242)
    error = refused(changed(amr(), lambda parts: [*parts, unknown]))
    assert error.result == c.E_RESULT_CODE_DIAMETER_AVP_UNSUPPORTED
    assert error.failed == unknown


def test_an_unknown_avp_that_is_not_mandatory_is_passed_over() -> None:
    extra = pack_avp(4711, b"hello", vendor=4242, mandatory=False)
    assert AT_HOME.decode(changed(amr(), lambda parts: [*parts, extra])) == AT_HOME.decode(amr())


def test_an_unknown_mandatory_avp_inside_a_profile_is_found() -> None:
    raw = AT_HOME.request(har_of(BENCH.information(ALICE), 1), "ha31")
    cache = next(raw[each.begin : each.end] for each in walk(raw) if each.code == a.PROFILE_CACHE.code and each.vendor)
    unknown = pack_avp(4711, b"", vendor=4242)
    error = refused(changed(raw, with_value(a.PROFILE_CACHE, cache + unknown)))
    assert (error.result, error.failed) == (c.E_RESULT_CODE_DIAMETER_AVP_UNSUPPORTED, unknown)


def test_an_avp_that_stands_twice_is_given_back() -> None:
    error = refused(changed(amr(), lambda parts: [*parts, parts[2]]))
    assert error.result == c.E_RESULT_CODE_DIAMETER_AVP_OCCURS_TOO_MANY_TIMES


@pytest.mark.parametrize("length", [0, 7, 0xFFFFFF])
def test_an_avp_longer_than_its_message_is_an_invalid_length(length: int) -> None:
    raw = amr()
    at = HEADER + 5
    error = refused(raw[:at] + length.to_bytes(3) + raw[at + 3 :])
    assert error.result == c.E_RESULT_CODE_DIAMETER_INVALID_AVP_LENGTH
    (failed,) = walk(error.failed, 0)
    assert failed.code == a.SESSION_ID.code


def test_an_avp_longer_than_its_group_is_an_invalid_length() -> None:
    error = refused(changed(amr(), with_value(a.MIP_HOME_AGENT_HOST, a.ORIGIN_HOST.code.to_bytes(4) + b"\x40\0\0\xff")))
    assert error.result == c.E_RESULT_CODE_DIAMETER_INVALID_AVP_LENGTH


@pytest.mark.parametrize(
    ("start", "result"),
    [
        (b"\x02\0\0\x14", c.E_RESULT_CODE_DIAMETER_UNSUPPORTED_VERSION),
        (b"\x01\0\0\0", c.E_RESULT_CODE_DIAMETER_INVALID_MESSAGE_LENGTH),
        (b"\x01\0\0\x15", c.E_RESULT_CODE_DIAMETER_INVALID_MESSAGE_LENGTH),
        (b"\x01\xff\xff\xfc", c.E_RESULT_CODE_DIAMETER_INVALID_MESSAGE_LENGTH),
    ],
)
def test_a_header_that_cannot_be_is_refused_before_anything_else(start: bytes, result: int) -> None:
    assert refused(start + amr()[4:]).result == result


@pytest.mark.parametrize("flags", [0xE0, 0xC1, 0xC8])
def test_header_bits_that_contradict_are_refused(flags: int) -> None:
    raw = amr()
    error = refused(raw[:4] + bytes([flags]) + raw[5:])
    assert error.result == c.E_RESULT_CODE_DIAMETER_INVALID_HDR_BITS
    assert error.is_protocol_error


def test_an_unknown_command_and_application_are_refused() -> None:
    raw, header = amr(), peek_header(amr())
    error = refused(header._replace(command=999).packed() + raw[HEADER:])
    assert error.result == c.E_RESULT_CODE_DIAMETER_COMMAND_UNSUPPORTED
    error = refused(header._replace(application=4).packed() + raw[HEADER:])
    assert error.result == c.E_RESULT_CODE_DIAMETER_APPLICATION_UNSUPPORTED


def test_a_refusal_says_what_failed_and_is_read_by_others() -> None:
    unknown = pack_avp(4711, b"hello", vendor=4242)
    proxy = pack_avp(a.PROXY_INFO.code, pack_avp(280, b"p.example") + pack_avp(33, b"state"))
    raw = changed(amr(), lambda parts: [*parts, proxy, unknown])
    message = Message.from_bytes(AT_HOME.refusal(raw, refused(raw)))
    assert isinstance(message, AaMobileNodeAnswer)
    assert message.result_code == 5001
    assert not message.header.is_error
    assert message.origin_host == b"aaah33.isp3.example"
    assert message.session_id == f"fa21.isp2.example;256;5;{ALICE}"
    (failed,) = message.find_avps((c.AVP_FAILED_AVP, 0))
    assert failed.payload == unknown
    assert message.header.end_to_end_identifier == 9
    assert message.find_avps((c.AVP_PROXY_INFO, 0))


def test_a_protocol_error_has_the_e_bit() -> None:
    raw = AT_HOME.refusal(amr(), DiameterError(3001, "unknown"))
    assert peek_header(raw).is_error
    error = refused(raw)
    assert error.result == 3001


def test_an_answer_with_a_result_that_machines_do_not_know_is_that_error() -> None:
    ama = ama_of(BENCH, ALICE, 1, "fa21")
    raw = changed(AT_HOME.answer(ama, asked_of(ama)), with_value(a.RESULT_CODE, (5099).to_bytes(4)))
    assert refused(raw).result == 5099


def test_route_records_in_answers_are_passed_over() -> None:
    ama = ama_of(BENCH, ALICE, 1, "fa21")._replace(result=Result.SUCCESS)
    raw = AT_HOME.answer(ama, asked_of(ama))
    record = pack_avp(a.ROUTE_RECORD.code, b"relay.example")
    assert AT_HOME.decode(changed(raw, lambda parts: [*parts, record, record])) == ama


def test_errors_never_show_keys() -> None:
    information = BENCH.information(FRANK)
    raw = AT_HOME.request(har_of(information, 1), "ha31")
    keys = information.segments[0].keys
    assert keys is not None
    assert keys.psk is not None
    broken = raw.replace(pack_avp(a.PSK.code, keys.psk, vendor=ENTERPRISE, mandatory=False), b"", 1)
    assert broken != raw
    error = refused(broken[:1] + len(broken).to_bytes(3) + broken[4:])
    assert "Secret" not in str(error)
    assert keys.psk.hex() not in str(error)
