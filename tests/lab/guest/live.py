"""The example network alive: daemons on all its nodes follow mobiles that roam, and packets show what becomes of it.

Run inside the test kernel with a site's directory. Writes `{step: "" or what is wrong}` and measured figures as JSON to
$VM_OUT/results.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
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
from roamvpn.policy.naming import user_hash
from roamvpn.provision.agents import CREDENTIALS, PLACE, network_text, server_files
from roamvpn.provision.authority import Authority
from roamvpn.stores.tree import create
from roamvpn.wire.diameter_identities import Identities
from tests.lab.guest import network, roaming
from tests.lab.guest.bare import provision
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
_SETTINGS = {"max_lifetime": 40, "br_threshold": 10, "hand_off": 5}
"""Shorter than in life, so that what lapses does so here."""
_TO_AND_FRO = 40
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
        note("hosts stand")
        shutil.copytree(directory, WORK / "site")
        # users choose other destinations here than those that it asserts
        (WORK / "site/policy_tests.yml").unlink()
        with (WORK / "site/network.yml").open("a") as file:
            # who is gone is noticed sooner than in life
            file.write("ike: {dpd_delay: 5s}\n")
        provision(WORK / "site", self.hosts)
        note("gateways are provisioned")
        self.site = checked_site(WORK / "site")
        self.servers = {name: _server(WORK / "site", self.site, name) for name in roaming.SERVERS}
        self.agents = {
            name: Agent(self.hosts[name], self.site, WORK / f"{name}.log", signalling=_SETTINGS) for name in AGENTS
        }
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
        logs = Path(os.environ["VM_OUT"]) / "logs"
        logs.mkdir(exist_ok=True)
        for log in WORK.glob("*.log"):
            shutil.copy(log, logs / log.name)
        for name, host in self.hosts.items():
            shutil.copy(host.base / "var.up/log/charon.log", logs / f"{name}.charon.log")

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

    def e7(self) -> None:
        """E7: another destination, chosen by the user, takes the traffic; the old PCN ends by itself"""
        at = self._at("frank")
        before = self.agents["pcn41b"].text().count('"message": "BR"')
        self._edit("vpn_database.yml", "profile_number: 7", "destaddr: 10.5.1.9", "destaddr: 198.51.100.9")
        self.servers["aaah33"].signal(signal.SIGHUP)
        until("the AAAH has taken it up", lambda: "tables taken up" in self.servers["aaah33"].text())
        _BEHIND["frank"] = ("cn41", "198.51.100.9")
        self.terminals["frank"].forget()
        self.terminals["frank"].ask(do="register", agent=_access(at), service_update=True)
        self.terminals["frank"].await_event("registered", agent=_access(at))
        self._reaches("frank")
        held = self._legs("pcn41b", "frank")
        if not held:
            raise Wrong("the old PCN has let go before the lifetime's end")
        self._holds(90)
        text = self.agents["pcn41b"].text()
        if text.count('"message": "BR"') == before:
            raise Wrong("the old PCN has not asked whether its VPN is still wanted")

    # -- a hard break, and accidents --------------------------------------------------------------------------------

    def hard_break(self) -> None:
        """a hard break loses no more than what was on its way until the new tunnels stood"""
        old = self._at("alice")
        agent = "fa21b" if old != "fa21b" else "fa21"
        with self._stream("alice") as stream:
            stream.await_more(100)
            first = stream.sent
            self.mobiles["alice"].link(old, "down")
            answer = self._register("alice", agent)
            last = stream.sent
            stream.await_more(300)
        self.mobiles["alice"].link(old, "up")
        counted = stream.counted()
        self._keep("hard break", counted, answer["ms"], window=last - first)
        outside = {
            direction: [number for number in each.lost if not first - 2 <= number <= last + 2]
            for direction, each in counted.items()
        }
        if any(outside.values()):
            raise Wrong(f"lost outside of {first} to {last}: {outside}")
        self._holds()

    def aaah_away(self) -> None:
        """the AAAH is away: moves within a domain go on, and lose no packet"""
        self._register("alice", "fa21")
        self._holds()
        self.servers["aaah33"].stop()
        try:
            self._moved("alice", "fa21b", "AAAH away")
        finally:
            self.servers["aaah33"].start()
            until("the AAAH is back", self._home_is_known, 60)

    def _home_is_known(self) -> bool:
        """Whether all that talk to the AAAH have it again: they try in pauses that double."""
        peers = [self.agents["ha31"].status()["diameter_peers"]]
        for name in ("aaaf23", "aaaf23b"):
            socket = str(WORK / name / f"run/{name}.sock")
            said = network.run("curl", "-s", "--max-time", "5", "--unix-socket", socket, "http://server/v1/status")
            peers.append(json.loads(said)["diameter_peers"])
        return all("aaah33.isp3.example" in each for each in peers)

    def home_agent_killed(self) -> None:
        """the home agent's agent is killed in the middle of a move: traffic recovers, nothing is left behind"""
        old = self._at("frank")
        agent = "fa21" if old != "fa21" else "fa21b"
        home = self.agents["ha31"]
        sent = home.text().count('"message": "BU"')
        self.terminals["frank"].forget()
        self.terminals["frank"].ask(do="register", agent=_access(agent))
        until("the home agent has posted the move", lambda: home.text().count('"message": "BU"') > sent)
        home.stop(signal.SIGKILL)
        home.start()
        until("the home agent serves", home.ready, 60)
        self.terminals["frank"].await_event("registered", 60, _access(agent))
        self.mobiles["frank"].use(agent)
        self._reaches("frank")
        self._holds()

    def charon_killed(self) -> None:
        """charon is killed at a foreign agent: its users' tunnels come back by themselves"""
        at = self._at("frank")
        host = self.hosts[at]
        pid = host.run("pidof", "charon-systemd").split()[0]
        host.run("kill", "-9", pid)
        host.run("service", "strongswan", "restart")
        home, (_, address) = MOBILES["frank"][1], _BEHIND["frank"]
        # the other end has to notice first: by DPD, and its retransmissions
        until("frank is served again", lambda: ping("frank", home, address), 120)
        self._holds(150)

    def to_and_fro(self) -> None:
        """moves to and fro, as fast as they are answered, end where the user is, and leave nothing behind"""
        started, moves = time.monotonic(), 0
        while moves < _TO_AND_FRO:
            self._register("alice", ("fa21", "fa21b")[moves % 2])
            moves += 1
        self.figures["to and fro"] = {"moves": moves, "seconds": round(time.monotonic() - started, 2)}
        self._reaches("alice")
        self._holds()

    def left(self) -> None:
        """who signs off leaves nothing behind"""
        for user in ("alice", "frank"):
            self.terminals[user].ask(do="leave")
            self.terminals[user].await_event("left")
        self._holds(60)
        for name in AGENTS:
            for user in ("alice", "frank"):
                legs = self._legs(name, user)
                if legs:
                    raise Wrong(f"{name} still has {legs}")

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _register(self, user: str, agent: str, old: str | None = None) -> dict[str, Any]:
        terminal = self.terminals[user]
        more = {"old_agent": network.GATEWAYS[old][0]} if old is not None else {}
        terminal.forget()
        terminal.ask(do="register", agent=_access(agent), **more)
        answer = terminal.await_event("registered", agent=_access(agent))
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

    def _legs(self, gateway: str, user: str) -> list[str]:
        """Associations of a user's own that charon has there, an enterprise's legs apart."""
        sas = self.hosts[gateway].swanctl("--list-sas")
        return re.findall(rf"^(rv-[ph]\d+-u{user_hash(MOBILES[user][0])}-(?!gw51)\S+): #", sas, re.MULTILINE)

    def _edit(self, name: str, behind: str, old: str, new: str) -> None:
        """Change a table where the AAAH reads it, and for the compile that everything is held against."""
        for directory in (WORK / "site", WORK / "aaah33/site"):
            head, mark, tail = (directory / name).read_text().partition(behind)
            if old not in tail:
                raise Wrong(f"{old} is not in {name}")
            (directory / name).write_text(head + mark + tail.replace(old, new, 1))
        self.site = checked_site(WORK / "site")

    def _keep(self, name: str, counted: dict[str, Counted], milliseconds: float, **more: object) -> None:
        row: dict[str, object] = {"registration_ms": milliseconds, **more}
        for direction, each in counted.items():
            row |= {f"{direction}_lost": len(each.lost), f"{direction}_gap_ms": each.gap_ms}
            row |= {f"{direction}_late_ms": each.late_ms, "sent": each.sent}
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


def _access(agent: str) -> str:
    return network.GATEWAYS[agent][1].partition("/")[0]


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
    settings = {"state": str(place / "state"), "run": str(place / "run"), "signalling": _SETTINGS}
    for path, made in server_files(site, name, **settings).items():
        text = made.text.replace(PLACE, str(place)).replace(CREDENTIALS, str(place))
        create(place / path, text.encode(), 0o600 if made.secret else 0o644)
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
