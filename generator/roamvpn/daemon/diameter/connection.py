"""One connection to a Diameter peer: frames, capabilities, watchdog, disconnect (RFC 6733 section 5.6, RFC 3539).

Whatever a peer does costs one connection and a line in the log: what it sends is bounded before it is kept, what it
is slow with is timed, what it does not read is not piled up.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import TYPE_CHECKING, Any, Protocol

from roamvpn.tables.types import Word
from roamvpn.wire import diameter_base as base
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter import refusal
from roamvpn.wire.diameter_frames import DiameterError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.diameter.settings import Limits
    from roamvpn.wire.diameter_base import BaseCodec, Capabilities
    from roamvpn.wire.diameter_frames import Header


class State(Word):
    """Where a connection is."""

    WAITS = "waits for capabilities"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Owner(Protocol):
    """Who a connection tells what happens."""

    def opened(self, connection: Connection, capabilities: Capabilities) -> None:
        """The peer is who it says, by its certificate if it has one; raises DiameterError to refuse it."""

    def request(self, connection: Connection, raw: bytes, header: Header) -> None:
        """A request that is not the base protocol's."""

    def answer(self, connection: Connection, raw: bytes, header: Header) -> None:
        """An answer that is not the base protocol's."""

    def closed(self, connection: Connection, reason: str) -> None:
        """It is gone; told once."""


