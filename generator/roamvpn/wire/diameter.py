"""AMR, AMA, HAR and HAA as Diameter messages: RFC 4004 commands 260 and 262 of application 2, over RFC 6733.

Origin-Host of an AMR is the foreign agent (C6) and stays it when an AAAF relays; that AAAF is named by
MIP-Originating-Foreign-AAA (RFC 4004 section 7.5). The mobile's own request and its reply travel untouched in
MIP-Reg-Request and MIP-Reg-Reply; what machines need of them stands beside, in the enterprise's AVPs. One message is
about one user and one registration: there is no room on the wire for a second NAI or a second sequence.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import (
    Ama,
    Amr,
    Code,
    FrontEnd,
    Haa,
    Har,
    RegRep,
    RegReq,
    Result,
    ServiceUpdate,
)
from roamvpn.tables.types import parse_nai
from roamvpn.wire import diameter_avps as a
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter_frames import DiameterError, Header
from roamvpn.wire.diameter_identities import Identities
from roamvpn.wire.diameter_information import InformationCodec, read_instance, write_instance
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobileip_packet import GENERALISED, MN_AAA, parse

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.tables.network import Network
    from roamvpn.wire.diameter_avps import Reader, Writer

APPLICATION = 2
AA_MOBILE_NODE, HOME_AGENT_MIP = 260, 262
MAX_OLD_FAS = 64
MAX_PACKET = 4096
"""Octets of a Mobile IP packet that is carried."""
_MAX_PROXIES = 16
_SPI = 4
_NO_STATE_MAINTAINED = 1
_FRONT_ENDS = {FrontEnd.WEB: 1, FrontEnd.DIALLED: 2, FrontEnd.ONE_CLICK: 3}
_front_end = {number: front_end for front_end, number in _FRONT_ENDS.items()}.__getitem__

DiameterMessage = Amr | Ama | Har | Haa


class Asked(NamedTuple):
    """What an answer repeats of its request: the header's identifiers, Session-Id, and what proxies left."""

    header: Header
    session: bytes
    proxies: bytes = b""


