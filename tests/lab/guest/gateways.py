"""Gateways without playbooks: in each namespace a charon, what playbooks would set, and an applier that obeys."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from roamvpn.gateway import pki
from roamvpn.policy import naming
from roamvpn.provision.authority import Authority
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import templates
from roamvpn.tables.gateway_state import GatewayState
from roamvpn.tables.site import load_site
from roamvpn.tables.types import Security
from tests.lab.guest.network import inside

HOME = Path("/run/lab/applying")
PATIENCE = 60.0


class Gateway:
    """One of them."""

    def __init__(self, site: Path, name: str, order: str = "make-before-break") -> None:
        self.site = site
        self.name = name
        self.order = order
        self.home = HOME / name
        self.told: list[dict[str, Any]] = []
        self._charon: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def prepare(self, authority: Authority) -> None:
        """Credentials and strongswan.conf."""
        tables = load_site(read_site(self.site)).tables
        node = tables.network.gateways[self.name]
        credentials = self.home / "swanctl"
        identity = f"{self.name}.{tables.network.domains[node.domain].realm}"
        names = (naming.peer_identity(Security.ESP, identity), naming.peer_identity(Security.AH, identity))
        request = str(pki.request(credentials, self.name, list(names), fresh=False)["request"])
        issued = authority.issue(request, self.name, names, datetime.now(UTC))
        received = {"certificate": issued, "authority": authority.certificate, "crl": authority.crl}
        pki.install(credentials, self.name, received)
        renderer, state = Renderer(tables.network, templates()), GatewayState(self.name)
        text = renderer.text(state, renderer.artefacts(state)["base/strongswan.conf"])
        extra = (
            f"plugins {{ vici {{ socket = unix://{self.home}/vici }} }}\n"
            f"filelog {{ log {{ path = {self.home}/log\n flush_line = yes\n default = 1 }} }}\n"
            "journal { default = -1 }\n"
        )
        (self.home / "strongswan.conf").write_text(text.replace("charon-systemd {", "charon-systemd {\n" + extra, 1))

    # charon

    def start_charon(self) -> None:
        """Start it and wait until it answers."""
        (self.home / "vici").unlink(missing_ok=True)
        self._charon = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "/usr/sbin/charon-systemd"],
            env={**os.environ, "STRONGSWAN_CONF": str(self.home / "strongswan.conf")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (self.home / "vici").exists():
            if self._charon.poll() is not None:
                raise RuntimeError(f"{self.name}: charon does not start")
            time.sleep(0.01)

    def stop_charon(self, *, at_once: bool = False) -> None:
        """Stop it, with or without a word to its peers."""
        if self._charon is not None:
            (self._charon.kill if at_once else self._charon.terminate)()
            self._charon.wait(20)
            self._charon = None

    # the applier

    def start_agent(self) -> None:
        """A process that obeys; it applies nothing yet."""
        self._lines = queue.Queue()
        self._agent = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.name, sys.executable, "-m", "tests.lab.guest.apply_agent"),
                *(str(self.site), self.name, str(self.home), self.order),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._agent, self._lines), daemon=True).start()

    def _read(self, agent: subprocess.Popen[str], lines: queue.Queue[dict[str, Any] | None]) -> None:
        assert agent.stdout is not None
        for line in agent.stdout:
            lines.put(json.loads(line))
        lines.put(None)

    def until(self, key: str, value: object = None) -> dict[str, Any]:
        """What it tells next of this kind; what it told before counts too."""
        for node in self.told:
            if key in node and value in (None, node[key]):
                self.told.remove(node)
                return node
        while True:
            told = self._lines.get(timeout=PATIENCE)
            if told is None:
                raise EOFError(f"{self.name}: the applier is gone")
            if key in told and value in (None, told[key]):
                return told
            self.told.append(told)

    def ask(self, order: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has them
        """Give an order and wait for the answer."""
        self.tell(order, **arguments)
        answer: dict[str, Any] = self.until("answer")["answer"]
        return answer

    def tell(self, order: str, **arguments: Any) -> None:  # noqa: ANN401 - as JSON has them
        """Give an order."""
        assert self._agent is not None
        assert self._agent.stdin is not None
        self._agent.stdin.write(json.dumps([order, arguments]) + "\n")
        self._agent.stdin.flush()

    def kill_agent(self) -> None:
        """Pull its plug."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait(10)
            self._agent = None

    def await_death(self) -> None:
        """It kills itself at a step that it was told."""
        assert self._agent is not None
        self._agent.wait(PATIENCE)
        self._agent = None

    def restart_agent(self, sessions: list[list[Any]]) -> int:
        """From the node's store; returns how many strays it removed, once all is settled."""
        self.told.clear()
        self.start_agent()
        strays = int(self.ask("start", sessions=sessions)["strays"])
        self.ask("settled")
        return strays

    def ip(self, *argv: str) -> str:
        """Run a program there."""
        return inside(self.name, *argv)


def authority() -> Authority:
    """A CA for this run."""
    made = Authority(HOME / "ca", "lab")
    with made.locked():
        made.prepare(datetime.now(UTC))
    return made
