"""Namespaces and links of the lab: seven gateways on one internet, mobiles and correspondents behind them."""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GATEWAYS = {
    "fa21": ("192.0.2.21", "10.90.21.1/24"),
    "fa21b": ("192.0.2.22", "10.90.22.1/24"),
    "fa22": ("192.0.2.26", "10.90.26.1/24"),
    "ha31": ("192.0.2.31", "203.0.113.1/24"),
    "pcn41": ("192.0.2.41", "198.51.100.1/25"),
    "pcn41b": ("192.0.2.42", "198.51.100.129/25"),
    "gw51": ("192.0.2.51", "10.5.0.1/16"),
}
"""Name: address on the internet, address on the access network."""

CONTROLLER = "192.0.2.10"
"""Address of the controller on the internet."""

CORRESPONDENTS = {
    "cn51": ("gw51", "10.5.1.9/16", "10.5.0.1"),
    "cn52": ("gw51", "10.5.2.9/16", "10.5.0.1"),
    "cn41": ("pcn41", "198.51.100.9/25", "198.51.100.1"),
    "cn42": ("pcn41b", "198.51.100.200/25", "198.51.100.129"),
    "cn43": ("pcn41b", "10.5.1.9/16", "10.5.0.1"),
}
"""Name: gateway, address, default route. cn43 is another tenant's 10.5.1.9."""

_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a program, return all it printed; raise with that if it fails."""
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def inside(namespace: str, *argv: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a program in a namespace."""
    return run("ip", "netns", "exec", namespace, *argv, stdin=stdin, check=check)


def batch(namespace: str, tool: str, lines: Iterable[str]) -> None:
    """Feed lines to `ip -batch` or `tc -batch` in a namespace; whatever they print is an error."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        said = inside(namespace, tool, "-batch", "-", stdin=text).strip()
        if said:
            raise RuntimeError(f"{namespace}: {tool} -batch: {said}")


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """This thread within a namespace: sockets opened here belong to it for good."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        yield
    finally:
        _libc.setns(home, 0)
        os.close(home)
        os.close(there)


def build(mobiles: dict[str, tuple[str, str]]) -> None:
    """Make everything; `mobiles` gives each user's foreign agent and home address."""
    namespace("internet")
    batch("internet", "ip", ["link add br0 type bridge", "link set br0 up"])
    for index, (name, (address, access)) in enumerate(GATEWAYS.items()):
        namespace(name)
        run("ip", "link", "add", f"w{index}", "netns", "internet", "type", "veth", "peer", "name", "wan", "netns", name)
        batch("internet", "ip", [f"link set w{index} master br0", f"link set w{index} up"])
        batch(
            name,
            "ip",
            [
                f"addr add {address}/24 dev wan",
                "link set wan up",
                "link add lan type bridge",
                f"addr add {access} dev lan",
                "link set lan up",
            ],
        )
    batch("pcn41b", "ip", ["addr add 10.5.0.1/16 dev lan"])
    for name, (gateway, address, router) in CORRESPONDENTS.items():
        _host(name, gateway, address, router)
    for name, (gateway, home) in mobiles.items():
        _host(name, gateway, f"{home}/32", GATEWAYS[gateway][1].partition("/")[0])
    _ordinary_routes(mobiles)


def _ordinary_routes(mobiles: dict[str, tuple[str, str]]) -> None:
    """The internet's own routing: what would carry a packet in clear if a gateway let it out."""
    prefixes = {"10.5.0.0/16": "gw51", "198.51.100.0/25": "pcn41", "198.51.100.128/25": "pcn41b"}
    for name in GATEWAYS:
        lines = [f"route add {net} via {GATEWAYS[gw][0]}" for net, gw in prefixes.items() if gw != name]
        if name == "pcn41b":
            lines = [line for line in lines if "10.5.0.0/16" not in line]
        # Mobile IP would bring the mobiles' ordinary packets to their foreign agents; host routes do here
        lines += [f"route add {home}/32 via {GATEWAYS[fa][0]}" for fa, home in mobiles.values() if fa != name]
        lines += [f"route add {home}/32 dev lan" for fa, home in mobiles.values() if fa == name]
        batch(name, "ip", lines)


def namespace(name: str) -> None:
    """Make one, with nothing in it but `lo`."""
    run("ip", "netns", "add", name)
    # neighbour discovery and router solicitations of IPv6 would stand in every capture
    inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    batch(name, "ip", ["link set lo up"])


def _host(name: str, gateway: str, address: str, router: str) -> None:
    namespace(name)
    run("ip", "link", "add", f"h-{name}", "netns", gateway, "type", "veth", "peer", "name", "e0", "netns", name)
    batch(gateway, "ip", [f"link set h-{name} master lan", f"link set h-{name} up"])
    lines = [f"addr add {address} dev e0", "link set e0 up", f"route add default via {router} dev e0 onlink"]
    batch(name, "ip", lines)
