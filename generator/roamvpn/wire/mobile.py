"""A mobile's own packets: what it asks, what home answers it, and whether either is genuine (RFC 5944 section 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import Code, RegRep
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobileip import ANSWERED, ENTERPRISE, FRONT_ENDS, SERVICE_UPDATE
from roamvpn.wire.mobileip_packet import extension_bytes, header_bytes, packed, parse, vendor_bytes

if TYPE_CHECKING:
    from roamvpn.signalling.messages import RegReq, ServiceUpdate
    from roamvpn.wire.authentication import SecurityAssociation

_LOW = 0xFFFFFFFF
_SKEW = 7 << 32
"""How far an identification may be from the home agent's clock: 7 s (RFC 5944 section 5.7.1), as NTP64."""


class Asking(NamedTuple):
    """What a mobile asks for. Addresses are dotted, `lifetime` in seconds, `identification` NTP64."""

    nai: str
    home: str
    home_agent: str
    care_of: str
    lifetime: int
    identification: int
    old_agent: str | None = None
    update: ServiceUpdate | None = None
    answered: int = 0


def request_packet(
    asking: Asking, home: SecurityAssociation, aaa: SecurityAssociation | None = None, vendor: int = ENTERPRISE
) -> bytes:
    """The bytes of a registration request. Extensions stand in the order that RFC 5944 section 3.6.1.3 asks for."""
    header = wire.Request(0, asking.lifetime, asking.home, asking.home_agent, asking.care_of, asking.identification)
    data = header_bytes(header) + extension_bytes(wire.NAI, asking.nai.encode())
    if asking.old_agent is not None:
        # its own authenticator is for the binding update that route optimisation would send; agents of ours have theirs
        previous = (0).to_bytes(2) + packed(asking.old_agent) + packed(asking.care_of) + home.spi.to_bytes(4)
        data += extension_bytes(wire.PREVIOUS_FA, previous)
    if asking.update is not None:
        data += vendor_bytes(vendor, SERVICE_UPDATE, bytes([FRONT_ENDS.index(asking.update.front_end)]), critical=False)
    if asking.answered:
        data += vendor_bytes(vendor, ANSWERED, asking.answered.to_bytes(8), critical=False)
    data = home.authenticated(data, wire.MN_HA)
    return aaa.authenticated(data, wire.GENERALISED, wire.MN_AAA) if aaa is not None else data


def reply_packet(reply: RegRep, home_address: str, home_agent: str, home: SecurityAssociation, now: int) -> bytes:
    """The bytes of a registration reply of the home agent, for the mobile alone.

    With code 133 the high half of the identification is the clock by which the mobile is judged, so that it can set
    its own (RFC 5944 section 5.7.1). `now` is NTP64.
    """
    identification = resynchronised(reply.seq, now) if reply.code is Code.STALE else reply.seq
    header = wire.Reply(reply.code, min(reply.lifetime, 0xFFFF), home_address, home_agent, identification)
    return home.authenticated(header_bytes(header) + extension_bytes(wire.NAI, reply.nai.encode()), wire.MN_HA)


def reply_of(data: bytes, home: SecurityAssociation) -> tuple[RegRep, bool]:
    """What a mobile gets: the reply, and whether it is home's own. Refusals of foreign agents are not signed by home.

    Raises:
        WireError: where it is no reply, or a forged one.
    """
    packet = parse(data)
    header = packet.header
    if not isinstance(header, wire.Reply):
        raise WireError("no registration reply")
    try:
        # 1 accepts as well: without simultaneous bindings, which nobody asked for
        code = Code(header.code) if header.code != 1 else Code.ACCEPTED
    except ValueError:
        code = Code.HA_UNSPECIFIED if header.code >= Code.HA_UNSPECIFIED else Code.FA_PROHIBITED
    proof = packet.find(wire.MN_HA)
    if proof is not None and not home.holds(packet, proof):
        raise WireError("the reply is not the home agent's")
    if proof is None and code is Code.ACCEPTED:
        raise WireError("an acceptance that home has not signed")
    nai = packet.find(wire.NAI)
    name = nai.body.decode(errors="replace") if nai is not None else ""
    return RegRep(name, header.identification, code, header.lifetime), proof is not None


def resynchronised(identification: int, now: int) -> int:
    """The identification of a reply with code 133: the seconds of this clock, the low half of the request's."""
    return now & ~_LOW | identification & _LOW


def refusal_at_home(request: RegReq, home: SecurityAssociation, now: int) -> Code | None:
    """What the home agent holds against a mobile's own packet; None where it is genuine. `now` is NTP64.

    Raises:
        WireError: where it is no packet at all.
    """
    packet = parse(request.packet)
    header, nai = packet.header, packet.find(wire.NAI)
    proof = packet.find(wire.MN_HA)
    if not isinstance(header, wire.Request) or nai is None or proof is None:
        raise WireError("no registration request of a mobile", Code.HA_AUTHENTICATION)
    if nai.body != request.nai.encode() or not home.holds(packet, proof):
        return Code.HA_AUTHENTICATION
    if header.identification != request.seq or header.lifetime != request.lifetime:
        # the foreign agent may hand on what the mobile says, and nothing else
        return Code.HA_AUTHENTICATION
    return None if abs(header.identification - now) <= _SKEW else Code.STALE


def genuine_at_aaah(request: RegReq, aaa: SecurityAssociation) -> bool:
    """Whether a mobile's packet has been made with its key with the AAAH (RFC 4721); False for what is no packet."""
    try:
        packet = parse(request.packet)
    except WireError:
        return False
    header, nai = packet.header, packet.find(wire.NAI)
    proof = packet.find(wire.GENERALISED, wire.MN_AAA)
    if not isinstance(header, wire.Request) or nai is None or proof is None:
        return False
    same = (nai.body, header.identification, header.lifetime) == (request.nai.encode(), request.seq, request.lifetime)
    return same and aaa.holds(packet, proof)
