"""VPN information that comes by Diameter is checked like any other input (B11)."""

from __future__ import annotations

import pytest

from roamvpn.tables.secrets import ProfileKeys, Secret
from roamvpn.wire import diameter_avps as a
from roamvpn.wire.diameter import DiameterCodec
from roamvpn.wire.diameter_avps import ENTERPRISE, Reader, Writer
from roamvpn.wire.diameter_frames import DiameterError, pack_avp, walk
from roamvpn.wire.diameter_identities import Identities
from roamvpn.wire.diameter_information import InformationCodec
from tests.diameter import NETWORK
from tests.registrations import har_of
from tests.signalled import ALICE, Bench

CODEC = InformationCodec(NETWORK, Identities(NETWORK))
INFORMATION = Bench().information(ALICE)
OWN = INFORMATION._replace(
    segments=tuple(each._replace(keys=ProfileKeys(Secret(bytes(32)))) for each in INFORMATION.segments)
)


def replaced(payload: bytes, path: tuple[a.Avp, ...], value: bytes | None) -> bytes:
    """The AVPs with one of them, of the first profile, holding something else; None leaves it out."""
    parts = []
    done = False
    for each in walk(payload, 0):
        kind = path[0]
        inner = payload[each.begin : each.end]
        if (each.code, bool(each.vendor)) == (kind.code, kind.ours) and not done:
            done = True
            if len(path) > 1:
                inner = replaced(inner, path[1:], value)
            elif value is None:
                continue
            else:
                inner = value
        parts.append(pack_avp(each.code, inner, vendor=each.vendor, mandatory=each.is_mandatory))
    assert done
    return b"".join(parts)


def read(payload: bytes) -> object:
    return CODEC.read(Reader(payload, ENTERPRISE, 0), ALICE)


def test_it_comes_back_as_it_was() -> None:
    assert read(CODEC.write(Writer(ENTERPRISE), OWN).payload()) == OWN


@pytest.mark.parametrize(
    ("path", "value", "result"),
    [
        ((a.CACHE_SESSION,), b"../../etc", 5004),
        ((a.CACHE_SESSION,), b"x" * 129, 5004),
        ((a.MIP_MOBILE_NODE_ADDRESS,), b"\0\1" + bytes((127, 0, 0, 1)), 5004),
        ((a.MIP_MOBILE_NODE_ADDRESS,), b"\0\2" + bytes(16), 5004),
        ((a.MIP_MOBILE_NODE_ADDRESS,), b"\0", 5004),
        ((a.MIP_MOBILE_NODE_ADDRESS,), b"\0\1\1", 5004),
        ((a.FOREIGN_AGENT,), b"aaah33.isp3.example", 5004),
        ((a.GENERATION,), bytes(8), 5014),
        ((a.GENERATION,), None, 5005),
        ((a.VPN_PROFILE, a.SEGMENT_KIND), (9).to_bytes(4), 5004),
        ((a.VPN_PROFILE, a.PROFILE_NUMBER), bytes(4), 5004),
        ((a.VPN_PROFILE, a.PROFILE_NUMBER), b"\xff" * 4, 5004),
        ((a.VPN_PROFILE, a.SOURCE_MASK), (33).to_bytes(4), 5004),
        # host bits behind the mask
        ((a.VPN_PROFILE, a.SOURCE_MASK), (8).to_bytes(4), 5004),
        ((a.VPN_PROFILE, a.UP_CLASS), b"gold; rm -rf /", 5004),
        ((a.VPN_PROFILE, a.DOWN_CLASS), b"\xff", 5004),
        ((a.VPN_PROFILE, a.SECURITY_TYPE), bytes(4), 5004),
        ((a.VPN_PROFILE, a.VPN_SHARE), (2).to_bytes(4), 5004),
        ((a.VPN_PROFILE, a.SOURCE_GW), b"nowhere.isp2.example", 5004),
        ((a.VPN_PROFILE, a.DESTINATION_GW), None, 5005),
        # reserved (RFC 4303)
        ((a.VPN_PROFILE, a.UP_SPI), (255).to_bytes(4), 5004),
        ((a.VPN_PROFILE, a.PROFILE_KEYS, a.PSK), bytes(15), 5004),
        ((a.VPN_PROFILE, a.PROFILE_KEYS, a.PSK), bytes(129), 5004),
    ],
)
def test_what_does_not_hold_is_refused(path: tuple[a.Avp, ...], value: bytes | None, result: int) -> None:
    payload = replaced(CODEC.write(Writer(ENTERPRISE), OWN).payload(), path, value)
    with pytest.raises(DiameterError) as caught:
        read(payload)
    assert caught.value.result == result
    assert caught.value.failed


def test_too_many_profiles_are_refused() -> None:
    many = INFORMATION._replace(segments=INFORMATION.segments[:1] * 257)
    with pytest.raises(DiameterError) as caught:
        read(CODEC.write(Writer(ENTERPRISE), many).payload())
    assert caught.value.result == 5009


def test_keys_do_not_print() -> None:
    home = DiameterCodec(NETWORK, "aaah33")
    decoded = home.decode(home.request(har_of(OWN, 1), "ha31"))
    assert "\\x00" not in repr(decoded)
    assert "Secret(…)" in repr(decoded)
