"""Packets of the lab: datagrams with a chosen TOS byte, transfers, captures of what crosses a wire."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import struct
import threading
import time
from typing import NamedTuple

from tests.lab.guest.network import CONTROLLER, entered, inside

_ETH_P_IP = 0x0800
_IP_RECVTOS = 13
PROTOCOLS = {1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 50: "esp", 51: "ah"}
PORT = 7000


class Packet(NamedTuple):
    """One IPv4 packet on a wire, with its outer header; `inner` is the payload where it can be read."""

    source: str
    destination: str
    protocol: str
    tos: int
    spi: int
    payload: bytes


class Wire:
    """A capture of what leaves and enters a gateway's `wan`, IKE and the controller's SSH apart."""

    def __init__(self, namespace: str) -> None:
        with entered(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            self._socket.bind(("wan", 0x0003))
        self._socket.setblocking(False)

    def packets(self) -> list[Packet]:
        """What was seen since the last call."""
        found = []
        while select.select([self._socket], [], [], 0)[0]:
            frame = self._socket.recv(65535)
            packet = _parse(frame)
            if packet is not None:
                found.append(packet)
        return found

    def settle(self) -> None:
        """Wait until nothing more is on the wire, such as the end of an earlier connection; forget what was seen."""
        while select.select([self._socket], [], [], 0.05)[0]:
            self.packets()

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()


def _parse(frame: bytes) -> Packet | None:
    if struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP:
        return None
    ip = frame[14:]
    length = (ip[0] & 15) * 4
    protocol = PROTOCOLS.get(ip[9], str(ip[9]))
    payload = ip[length : struct.unpack_from("!H", ip, 2)[0]]
    if protocol == "udp" and struct.unpack_from("!H", payload, 2)[0] in (500, 4500):
        return None
    offset = {"esp": 0, "ah": 4}.get(protocol)
    spi = struct.unpack_from("!I", payload, offset)[0] if offset is not None else 0
    source, destination = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
    if protocol == "tcp" and CONTROLLER in (source, destination):
        return None
    return Packet(source, destination, protocol, ip[1], spi, payload)


def ping(namespace: str, source: str, destination: str) -> bool:
    """Whether an echo comes back within two seconds."""
    said = inside(namespace, "ping", "-c", "1", "-W", "2", "-I", source, destination, check=False)
    return " 1 received" in said


class Datagrams:
    """A pair of UDP sockets, one in each namespace."""

    def __init__(self, near: str, near_address: str, far: str, far_address: str) -> None:
        self._near = _udp(near, near_address)
        self._far = _udp(far, far_address)
        self._addresses = {"up": (far_address, PORT), "down": (near_address, PORT)}

    def send(self, direction: str, tos: int, count: int = 1, payload: bytes = b"probe") -> None:
        """Send `count` datagrams with this TOS byte."""
        sender = self._near if direction == "up" else self._far
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        for _ in range(count):
            sender.sendto(payload, self._addresses[direction])

    def receive(self, direction: str, count: int = 1, wait: float = 2.0) -> list[int]:
        """TOS bytes of the datagrams that arrive, up to `count` of them."""
        receiver = self._far if direction == "up" else self._near
        deadline, found = time.monotonic() + wait, []  # type: float, list[int]
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            if select.select([receiver], [], [], left)[0]:
                _, ancillary, _, _ = receiver.recvmsg(2048, 64)
                found += [data[0] for level, kind, data in ancillary if (level, kind) == (0, socket.IP_TOS)]
        return found

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()


def _udp(namespace: str, address: str) -> socket.socket:
    with entered(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
    made.bind((address, PORT))
    return made


def transfer(near: tuple[str, str], far: tuple[str, str], direction: str, size: int = 300_000) -> bool:
    """Send `size` bytes by TCP from (namespace, address) `near` to `far` or back; whether they arrive unchanged."""
    with entered(far[0]):
        listener = socket.create_server((far[1], 0))
    with entered(near[0]):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.bind((near[1], 0))
    for made in (listener, client):
        made.settimeout(10)
    data = hashlib.shake_128(direction.encode()).digest(size)
    received: list[bytes] = []

    def serve() -> None:
        server, _ = listener.accept()
        server.settimeout(10)
        with server:
            if direction == "up":
                received.append(_drain(server))
            else:
                server.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        client.connect(listener.getsockname())
        if direction == "up":
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        else:
            received.append(_drain(client))
        thread.join(15)
    except OSError:
        return False
    finally:
        client.close()
        listener.close()
    return received == [data]


def _drain(stream: socket.socket) -> bytes:
    parts = []
    while part := stream.recv(65536):
        parts.append(part)
    return b"".join(parts)


def htb_packets(gateway: str, dscp: int | None) -> int:
    """Packets that the gateway's HTB leaf of this DSCP has sent; the best-effort leaf for None."""
    handle = f"1:{0x100 + dscp:x}" if dscp is not None else "1:ffff"
    said = inside(gateway, "tc", "-s", "class", "show", "dev", "wan")
    counted = re.search(rf"^class htb {handle} .*\n Sent \d+ bytes (\d+) pkt", said, re.MULTILINE)
    if counted is None:
        raise RuntimeError(f"{gateway}: no class {handle}")
    return int(counted[1])