class DiameterCodec:
    """Translates for the node `here` of a network; `vendor` is the enterprise of the AVPs that are ours."""

    def __init__(self, network: Network, here: str, vendor: int = a.ENTERPRISE) -> None:
        self.identities = Identities(network)
        self._here = here
        self._vendor = vendor
        self._information = InformationCodec(network, self.identities)
        origin = a.Writer(vendor).add(a.ORIGIN_HOST, self.identities.of(here))
        self._origin = origin.add(a.ORIGIN_REALM, self.identities.realm(here)).payload()
        application = a.Writer(vendor).add(a.AUTH_APPLICATION_ID, APPLICATION)
        self._application = application.payload()

    # to bytes

    def request(self, message: Amr | Har, to: str, end_to_end: int = 0) -> bytes:
        """An AMR, or a HAR for the home agent `to`; raises DiameterError where it would be too long.

        Names that the network does not have are left out, as a mobile may say what it likes.
        """
        _consistent(message, message.request)
        out = a.Writer(self._vendor)
        if isinstance(message, Amr):
            command = AA_MOBILE_NODE
            self._amr(out, message)
        else:
            command = HOME_AGENT_MIP
            self._har(out, message, to)
        self._registration(out, message.request, message.seq)
        header = Header(0, f.REQUEST | f.PROXIABLE, command, APPLICATION, 0, end_to_end)
        return f.pack_message(header, out.payload())

    def answer(self, message: Ama | Haa, asked: Asked) -> bytes:
        """The answer to a request."""
        _consistent(message, message.reply)
        out = a.Writer(self._vendor).raw(asked.session).raw(self._application)
        out.add(a.RESULT_CODE, int(message.result)).raw(self._origin)
        out.add(a.USER_NAME, message.nai)
        out.add(a.SEQUENCE, message.seq)
        if isinstance(message, Ama):
            command = AA_MOBILE_NODE
            out.add(a.REQUESTER, self.identities.of(message.origin))
            if message.authorized:
                out.add(a.AUTHORIZATION_LIFETIME, message.authorized)
            if message.information is not None:
                out.add(a.PROFILE_CACHE, self._cache(out, message.information, message.nai))
            out.all(a.PREVIOUS_FA, map(self.identities.of, message.old_fas))
        else:
            command = HOME_AGENT_MIP
            out.add(a.GENERATION, message.generation)
        if message.reply is not None:
            self._reply(out, message.reply)
        out.raw(asked.proxies)
        flags = asked.header.flags & f.PROXIABLE
        header = Header(0, flags, command, APPLICATION, asked.header.hop_by_hop, asked.header.end_to_end)
        return f.pack_message(header, out.payload())

    def refusal(self, request: bytes, error: DiameterError) -> bytes:
        """The answer to a request that does not hold."""
        return refusal(request, self._origin, error)

    def asked(self, request: bytes, reader: Reader | None = None) -> Asked:
        """What the answer will need; of a request that has been decoded."""
        reader = reader or a.Reader(request, self._vendor)
        return Asked(f.peek_header(request), reader.copies(a.SESSION_ID, 1), reader.copies(a.PROXY_INFO, _MAX_PROXIES))

    # from bytes

    def decode(self, raw: bytes, reader: Reader | None = None) -> DiameterMessage:
        """The message; `reader` are its AVPs, where they are read already.

        Raises DiameterError for whatever does not hold. An answer with the E bit, or with a result that machines do
        not know, is such an error with that result.
        """
        header = f.read_header(raw)
        if header.application != APPLICATION:
            raise DiameterError(f.APPLICATION_UNSUPPORTED, f"application {header.application}")
        if header.command not in (AA_MOBILE_NODE, HOME_AGENT_MIP):
            raise DiameterError(f.COMMAND_UNSUPPORTED, f"command {header.command}")
        reader = reader or a.Reader(raw, self._vendor)
        if not header.is_request:
            result = reader.one(a.RESULT_CODE)
            # who refuses without knowing our AVPs, as a relay does, says no more than that
            if header.is_error or result not in _RESULTS or (result != Result.SUCCESS and not reader.has(a.SEQUENCE)):
                raise DiameterError(result, "refused")
        reader.one(a.SESSION_ID)
        if reader.one(a.AUTH_APPLICATION_ID) != APPLICATION:
            raise reader.invalid(a.AUTH_APPLICATION_ID)
        nai, seq = reader.checked(a.USER_NAME, _nai), reader.one(a.SEQUENCE)
        if header.is_request:
            request = self._read_registration(reader, nai, seq)
            reader.one(a.DESTINATION_REALM)
            if header.command == AA_MOBILE_NODE:
                return self._read_amr(reader, nai, seq, request)
            origin = reader.checked(a.ORIGIN_HOST, self.identities.server)
            return Har(nai, seq, origin, request, self._read_cache(reader, nai))
        result, reply = _RESULTS[result], self._read_reply(reader, nai, seq)
        if header.command == HOME_AGENT_MIP:
            if reply is None:
                raise reader.missing(a.REGISTRATION_REPLY)
            return Haa(nai, seq, result, reply, reader.one(a.GENERATION))
        return Ama(
            nai,
            seq,
            reader.checked(a.REQUESTER, self.identities.gateway),
            result,
            self._read_cache(reader, nai),
            reader.all_checked(a.PREVIOUS_FA, MAX_OLD_FAS, self.identities.gateway),
            reply,
            reader.maybe(a.AUTHORIZATION_LIFETIME) or 0,
        )

    # the parts of requests

    def _amr(self, out: Writer, amr: Amr) -> None:
        identities = self.identities
        host, realm = identities.of(amr.origin), identities.realm(amr.origin)
        out.add(a.SESSION_ID, f"{host};{amr.seq >> 32};{amr.seq & 0xFFFFFFFF};{amr.nai}").raw(self._application)
        out.add(a.USER_NAME, amr.nai)
        out.add(a.DESTINATION_REALM, amr.nai.rpartition("@")[2])
        out.add(a.ORIGIN_HOST, host).add(a.ORIGIN_REALM, realm)
        if amr.request.packet:
            out.add(a.MIP_MN_AAA_AUTH, _mn_aaa_auth(out.group(), amr.request.packet))
        if amr.relay is not None:
            relay = out.group().add(a.ORIGIN_REALM, identities.realm(amr.relay))
            out.add(a.MIP_ORIGINATING_FOREIGN_AAA, relay.add(a.ORIGIN_HOST, identities.of(amr.relay)))
            # RFC 6733 section 6.7.1: whom the relay has it from
            out.add(a.ROUTE_RECORD, host)

    def _har(self, out: Writer, har: Har, to: str) -> None:
        identities = self.identities
        host = identities.of(har.origin)
        out.add(a.SESSION_ID, f"{host};{har.seq >> 32};{har.seq & 0xFFFFFFFF};{har.nai}").raw(self._application)
        out.add(a.AUTHORIZATION_LIFETIME, har.request.lifetime).add(a.AUTH_SESSION_STATE, _NO_STATE_MAINTAINED)
        out.add(a.ORIGIN_HOST, host).add(a.ORIGIN_REALM, identities.realm(har.origin))
        out.add(a.USER_NAME, har.nai)
        out.add(a.DESTINATION_REALM, identities.realm(to)).add(a.DESTINATION_HOST, identities.of(to))
        out.add(a.MIP_FEATURE_VECTOR, 0)
        if har.information is not None:
            out.add(a.MIP_MOBILE_NODE_ADDRESS, har.information.home_address)
            out.add(a.PROFILE_CACHE, self._cache(out, har.information, har.nai))

    def _registration(self, out: Writer, request: RegReq, seq: int) -> None:
        identities = self.identities
        if request.packet:
            out.add(a.MIP_REG_REQUEST, request.packet)
        if identities.knows(request.home_agent):
            # the home agent's own realm and host, not those of who sends this
            host = out.group().add(a.ORIGIN_REALM, identities.realm(request.home_agent))
            out.add(a.MIP_HOME_AGENT_HOST, host.add(a.ORIGIN_HOST, identities.of(request.home_agent)))
        out.add(a.SEQUENCE, seq).add(a.LIFETIME, request.lifetime)
        if request.old_fa is not None and identities.knows(request.old_fa):
            out.add(a.PREVIOUS_FA, identities.of(request.old_fa))
        if request.update is not None:
            out.add(a.SERVICE_UPDATE, _FRONT_ENDS[request.update.front_end])
        if request.answered:
            out.add(a.ANSWERED, request.answered)
        if request.care_of is not None:
            out.add(a.CARE_OF, identities.of(request.care_of))
        if request.held is not None:
            out.add(a.HELD_INSTANCE, write_instance(out.group(), request.held))

    def _read_amr(self, reader: Reader, nai: str, seq: int, request: RegReq) -> Amr:
        group = reader.maybe(a.MIP_ORIGINATING_FOREIGN_AAA)
        relay = group.checked(a.ORIGIN_HOST, self.identities.server) if group is not None else None
        return Amr(nai, seq, reader.checked(a.ORIGIN_HOST, self.identities.gateway), request, relay)

    def _read_registration(self, reader: Reader, nai: str, seq: int) -> RegReq:
        gateway = self.identities.gateway
        home_agent = reader.maybe(a.MIP_HOME_AGENT_HOST)
        held = reader.maybe(a.HELD_INSTANCE)
        front_end = reader.maybe_checked(a.SERVICE_UPDATE, _front_end)
        return RegReq(
            nai,
            seq,
            home_agent.checked(a.ORIGIN_HOST, gateway) if home_agent is not None else "",
            reader.checked(a.LIFETIME, _lifetime),
            reader.maybe_checked(a.PREVIOUS_FA, gateway),
            ServiceUpdate(front_end) if front_end is not None else None,
            reader.maybe(a.ANSWERED) or 0,
            reader.maybe_checked(a.CARE_OF, gateway),
            read_instance(held) if held is not None else None,
            reader.maybe_checked(a.MIP_REG_REQUEST, _packet) or b"",
        )

    # the parts of answers

    def _reply(self, out: Writer, reply: RegRep) -> None:
        if reply.packet:
            out.add(a.MIP_REG_REPLY, reply.packet)
        group = out.group().add(a.REPLY_CODE, int(reply.code)).add(a.LIFETIME, reply.lifetime)
        out.add(a.REGISTRATION_REPLY, group.all(a.PREVIOUS_FA, map(self.identities.of, reply.old_fas)))

    def _read_reply(self, reader: Reader, nai: str, seq: int) -> RegRep | None:
        group = reader.maybe(a.REGISTRATION_REPLY)
        packet = reader.maybe_checked(a.MIP_REG_REPLY, _packet) or b""
        if group is None:
            return None
        return RegRep(
            nai,
            seq,
            group.checked(a.REPLY_CODE, Code),
            group.checked(a.LIFETIME, _lifetime),
            group.all_checked(a.PREVIOUS_FA, MAX_OLD_FAS, self.identities.gateway),
            packet,
        )

    # what both have

    def _cache(self, out: Writer, information: VpnInformation, nai: str) -> Writer:
        if information.nai != nai or any(each.nai != nai for each in information.segments):
            raise ValueError("a message holds VPN information of its own user only")
        return self._information.write(out.group(), information)

    def _read_cache(self, reader: Reader, nai: str) -> VpnInformation | None:
        group = reader.maybe(a.PROFILE_CACHE)
        return self._information.read(group, nai) if group is not None else None


