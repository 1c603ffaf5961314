"""AAA daemons on 127.0.0.1, with the smallest foreign and home agents that can talk to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import yaml

from roamvpn.aaa.config import Setup
from roamvpn.aaa.daemon import AaaDaemon
from roamvpn.daemon.diameter.settings import DiameterConfig, Listen
from roamvpn.daemon.diameter.transport import DiameterTransport
from roamvpn.daemon.logs import logger
from roamvpn.daemon.metrics import Metrics
from roamvpn.signalling.messages import Address, Amr, Code, Haa, Har, NodeRole, RegRep, RegReq, Result
from tests.diameter import NETWORK
from tests.diameter_peers import HOST, LONG, QUICK, connects_to, waits_for
from tests.documents import Documents

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.daemon.diameter.settings import PeerConfig, TlsFiles
    from roamvpn.signalling.messages import Ama, Event

FA21, FA21B, FA22 = "fa21.isp2.example", "fa21b.isp2.example", "fa22.isp2b.example"
HA31, AAAF23, AAAH33 = "ha31.isp3.example", "aaaf23.isp2.example", "aaah33.isp3.example"


def write_site(directory: Path, documents: Documents | None = None) -> Path:
    """The example network as a site directory."""
    directory.mkdir(exist_ok=True)
    for name, text in (documents or Documents()).texts().items():
        (directory / name).write_text(text)
    return directory


def daemon(directory: Path, name: str, peers: list[PeerConfig], **more: Any) -> AaaDaemon:  # noqa: ANN401 - of a configuration
    """An AAA server from its files."""
    site = directory / "site"
    if not site.is_dir():
        write_site(site)
    tls = more.pop("tls", None)
    document = {
        "name": name,
        "site": str(site),
        "state": str(directory / f"state-{name}"),
        "run": str(directory / "run"),
        "diameter": {
            "peers": [peer.model_dump(mode="json") for peer in peers],
            "listen": [{"host": more.pop("host", HOST), "port": 0, "tls": tls is not None}],
            "tls": tls.model_dump() if tls is not None else None,
        },
        "signalling": {"max_lifetime": 60, "request_timeout": 2},
        **more,
    }
    config = directory / f"{name}.yml"
    config.write_text(yaml.safe_dump(document))
    return AaaDaemon(Setup.read(config), limits=QUICK)


class Agent:
    """A gateway that speaks Diameter: what it receives can be awaited."""

    def __init__(
        self, name: str, role: NodeRole, *peers: PeerConfig, tls: TlsFiles | None = None, host: str = HOST
    ) -> None:
        self.name, self.role = name, role
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.metrics = Metrics(name)
        config = DiameterConfig(peers=peers, listen=(Listen(host=host, port=0, tls=tls is not None),), tls=tls)
        self.transport = DiameterTransport(
            NETWORK, name, [role], config, self.receive, log=logger(node=name), metrics=self.metrics, limits=QUICK
        )

    def receive(self, _role: NodeRole, event: Event) -> bool:
        self.received.put_nowait(event)
        return True

    async def __aenter__(self) -> Self:
        await self.transport.node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.transport.node.stop(), LONG)

    @property
    def port(self) -> int:
        return self.transport.node.ports[0]

    async def next(self) -> Any:  # noqa: ANN401 - a message
        return await asyncio.wait_for(self.received.get(), LONG)


class ForeignAgent(Agent):
    """Asks."""

    def __init__(self, name: str, *peers: PeerConfig, tls: TlsFiles | None = None) -> None:
        super().__init__(name, NodeRole.FA, *peers, tls=tls)

    def ask(self, to: str, request: RegReq) -> None:
        server = NETWORK.aaa_servers[to].role
        role = NodeRole.AAAH if server == "home" else NodeRole.AAAF
        self.transport.send(
            Address(NodeRole.FA, self.name), Address(role, to), Amr(request.nai, request.seq, self.name, request)
        )

    async def register(self, to: str, nai: str, seq: int, old: str | None = None, **more: Any) -> Ama:  # noqa: ANN401 - of a request
        self.ask(to, RegReq(nai, seq, "ha31", 60, old, **more))
        found: Ama = await self.next()
        return found


class HomeAgent(Agent):
    """Says yes to every HAR, unless it is told to be quiet; keeps what it was asked."""

    def __init__(self, *peers: PeerConfig, tls: TlsFiles | None = None, host: str = HOST) -> None:
        super().__init__("ha31", NodeRole.HA, *peers, tls=tls, host=host)
        self.quiet = False
        self.packet = b""
        self.old_fas: tuple[str, ...] = ()

    def receive(self, role: NodeRole, event: Event) -> bool:
        super().receive(role, event)
        assert isinstance(event, Har)
        if not self.quiet:
            generation = event.information.generation if event.information is not None else 0
            lifetime = event.request.lifetime
            reply = RegRep(event.nai, event.seq, Code.ACCEPTED, lifetime, self.old_fas, self.packet)
            haa = Haa(event.nai, event.seq, Result.SUCCESS, reply, generation)
            self.transport.send(Address(NodeRole.HA, "ha31"), Address(NodeRole.AAAH, "aaah33"), haa)
        return True


class Network:
    """fa21, aaaf23, aaah33 and ha31, all connected."""

    def __init__(self, directory: Path, tls: dict[str, TlsFiles] | None = None, **more: Any) -> None:  # noqa: ANN401 - of a configuration
        self.directory, self.tls, self.more = directory, tls or {}, more
        self.secure = bool(tls)

    async def __aenter__(self) -> Self:
        secure, tls = self.secure, self.tls
        home_peers = [waits_for(AAAF23, tls=secure), waits_for(HA31, tls=secure)]
        self.home = daemon(self.directory, "aaah33", home_peers, tls=tls.get(AAAH33), **self.more)
        await self.home.start()
        at = self.home.diameter.node.ports[0]
        peers = [connects_to(AAAH33, at, "isp3.example", tls=secure), waits_for(FA21, tls=secure)]
        self.visited = daemon(self.directory, "aaaf23", [*peers, waits_for(FA21B, tls=secure)], tls=tls.get(AAAF23))
        await self.visited.start()
        self.ha = HomeAgent(connects_to(AAAH33, at, tls=secure), tls=tls.get(HA31))
        await self.ha.__aenter__()
        port = self.visited.diameter.node.ports[0]
        self.fa = ForeignAgent("fa21", connects_to(AAAF23, port, "*", tls=secure), tls=tls.get(FA21))
        await self.fa.__aenter__()
        self.fa_b = ForeignAgent("fa21b", connects_to(AAAF23, port, "*", tls=secure), tls=tls.get(FA21B))
        await self.fa_b.__aenter__()
        async with asyncio.timeout(LONG):
            await self.home.diameter.node.connected(AAAF23, HA31)
            await self.visited.diameter.node.connected(AAAH33, FA21, FA21B)
            await self.fa.transport.node.connected(AAAF23)
            await self.fa_b.transport.node.connected(AAAF23)
            await self.ha.transport.node.connected(AAAH33)
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in (self.fa, self.fa_b, self.ha):
            await agent.__aexit__()
        await self.visited.stop()
        await self.home.stop()
