"""The AAA daemon, home or foreign (A3, A4): a node's machines, its Diameter peers, its tables, put together."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from typing import TYPE_CHECKING

from roamvpn.aaa import status
from roamvpn.aaa.config import Setup
from roamvpn.aaa.database import SiteDatabase
from roamvpn.daemon.clock import Clock
from roamvpn.daemon.diameter.transport import DiameterTransport
from roamvpn.daemon.entropy import system_entropy
from roamvpn.daemon.logs import configure, logger
from roamvpn.daemon.metrics import Metrics
from roamvpn.daemon.notify import notify
from roamvpn.daemon.runtime import Runtime
from roamvpn.policy.legs import LegCompiler
from roamvpn.policy.mobility_keys import Verifier, mobile_key, mobile_spi
from roamvpn.signalling.assembly import node_of
from roamvpn.signalling.directory import Directory
from roamvpn.signalling.machine import Surroundings
from roamvpn.signalling.messages import Ama, Amr, Haa, Har
from roamvpn.stores.session_store import SessionStore
from roamvpn.tables.problems import RoamvpnError
from roamvpn.wire.authentication import Algorithm, SecurityAssociation
from roamvpn.wire.mobile import genuine_at_aaah

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from roamvpn.daemon.diameter.settings import Limits
    from roamvpn.signalling.messages import Event, NodeRole


class AaaDaemon:
    """One AAA server. `start` returns when it serves."""

    def __init__(self, setup: Setup, *, limits: Limits | None = None) -> None:
        """Reads the tables; raises InputError with all that is wrong with them."""
        config, network = setup.config, setup.network
        self.setup = setup
        self.metrics = Metrics(config.name)
        self.log = logger(node=config.name)
        self.database = SiteDatabase.read(setup.site, system_entropy, self.log) if setup.is_home else None
        surroundings = Surroundings(config.name, Directory(network), LegCompiler(network), config.signalling.settings())
        decider = self.database.decider if self.database is not None else None
        node = node_of(network, surroundings, system_entropy, decider)
        self.diameter = DiameterTransport(
            network,
            config.name,
            node.machines,
            config.diameter,
            self._receive,
            log=self.log,
            metrics=self.metrics,
            verify=self._genuine,
            limits=limits,
        )
        # a foreign server's cache is memory only: what is missing is fetched from home
        self.runtime = Runtime(
            node,
            Clock(),
            self.log,
            self.metrics,
            dict.fromkeys((Amr, Ama, Har, Haa), self.diameter),
            database=self.database,
            store=self._store if setup.is_home else None,
        )
        self._status: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises RoamvpnError, OSError where it cannot serve."""
        await self.runtime.start()
        try:
            config = self.setup.config
            self._status = await status.serve(self.metrics, self.status, self.setup.socket, config.status_port)
            await self.diameter.node.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Peers are told, what has come is handled, what must be kept is kept."""
        await self.diameter.node.stop()
        if self._status is not None:
            await self._status.cleanup()
        await self.runtime.stop()

    async def reload(self) -> bool:
        """Take up changed tables and certificates; False where something does not hold, which changes nothing."""
        held = True
        try:
            self.diameter.node.renew()
        except RoamvpnError as error:
            reason = str(error)
            self.log.error("certificates do not hold, those of before stay", reason=reason)  # noqa: TRY400 - a sentence
            held = False
        return (self.database is None or await self.database.reload()) and held

    def status(self) -> dict[str, object]:
        """What an operator sees at a glance; nothing of it is secret."""
        node = self.runtime.node
        return {
            "node": node.name,
            "roles": sorted(str(role) for role in node.machines),
            "entries": {str(role): len(table) for role, table in sorted(node.tables.items())},
            "diameter_peers": list(self.diameter.node.peers),
            "alarms": [{"at": raised.at, "nai": raised.nai, "text": raised.text} for raised in self.runtime.alarms],
        }

    def _store(self) -> SessionStore:
        return SessionStore(self.setup.state / "sessions.db", synced=self.setup.config.durable)

    def _genuine(self, amr: Amr) -> bool:
        """Whether a packet is the mobile's own. One without came from a trigger that its foreign agent vouches for."""
        keys, request = self.setup.keys, amr.request
        if keys is None or not request.packet:
            return True
        key = mobile_key(keys.mobiles, amr.nai)
        return genuine_at_aaah(request, SecurityAssociation(mobile_spi(Verifier.AAAH), key, Algorithm.MD5))

    def _receive(self, role: NodeRole, event: Event) -> bool:
        return self.runtime.receive(role, event)


def keep_tables() -> None:
    """Tell the garbage collector that tables stay: else it looks through all of them, again and again, and all wait."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def serve(config: Path) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reads tables and certificates again. Raises RoamvpnError, OSError."""
    setup = Setup.read(config)
    configure(setup.config.log_level)
    daemon = AaaDaemon(setup)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        # sd_notify(3): systemd wants to know that this is of now
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        await daemon.reload()
        keep_tables()
        notify("READY=1")

    def hung_up() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, hung_up)
    await daemon.start()
    keep_tables()
    daemon.log.info("serves", home=setup.is_home, ports=daemon.diameter.node.ports)
    notify("READY=1", f"STATUS=AAA server {setup.config.name}")
    try:
        await ended.wait()
    finally:
        notify("STOPPING=1")
        for task in reloads:
            task.cancel()
        await daemon.stop()
        daemon.log.info("stopped")