def refusal(request: bytes, origin: bytes, error: DiameterError) -> bytes:
    """The answer that an error is due (RFC 6733 section 7.2); `origin` are our Origin-Host and Origin-Realm AVPs.

    The request need not hold: of its AVPs, those up to the first that cannot be read are looked at.
    """
    header = f.peek_header(request)
    session = b""
    proxies: list[bytes] = []
    with suppress(DiameterError):
        for each in f.walk(request):
            if each.vendor:
                continue
            if each.code == a.SESSION_ID.code and not session:
                session = f.copy_of(request, each.start, each.end)
            elif each.code == a.PROXY_INFO.code and len(proxies) < _MAX_PROXIES:
                proxies.append(f.copy_of(request, each.start, each.end))
    out = a.Writer(0).raw(session).add(a.RESULT_CODE, error.result).raw(origin).add(a.ERROR_MESSAGE, str(error))
    # what is longer than an AVP that we would take ourselves says nothing to anybody
    if error.failed and len(error.failed) <= MAX_PACKET:
        out.raw(f.pack_avp(a.FAILED_AVP.code, error.failed))
    flags = header.flags & f.PROXIABLE | (f.ERROR if error.is_protocol_error else 0)
    return f.pack_message(header._replace(flags=flags), out.raw(b"".join(proxies)).payload())


