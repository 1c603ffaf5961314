"""Between a node's machines and Diameter: AMR and HAR become requests, AMA and HAA the answers to those that wait.

Who may say what is decided here, by the identity that a peer has proved: a foreign agent speaks for itself, the AAA
server of its domain for it, and a relay, which is no node of the network, hands on what it had from them, as its
Route-Record says. Otherwise a gateway could claim to be another one, or a domain, and be given its keys.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.daemon.diameter.node import DiameterNode
from roamvpn.daemon.diameter.requests import Undelivered
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.messages import Ama, Amr, Code, Haa, Har, NodeRole, RegRep, Result
from roamvpn.wire import diameter_avps as a
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter import AA_MOBILE_NODE, DiameterCodec
from roamvpn.wire.diameter_frames import DiameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.diameter.requests import Answer, Request
    from roamvpn.daemon.diameter.settings import DiameterConfig, Limits
    from roamvpn.daemon.metrics import Metrics
    from roamvpn.signalling.messages import Address, Event, Message
    from roamvpn.tables.network import Network

_ROUTE_RECORDS = 64


class _Key(NamedTuple):
    """Which request an answer is for: a foreign agent is never told what another one asked."""

    kind: type
    nai: str
    seq: int
    origin: str


class DiameterTransport:
    """The runtime's transport for AMR, AMA, HAR and HAA. Start and stop its `node`."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        network: Network,
        here: str,
        roles: Collection[NodeRole],
        config: DiameterConfig,
        receive: Callable[[NodeRole, Event], bool],
        *,
        log: FilteringBoundLogger,
        metrics: Metrics,
        verify: Callable[[Amr], bool] = lambda _: True,
        limits: Limits | None = None,
    ) -> None:
        """`verify` says whether the mobile's own authenticators hold, where the AAAH can tell."""
        self.codec = DiameterCodec(network, here, config.vendor)
        self._network = network
        self._here = here
        self._roles = frozenset(roles)
        self._directory = Directory(network)
        self._receive = receive
        self._verify = verify
        self._timeout = config.timeout
        self._log = log
        self._dropped = metrics.counter("diameter_dropped", "Messages without a place to go.", "why")
        self._waiting: dict[_Key, Request] = {}
        identities = self.codec.identities
        self.node = DiameterNode(
            identities.of(here),
            identities.realm(here),
            config.peers,
            self._request,
            log=log,
            metrics=metrics,
            listen=config.listen,
            tls=config.tls,
            admit=self._admit,
            vendor=config.vendor,
            limits=limits or config.limits(),
        )

    # what machines send

    def send(self, here: Address, to: Address, message: Message) -> None:
        """Never raises; what has no way is answered at once as by a peer that cannot deliver."""
        try:
            if isinstance(message, Amr | Har):
                self._ask(here.role, to.name, message)
            elif isinstance(message, Ama | Haa):
                self._answer(message)
            else:
                self._drop("no Diameter message", message)
        except (DiameterError, ValueError, KeyError, OverflowError, struct.error) as error:
            reason = str(error) if isinstance(error, DiameterError) else type(error).__name__
            self._log.error("cannot be sent", to=str(to), what=type(message).__name__, nai=message.nai, reason=reason)
            self._drop("cannot be sent", message)
            if isinstance(message, Amr | Har):
                self._failed(here.role, message, Result.UNABLE_TO_COMPLY)

    def _ask(self, role: NodeRole, to: str, message: Amr | Har) -> None:
        raw = self.codec.request(message, to)
        end_to_end = None
        if isinstance(message, Amr):
            realm = message.nai.rpartition("@")[2]
            asked = self._waiting.get(_Key(Amr, message.nai, message.seq, message.origin))
            if asked is not None:
                # section 6.1.9: who hands a request on leaves its end-to-end identifier
                end_to_end = asked.header.end_to_end
        else:
            realm = self.codec.identities.realm(to)

        def on_answer(answer: Answer) -> None:
            self._answered(role, message, answer)

        host = self.codec.identities.of(to)
        self.node.send(raw, realm, on_answer, self._timeout, host=host, end_to_end=end_to_end)

    def _answer(self, message: Ama | Haa) -> None:
        if isinstance(message, Ama):
            key = _Key(Amr, message.nai, message.seq, message.origin)
        else:
            key = _Key(Har, message.nai, message.seq, "")
        request = self._waiting.get(key)
        if request is None:
            self._drop("answer that nobody waits for", message)
            return
        request.answer(self.codec.answer(message, self.codec.asked(request.raw, request.reader)))

    # what comes back

    def _answered(self, role: NodeRole, message: Amr | Har, answer: Answer) -> None:
        if answer is Undelivered.TIMEOUT:
            # machines have deadlines of their own
            self._drop("no answer in time", message)
            return
        if isinstance(answer, Undelivered):
            self._log.warning("undelivered", what=type(message).__name__, nai=message.nai, reason=str(answer))
            self._failed(role, message, Result.UNABLE_TO_DELIVER)
            return
        try:
            found = self.codec.decode(answer)
        except DiameterError as error:
            self._log.warning("refused by a peer", what=type(message).__name__, nai=message.nai, reason=str(error))
            self._failed(role, message, _result(error.result))
            return
        fits = isinstance(found, Ama | Haa) and (found.nai, found.seq) == (message.nai, message.seq)
        if isinstance(message, Amr):
            fits = fits and isinstance(found, Ama) and found.origin == message.origin
        else:
            fits = fits and isinstance(found, Haa)
        if not fits:
            self._drop("answer to something else", message)
            return
        self._receive(role, found)

    def _failed(self, role: NodeRole, message: Amr | Har, result: Result) -> None:
        """The machine hears at once what else it would learn by waiting."""
        nai, seq = message.nai, message.seq
        if isinstance(message, Amr):
            self._receive(role, Ama(nai, seq, message.origin, result))
        else:
            self._receive(role, Haa(nai, seq, Result.HA_NOT_AVAILABLE, RegRep(nai, seq, Code.HA_UNREACHABLE)))

    # what peers send

    def _admit(self, request: Request) -> None:
        """Whether the peer may speak for who it says that asks; raises DiameterError (5003)."""
        speaker = request.origin
        if request.header.command == AA_MOBILE_NODE:
            relay = self._relay(request)
            if relay is not None:
                speaker = relay
        if request.peer == speaker:
            return
        # a relay adds whom it had the request from, by what that peer has proved; what stands before, anybody may write
        records = request.reader.all(a.ROUTE_RECORD, _ROUTE_RECORDS)
        if self.codec.identities.is_node(request.peer) or records[-1:] != [speaker]:
            raise DiameterError(f.AUTHORIZATION_REJECTED, f"{request.peer} does not speak for {speaker}")

    def _relay(self, request: Request) -> str | None:
        """The AAAF that has handed it on: one of the foreign agent's own domain, and never that agent itself."""
        group = request.reader.maybe(a.MIP_ORIGINATING_FOREIGN_AAA)
        if group is None:
            return None
        identities = self.codec.identities
        try:
            relay: str = group.one(a.ORIGIN_HOST)
            server, agent = identities.server(relay), identities.gateway(request.origin)
        except KeyError:
            raise DiameterError(f.AUTHORIZATION_REJECTED, "relayed by or for a stranger") from None
        if self._network.aaa_servers[server].domain != self._network.gateways[agent].domain:
            raise DiameterError(f.AUTHORIZATION_REJECTED, f"{relay} does not speak for {request.origin}")
        return relay

    def _request(self, request: Request) -> None:
        try:
            message = self.codec.decode(request.raw, request.reader)
            role = self._role(message)
        except DiameterError as error:
            self.node.refuse(request, error)
            return
        origin = message.origin if isinstance(message, Amr) else ""
        key = _Key(type(message), message.nai, message.seq, origin)
        if key in self._waiting:
            # the same registration anew, as by an agent that was restarted: who asked before has gone
            self._waiting[key].abandon()
        self._waiting[key] = request
        request.then = lambda: self._gone(key, request)
        if isinstance(message, Amr) and role is NodeRole.AAAH and not self._verify(message):
            self._log.warning("authenticators do not hold", nai=message.nai, origin=message.origin)
            self._answer(Ama(message.nai, message.seq, message.origin, Result.AUTHENTICATION_REJECTED))
        elif not self._receive(role, message):
            self.node.refuse(request, DiameterError(f.TOO_BUSY, "too much waits"))

    def _role(self, message: object) -> NodeRole:
        if isinstance(message, Har) and NodeRole.HA in self._roles:
            home = self._directory.aaah_of(message.nai)
            if home is None or home.name != message.origin:
                raise DiameterError(f.AUTHORIZATION_REJECTED, "not from the user's home")
            return NodeRole.HA
        if isinstance(message, Amr):
            home = self._directory.aaah_of(message.nai)
            if home is not None and home.name == self._here and NodeRole.AAAH in self._roles:
                return NodeRole.AAAH
            if NodeRole.AAAF in self._roles:
                agent = self._network.gateways[message.origin]
                if message.relay is not None or agent.domain != self._network.aaa_servers[self._here].domain:
                    raise DiameterError(f.AUTHORIZATION_REJECTED, "not a foreign agent of this domain")
                return NodeRole.AAAF
        raise DiameterError(f.COMMAND_UNSUPPORTED, "nothing that this node does")

    def _gone(self, key: _Key, request: Request) -> None:
        if self._waiting.get(key) is request:
            del self._waiting[key]

    def _drop(self, why: str, message: Message) -> None:
        self._dropped.labels(why).inc()
        self._log.info("dropped", what=type(message).__name__, nai=message.nai, why=why)


def _result(code: int) -> Result:
    """A result that machines know for one that they need not."""
    if code == f.AUTHORIZATION_REJECTED:
        return Result.AUTHENTICATION_REJECTED
    try:
        found = Result(code)
    except ValueError:
        return Result.UNABLE_TO_DELIVER if code // 1000 == 3 else Result.UNABLE_TO_COMPLY
    return found if found is not Result.SUCCESS else Result.UNABLE_TO_COMPLY
