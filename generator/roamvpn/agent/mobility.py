"""Mobile IP at an agent: the socket, and at a home agent what it verifies of mobiles and signs for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.agent.udp import MobileIpSocket
from roamvpn.daemon.entropy import system_entropy
from roamvpn.policy.mobility_keys import Verifier, mobile_key, mobile_spi
from roamvpn.signalling.messages import Address, Code, Haa, Har, NodeRole, RegRep, RegReq, Result
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobile import refusal_at_home, reply_packet
from roamvpn.wire.mobileip import MobileIpCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from roamvpn.agent.config import Setup
    from roamvpn.daemon.clock import Clock
    from roamvpn.daemon.metrics import Metrics
    from roamvpn.daemon.runtime import Transport
    from roamvpn.signalling.messages import Event, Message
    from roamvpn.signalling.node import Node


class Mobility:
    """The runtime's transport for registrations and binding updates. `receive` gets what has come and holds."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it stands between
        self,
        setup: Setup,
        node: Node,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: Metrics,
        receive: Callable[[NodeRole, Event], object],
    ) -> None:
        self._here = Address(NodeRole.HA, setup.config.name)
        self._address = setup.network.gateways[setup.config.name].address
        self._node = node
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._receive = receive
        self._root = setup.keyring.mobiles
        self._diameter: Transport | None = None
        associations = {
            name: SecurityAssociation(each.spi, each.key) for name, each in setup.keyring.associations.items()
        }
        codec = MobileIpCodec(setup.network, setup.config.name, associations)
        self.socket = MobileIpSocket(codec, setup.network, system_entropy, log, metrics, self.received)

    def send(self, here: Address, to: Address, message: Message) -> None:
        """As the runtime asks; a reply of this home agent is signed for its mobile first."""
        if here.role is NodeRole.HA and isinstance(message, RegRep):
            message = self._signed(message)
        self.socket.send(here, to, message)

    def over(self, diameter: Transport) -> Transport:
        """Diameter as this home agent's machine uses it: replies in HAAs are signed, and so are refusals of HARs."""
        self._diameter = _Signing(self._signed, diameter)
        return self._diameter

    def received(self, role: NodeRole, message: Event) -> bool:
        """A message from either wire; what a mobile's home agent must verify is verified here."""
        if role is NodeRole.HA and isinstance(message, RegReq | Har):
            request = message.request if isinstance(message, Har) else message
            refusal = self._refusal(request)
            if refusal is not None:
                self._refuse(message, refusal)
                return True
        return bool(self._receive(role, message))

    def _refusal(self, request: RegReq) -> RegRep | None:
        """What is to be answered to a request that is not the mobile's own; None where all is well.

        A request without a packet came from a trigger that the foreign agent vouches for, such as RADIUS.
        """
        association = self._association(request.nai)
        if not request.packet or association is None:
            return None
        try:
            code = refusal_at_home(request, association, self._clock.ntp())
        except WireError as error:
            self._log.warning("refused", nai=request.nai, reason=str(error))
            code = Code.HA_AUTHENTICATION
        if code is None:
            return None
        self._metrics.refused.labels("mobile").inc()
        self._log.warning("refused", nai=request.nai, seq=request.seq, code=int(code))
        # the mobile learns the clock by which it is judged (RFC 5944 section 5.7.1)
        return self._signed(RegRep(request.nai, request.seq, code))

    def _refuse(self, message: RegReq | Har, reply: RegRep) -> None:
        if isinstance(message, Har):
            haa = Haa(message.nai, message.seq, Result.MIP_REPLY_FAILURE, reply)
            if self._diameter is not None:
                self._diameter.send(self._here, Address(NodeRole.AAAH, message.origin), haa)
        else:
            self.socket.send(self._here, Address(NodeRole.FA, message.care_of or ""), reply)

    def _association(self, nai: str) -> SecurityAssociation | None:
        if self._root is None:
            return None
        key = mobile_key(self._root, nai)
        return SecurityAssociation(mobile_spi(Verifier.HOME_AGENT), key, Algorithm.MD5)

    def _signed(self, reply: RegRep) -> RegRep:
        association = self._association(reply.nai)
        if association is None or reply.packet:
            return reply
        entry = self._node.tables.get(NodeRole.HA, {}).get(reply.nai)
        information = entry.information if entry is not None else None
        home = information.home_address if information is not None else "0.0.0.0"  # noqa: S104 - not known
        return reply._replace(packet=reply_packet(reply, home, self._address, association, self._clock.ntp()))


class _Signing:
    """A transport that signs the replies which HAAs embed."""

    def __init__(self, sign: Callable[[RegRep], RegRep], transport: Transport) -> None:
        self._sign = sign
        self._transport = transport

    def send(self, here: Address, to: Address, message: Message) -> None:
        """As the runtime asks."""
        if isinstance(message, Haa):
            message = message._replace(reply=self._sign(message.reply))
        self._transport.send(here, to, message)
