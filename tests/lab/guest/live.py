"""The example network alive: daemons on all its nodes follow mobiles that roam, and packets show what becomes of it.

Run inside the test kernel with a site's directory. Writes `{step: "" or what is wrong}` and measured figures as JSON to
$VM_OUT/results.json. The gateways are provisioned by `site`, as for the steady states.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from roamvpn.engine import checked_site
from roamvpn.provision.agents import CREDENTIALS, PLACE, network_text, server_files
from roamvpn.provision.authority import Authority
from roamvpn.stores.tree import create
from roamvpn.wire.diameter_identities import Identities
from tests.lab.guest import network, roaming
from tests.lab.guest.controller import Controller
from tests.lab.guest.daemons import AGENTS, ROAMVPN, Agent, Daemon, Terminal, until
from tests.lab.guest.hosts import Host
from tests.lab.guest.installed import differences
from tests.lab.guest.probes import ping
from tests.lab.live import MOBILES, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.tables.site import Site
    from tests.lab.guest.roaming import Counted, Stream

WORK = Path("/run/lab/live")
_BEHIND = {"alice": ("cn51", "10.5.1.9"), "frank": ("cn43", "10.5.1.9"), "bob": ("cn41", "198.51.100.9")}


class Wrong(Exception):  # noqa: N818 - what is wrong, in a sentence
    """What a step found wrong."""


class Live:
    """The network at work; steps by name, each leaves it whole for the next."""

    def __init__(self, directory: Path, note: Callable[[str], None]) -> None:
        self.figures: dict[str, Any] = {}
        self._note = note
        self.mobiles = roaming.build({name: home for name, (_, home) in MOBILES.items()})
        self.hosts = {name: Host(name).start() for name in network.GATEWAYS}
        self.controller = Controller(directory).start()
        played = self.controller.play("site")
        if played.code:
            raise RuntimeError(played.text)
        note("provisioned")
        self.site = checked_site(self.controller.site)
        self.servers = {name: _server(self.controller.site, self.site, name) for name in roaming.SERVERS}
        self.agents = {name: Agent(self.hosts[name], self.site, WORK / f"{name}.log") for name in AGENTS}
        for daemon in (*self.servers.values(), *self.agents.values()):
            daemon.start()
        for agent in self.agents.values():
            until(f"{agent.name} serves", agent.ready, 60)
            until(f"{agent.name} has its gateway", lambda a=agent: a.status()["gateway"]["charon"] == "answers")  # type: ignore[misc]
        for name in ("fa21", "fa21b", "fa22", "ha31"):
            until(f"{name} has its AAA server", lambda n=name: bool(self.agents[n].status()["diameter_peers"]))  # type: ignore[misc]
        note("daemons serve")
        self.terminals = {name: Terminal(name, nai, home, self.site, WORK) for name, (nai, home) in MOBILES.items()}
        for terminal in self.terminals.values():
            terminal.await_event("ready")

    def run(self) -> dict[str, str]:
        """Results by step."""
        steps = {step.__doc__: getattr(self, name) for name, step in vars(type(self)).items() if callable(step)}
        found = {}
        for name in STEPS:
            try:
                steps[name]()
                found[name] = ""
            except Wrong as wrong:
                found[name] = str(wrong)
            except Exception:  # noqa: BLE001 - a step that breaks has failed, with its traceback
                found[name] = traceback.format_exc()
            self._note(f"{name}: {found[name][-1500:] or 'ok'}")
        return found

    def stop(self) -> None:
        """End everything, by pid, and keep the logs."""
        for terminal in self.terminals.values():
            terminal.stop()
        for daemon in (*self.agents.values(), *self.servers.values()):
            daemon.stop()
        for host in self.hosts.values():
            host.stop()
        shutil.copytree(WORK, Path(os.environ["VM_OUT"]) / "logs", dirs_exist_ok=True)

    # -- the seven embodiments --------------------------------------------------------------------------------------

    def e1(self) -> None:
        """E1: a first registration sets both VPNs of a static destination"""
        self._register("alice", "fa21")
        self._reaches("alice")
        self._holds()

    def e2(self) -> None:
        """E2: a move within the domain loses no packet"""
        self._moved("alice", "fa21b", "E2")

    def e3(self) -> None:
        """E3: a move between domains loses no packet"""
        self._moved("alice", "fa22", "E3")

    def e4(self) -> None:
        """E4: a first registration sets one VPN past the home agent"""
        self._register("frank", "fa21")
        self._reaches("frank")
        self._holds()

    def e5(self) -> None:
        """E5: a move within the domain loses no packet, past the home agent"""
        self._moved("frank", "fa21b", "E5")

    def e6(self) -> None:
        """E6: a move between domains loses no packet, past the home agent"""
        self._moved("frank", "fa22", "E6")

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _register(self, user: str, agent: str, old: str | None = None) -> dict[str, Any]:
        terminal = self.terminals[user]
        access = network.GATEWAYS[agent][1].partition("/")[0]
        more = {"old_agent": network.GATEWAYS[old][0]} if old is not None else {}
        terminal.ask(do="register", agent=access, **more)
        answer = terminal.await_event("registered")
        self.mobiles[user].use(agent)
        return answer

    def _at(self, user: str) -> str:
        """Where the home agent believes a user to be."""
        nai = MOBILES[user][0]
        rows = [row for row in self.agents["ha31"].status()["sessions"] if row["nai"] == nai and row["role"] == "ha"]
        return str(rows[0]["foreign_agent"])

    def _moved(self, user: str, agent: str, name: str) -> None:
        """Move in the overlap of two radio cells, under a stream of probes both ways."""
        old = self._at(user)
        within = self.site.tables.network.gateways[old].domain == self.site.tables.network.gateways[agent].domain
        with self._stream(user) as stream:
            stream.await_more(100)
            answer = self._register(user, agent, old if within else None)
            stream.await_more(300)
        counted = stream.counted()
        self._keep(name, counted, answer["ms"])
        lost = {direction: each.lost for direction, each in counted.items() if each.lost}
        if lost:
            raise Wrong(f"lost {lost} of {stream.sent}; {counted}")
        self._holds()

    def _stream(self, user: str) -> Stream:
        return roaming.Stream(self.mobiles[user], *_BEHIND[user])

    def _keep(self, name: str, counted: dict[str, Counted], milliseconds: float) -> None:
        row: dict[str, object] = {"registration_ms": milliseconds}
        for direction, each in counted.items():
            row |= {f"{direction}_lost": len(each.lost), f"{direction}_gap_ms": each.gap_ms, "sent": each.sent}
        self.figures[name] = row
        self._note(f"    {name}: {row}")

    def _reaches(self, user: str) -> None:
        home = MOBILES[user][1]
        correspondent, address = _BEHIND[user]
        if not ping(user, home, address):
            raise Wrong(f"{user} does not reach {address}")
        if not ping(correspondent, address, home):
            raise Wrong(f"{correspondent} does not reach {user}")

    def _holds(self, seconds: float = 25.0) -> None:
        """F9, once hand-off tunnels have ended: kernel and charon against the central compile."""
        deadline = time.monotonic() + seconds
        while found := differences(self.site, self.hosts, self.agents["ha31"].status()):
            if time.monotonic() > deadline:
                raise Wrong("; ".join(found[:10]))
            time.sleep(0.5)  # tunnels end by their own timers, at seven hosts


def _server(directory: Path, site: Site, name: str) -> Daemon:
    """An AAA server's files, with a certificate of the site's CA."""
    place = WORK / name
    (place / "site").mkdir(mode=0o700, parents=True)
    if site.tables.network.aaa_servers[name].role == "home":
        for file in directory.glob("*.yml"):
            create(place / "site" / file.name, file.read_bytes(), 0o600)
    else:
        create(place / "site/network.yml", network_text(site).encode(), 0o644)
    identity = Identities(site.tables.network).of(name)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
    )
    signed = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    authority = Authority(directory / ".roamvpn/pki", site.tables.network.site)
    with authority.locked():
        certificate = authority.issue(signed, name, (identity,), datetime.now(UTC))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = {
        f"private/{name}.pem": private,
        f"x509/{name}.pem": certificate.encode(),
        "x509ca/roamvpn.pem": authority.certificate.encode(),
    }
    for path, content in files.items():
        (place / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create(place / path, content, 0o600)
    settings = {"state": str(place / "state"), "run": str(place / "run")}
    text = server_files(site, name, **settings)["aaa.yml"].text
    text = text.replace(PLACE, str(place)).replace(CREDENTIALS, str(place))
    create(place / "aaa.yml", text.encode(), 0o644)
    argv = ("ip", "netns", "exec", name, *ROAMVPN, "aaa", "--config", str(place / "aaa.yml"))
    return Daemon(name, WORK / f"{name}.log", *argv)


def main(directory: Path) -> dict[str, Any]:
    """Everything; what is wrong is in the results."""
    started = time.monotonic()

    def note(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.1f} s  {what}\n")
        sys.stdout.flush()

    WORK.mkdir(mode=0o700, parents=True)
    live = Live(directory, note)
    try:
        return {"steps": live.run(), "figures": live.figures}
    finally:
        live.stop()


if __name__ == "__main__":
    found = main(Path(sys.argv[1]))
    (Path(os.environ["VM_OUT"]) / "results.json").write_text(json.dumps(found))
