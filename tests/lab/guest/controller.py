"""The controller of the lab: a host on the internet from which playbooks reach the gateways by SSH."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.guest.hosts import HOME, make_keys
from tests.lab.guest.network import CONTROLLER, GATEWAYS, batch, run

_CHECKOUT = Path(__file__).resolve().parents[3]
_BIN = Path(sys.executable).parent
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Played:
    """How a playbook ended: its exit code, all that it printed, and the counts of its recap by host."""

    code: int
    text: str

    def counts(self, host: str) -> dict[str, int]:
        """ok, changed, unreachable and failed."""
        for found in _RECAP.finditer(self.text):
            if found[1] == host:
                return dict(zip(("ok", "changed", "unreachable", "failed"), map(int, found.groups()[1:]), strict=True))
        return {}

    @property
    def hosts(self) -> list[str]:
        """Hosts in the recap."""
        return [found[1] for found in _RECAP.finditer(self.text)]

    @property
    def changed(self) -> list[str]:
        """Hosts that say that they changed."""
        return [host for host in self.hosts if self.counts(host)["changed"]]


class Controller:
    """In the namespace `control`; its site is a copy of what it is given."""

    def __init__(self, site: Path, name: str = "control", home: Path = HOME) -> None:
        self.name = name
        self.home = home / name
        self.site = self.home / "site"
        self._origin = site
        self._keys = home / "keys"

    def start(self, address: str = CONTROLLER) -> Self:
        """Make its namespace on the internet, and its directory."""
        make_keys(self._keys)
        self.home.mkdir(parents=True)
        shutil.copytree(self._origin, self.site)
        run("ip", "netns", "add", self.name)
        end = f"c-{self.name}"[:15]
        run("ip", "link", "add", end, "netns", "internet", "type", "veth", "peer", "name", "e0", "netns", self.name)
        batch("internet", "ip", [f"link set {end} master br0", f"link set {end} up"])
        batch(self.name, "ip", [f"addr add {address}/24 dev e0", "link set e0 up", "link set lo up"])
        host = (self._keys / "host.pub").read_text()
        known = "".join(f"{gateway} {host}" for gateway, _access in GATEWAYS.values())
        (self.home / "known_hosts").write_text(known)
        return self

    def popen(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a playbook of the collection."""
        ssh = (
            f"-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={self.home}/known_hosts "
            "-o ConnectTimeout=5 -o ServerAliveInterval=2 -o ServerAliveCountMax=3"
        )
        environment = {
            **os.environ,
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "USER": self.name,
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_CONFIG": str(_CHECKOUT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(_CHECKOUT / "collections"),
            "ANSIBLE_PRIVATE_KEY_FILE": str(self._keys / "controller"),
            "ANSIBLE_REMOTE_USER": "root",
            "ANSIBLE_SSH_ARGS": ssh,
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", self.name, str(_BIN / "ansible-playbook")),
                *("-i", str(self.site / "roamvpn.yml"), f"roamvpn.gateway.{name}", *arguments),
            ],
            env=environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        """Pull the plug: playbooks, their workers, their connections."""
        for pid in run("ip", "netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def knows(self, address: str) -> None:
        """Take the lab's host key for this address, too."""
        with (self.home / "known_hosts").open("a") as file:
            file.write(f"{address} {(self._keys / 'host.pub').read_text()}")

    def play(self, name: str, *arguments: str) -> Played:
        """Run a playbook of the collection to its end."""
        process = self.popen(name, *arguments)
        text, _ = process.communicate()
        return Played(process.returncode, text)
