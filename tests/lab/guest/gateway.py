"""A gateway of the lab, configured by the files that roamvpn rendered and by nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.render import swanctl
from tests.lab.guest.network import batch, inside

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN = Path("/run/lab")
_TROUBLE = ("invalid config file", "failed to open config", "syntax error", "loading", "failed")
_HARMLESS = "opening directory"
"""swanctl names every credential directory that is not there; it needs none of them."""


class Unit(NamedTuple):
    """What a unit file asks of ip, tc and charon."""

    name: str
    kind: str
    initiate: bool
    ip: list[str]
    tc: list[str]


class Gateway:
    """One gateway in its namespace, with a charon of its own."""

    def __init__(self, name: str, bundle: Path) -> None:
        self.name = name
        self.bundle = bundle
        self._home = _RUN / name
        self._charon: subprocess.Popen[bytes] | None = None

    def units(self, kind: str) -> Iterator[Unit]:
        """Units of one kind: peers, legs or secrets."""
        for path in sorted(self.bundle.glob(f"*/{kind}/*.conf")):
            for name, node in section(swanctl.load(path.read_text()), "roamvpn").items():
                assert isinstance(node, dict)
                lines = [[str(line) for line in section(node, tool).values()] for tool in ("ip", "tc")]
                yield Unit(name, kind, node.get("initiate") == "yes", lines[0], lines[1])

    def prepare(self) -> None:
        """Kernel settings, devices, queues, peers; start charon."""
        inside(self.name, "sysctl", "-q", "-p", str(self.bundle / "base/sysctl.conf"))
        batch(self.name, "ip", (self.bundle / "base/links.ip").read_text().splitlines())
        batch(self.name, "tc", (self.bundle / "base/qos.tc").read_text().splitlines())
        for unit in self.units("peers"):
            batch(self.name, "ip", unit.ip)
            batch(self.name, "tc", unit.tc)
        self._start_charon()

    def load(self) -> str:
        """Connections and secrets into charon, then keys, policies and filters of every leg; what swanctl said."""
        self._wait_for_vici()
        said = self.swanctl("--load-all", "--noprompt")
        trouble = [
            line for line in said.splitlines() if any(word in line for word in _TROUBLE) and _HARMLESS not in line
        ]
        if trouble:
            raise RuntimeError(f"{self.name}: swanctl: {trouble}")
        lines = {"ip": [], "tc": []}  # type: dict[str, list[str]]
        for kind in ("secrets", "legs"):
            for unit in self.units(kind):
                lines["ip"] += unit.ip
                lines["tc"] += unit.tc
        batch(self.name, "ip", lines["ip"])
        batch(self.name, "tc", lines["tc"])
        return said

    def initiate(self) -> None:
        """Bring up every association that this end initiates."""
        for kind in ("peers", "legs"):
            for unit in self.units(kind):
                if unit.initiate:
                    self.initiate_child(unit.name)

    def initiate_child(self, name: str) -> None:
        """Bring up one association."""
        said = self.swanctl("--initiate", "--child", name, "--timeout", "10")
        if "completed successfully" not in said:
            log = (self._home / "log").read_text().splitlines()[-30:]
            raise RuntimeError(f"{self.name}: {name}: {said}\n" + "\n".join(log))

    def swanctl(self, *arguments: str) -> str:
        """What swanctl prints."""
        environment = f"STRONGSWAN_CONF={self._home}/strongswan.conf"
        return inside(self.name, "env", environment, f"SWANCTL_DIR={self.bundle}", "swanctl", *arguments, check=False)

    def stop(self) -> None:
        """Stop charon and wait for its end."""
        if self._charon is not None:
            self._charon.send_signal(signal.SIGTERM)
            self._charon.wait(10)

    def _start_charon(self) -> None:
        self._home.mkdir(parents=True)
        # what a test host needs beside the rendered settings: sockets and a log of its own
        (self._home / "strongswan.conf").write_text(
            f"include {self.bundle}/base/strongswan.conf\n"
            f"charon-systemd {{\n plugins {{ vici {{ socket = unix://{self._home}/vici }} }}\n"
            f" filelog {{ lab {{ path = {self._home}/log\n default = 1\n flush_line = yes }} }}\n"
            " journal { default = -1 }\n}\n"
            f"swanctl {{\n socket = unix://{self._home}/vici\n load = random openssl pem pkcs1 pkcs8 x509 pubkey\n}}\n"
        )
        self._charon = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "/usr/sbin/charon-systemd"],
            env={**os.environ, "STRONGSWAN_CONF": str(self._home / "strongswan.conf")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _wait_for_vici(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self._home / "vici"))
                except OSError:
                    os.sched_yield()
                    time.sleep(0.005)  # nothing announces a socket that is not there yet
                else:
                    return
        raise RuntimeError(f"{self.name}: charon does not answer")


def section(tree: swanctl.Tree, name: str) -> swanctl.Tree:
    """A section of a tree, empty where there is none."""
    node = tree.get(name, {})
    assert isinstance(node, dict)
    return node