def _mn_aaa_auth(out: Writer, packet: bytes) -> Writer | None:
    """Where in the mobile's request its authenticator for the AAAH stands (RFC 4004 section 7.6); None without one."""
    try:
        proof = parse(packet).find(GENERALISED, MN_AAA)
    except WireError:
        return None
    if proof is None or len(proof.body) < _SPI:
        return None
    # what it covers ends with the SPI, behind which it stands (RFC 4721 section 5)
    offset = proof.value + _SPI
    out.add(a.MIP_MN_AAA_SPI, int.from_bytes(proof.body[:_SPI])).add(a.MIP_AUTH_INPUT_DATA_LENGTH, offset)
    out.add(a.MIP_AUTHENTICATOR_LENGTH, len(proof.body) - _SPI)
    return out.add(a.MIP_AUTHENTICATOR_OFFSET, offset)


def _consistent(message: DiameterMessage, embedded: RegReq | RegRep | None) -> None:
    if embedded is not None and (embedded.nai, embedded.seq) != (message.nai, message.seq):
        raise ValueError("a message is about one user and one registration")


def _nai(text: str) -> str:
    return sys.intern(parse_nai(text))


def _lifetime(seconds: int) -> int:
    if seconds > 0xFFFF:
        raise ValueError("longer than Mobile IP can say")
    return seconds


def _packet(octets: bytes) -> bytes:
    if len(octets) > MAX_PACKET:
        raise ValueError("no Mobile IP packet")
    return octets


_RESULTS = {int(result): result for result in Result}
