"""Registrations and binding updates as Mobile IPv4 packets: between mobiles and agents, and among agents.

What a mobile sends and gets is RFC 5944 with RFC 2794 (NAI), RFC 4721 (MN-AAA) and two extensions of ours that others
skip. What agents send each other has the header, NAI and authenticator of RFC 5944 or optim-09, and in a vendor's
critical extension the whole message, encrypted: sessions, generations and keys are nobody else's affair.

Nothing here stops a replay: machines change nothing that is newer. A binding update that is sent again can but prolong,
or set up once more for its lifetime, a VPN of which its receiver has heard nothing newer.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from roamvpn.signalling.codec import decode as row_of
from roamvpn.signalling.codec import encode as text_of
from roamvpn.signalling.messages import Address, Ba, Br, Bu, Code, FrontEnd, NodeRole, RegRep, RegReq, ServiceUpdate
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.types import Role, parse_nai
from roamvpn.wire import mobileip_packet as wire
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobileip_checks import Checker
from roamvpn.wire.mobileip_packet import extension_bytes, header_bytes, parse, parse_header, vendor_bytes, vendor_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roamvpn.policy.keys import Entropy
    from roamvpn.signalling.messages import Message
    from roamvpn.tables.network import Network
    from roamvpn.wire.authentication import SecurityAssociation
    from roamvpn.wire.mobileip_packet import Extension, Packet, TypeNumbers

ENTERPRISE = 32473
"""Private enterprise number reserved for documentation (RFC 5612), until a site has its own."""
SERVICE_UPDATE, ANSWERED, _MESSAGE = 1, 2, 16
"""Our own extensions: of mobiles, skippable; among agents, critical."""
FRONT_ENDS = (FrontEnd.WEB, FrontEnd.DIALLED, FrontEnd.ONE_CLICK)
_NOWHERE = "0.0.0.0"  # noqa: S104 - an address that is not known
_NONCE = 12
_MAX_MESSAGE = 256 * 1024
_KINDS: dict[type[Any], type[Any]] = {
    RegReq: wire.Request,
    RegRep: wire.Reply,
    Bu: wire.BindingUpdate,
    Ba: wire.BindingAcknowledge,
    Br: wire.BindingRequest,
}
_MESSAGES = {header: message for message, header in _KINDS.items()}


class Received(NamedTuple):
    """A message that was understood: who sent it, and for which role here it is."""

    role: NodeRole
    sender: Address
    message: Message


class MobileIpCodec:
    """One agent's. `associations` are those with other agents, by their names."""

    def __init__(
        self,
        network: Network,
        here: str,
        associations: Mapping[str, SecurityAssociation],
        vendor: int = ENTERPRISE,
        numbers: TypeNumbers = wire.USUAL,
    ) -> None:
        self._here = here
        self._vendor = vendor
        self._numbers = numbers
        self._associations = dict(associations)
        self._ciphers = {name: AESGCM(each.secret_for("binding update")) for name, each in associations.items()}
        self._addresses = {name: gateway.address for name, gateway in network.gateways.items()}
        self._names = {address: name for name, address in self._addresses.items()}
        self._roles = {
            name: {NodeRole(str(r)) for r in g.roles if r is not Role.STATIC} for name, g in network.gateways.items()
        }
        self._mine = self._roles[here]
        self._checker = Checker(network)

    # out

    def encode(self, to: Address, message: Message, entropy: Entropy) -> bytes:
        """The bytes for an agent or a mobile; `entropy` draws the nonce. Raises WireError."""
        if to.role is NodeRole.MN:
            if type(message) is not RegRep:
                raise WireError(f"a mobile gets no {type(message).__name__}")
            return message.packet or self._own_reply(message)
        association = self._associations.get(to.name)
        if association is None:
            raise WireError(f"{to.name}: there is no security association with it")
        head = self._head(message)
        sealed = self._sealed(to.name, head, message, entropy)
        data = association.authenticated(head + sealed, wire.FA_HA)
        if len(data) > wire.MAX_BYTES:
            raise WireError(f"{type(message).__name__} of {message.nai}: {len(data)} bytes do not fit into a datagram")
        return data

    def _own_reply(self, reply: RegRep) -> bytes:
        header = wire.Reply(reply.code, min(reply.lifetime, 0xFFFF), _NOWHERE, self._addresses[self._here], reply.seq)
        return header_bytes(header) + extension_bytes(wire.NAI, reply.nai.encode())

    def _head(self, message: Message) -> bytes:
        """What others can read: the header, and whom it is about."""
        here = self._addresses[self._here]
        header: wire.Header
        if isinstance(message, RegReq):
            if message.packet:
                return message.packet
            home_agent, care_of = self._address(message.home_agent), self._address(message.care_of or self._here)
            header = wire.Request(0, message.lifetime, _NOWHERE, home_agent, care_of, message.seq)
        elif isinstance(message, RegRep):
            if message.packet:
                return message.packet
            header = wire.Reply(message.code, message.lifetime, _NOWHERE, here, message.seq)
        elif isinstance(message, Bu):
            flags = wire.FLAG_ACKNOWLEDGE | wire.FLAG_IDENTIFICATION
            information = message.information
            home = information.home_address if information is not None else _NOWHERE
            care_of = self._address(information.foreign_agent) if information is not None else home
            header = wire.BindingUpdate(flags, min(message.lifetime, 0xFFFF), home, care_of, message.seq)
        elif isinstance(message, Ba):
            header = wire.BindingAcknowledge(message.status, _NOWHERE, message.seq)
        elif isinstance(message, Br):
            header = wire.BindingRequest(_NOWHERE, 0)
        else:
            raise WireError(f"{type(message).__name__} is no message of Mobile IP")
        return header_bytes(header, self._numbers) + extension_bytes(wire.NAI, message.nai.encode())

    def _address(self, name: str) -> str:
        return self._addresses.get(name, _NOWHERE)

    def _sealed(self, to: str, head: bytes, message: Message, entropy: Entropy) -> bytes:
        bare = message._replace(packet=b"") if isinstance(message, RegReq | RegRep) else message
        if isinstance(bare, RegReq) and bare.old_fa not in self._addresses:
            # whoever said so, there is none of that name (G26)
            bare = bare._replace(old_fa=None)
        text = zlib.compress(text_of(bare).encode(), 1)
        nonce = entropy(f"mobile ip nonce {to}", _NONCE)
        # who sent it to whom is part of what the key vouches for, so that nothing can be sent back
        context = f"{self._here}>{to}".encode()
        return vendor_bytes(
            self._vendor, _MESSAGE, nonce + self._ciphers[to].encrypt(nonce, text, context + head), critical=True
        )

    # in

    def decode(self, data: bytes, source: str, local: str | None = None) -> Received:
        """A message from its bytes and the address that it came from.

        A mobile must name this agent as its care-of address, be it by its address in the network or by the `local` one
        that it sent to: else its request could be caught and handed to another agent.

        Raises:
            WireError: for anything that is not as it must be; with an `answer` where a mobile is owed one.
        """
        header, _ = parse_header(data, self._numbers)
        try:
            packet = parse(data, self._numbers)
            sealed = self._sealed_in(packet)
            if sealed is None:
                return self._from_mobile(packet, local)
        except WireError as error:
            if error.code is not None and isinstance(header, wire.Request) and NodeRole.FA in self._mine:
                refused = wire.Reply(error.code, 0, header.home, header.home_agent, header.identification)
                error.answer = header_bytes(refused)
            raise
        return self._from_agent(packet, sealed, self._names.get(source, ""))

    def _sealed_in(self, packet: Packet) -> Extension | None:
        """What an agent has sealed for this one; None where a mobile speaks."""
        for each in packet.extensions:
            if each.kind == wire.CVSE:
                if vendor_data(each)[:2] != (self._vendor, _MESSAGE):
                    # critical, so the message is discarded (RFC 3115 section 2)
                    raise WireError("a critical extension of a vendor that we do not know")
                return each
        return None

    def _from_agent(self, packet: Packet, sealed: Extension, sender: str) -> Received:
        association = self._associations.get(sender)
        proof = packet.extensions[-1]
        if association is None or proof.kind != wire.FA_HA or not association.holds(packet, proof):
            raise WireError("it is not from an agent that we know")
        head = packet.data[: sealed.start]
        kind = _MESSAGES[type(packet.header)]
        message = self._opened(kind, vendor_data(sealed)[2], sender, head)
        if isinstance(message, RegReq | RegRep) and parse(head, self._numbers).find(wire.MN_HA) is not None:
            message = message._replace(packet=head)
        if not isinstance(message, Br) and not _same_registration(packet.header, message):
            raise WireError("header and content are of different registrations")
        self._checker.check(message)
        role = self._role(sender, message)
        if isinstance(message, Bu | Ba | Br):
            return Received(role, message.sender, message)
        return Received(role, Address(NodeRole.FA if role is NodeRole.HA else NodeRole.HA, sender), message)

    def _opened(self, kind: type[Any], secret: bytes, sender: str, head: bytes) -> Any:  # noqa: ANN401 - of that kind
        nonce, encrypted = secret[:_NONCE], secret[_NONCE:]
        context = f"{sender}>{self._here}".encode()
        try:
            text = self._ciphers[sender].decrypt(nonce, encrypted, context + head)
            inflate = zlib.decompressobj()
            plain = inflate.decompress(text, _MAX_MESSAGE)
            if not inflate.eof:
                raise WireError("a message that does not end")
            return row_of(kind, plain.decode())
        except (InvalidTag, ValueError, zlib.error, RoamvpnError) as error:
            # never the text: it may hold keys
            raise WireError(f"a {kind.__name__} that cannot be read ({type(error).__name__})") from None

    def _role(self, sender: str, message: Message) -> NodeRole:
        """For whom a message of that agent is, which must be what the agent may send."""
        roles, role = self._roles[sender], None
        if isinstance(message, RegReq) and message.care_of == sender and NodeRole.FA in roles:
            role = NodeRole.HA
        elif isinstance(message, RegRep) and NodeRole.HA in roles:
            role = NodeRole.FA
        elif isinstance(message, Bu | Ba | Br) and message.sender.name == sender and message.sender.role in roles:
            role = _RECEIVERS.get((type(message), message.sender.role))
        if role is None or role not in self._mine:
            raise WireError(f"{sender} may not send this {type(message).__name__} here")
        return role

    # mobiles

    def _from_mobile(self, packet: Packet, local: str | None) -> Received:
        header = packet.header
        if not isinstance(header, wire.Request) or NodeRole.FA not in self._mine:
            raise WireError(f"{type(header).__name__} without what agents send")
        nai = packet.find(wire.NAI)
        if nai is None:
            raise WireError("a request without NAI", 97)
        try:
            user = parse_nai(nai.body.decode())
        except ValueError:
            raise WireError("the NAI is none", wire.POORLY_FORMED_FA) from None
        if header.home == _NOWHERE:
            raise WireError(f"{user}: a request without home address", 99)
        if local is not None and header.care_of not in (local, self._addresses[self._here]):
            raise WireError(f"{user}: {header.care_of} is not a care-of address of this agent", 77)
        home_agent = self._names.get(header.home_agent)
        if home_agent is None:
            code = 98 if header.home_agent == _NOWHERE else Code.HA_UNREACHABLE
            raise WireError(f"{user}: {header.home_agent} is no home agent that we know", code)
        proof = packet.find(wire.MN_HA)
        if proof is None:
            raise WireError(f"{user}: a request without MN-HA authentication", Code.FA_AUTHENTICATION)
        # what comes later is nobody's word: anybody could have put it there
        said = packet._replace(extensions=tuple([each for each in packet.extensions if each.start < proof.start]))
        if nai.start > proof.start:
            raise WireError(f"{user}: the NAI is not authenticated", wire.POORLY_FORMED_FA)
        update, answered = self._ours(said)
        asked = (user, header.identification, home_agent, header.lifetime)
        request = RegReq(*asked, self._old_fa(said), update, answered, packet=packet.data)
        return Received(NodeRole.FA, Address(NodeRole.MN, user), request)

    def _old_fa(self, packet: Packet) -> str | None:
        """The previous foreign agent that the mobile names (optim-09 section 5.6); an unknown one is none (G26)."""
        found = packet.find(wire.PREVIOUS_FA)
        if found is None:
            return None
        if len(found.body) < 14:
            raise WireError("the previous foreign agent notification is cut off", wire.POORLY_FORMED_FA)
        return self._names.get(wire.dotted(found.body[2:6]))

    def _ours(self, packet: Packet) -> tuple[ServiceUpdate | None, int]:
        update, answered = None, 0
        for each in packet.extensions:
            if each.kind != wire.NVSE:
                continue
            vendor, number, data = vendor_data(each)
            if (vendor, number) == (self._vendor, SERVICE_UPDATE) and len(data) == 1 and data[0] < len(FRONT_ENDS):
                update = ServiceUpdate(FRONT_ENDS[data[0]])
            elif (vendor, number) == (self._vendor, ANSWERED) and len(data) == 8:
                answered = int.from_bytes(data)
        return update, answered


def _same_registration(header: wire.Header, message: RegReq | RegRep | Bu | Ba) -> bool:
    if isinstance(message, RegRep) and message.code is Code.STALE:
        # whose high half is the home agent's clock
        return (header.identification ^ message.seq) & 0xFFFFFFFF == 0
    return header.identification == message.seq


_RECEIVERS = {
    (Bu, NodeRole.HA): NodeRole.PCN,
    (Bu, NodeRole.FA): NodeRole.FA,
    (Ba, NodeRole.PCN): NodeRole.HA,
    (Ba, NodeRole.FA): NodeRole.FA,
    (Br, NodeRole.PCN): NodeRole.HA,
}
