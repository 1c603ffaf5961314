"""Mobile IP's UDP socket (RFC 5944 section 3.3): one for agents and mobiles, and where each mobile was last heard.

A reply leaves by the interface and from the address that its request came to, for a visitor's home address is routed
elsewhere until his tunnels stand.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.messages import NAMES, NodeRole, RegReq
from roamvpn.wire.errors import WireError
from roamvpn.wire.mobileip_packet import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.metrics import Metrics
    from roamvpn.policy.keys import Entropy
    from roamvpn.signalling.messages import Address, Event, Message
    from roamvpn.tables.network import Network
    from roamvpn.wire.mobileip import MobileIpCodec

_BURST = 64
"""Datagrams taken in one turn of the loop."""
_MOBILES = 20_000
_IP_PKTINFO = 8
"""Of ip(7); the socket module does not name it."""
_PKTINFO = struct.Struct("=i4s4s")


class Heard(NamedTuple):
    """Where a mobile's request came from, and by which interface and to which address of ours."""

    peer: tuple[str, int]
    interface: int
    local: bytes


class MobileIpSocket:
    """Sends and receives; `receive` gets what was decoded and verified."""

    def __init__(  # noqa: PLR0913, PLR0917 - a socket's world has these parts
        self,
        codec: MobileIpCodec,
        network: Network,
        entropy: Entropy,
        log: FilteringBoundLogger,
        metrics: Metrics,
        receive: Callable[[NodeRole, Event], object],
    ) -> None:
        self._codec = codec
        self._addresses = {name: gateway.address for name, gateway in network.gateways.items()}
        self._entropy = entropy
        self._log = log
        self._metrics = metrics
        self._receive = receive
        self._socket: socket.socket | None = None
        self._port = 0
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self.unheard: Callable[[Message], None] = lambda _message: None
        """Takes replies to mobiles that asked by another way than this socket."""

    def open(self, port: int) -> None:
        """Listen on every address; raises OSError."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            opened.bind(("0.0.0.0", port))  # noqa: S104 - mobiles ask at every access address
        except OSError:
            opened.close()
            raise
        self._socket, self._port = opened, port
        asyncio.get_running_loop().add_reader(opened, self._readable)

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    # out

    def send(self, here: Address, to: Address, message: Message) -> None:  # noqa: ARG002 - one node, one socket
        """Let a message go; one that cannot is logged, and asked for again by its machine."""
        try:
            data = self._codec.encode(to, message, self._entropy)
            if to.role is not NodeRole.MN:
                self._out(data, (self._addresses[to.name], self._port), [])
                return
            heard = self._heard.get(to.name)
            if heard is None:
                self.unheard(message)
                return
            info = _PKTINFO.pack(heard.interface, heard.local, bytes(4))
            self._out(data, heard.peer, [(socket.IPPROTO_IP, _IP_PKTINFO, info)])
        except (WireError, KeyError, OSError) as error:
            self._metrics.refused.labels("cannot send").inc()
            self._log.warning("cannot send", message=NAMES[type(message)], to=str(to), reason=str(error))

    def _out(self, data: bytes, peer: tuple[str, int], ancillary: list[tuple[int, int, bytes]]) -> None:
        if self._socket is not None:
            self._socket.sendmsg([data], ancillary, 0, peer)

    # in

    def _readable(self) -> None:
        for _ in range(_BURST):
            if self._socket is None:
                return
            try:
                data, ancillary, flags, peer = self._socket.recvmsg(MAX_BYTES, socket.CMSG_SPACE(_PKTINFO.size))
            except BlockingIOError:
                return
            except OSError as error:
                self._log.warning("socket", reason=str(error))
                return
            if flags & socket.MSG_TRUNC:
                self._refused(peer, "larger than a message can be")
                continue
            self._datagram(data, ancillary, peer)

    def _datagram(self, data: bytes, ancillary: list[tuple[int, int, bytes]], peer: tuple[str, int]) -> None:
        heard = _heard(ancillary, peer)
        local = socket.inet_ntoa(heard.local) if heard is not None else None
        try:
            received = self._codec.decode(data, peer[0], local)
        except WireError as error:
            self._refused(peer, str(error))
            answer = error.answer
            if answer:
                # a refusal that the mobile is owed (RFC 5944 section 3.7.2.3)
                self._answer(answer, heard, peer)
            return
        message = received.message
        if type(message) is RegReq and received.sender.role is NodeRole.MN:
            self._remember(message.nai, heard)
        self._receive(received.role, message)

    def _answer(self, data: bytes, heard: Heard | None, peer: tuple[str, int]) -> None:
        if heard is not None:
            info = _PKTINFO.pack(heard.interface, heard.local, bytes(4))
            try:
                self._out(data, peer, [(socket.IPPROTO_IP, _IP_PKTINFO, info)])
            except OSError as error:
                self._log.warning("cannot send", to=peer[0], reason=str(error))

    def _remember(self, nai: str, heard: Heard | None) -> None:
        if heard is not None:
            self._heard[nai] = heard
            self._heard.move_to_end(nai)
            if len(self._heard) > _MOBILES:
                self._heard.popitem(last=False)

    def _refused(self, peer: tuple[str, int], reason: str) -> None:
        self._metrics.refused.labels("datagram").inc()
        self._log.warning("refused", peer=f"{peer[0]}:{peer[1]}", reason=reason)


def _heard(ancillary: list[tuple[int, int, bytes]], peer: tuple[str, int]) -> Heard | None:
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(value) >= _PKTINFO.size:
            interface, local, _header = _PKTINFO.unpack_from(value)
            return Heard(peer, interface, local)
    return None
