"""The agent: the signalling of one gateway, its wires, its hook and its hands, put together and kept alive."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from roamvpn.agent import hook_server
from roamvpn.agent.adapters import Here
from roamvpn.agent.apply import Applier
from roamvpn.agent.audit import Audit, of_outcome
from roamvpn.agent.config import Setup
from roamvpn.agent.drop import DropDirectory
from roamvpn.agent.events import request_of
from roamvpn.agent.intake import Intake, Standing
from roamvpn.agent.mobility import Mobility
from roamvpn.agent.spool import Spool
from roamvpn.agent.status import status
from roamvpn.agent.user_hooks import UserHooks
from roamvpn.daemon.clock import Clock
from roamvpn.daemon.diameter.transport import DiameterTransport
from roamvpn.daemon.entropy import system_entropy
from roamvpn.daemon.logs import configure, logger
from roamvpn.daemon.metrics import CONTENT_TYPE, Metrics
from roamvpn.daemon.notify import notify, passed_sockets
from roamvpn.daemon.runtime import Runtime
from roamvpn.gateway.errors import GatewayError
from roamvpn.policy.legs import LegCompiler
from roamvpn.render.artefacts import Renderer
from roamvpn.signalling.assembly import node_of
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import Ama, Amr, Ba, Br, Bu, Haa, Har, NodeRole, RegRep, RegReq
from roamvpn.stores.session_store import SessionStore
from roamvpn.stores.templates import templates
from roamvpn.tables.network import home_agent_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.agent.spool import Spooled
    from roamvpn.agent.user import Outcome
    from roamvpn.signalling.messages import Event

HOOK_SOCKET = "hook.sock"
_APPLIER_AGAIN_S = 1.0


class Agent:
    """One gateway's agent. `start` returns when it serves; `stop` leaves every tunnel standing."""

    def __init__(self, setup: Setup) -> None:
        config, network = setup.config, setup.network
        self.setup = setup
        self.clock = Clock()
        self.metrics = Metrics(config.name)
        self.log = logger(node=config.name)
        setup.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        surroundings = Surroundings(config.name, Directory(network), LegCompiler(network), setup.settings)
        node = node_of(network, surroundings, system_entropy)
        self.mobility = Mobility(setup, node, self.clock, self.log, self.metrics, self._receive)
        self.diameter = DiameterTransport(
            network,
            config.name,
            node.machines,
            config.diameter,
            self.mobility.received,
            log=self.log,
            metrics=self.metrics,
        )
        self.applier = Applier(
            config.name,
            network,
            Renderer(network, templates()),
            vici=config.vici,
            credentials=Path(config.credentials),
            order=setup.settings.order,
            alarm=self._gateway_alarm,
            ended=self._ended,
        )
        mobile_ip = dict.fromkeys((RegReq, RegRep, Bu, Ba, Br), self.mobility)
        self.runtime = Runtime(
            node,
            self.clock,
            self.log,
            self.metrics,
            {**mobile_ip, **dict.fromkeys((Amr, Ama, Har, Haa), self.mobility.over(self.diameter))},
            applier=self.applier,
            store=lambda: SessionStore(setup.state / "sessions.db"),
        )
        self.audit = Audit(setup.state / "audit.jsonl")
        ran = self.metrics.counter("user_hooks", "Executables of hooks.d, by what became of them.", "result")
        self.hooks = UserHooks(Path(config.hooks), ran=ran)
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[web.AppRunner] = []
        self._spool: Spool | None = None

    # life

    async def start(self) -> None:
        """Raises RoamvpnError, OSError where it cannot serve."""
        setup = self.setup
        await self.runtime.start()
        self._spool = Spool(setup.state / "spool.db", self.clock.stamp)
        await self._listen(self._spool)
        self.mobility.socket.open(setup.config.mobile_ip_port)
        await self.diameter.node.start()
        self._begin(self._consume(self._spool), "spool")
        # charon may come later than its agent: what is asked for meanwhile waits
        self._begin(self._take_over(), "gateway")

    async def stop(self) -> None:
        """Take no more, finish what has begun, leave what stands."""
        for server in self._servers:
            await server.cleanup()
        self.mobility.socket.close()
        await self.diameter.node.stop()
        if self._spool is not None:
            await self._spool.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.runtime.stop()
        await self.applier.close()
        await self.hooks.close()
        self.audit.close()

    def _begin(self, work: object, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)  # type: ignore[arg-type] # a coroutine
        task.add_done_callback(self._ended_early)
        self._tasks.append(task)

    def _ended_early(self, task: asyncio.Task[None]) -> None:
        """A part that dies must not leave half an agent behind: systemd starts a whole one."""
        if not task.cancelled() and task.exception() is not None:
            self.log.critical("a part has died", part=task.get_name(), exc_info=task.exception())
            signal.raise_signal(signal.SIGTERM)

    async def _take_over(self) -> None:
        state = self.runtime.node.state
        assert state is not None  # noqa: S101 - a gateway
        while True:
            try:
                removed = await self.applier.start(state)
            except (GatewayError, TimeoutError, OSError) as error:
                self.log.warning("gateway is not to be had", reason=str(error) or "charon does not answer")
                await asyncio.sleep(_APPLIER_AGAIN_S)
            else:
                self.log.info("gateway taken over", legs=len(state.legs), removed=removed)
                return

    async def _listen(self, spool: Spool) -> None:
        setup = self.setup
        here = Here(setup.config.name, self._nai_of)
        received = self.metrics.counter("hook_events", "Events at the hook.", "form", "result")
        intake = Intake(spool, here, self.clock.stamp, standing=self._standing, received=received)
        application = hook_server.app(intake)
        application.router.add_get("/v1/status", self._status)
        application.router.add_get("/metrics", self._metrics)
        passed = passed_sockets()
        where = passed["hook"].detach() if "hook" in passed else setup.run / HOOK_SOCKET
        self._servers.append(await hook_server.serve(application, where))
        radius, password = setup.config.radius, setup.keyring.radius_password
        if radius is not None and password is not None:
            accounting = hook_server.radius_app(intake, radius.user, password.hex())
            self._servers.append(await hook_server.serve(accounting, ("127.0.0.1", radius.port)))
        if setup.drop is not None:
            self._begin(DropDirectory(setup.drop, intake).watch(), "drop directory")

    # events

    def _receive(self, role: NodeRole, event: Event) -> bool:
        return self.runtime.receive(role, event)

    async def _consume(self, spool: Spool) -> None:
        """Events of the hook, in their order; each leaves the spool when what follows from it is kept."""
        async for spooled in spool.events():
            request = self._request(spooled)
            if request is None or NodeRole.FA not in self.runtime.node.machines:
                spool.confirm(spooled.id)
            elif not self.runtime.receive(NodeRole.FA, request, self._confirming(spool, spooled.id)):
                await self.runtime.settled()
                self.runtime.receive(NodeRole.FA, request, self._confirming(spool, spooled.id))

    def _confirming(self, spool: Spool, number: int) -> Callable[[], None]:
        return lambda: spool.confirm(number)

    def _request(self, spooled: Spooled) -> RegReq | None:
        event = spooled.event
        return request_of(event, lambda _nai: home_agent_of(self.setup.network, event.home_addr), self._serving)

    def _serving(self, nai: str) -> bool:
        entry = self.runtime.node.tables[NodeRole.FA].get(nai)
        return entry is not None and entry.serving is not None

    def _nai_of(self, home_address: str) -> str | None:
        """Whose home address it is: as the site says, or one of the visitors (A5)."""
        known = self.setup.users.users.get(home_address)
        if known is not None:
            return known
        for nai, entry in self.runtime.node.tables.get(NodeRole.FA, {}).items():
            if entry.serving is not None and entry.serving.home_address == home_address:
                return str(nai)
        return None

    # what happened

    def _standing(self) -> Standing:
        return Standing(self.applier.generation, self.applier.digest)

    def _gateway_alarm(self, nai: str, what: str, reason: str) -> None:
        self.runtime.alarm(nai, f"{what}: {reason}")

    def _ended(self, outcome: Outcome) -> None:
        timing = outcome.timing
        fields = {
            "nai": outcome.nai,
            "seq": outcome.seq,
            "generation": outcome.generation,
            "digest": outcome.digest,
            "total_ms": round(timing.total * 1000, 2),
            "engine_ms": round(timing.engine * 1000, 2),
            "charon_ms": round(timing.charon * 1000, 2),
            "ike_ms": round(timing.ike * 1000, 2),
            "kernel_ms": round(timing.kernel * 1000, 2),
        }
        self.log.info("applied" if outcome.ok else "not applied", reason=outcome.reason, **fields)
        self.audit.append(of_outcome(outcome, self.clock.now()))
        values: dict[str, str | int] = {"nai": outcome.nai, "agent": self.setup.config.name, "seq": outcome.seq}
        self.hooks.changed("applied" if outcome.ok else "failed", values)

    # looking

    async def _status(self, _request: web.Request) -> web.Response:
        gateway: dict[str, object] = {
            "generation": self.applier.generation,
            "digest": self.applier.digest,
            "charon": "answers" if self.applier.charon.present.is_set() else "is away",
            "users": len(self.applier.users),
        }
        found = status(self.runtime, self.clock.now(), gateway)
        found["diameter_peers"] = list(self.diameter.node.peers)
        return web.json_response(found)

    async def _metrics(self, _request: web.Request) -> web.Response:
        for role, table in self.runtime.node.tables.items():
            self.metrics.entries.labels(str(role)).set(len(table))
        return web.Response(body=self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def serve(path: Path) -> None:
    """Run until told to stop (SIGTERM, SIGINT). Raises RoamvpnError, OSError where it cannot."""
    setup = Setup.read(path)
    configure(setup.config.log_level)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    agent = Agent(setup)
    # the end of a console is not the end of an agent; what its files say it takes up when it is started again
    loop.add_signal_handler(signal.SIGHUP, agent.log.info, "hangup ignored")
    try:
        await agent.start()
        notify("READY=1", f"STATUS=serves {setup.config.name}")
        agent.log.info("ready")
        await ended.wait()
    finally:
        notify("STOPPING=1")
        agent.log.info("stops")
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await agent.stop()
