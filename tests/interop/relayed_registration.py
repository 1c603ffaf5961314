"""Runs alone in a network namespace: a registration whose AMR, HAR and answers freeDiameter relays.

    unshare -n python -m tests.interop.relayed_registration DIRECTORY [tls]

fa21 - aaaf23 - freeDiameter - aaah33 - freeDiameter - ha31. Prints as JSON what arrived as it was sent. freeDiameter
leaves out loopback addresses, so all lie on a bridge.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from roamvpn.daemon.diameter.settings import PeerConfig
from roamvpn.daemon.logs import configure
from roamvpn.signalling.messages import InstanceId, NodeRole, RegReq, ServiceUpdate
from tests.aaa_servers import AAAF23, AAAH33, FA21, HA31, ForeignAgent, HomeAgent, daemon
from tests.diameter_peers import Authority, connects_to, waits_for
from tests.signalled import ALICE, FRANK

if TYPE_CHECKING:
    from roamvpn.daemon.diameter.settings import TlsFiles

RELAY = "relay.transit.example"
VISITED_AT, RELAY_AT, HOME_AT, AGENT_AT = (f"10.9.0.{number}" for number in (1, 2, 3, 4))
PORT, TLS_PORT = 13868, 15658
PACKET = bytes(range(120))
_START_S = 30


def bridge() -> None:
    """Addresses for all of them."""
    commands = ["link set lo up", "link add br0 type bridge", "link set br0 up"]
    commands += [f"addr add {each}/24 dev br0" for each in (VISITED_AT, RELAY_AT, HOME_AT, AGENT_AT)]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def configuration(directory: Path, home: int, agent: int, tls: TlsFiles | None) -> Path:
    """freeDiameter's: it connects to aaah33 and ha31, and waits for aaaf23."""
    flags = "" if tls is not None else " ALLOW_IPSEC ALLOW_OLD_TLS"
    (directory / "acl.conf").write_text(f"{flags} {AAAF23}\n")
    (directory / "rt.conf").write_text(f'dr="isp3.example" : "{AAAH33}" += 50 ;\n')
    plain = "" if tls is not None else "No_TLS; "
    port = f"SecPort = {TLS_PORT};\nPort = 0;" if tls is not None else f"Port = {PORT};\nSecPort = 0;"
    # without TLS it still wants to see a certificate
    files = tls or Authority(directory, "unused").files(RELAY)
    path = directory / "freediameter.conf"
    path.write_text(
        f'Identity = "{RELAY}";\nRealm = "transit.example";\n{port}\nNo_SCTP;\nNo_IPv6;\nListenOn = "{RELAY_AT}";\n'
        f'TLS_Cred = "{files.certificate}", "{files.key}";\nTLS_CA = "{files.ca}";\nTLS_DH_Bits = 1024;\n'
        f"TcTimer = 5;\nTwTimer = 6;\n"
        f'LoadExtension = "acl_wl.fdx" : "{directory}/acl.conf";\n'
        f'LoadExtension = "rt_default.fdx" : "{directory}/rt.conf";\n'
        f'ConnectPeer = "{AAAH33}" {{ ConnectTo = "{HOME_AT}"; {plain}Port = {home}; }};\n'
        f'ConnectPeer = "{HA31}" {{ ConnectTo = "{AGENT_AT}"; {plain}Port = {agent}; }};\n'
    )
    return path


