"""Mobiles that roam: a link to every access network, packets by one of them, and a stream that counts what is lost."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple, Self

from tests.lab.guest import network
from tests.lab.guest.network import batch, entered, run

FOREIGN_AGENTS = ("fa21", "fa21b", "fa22")
SERVERS = {"aaaf23": "192.0.2.23", "aaaf23b": "192.0.2.28", "aaah33": "192.0.2.33"}
"""AAA servers, hosts of their own on the internet."""
PORT = 7001
_PROBE = struct.Struct("!I")
_TIMESTAMPNS, _TIMESPEC = 35, struct.Struct("=qq")
"""SO_TIMESTAMPNS of socket(7)."""


def build(mobiles: dict[str, str]) -> dict[str, Mobile]:
    """The lab's network, AAA servers, and mobiles (name: home address) with a link to every foreign agent."""
    network.build({})
    for name, address in SERVERS.items():
        network.namespace(name)
        run("ip", "link", "add", f"w-{name}", "netns", "internet", "type", "veth", "peer", "name", "wan", "netns", name)
        batch("internet", "ip", [f"link set w-{name} master br0", f"link set w-{name} up"])
        batch(name, "ip", [f"addr add {address}/24 dev wan", "link set wan up"])
    return {name: Mobile(name, home).attach() for name, home in mobiles.items()}


class Mobile:
    """A terminal without VPN software (A1): its home address, and a link to each access network."""

    def __init__(self, name: str, home: str) -> None:
        self.name = name
        self.home = home

    def attach(self) -> Self:
        """Make its namespace and links. Its packets go nowhere yet."""
        network.namespace(self.name)
        batch(self.name, "ip", [f"addr add {self.home}/32 dev lo"])
        for agent in FOREIGN_AGENTS:
            end, here = f"m-{self.name}"[:15], f"a-{agent}"
            run("ip", "link", "add", end, "netns", agent, "type", "veth", "peer", "name", here, "netns", self.name)
            batch(agent, "ip", [f"link set {end} master lan", f"link set {end} up"])
            access = network.GATEWAYS[agent][1].partition("/")[0]
            batch(self.name, "ip", [f"link set {here} up", f"route add {access}/32 dev {here} src {self.home}"])
            network.inside(self.name, "sysctl", "-qw", f"net.ipv4.conf.{here}.rp_filter=0")
        network.inside(self.name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
        return self

    def use(self, agent: str) -> None:
        """Send by this access network from now on."""
        access = network.GATEWAYS[agent][1].partition("/")[0]
        batch(self.name, "ip", [f"route replace default via {access} dev a-{agent} src {self.home}"])

    def link(self, agent: str, state: str) -> None:
        """`up` or `down`: what the radio makes of it."""
        batch(agent, "ip", [f"link set {f'm-{self.name}'[:15]} {state}"])
        batch(self.name, "ip", [f"link set a-{agent} {state}"])
        if state == "up":
            access = network.GATEWAYS[agent][1].partition("/")[0]
            batch(self.name, "ip", [f"route replace {access}/32 dev a-{agent} src {self.home}"])


class Counted(NamedTuple):
    """What became of a stream in one direction: numbers of what was lost, and times in milliseconds.

    `gap_ms` is the longest time without an arrival, less what the sender itself was late in it (one processor serves
    all hosts here); `late_ms` how much longer the slowest probe took than the quickest.
    """

    sent: int
    lost: tuple[int, ...]
    gap_ms: float
    late_ms: float


class Stream:
    """Numbered probes both ways between a mobile and a correspondent, one each `interval` seconds."""

    def __init__(self, mobile: Mobile, correspondent: str, address: str, interval: float = 0.005) -> None:
        # who receives in that direction
        self._ends = {"up": (correspondent, address), "down": (mobile.name, mobile.home)}
        self._sockets = {direction: _udp(*end) for direction, end in self._ends.items()}
        self._interval = interval
        self._got: dict[str, dict[int, float]] = {"up": {}, "down": {}}
        self._at: list[float] = []
        self._sent = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive, args=(direction,), daemon=True) for direction in self._ends
        ]
        self._sender = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        for thread in (*self._threads, self._sender):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sender.join()
        for thread in self._threads:
            thread.join()
        for each in self._sockets.values():
            each.close()

    @property
    def sent(self) -> int:
        """How many probes each way until now."""
        return self._sent

    def await_more(self, count: int) -> None:
        """Return when so many more have been sent each way."""
        goal = self._sent + count
        while self._sent < goal:
            time.sleep(self._interval)  # the stream's own beat

    def counted(self) -> dict[str, Counted]:
        """Results by direction, once the stream has ended."""
        found = {}
        for direction, got in self._got.items():
            took = {number: at - self._at[number] for number, at in got.items()}
            numbers = sorted(got)
            paused = max(
                (got[after] - got[before] - self._late(before, after) for before, after in pairwise(numbers)),
                default=0.0,
            )
            late = max(took.values()) - min(took.values()) if took else 0.0
            lost = tuple(number for number in range(self._sent) if number not in got)
            found[direction] = Counted(self._sent, lost, round(paused * 1000, 1), round(late * 1000, 1))
        return found

    def _late(self, before: int, after: int) -> float:
        """How much longer the sender took between two probes than it should have."""
        return self._at[after] - self._at[before] - (after - before) * self._interval

    def _send(self) -> None:
        at = time.monotonic()
        while not self._stop.is_set():
            probe = _PROBE.pack(self._sent)
            self._at.append(time.time())
            for sender, receiver in (("down", "up"), ("up", "down")):
                # what the sender's own kernel refuses, such as for want of a route, is lost like any other
                with suppress(OSError):
                    self._sockets[sender].sendto(probe, (self._ends[receiver][1], PORT))
            self._sent += 1
            at += self._interval
            time.sleep(max(0.0, at - time.monotonic()))

    def _receive(self, direction: str) -> None:
        mine, got = self._sockets[direction], self._got[direction]
        mine.settimeout(0.5)
        while True:
            try:
                probe, ancillary, _, _ = mine.recvmsg(64, 64)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            except OSError:
                continue
            got.setdefault(_PROBE.unpack(probe)[0], _arrived(ancillary))


def _arrived(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When the kernel had the packet: this process may be looked at later."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    raise RuntimeError("the kernel gives no time of arrival")


def _udp(namespace: str, address: str) -> socket.socket:
    with entered(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    made.bind((address, PORT))
    return made
