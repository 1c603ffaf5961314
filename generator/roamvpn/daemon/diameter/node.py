"""A Diameter node: it keeps its peers, takes their requests, sends its own and sees that they are answered.

Requests are routed by host, then by realm, to peers in the order of the configuration. What a lost peer leaves
unanswered goes to another one with the T bit, or fails at once (RFC 6733 section 5.5.4).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from roamvpn.daemon.diameter.connection import Connection, State
from roamvpn.daemon.diameter.listener import Listener
from roamvpn.daemon.diameter.requests import Duplicates, Outgoing, Request, Undelivered
from roamvpn.daemon.diameter.settings import Limits
from roamvpn.tables.problems import RoamvpnError
from roamvpn.wire import diameter_avps as a
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter import AA_MOBILE_NODE, APPLICATION, HOME_AGENT_MIP, refusal
from roamvpn.wire.diameter_avps import Reader
from roamvpn.wire.diameter_base import BaseCodec, host_name
from roamvpn.wire.diameter_frames import DiameterError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.diameter.requests import Answer
    from roamvpn.daemon.diameter.settings import Listen, PeerConfig, TlsFiles
    from roamvpn.daemon.metrics import Metrics
    from roamvpn.wire.diameter_base import Capabilities
    from roamvpn.wire.diameter_frames import Header

_COMMANDS = (AA_MOBILE_NODE, HOME_AGENT_MIP)
_ROUTE_RECORDS = 64
_ANOTHER_PEER = (f.UNABLE_TO_DELIVER, f.TOO_BUSY)


class DiameterNode:
    """`on_request` gets each request once; `admit` says by DiameterError which may not be made at all."""

    def __init__(  # noqa: PLR0913 - what a node is made of
        self,
        identity: str,
        realm: str,
        peers: Sequence[PeerConfig],
        on_request: Callable[[Request], None],
        *,
        log: FilteringBoundLogger,
        metrics: Metrics,
        listen: Iterable[Listen] = (),
        tls: TlsFiles | None = None,
        admit: Callable[[Request], None] = lambda _: None,
        vendor: int = a.ENTERPRISE,
        limits: Limits = Limits(),  # noqa: B008 - a named tuple does not change
    ) -> None:
        self.identity = identity.lower()
        self._peers = {peer.identity: peer for peer in peers}
        self._on_request = on_request
        self._admit = admit
        self._log = log.bind(identity=self.identity)
        self._vendor = vendor
        self._limits = limits
        self._tls = tls
        self._listen = tuple(listen)
        self._codec = BaseCodec(self.identity, realm.lower(), APPLICATION, vendor, int(time.time()))
        self._seen = Duplicates()
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        self._under_way: dict[Request, float] = {}
        self._open: dict[str, Connection] = {}
        self._changed = asyncio.Event()
        self._connections: set[Connection] = set()
        self._listeners: list[Listener] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        # RFC 6733 section 3: the low bits of the time, and what nobody can guess
        self._end_to_end = (int(time.time()) & 0xFFF) << 20 | int.from_bytes(os.urandom(3)) & 0xFFFFF
        self._refused = metrics.counter("diameter_refused", "Diameter messages refused, by result.", "result")
        self._counted = metrics.counter("diameter", "What happens to Diameter messages.", "what")
        metrics.gauge("diameter_peers", "Diameter peers that are open.").set_function(lambda: len(self._open))

    # life

    async def start(self) -> None:
        """Listen, and connect to the peers that have an address; raises RoamvpnError, OSError."""
        self.renew()
        for listen in self._listen:
            listener = Listener(listen, self._inbound, self._server_context, self._limits, self._log)
            await listener.start()
            self._listeners.append(listener)
        for peer in self._peers.values():
            if peer.host is not None:
                self._keepers.append(asyncio.create_task(self._keep(peer), name=f"peer {peer.identity}"))

    def renew(self) -> None:
        """Read the TLS files again, for connections to come; raises RoamvpnError, and then those of before hold."""
        if self._tls is not None:
            self._contexts = (self._tls.context(server=True), self._tls.context(server=False))
        elif any(each.tls for each in self._listen) or any(peer.tls for peer in self._peers.values()):
            raise RoamvpnError("peers are to talk TLS, and there are no files for it")

    async def stop(self) -> None:
        """Take no more, tell the peers, let go (section 5.4)."""
        self._stopping = True
        for listener in self._listeners:
            await listener.stop()
        for keeper in self._keepers:
            keeper.cancel()
        connections = list(self._connections)
        await asyncio.gather(*[each.disconnect() for each in connections])
        for each in connections:
            each.close("not needed any more")
        await asyncio.gather(*[each.done.wait() for each in connections])
        await asyncio.gather(*self._keepers, return_exceptions=True)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens."""
        return tuple(listener.port for listener in self._listeners)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are open."""
        return tuple(sorted(self._open))

    async def connected(self, *identities: str) -> None:
        """Wait until these peers are open."""
        while not set(identities) <= set(self._open):
            self._changed.clear()
            await self._changed.wait()

    async def disconnected(self, identity: str) -> None:
        """Wait until that peer is not open."""
        while identity in self._open:
            self._changed.clear()
            await self._changed.wait()

    def _server_context(self) -> ssl.SSLContext | None:
        return self._contexts[0] if self._contexts is not None else None

    # connections

    def _inbound(self) -> Connection:
        return self._connection(None)

    def _connection(self, expected: str | None) -> Connection:
        connection = Connection(self, self._codec, APPLICATION, self._limits, self._log, expected=expected)
        self._connections.add(connection)
        return connection

    async def _keep(self, peer: PeerConfig) -> None:
        """Connect, and again when it is lost, with pauses that double."""
        loop, limits = asyncio.get_running_loop(), self._limits
        pause = limits.first_pause
        while not self._stopping:
            if peer.identity in self._open:
                # it came to us in the meantime
                await self.disconnected(peer.identity)
            connection = self._connection(peer.identity)
            secure = peer.tls and self._contexts is not None
            connecting = loop.create_connection(
                connection.itself,
                *peer.address,
                ssl=self._contexts[1] if secure and self._contexts is not None else None,
                server_hostname=peer.identity if secure else None,
                ssl_handshake_timeout=limits.handshake if secure else None,
            )
            try:
                await asyncio.wait_for(connecting, limits.handshake)
            except (OSError, TimeoutError) as error:
                reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
                connection.never(str(reason))
                self._log.info("cannot connect", peer=peer.identity, reason=str(reason), again_s=round(pause, 1))
            except asyncio.CancelledError:
                connection.never("stopped")
                raise
            else:
                started = loop.time()
                await connection.done.wait()
                if connection.identity and loop.time() - started > pause:
                    pause = limits.first_pause
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311 - jitter is no secret
            pause = min(pause * 2, limits.last_pause)

    def opened(self, connection: Connection, capabilities: Capabilities) -> None:
        """A peer whose capabilities hold; raises DiameterError where it is not to be talked to."""
        identity = capabilities.identity
        peer = self._peers.get(identity)
        if peer is None or self._stopping:
            raise DiameterError(f.UNKNOWN_PEER, "not a peer of ours")
        if peer.tls and not connection.encrypted:
            raise DiameterError(f.UNKNOWN_PEER, "this peer talks TLS")
        before = self._open.get(identity)
        if before is not None:
            # section 5.6.4: of two connections that met, the one stays whose initiator has the lower identity. Two by
            # the same side means that the older is dead and only we have not heard yet
            met = (before.expected is None) != (connection.expected is None)
            if met and (before.expected is not None) == (self.identity < identity):
                raise DiameterError(f.ELECTION_LOST, "another connection stands")
        self._open[identity] = connection
        if before is not None:
            before.abort("replaced by another connection")
        self._log.info("peer open", peer=identity, tls=connection.encrypted, address=connection.address)
        self._changed.set()

    def closed(self, connection: Connection, reason: str) -> None:
        """A connection is gone: what it leaves unanswered goes elsewhere."""
        self._connections.discard(connection)
        for listener in self._listeners:
            listener.released(connection)
        if self._open.get(connection.identity) is connection:
            del self._open[connection.identity]
            self._changed.set()
        if connection.stood:
            self._log.info("peer closed", peer=connection.peer, reason=reason)
        left = list(connection.pending.values())
        connection.pending.clear()
        for outgoing in left:
            outgoing.waits = [each for each in outgoing.waits if each[0] is not connection]
            if not outgoing.waits and not self._dispatch(outgoing):
                outgoing.finish(Undelivered.NO_PEER)

    # requests of peers

    def request(self, connection: Connection, raw: bytes, header: Header) -> None:
        """One that came: answered here if it may not be, or has been before; else handed on."""
        try:
            self._take(connection, raw, header)
        except DiameterError as error:
            self._refuse(connection, raw, error)

    def _take(self, connection: Connection, raw: bytes, header: Header) -> None:
        if header.application != APPLICATION:
            known = header.application == 0
            result = f.COMMAND_UNSUPPORTED if known else f.APPLICATION_UNSUPPORTED
            raise DiameterError(result, f"command {header.command} of application {header.application}")
        if header.command not in _COMMANDS:
            raise DiameterError(f.COMMAND_UNSUPPORTED, f"command {header.command}")
        reader = Reader(raw, self._vendor)
        if self.identity in reader.all(a.ROUTE_RECORD, _ROUTE_RECORDS):
            raise DiameterError(f.LOOP_DETECTED, "it has been here")
        host = reader.maybe(a.DESTINATION_HOST)
        if host not in (None, self.identity):
            raise DiameterError(f.UNABLE_TO_DELIVER, "for another host, and this is no relay")
        origin = reader.checked(a.ORIGIN_HOST, host_name)
        request = Request(raw, header, reader, connection.identity, origin, [], self._settled)
        self._admit(request)
        before = self._seen.find(request.key)
        if isinstance(before, bytes):
            self._counted.labels("duplicate answered again").inc()
            connection.send(f.with_ids(before, header.hop_by_hop, header.end_to_end))
        elif before is not None:
            self._counted.labels("duplicate under way").inc()
            before.asked_again(connection, header.hop_by_hop)
        elif connection.inbound >= self._limits.pending:
            raise DiameterError(f.TOO_BUSY, "too many requests wait for an answer")
        else:
            now = asyncio.get_running_loop().time()
            self._sweep(now)
            request.asked_again(connection, header.hop_by_hop)
            self._seen.add(request)
            self._under_way[request] = now
            self._on_request(request)

    def _settled(self, request: Request, raw: bytes | None) -> None:
        self._under_way.pop(request, None)
        if raw is None:
            self._seen.forget(request.key)
        else:
            self._seen.answered(request.key, raw)

    def _sweep(self, now: float) -> None:
        """Requests that nobody will answer any more, oldest first."""
        while self._under_way:
            request, since = next(iter(self._under_way.items()))
            if now - since < self._limits.answer:
                return
            self._counted.labels("never answered").inc()
            request.abandon()

    def refuse(self, request: Request, error: DiameterError) -> None:
        """Answer with an error; the same request may come again and be taken then."""
        self._log.warning("refused", peer=request.peer, origin=request.origin, reason=str(error))
        self._refused.labels(str(error.result)).inc()
        request.answer(refusal(request.raw, self._codec.origin, error))
        self._seen.forget(request.key)

    def _refuse(self, connection: Connection, raw: bytes, error: DiameterError) -> None:
        self._log.warning("refused", peer=connection.peer, reason=str(error))
        self._refused.labels(str(error.result)).inc()
        connection.send(refusal(raw, self._codec.origin, error))

    # requests of ours

    def next_end_to_end(self) -> int:
        """An end-to-end identifier that has not been used for long."""
        self._end_to_end = (self._end_to_end + 1) & 0xFFFFFFFF
        return self._end_to_end

    def send(  # noqa: PLR0913 - a request, where to, and what then
        self,
        raw: bytes,
        realm: str,
        on_answer: Callable[[Answer], None],
        timeout: float,
        *,
        host: str | None = None,
        end_to_end: int | None = None,
    ) -> None:
        """Send a request to a host or into a realm; `on_answer` is called once, at once if there is no way."""
        identifier = end_to_end if end_to_end is not None else self.next_end_to_end()
        outgoing = Outgoing(raw, identifier, host, realm, on_answer)
        if not self._dispatch(outgoing):
            self._counted.labels("undelivered").inc()
            outgoing.finish(Undelivered.NO_PEER)
            return
        if outgoing.done:
            return
        loop, again = asyncio.get_running_loop(), self._limits.again
        if again < timeout:
            outgoing.timer = loop.call_later(again, self._again, outgoing, timeout - again)
        else:
            outgoing.timer = loop.call_later(timeout, outgoing.finish, Undelivered.TIMEOUT)

    def answer(self, connection: Connection, raw: bytes, header: Header) -> None:
        """An answer: it belongs to a request that went to the very peer that it comes from, or to none."""
        outgoing = connection.pending.get(header.hop_by_hop)
        if outgoing is None or outgoing.end_to_end != header.end_to_end:
            self._counted.labels("answer to nothing").inc()
            self._log.info("answer to nothing", peer=connection.peer, command=header.command)
            return
        if header.is_error and self._another_may(raw) and self._dispatch(outgoing, elsewhere=True):
            del connection.pending[header.hop_by_hop]
            outgoing.waits = [each for each in outgoing.waits if each[0] is not connection]
            return
        outgoing.finish(raw)

    def _another_may(self, raw: bytes) -> bool:
        with suppress(DiameterError):
            return Reader(raw, self._vendor).maybe(a.RESULT_CODE) in _ANOTHER_PEER
        return False

    def _again(self, outgoing: Outgoing, left: float) -> None:
        """No answer yet: once more, by another way if there is one; who has it already knows it by the T bit."""
        outgoing.timer = asyncio.get_running_loop().call_later(left, outgoing.finish, Undelivered.TIMEOUT)
        self._counted.labels("sent again").inc()
        if not self._dispatch(outgoing, elsewhere=True):
            self._dispatch(outgoing)

    def _dispatch(self, outgoing: Outgoing, *, elsewhere: bool = False) -> bool:
        for connection in self._ways(outgoing, elsewhere=elsewhere):
            if len(connection.pending) >= self._limits.pending:
                continue
            identifier = connection.identifier()
            connection.pending[identifier] = outgoing
            again = bool(outgoing.tried)
            outgoing.tried.append(connection.identity)
            outgoing.waits.append((connection, identifier))
            connection.send(f.with_ids(outgoing.raw, identifier, outgoing.end_to_end, again=again))
            return True
        return False

    def _ways(self, outgoing: Outgoing, *, elsewhere: bool) -> Iterator[Connection]:
        """Open peers that a request may go to: its host, then those with a route; untried ones first."""
        direct = [outgoing.host] if outgoing.host is not None else []
        routed = [name for name, peer in self._peers.items() if outgoing.realm in peer.routes or "*" in peer.routes]
        names = list(dict.fromkeys((*direct, *routed)))
        fresh = [name for name in names if name not in outgoing.tried]
        for name in fresh if elsewhere else [*fresh, *(each for each in names if each in outgoing.tried)]:
            connection = self._open.get(name)
            if connection is not None and connection.state is State.OPEN:
                yield connection