class Relayed:
    """All of them, connected through freeDiameter."""

    def __init__(self, directory: Path, *, secure: bool) -> None:
        self.directory, self.secure = directory, secure
        authority = Authority(directory)
        names = (FA21, AAAF23, AAAH33, HA31, RELAY)
        self.tls = {name: authority.files(name) for name in names} if secure else {}
        self.freediameter: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        secure, tls = self.secure, self.tls
        through = waits_for(RELAY, "isp3.example", tls=secure)
        self.home = daemon(self.directory, "aaah33", [through], tls=tls.get(AAAH33), host=HOME_AT)
        await self.home.start()
        self.ha = HomeAgent(waits_for(RELAY, tls=secure), tls=tls.get(HA31), host=AGENT_AT)
        await self.ha.__aenter__()
        port = TLS_PORT if secure else PORT
        relay = PeerConfig(identity=RELAY, host=RELAY_AT, port=port, routes=("isp3.example",), tls=secure)
        self.visited = daemon(
            self.directory, "aaaf23", [relay, waits_for(FA21, tls=secure)], tls=tls.get(AAAF23), host=VISITED_AT
        )
        await self.visited.start()
        at = connects_to(AAAF23, self.visited.diameter.node.ports[0], "*", tls=secure)
        self.fa = ForeignAgent("fa21", at.model_copy(update={"host": VISITED_AT}), tls=tls.get(FA21))
        await self.fa.__aenter__()
        path = configuration(self.directory, self.home.diameter.node.ports[0], self.ha.port, tls.get(RELAY))
        with (self.directory / "freediameter.log").open("wb") as log:
            self.freediameter = await asyncio.create_subprocess_exec(
                "freeDiameterd", "-c", str(path), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        await self.connected()
        return self

    async def connected(self) -> None:
        """Wait until freeDiameter has found everybody."""
        async with asyncio.timeout(_START_S):
            await self.home.diameter.node.connected(RELAY)
            await self.ha.transport.node.connected(RELAY)
            await self.visited.diameter.node.connected(RELAY, FA21)
            await self.fa.transport.node.connected(AAAF23)

    async def __aexit__(self, *_: object) -> None:
        for agent in (self.fa, self.ha):
            await agent.__aexit__()
        await self.visited.stop()
        await self.home.stop()
        if self.freediameter is not None:
            self.freediameter.terminate()
            await self.freediameter.wait()


async def play(directory: Path, *, secure: bool) -> dict[str, Any]:
    """A registration of each kind of VPN, and what came out at the ends."""
    found: dict[str, Any] = {}
    async with Relayed(directory, secure=secure) as net:
        net.ha.packet, net.ha.old_fas = PACKET[::-1], ("fa22",)
        for nai in (ALICE, FRANK):
            update, held = ServiceUpdate(), InstanceId("aaah33;1", 2, 3)
            request = RegReq(nai, 2**60 + 1, "ha31", 60, "fa22", update, 7, None, held, PACKET)
            net.fa.ask("aaaf23", request)
            ama, har = await net.fa.next(), await net.ha.next()
            entry = net.home.runtime.node.tables[NodeRole.AAAH][nai]
            cached = net.visited.runtime.node.tables[NodeRole.AAAF][nai].information
            domain = entry.information.for_foreign_agent().in_domain("isp2")
            found[nai] = {
                "request intact": har.request == request._replace(care_of="fa21", held=None),
                "profiles intact at the home agent": har.information == entry.information,
                "profiles intact at the AAAF": cached == domain,
                "profiles intact at the foreign agent": ama.information == domain.on_leg(),
                "reply intact": (ama.reply.packet, ama.old_fas) == (PACKET[::-1], ("fa22",)),
                "segments": len(har.information.segments),
            }
        # refused by name, through the relay
        refused = await net.fa.register("aaaf23", "nobody@isp3.example", 1)
        found["refused"] = int(refused.result)
        # an abrupt end of home: freeDiameter says so, or finds it again, and the next registration goes through
        for connection in list(net.home.diameter.node._connections):
            connection.abort("crash")
        await net.home.diameter.node.disconnected(RELAY)
        await net.connected()
        again = await net.fa.register("aaaf23", ALICE, 2**60 + 2)
        for seq in range(2**60 + 3, 2**60 + 6):
            if int(again.result) == 2001:
                break
            again = await net.fa.register("aaaf23", ALICE, seq)
        found["after a crash"] = int(again.result)
        found["encrypted"] = all(each.encrypted for each in net.home.diameter.node._open.values())
    return found


def main() -> None:
    """Entry point in the namespace."""
    configure("error")
    bridge()
    found = asyncio.run(play(Path(sys.argv[1]), secure="tls" in sys.argv[2:]))
    print(json.dumps(found, indent=1))  # noqa: T201 - the result, for who started this


if __name__ == "__main__":
    main()