class Connection(asyncio.Protocol):
    """`expected` is the identity that we connect to, None where the peer came to us."""

    def __init__(  # noqa: PLR0913 - what a connection is made of
        self,
        owner: Owner,
        codec: BaseCodec,
        application: int,
        limits: Limits,
        log: FilteringBoundLogger,
        *,
        expected: str | None = None,
    ) -> None:
        self.expected = expected
        self.identity = ""
        self.state = State.WAITS
        self.encrypted = False
        self.pending: dict[int, Any] = {}
        """Our requests that wait for an answer, by hop-by-hop identifier."""
        self.inbound = 0
        """The peer's requests that wait for ours."""
        self.done = asyncio.Event()
        """Set once it is closed."""
        self._owner = owner
        self._codec = codec
        self._application = application
        self._limits = limits
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._outbound: list[bytes] = []
        self._next = int.from_bytes(os.urandom(4))
        self._heard = self._loop.time()
        self._asked = False
        self._deadline: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._reason = "closed by the peer"

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done, if there is any."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        self._transport = transport
        self.encrypted = transport.get_extra_info("ssl_object") is not None
        underlying: socket.socket | None = transport.get_extra_info("socket")
        if underlying is not None:
            underlying.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = self._loop.call_later(self._limits.handshake, self.close, "no capabilities in time")
        if self.expected is not None:
            self._send(
                f.with_ids(self._codec.capabilities_request(self._local()), self._identifier(), self._identifier())
            )

    def data_received(self, data: bytes) -> None:
        """Octets of the peer's; whole messages are handled, the rest is kept for so long."""
        if self.state not in (State.WAITS, State.OPEN):
            return
        self._heard = self._loop.time()
        buffer = self._buffer
        buffer += data
        complete = False
        while len(buffer) >= 4 and self.state in (State.WAITS, State.OPEN):
            try:
                limit = f.MAX_LENGTH if self.state is State.OPEN else self._limits.capabilities
                length = f.message_length(buffer, limit)
            except DiameterError as error:
                # where one message ends, and so where the next begins, cannot be known any more
                self._unreadable(error)
                return
            if len(buffer) < length:
                break
            raw = bytes(buffer[:length])
            del buffer[:length]
            complete = True
            self._message(raw)
        self._time(complete=complete)

    def eof_received(self) -> bool:
        """The peer has closed its half; there is nothing left to say."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        for timer in (self._deadline, self._slow, self._watchdog):
            if timer is not None:
                timer.cancel()
        self._buffer.clear()
        self._outbound.clear()
        reason = f"lost ({type(error).__name__})" if error is not None else self._reason
        self._owner.closed(self, reason)
        self.done.set()

    # what others call

    def itself(self) -> Connection:
        """For asyncio, which wants something that makes protocols."""
        return self

    def never(self, reason: str) -> None:
        """It came to nothing: TLS failed, nobody was there."""
        self._reason = reason
        self.connection_lost(None)

    @property
    def stood(self) -> bool:
        """Whether it ever came to talking."""
        return self._transport is not None

    @property
    def peer(self) -> str:
        """Who it is, for logs."""
        return self.identity or self.expected or self.address

    @property
    def address(self) -> str:
        """Where it is."""
        where = self._extra("peername")
        return str(where[0]) if isinstance(where, tuple) else "?"

    def names(self) -> frozenset[str]:
        """The DNS names in the peer's certificate, lower case."""
        certificate: dict[str, Any] = self._extra("peercert") or {}
        return frozenset(value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")

    def send(self, raw: bytes) -> None:
        """One message as it is."""
        self._send(raw)

    def identifier(self) -> int:
        """A hop-by-hop identifier that no pending request of this connection has."""
        found = self._identifier()
        while found in self.pending:
            found = self._identifier()
        return found

    def close(self, reason: str) -> None:
        """At once, what is written already going out."""
        if self.state not in (State.CLOSING, State.CLOSED):
            self.state = State.CLOSING
            self._reason = reason
        if self._transport is not None:
            self._flush()
            self._transport.close()
            # a peer that does not read keeps nothing
            self._loop.call_later(self._limits.disconnect, self._transport.abort)

    def abort(self, reason: str) -> None:
        """At once, whatever is still unread."""
        self._reason = reason
        self.state = State.CLOSING if self.state is not State.CLOSED else State.CLOSED
        if self._transport is not None:
            self._transport.abort()

    async def disconnect(self) -> None:
        """DPR, its answer, close: the peer knows that nothing is lost (section 5.4)."""
        if self.state is State.OPEN:
            self._send(f.with_ids(self._codec.disconnect_request(), self.identifier(), self._identifier()))
            self._reason = "disconnected"
            timer = self._loop.call_later(self._limits.disconnect, self.close, "disconnected, without an answer")
            await self.done.wait()
            timer.cancel()
        else:
            self.close("not needed any more")

    # messages

    def _message(self, raw: bytes) -> None:
        try:
            header = f.read_header(raw)
        except DiameterError as error:
            header = f.peek_header(raw)
            if header.is_request and self.state is State.OPEN:
                self._refuse(raw, error)
            else:
                self._unreadable(error)
            return
        if header.application == 0 and header.command in _BASE:
            try:
                self._base(raw, header)
            except DiameterError as error:
                self._base_error(raw, header, error)
        elif self.state is not State.OPEN:
            self.close("something else before capabilities")
        elif header.is_request:
            self._owner.request(self, raw, header)
        else:
            self._owner.answer(self, raw, header)

    def _base(self, raw: bytes, header: Header) -> None:
        if header.command == base.CAPABILITIES_EXCHANGE:
            if self.state is not State.WAITS or header.is_request != (self.expected is None):
                # section 5.6: of no meaning any more
                self._log.info("capabilities again", peer=self.peer)
                return
            self._capabilities(raw, header)
        elif self.state is not State.OPEN:
            self.close("something else before capabilities")
        elif header.command == base.DEVICE_WATCHDOG:
            if header.is_request:
                self._send(self._codec.success(raw))
            else:
                self._asked = False
        elif header.is_request:
            cause = self._codec.read_cause(raw)
            self._send(self._codec.success(raw))
            self.close(f"disconnected by the peer, cause {cause}")
        else:
            self.close("disconnected")

    def _capabilities(self, raw: bytes, header: Header) -> None:
        capabilities = self._codec.read_capabilities(raw)
        if capabilities.result is not None and capabilities.result != base.SUCCESS:
            self.close(f"refused with {capabilities.result}")
            return
        if not capabilities.serves(self._application):
            raise DiameterError(f.NO_COMMON_APPLICATION, "no common application")
        identity = capabilities.identity
        if self.expected not in (None, identity):
            raise DiameterError(f.UNKNOWN_PEER, "another identity than expected")
        if self.encrypted and identity not in self.names():
            raise DiameterError(f.UNKNOWN_PEER, "the certificate is not this identity's")
        self.identity = identity
        self._owner.opened(self, capabilities)
        if header.is_request:
            self._send(self._codec.capabilities_answer(raw, self._local()))
        self.state = State.OPEN
        if self._deadline is not None:
            self._deadline.cancel()
        self._watch()

    def _base_error(self, raw: bytes, header: Header, error: DiameterError) -> None:
        """A message of the base protocol that does not hold: before we are open it ends the connection."""
        if self.state is State.WAITS:
            if header.is_request and header.command == base.CAPABILITIES_EXCHANGE:
                self._send(self._codec.capabilities_answer(raw, self._local(), error))
            self.close(str(error))
        elif header.is_request:
            self._refuse(raw, error)

    def _refuse(self, raw: bytes, error: DiameterError) -> None:
        self._log.warning("refused", peer=self.peer, reason=str(error))
        self._send(refusal(raw, self._codec.origin, error))

    def _unreadable(self, error: DiameterError) -> None:
        # what an open peer sent is answered where there is a header to answer
        if self.state is State.OPEN and len(self._buffer) >= f.HEADER:
            head = bytes(self._buffer[: f.HEADER])
            if f.peek_header(head).is_request:
                self._send(refusal(head, self._codec.origin, error))
        self.close(str(error))

    # time

    def _time(self, *, complete: bool) -> None:
        """A message that has begun must end in time, whatever trickles."""
        if self._slow is not None and (complete or not self._buffer):
            self._slow.cancel()
            self._slow = None
        if self._buffer and self._slow is None and self.state in (State.WAITS, State.OPEN):
            self._slow = self._loop.call_later(self._limits.message, self.close, "a message that does not end")

    def _watch(self) -> None:
        # RFC 3539 section 3.4.1: with jitter, so that many peers do not ask at once
        pause = self._limits.watchdog * random.uniform(0.9, 1.1)  # noqa: S311 - jitter is no secret
        self._watchdog = self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        if self.state is not State.OPEN:
            return
        if self._loop.time() - self._heard < self._limits.watchdog * 0.9:
            self._asked = False
        elif self._asked:
            self.abort("silent")
            return
        else:
            self._asked = True
            self._send(f.with_ids(self._codec.watchdog_request(), self.identifier(), self._identifier()))
        self._watch()

    # octets

    def _send(self, raw: bytes) -> None:
        if self._transport is None or self.state is State.CLOSED or self._transport.is_closing():
            return
        # what goes out in one turn of the loop goes out together: a system call costs more than a message
        if not self._outbound:
            self._loop.call_soon(self._flush)
        self._outbound.append(raw)

    def _flush(self) -> None:
        if self._transport is None or not self._outbound:
            return
        self._transport.write(b"".join(self._outbound))
        self._outbound.clear()
        if self._transport.get_write_buffer_size() > self._limits.backlog:
            self.abort("does not read")

    def _identifier(self) -> int:
        self._next = (self._next + 1) & 0xFFFFFFFF
        return self._next

    def _local(self) -> bytes:
        host = str(self._extra("sockname")[0]).partition("%")[0]
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)

    def _extra(self, name: str) -> Any:  # noqa: ANN401 - asyncio's own
        return self._transport.get_extra_info(name) if self._transport is not None else None


_BASE = (base.CAPABILITIES_EXCHANGE, base.DEVICE_WATCHDOG, base.DISCONNECT_PEER)
