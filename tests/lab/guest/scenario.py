"""The steady states of E1 and E4 on real packets: run inside the test kernel with a site's directory.

Writes `{vpn or "alone": {aspect: "" or what is wrong}}` as JSON to $VM_OUT/results.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from roamvpn.render import swanctl
from tests.lab.guest import network
from tests.lab.guest.controller import Controller
from tests.lab.guest.hosts import Host
from tests.lab.guest.lifecycle import Lifecycle
from tests.lab.guest.probes import Datagrams, Packet, Wire, htb_packets, ping, transfer
from tests.lab.provisioning import CHECK_MODE, LIFECYCLE, PROVISION
from tests.lab.vpns import EF, VPNS, Vpn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ECT0, COUNT = 2, 5
Results = dict[str, str]


def main(site: Path, *, static_keys: bool) -> dict[str, Results]:
    """Build, provision by playbook, check; everything that is wrong is in the results."""
    started = time.monotonic()
    network.build({vpn.user: (vpn.path[0], vpn.home) for vpn in VPNS} | {"grace": ("fa21", "203.0.113.11")})
    hosts = {name: Host(name).start() for name in network.GATEWAYS}
    controller = Controller(site).start()
    lifecycle = Lifecycle(hosts, controller, partial(_note, started=started))
    results: dict[str, Results] = {}
    try:
        if not static_keys:
            results["check mode"] = lifecycle.run(CHECK_MODE)
        results["provision"] = lifecycle.run(PROVISION)
        for vpn in VPNS:
            if not static_keys or vpn.path[-1] == "gw51":
                results[vpn.name] = VpnCheck(vpn, static_keys=static_keys).run()
                _note(vpn.name, started)
        if not static_keys:
            results["alone"] = Alone(hosts, controller).run()
            _note("alone", started)
            results["lifecycle"] = lifecycle.run(LIFECYCLE)
            results["played"] = lifecycle.played
    finally:
        for host in hosts.values():
            host.stop()
    return results


def _note(what: str, started: float) -> None:
    sys.stdout.write(f"{time.monotonic() - started:6.1f} s  {what}\n")
    sys.stdout.flush()


def _guarded(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception:  # noqa: BLE001 - a check that breaks is a check that failed, with its traceback
        return traceback.format_exc()


class VpnCheck:
    """All aspects of one VPN."""

    def __init__(self, vpn: Vpn, *, static_keys: bool) -> None:
        self.vpn = vpn
        self.static_keys = static_keys
        self.near, self.far = (vpn.user, vpn.home), (vpn.correspondent, vpn.address)
        self.expected = [
            (network.GATEWAYS[a][0], network.GATEWAYS[b][0]) for a, b in zip(vpn.path, vpn.path[1:], strict=False)
        ]

    def run(self) -> Results:
        """Results by aspect."""
        results = {
            "the mobile reaches the correspondent": _guarded(self._ping_up),
            "the correspondent reaches the mobile": _guarded(self._ping_down),
            "a transfer up arrives whole": _guarded(partial(self._transfer, "up")),
            "a transfer down arrives whole": _guarded(partial(self._transfer, "down")),
        }
        wires = {name: Wire(name) for name in (self.vpn.path[0], self.vpn.path[-1])}
        datagrams = Datagrams(*self.near, *self.far)
        try:
            # once ahead, so that address resolution is over when counting begins
            datagrams.send("up", 0)
            datagrams.receive("up")
            for wire in wires.values():
                wire.settle()
            results |= self._seen(wires, datagrams)
        finally:
            datagrams.close()
            for wire in wires.values():
                wire.close()
        return results

    def _ping_up(self) -> str:
        return "" if ping(self.vpn.user, self.vpn.home, self.vpn.address) else "no answer"

    def _ping_down(self) -> str:
        return "" if ping(self.vpn.correspondent, self.vpn.address, self.vpn.home) else "no answer"

    def _transfer(self, direction: str) -> str:
        return "" if transfer(self.near, self.far, direction) else "not what was sent"

    def _seen(self, wires: dict[str, Wire], datagrams: Datagrams) -> Results:
        wrong: dict[str, list[str]] = {"wire": [], "up": [], "down": [], "ecn": [], "once": [], "htb": []}
        for direction in ("up", "down"):
            path = self.vpn.path if direction == "up" else self.vpn.path[::-1]
            dscp = self.vpn.up if direction == "up" else self.vpn.down
            before = {name: htb_packets(name, dscp) for name in path[:-1]}
            datagrams.send(direction, ECT0, COUNT)
            inner = datagrams.receive(direction, COUNT)
            for name in path[:-1]:
                sent = htb_packets(name, dscp) - before[name]
                if sent < COUNT:
                    wrong["htb"].append(f"{name}: {sent} packets in the leaf of {dscp}, not {COUNT}")
            wanted = (dscp or 0) << 2 | ECT0
            if inner != [wanted] * COUNT:
                wrong["ecn"].append(f"{direction}: TOS {inner} arrive, not {COUNT} times {wanted}")
            ends = self.expected if direction == "up" else [(b, a) for a, b in self.expected]
            self._look(wires, ends, direction, wanted, wrong)
        return {
            "only the protocol asked for is on the wire": "; ".join(wrong["wire"]),
            "the outer header carries the class up": "; ".join(wrong["up"]),
            "the outer header carries the class down": "; ".join(wrong["down"]),
            "ECN is kept": "; ".join(wrong["ecn"]),
            "each packet leaves once": "; ".join(wrong["once"]),
            "HTB counts the class": "; ".join(wrong["htb"]),
        }

    def _look(
        self,
        wires: dict[str, Wire],
        ends: list[tuple[str, str]],
        direction: str,
        tos: int,
        wrong: dict[str, list[str]],
    ) -> None:
        for name, wire in wires.items():
            packets = wire.packets()
            here = network.GATEWAYS[name][0]
            segments = [pair for pair in ends if here in pair]
            wrong["wire"] += self._strangers(name, packets, segments)
            for pair in segments:
                between = [p for p in packets if (p.source, p.destination) == pair]
                if len(between) != COUNT:
                    wrong["once"].append(f"{name}: {len(between)} packets {pair}, not {COUNT}")
                off = {p.tos for p in between if p.tos >> 2 != tos >> 2}
                wrong[direction] += [f"{name}: outer TOS {off}, not {tos}"] * bool(off)
                wrong["ecn"] += [f"{name}: outer ECN {p.tos & 3}" for p in between if p.tos & 3 != ECT0]

    def _strangers(self, name: str, packets: Iterable[Packet], segments: list[tuple[str, str]]) -> list[str]:
        found = []
        for packet in packets:
            if packet.protocol != self.vpn.protocol or (packet.source, packet.destination) not in segments:
                found.append(f"{name}: {packet.protocol} {packet.source}>{packet.destination}")
            elif self.static_keys and "gw51" in name and not self._spi_of_the_sla(packet.spi):
                found.append(f"{name}: SPI {packet.spi:#x} is not the SLA's")
        return found

    def _spi_of_the_sla(self, spi: int) -> bool:
        return self.vpn.protocol == "ipip" or 0x1000 <= spi < 0x3000


class Alone:
    """What is checked once, over the whole network."""

    def __init__(self, hosts: dict[str, Host], controller: Controller) -> None:
        self.hosts = hosts
        self.deployed = controller.site / ".roamvpn/deployed"
        self.vpns = {vpn.name: vpn for vpn in VPNS}

    def run(self) -> Results:
        """Results by aspect; the order matters, for some take associations down."""
        return {
            "an unlisted user's packets are ordinary traffic": _guarded(self._unlisted),
            "a listed user's other packets are ordinary traffic": _guarded(self._unlisted_destination),
            "two users of one pair keep their own class and security at once": _guarded(self._two_users),
            "charon reads what our parser reads": _guarded(self._charon_agrees),
            "a forged packet in clear is not taken for a user's": _guarded(self._forged),
            "own SA down: dropped, not leaked": _guarded(self._own_down),
            "own SA back: packets flow again": _guarded(self._own_back),
            "shared SA down: dropped, not leaked": _guarded(self._shared_down),
            "device gone: dropped, not leaked": _guarded(self._device_gone),
        }

    def _plain(self, user: str, home: str, correspondent: str, address: str) -> str:
        """Send from a user without a tunnel to there: must arrive, and be seen as plain UDP."""
        wire = Wire("fa21")
        datagrams = Datagrams(user, home, correspondent, address)
        try:
            wire.settle()
            datagrams.send("up", 0, COUNT)
            arrived = len(datagrams.receive("up", COUNT))
            seen = {packet.protocol for packet in wire.packets()}
        finally:
            datagrams.close()
            wire.close()
        return "" if (arrived, seen) == (COUNT, {"udp"}) else f"{arrived} of {COUNT} arrive, on the wire {seen}"

    def _unlisted(self) -> str:
        return self._plain("grace", "203.0.113.11", "cn41", "198.51.100.9")

    def _unlisted_destination(self) -> str:
        return self._plain("alice", "203.0.113.5", "cn41", "198.51.100.9")

    def _forged(self) -> str:
        """Sent in clear from pcn41 with alice's address; a stranger's packet shows that the way is open."""
        network.batch("pcn41", "ip", ["addr add 203.0.113.5/32 dev lo", "addr add 203.0.113.77/32 dev lo"])
        arrived = {}
        try:
            for source in ("203.0.113.77", "203.0.113.5"):
                datagrams = Datagrams("pcn41", source, "cn51", "10.5.1.9")
                try:
                    datagrams.send("up", 0, COUNT)
                    arrived[source] = len(datagrams.receive("up", COUNT, wait=0.5))
                finally:
                    datagrams.close()
        finally:
            network.batch("pcn41", "ip", ["addr del 203.0.113.5/32 dev lo", "addr del 203.0.113.77/32 dev lo"])
        return "" if arrived == {"203.0.113.77": COUNT, "203.0.113.5": 0} else str(arrived)

    def _two_users(self) -> str:
        alice, dave = self.vpns["static own ESP"], self.vpns["static own AH"]
        wire = Wire("fa21")
        first = Datagrams(alice.user, alice.home, alice.correspondent, alice.address)
        try:
            wire.settle()
            for _ in range(COUNT):
                first.send("up", 0)
                if not ping(dave.user, dave.home, dave.address):
                    return "dave's ping is not answered while alice sends"
            arrived = len(first.receive("up", COUNT))
            ends = (network.GATEWAYS["fa21"][0], network.GATEWAYS["ha31"][0])
            seen = [(p.protocol, p.tos >> 2) for p in wire.packets() if (p.source, p.destination) == ends]
        finally:
            first.close()
            wire.close()
        wanted = sorted([("esp", EF)] * COUNT + [("ah", 0)] * COUNT)
        return "" if sorted(seen) == wanted and arrived == COUNT else f"{arrived} arrive; {sorted(seen)}"

    def _charon_agrees(self) -> str:
        for name, host in self.hosts.items():
            ours: set[str] = set()
            for path in (self.deployed / name).glob("*/*/*.conf"):
                ours |= set(section(swanctl.load(path.read_text()), "connections"))
            said = host.swanctl("--load-all", "--noprompt")
            theirs = {line.split("'")[1] for line in said.splitlines() if line.startswith("loaded connection '")}
            if ours != theirs:
                return f"{name}: {sorted(ours ^ theirs)}"
        return ""

    def _dropped(self, vpn: Vpn) -> str:
        """The user's packets must neither arrive nor be seen on the wire."""
        gateway = vpn.path[0]
        wire = Wire(gateway)
        datagrams = Datagrams(vpn.user, vpn.home, vpn.correspondent, vpn.address)
        try:
            wire.settle()
            # an ICMP "prohibited" for the first may come before the last is sent: that is a refusal, too
            with suppress(OSError):
                datagrams.send("up", 0, COUNT)
            arrived = len(datagrams.receive("up", 1, wait=0.5))
            seen = wire.packets()
        finally:
            datagrams.close()
            wire.close()
        return f"{arrived} arrive, on the wire {seen}" if arrived or seen else ""

    def _leg(self) -> str:
        (leg,) = (path.stem for path in (self.deployed / "fa21/session/legs").glob("rv-p1-*.conf"))
        return leg

    def _own_down(self) -> str:
        vpn = self.vpns["static own ESP"]
        said = self.hosts["fa21"].swanctl("--terminate", "--ike", self._leg())
        return self._dropped(vpn) if "completed successfully" in said else said

    def _own_back(self) -> str:
        self.hosts["fa21"].initiate(self._leg())
        return "" if ping("alice", "203.0.113.5", "10.5.1.9") else "no answer"

    def _shared_down(self) -> str:
        said = self.hosts["fa21"].swanctl("--terminate", "--ike", "rv-e-pcn41")
        return self._dropped(self.vpns["dynamic shared ESP"]) if "completed successfully" in said else said

    def _device_gone(self) -> str:
        network.batch("fa21b", "ip", ["link delete rv-own0"])
        network.batch("fa21", "ip", ["link delete rv-i42"])
        for name in ("both: own ESP", "dynamic encapsulation"):
            wrong = self._dropped(self.vpns[name])
            if wrong:
                return f"{name}: {wrong}"
        return ""


def section(tree: swanctl.Tree, name: str) -> swanctl.Tree:
    """A section of a tree, empty where there is none."""
    node = tree.get(name, {})
    assert isinstance(node, dict)
    return node


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), static_keys="static" in sys.argv[2:])
    (Path(os.environ["VM_OUT"]) / "results.json").write_text(json.dumps(found))
