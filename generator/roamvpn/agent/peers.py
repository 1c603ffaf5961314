"""What is shared with another gateway: device and association, made with the first user and gone with the last (F7)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from roamvpn.agent.charon import NOT_YET
from roamvpn.gateway import kernel as gateway_kernel
from roamvpn.gateway import objects
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.agent.charon import Charon
    from roamvpn.agent.kernel import Kernel, Tool
    from roamvpn.agent.material import PeerMaterial
    from roamvpn.agent.plan import Key
    from roamvpn.gateway.units import Command

_FIRST_PAUSE, _LAST_PAUSE, _TRY_FOR = 0.25, 30.0, 2.0
_LAST = {"filter": 0, "qdisc": 1, "route": 2, "rule": 3, "policy": 4, "state": 5, "link": 6}


class _Shared:
    __slots__ = ("built", "initiates", "material", "task", "wake")

    def __init__(self, material: PeerMaterial) -> None:
        self.material = material
        self.built = False
        association = material.association
        self.initiates = association is not None and association.initiate
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()

    @property
    def key(self) -> Key | None:
        return self.material.association.key if self.material.association is not None else None


class Peers:
    """The shared peers of one gateway that belong to sessions; those of the base are not known here.

    `changed` is told the name of a peer that came up, `alarm` what does not work.
    """

    def __init__(
        self, charon: Charon, kernel: Kernel, changed: Callable[[str], None], alarm: Callable[[str, str], None]
    ) -> None:
        self._charon = charon
        self._kernel = kernel
        self._changed = changed
        self._alarm = alarm
        self._shared: dict[str, _Shared] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def names(self) -> tuple[str, ...]:
        """Those that are built, or were begun."""
        return tuple(self._shared)

    def ready(self, name: str) -> bool:
        """Whether packets can go by it."""
        shared = self._shared.get(name)
        return shared is not None and shared.built and (shared.key is None or bool(self._charon.up(shared.key)))

    async def build(self, material: PeerMaterial, live: Iterable[str] = ()) -> bool:
        """Device, rule and routes, connection; returns whether anything was to be done. Raises GatewayError.

        `live` are the objects that are there already, as after a restart of the agent.
        """
        name = material.peer.name
        async with self._lock(name):
            shared = self._shared.get(name)
            if shared is None or shared.material.peer != material.peer:
                shared = self._shared[name] = _Shared(material)
            done = False
            if not shared.built:
                present = set(live)
                commands = [c for c in material.commands if objects.of_line(c.tool, c.line) not in present]
                done = bool(commands)
                await self._run(commands)
                shared.built = True
            association = material.association
            if association is not None and self._charon.loaded.get(name) != association.key:
                await self._charon.load(association)
                done = True
            return done

    def bring_up(self, name: str, *, initiate: bool) -> None:
        """Initiate, or wait for the other end; `changed` tells when it is up."""
        shared = self._shared.get(name)
        if shared is None or shared.key is None or self._charon.up(shared.key):
            return
        if initiate and not shared.initiates:
            shared.initiates = True
            shared.wake.set()
        if shared.initiates and (shared.task is None or shared.task.done()):
            shared.task = asyncio.create_task(self._keep_trying(name, shared))

    def raised(self, key: Key) -> None:
        """Its association came up."""
        shared = self._shared.get(key.name)
        if shared is not None and shared.key == key:
            shared.wake.set()
            self._changed(key.name)

    def lost(self, key: Key) -> None:
        """Its association went: the end whose part it is tries again, after a while for the other to be there."""
        shared = self._shared.get(key.name)
        if shared is not None and shared.key == key:
            self._alarm(key.name, "the shared association is down")
            self.bring_up(key.name, initiate=False)

    async def reload(self) -> None:
        """A charon that knows nothing is given all connections again. Raises GatewayError."""
        for name, shared in list(self._shared.items()):
            async with self._lock(name):
                association = shared.material.association
                if self._shared.get(name) is shared and association is not None and name not in self._charon.loaded:
                    await self._charon.load(association)
            self.bring_up(name, initiate=False)

    async def release(self, name: str, unused: Callable[[str], bool]) -> None:
        """Take it down, if it is still unused when its turn comes. Raises GatewayError."""
        async with self._lock(name):
            shared = self._shared.get(name)
            if shared is None or not unused(name):
                return
            del self._shared[name]
            if shared.task is not None:
                shared.task.cancel()
            key = shared.key
            if key is not None:
                await self._charon.unload(key)
                for unique in self._charon.forget(key):
                    await self._charon.terminate(unique)
            made = gateway_kernel.grouped(shared.material.commands)
            await self.take_away(made)

    async def take_away(self, names: Iterable[str]) -> None:
        """Remove the objects of a peer, what lies on its device first. Raises GatewayError."""
        for name in sorted(names, key=lambda name: _LAST[name.partition(" ")[0]]):
            await self._kernel.remove([name])

    async def close(self) -> None:
        """Try no more."""
        for shared in self._shared.values():
            if shared.task is not None:
                shared.task.cancel()
                with suppress(asyncio.CancelledError):
                    await shared.task

    async def _keep_trying(self, name: str, shared: _Shared) -> None:
        pause = _FIRST_PAUSE
        key = shared.key
        while key is not None and self._shared.get(name) is shared and not self._charon.up(key):
            wrong = await self._charon.initiate(key, _TRY_FOR)
            if not wrong or self._charon.up(key):
                return
            if NOT_YET in wrong:
                with suppress(GatewayError):
                    await self._charon.abandon(name)
            if pause == _LAST_PAUSE:
                self._alarm(name, wrong)
            shared.wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(shared.wake.wait(), pause)
            pause = min(pause * 2, _LAST_PAUSE)

    async def _run(self, commands: list[Command]) -> None:
        """In their order: what `tc` does needs the device that `ip` makes."""
        group: list[str] = []
        tool: Tool | None = None
        for command in commands:
            its = self._kernel.tc if command.tool == "tc" else self._kernel.ip
            if tool is not None and its is not tool:
                await tool.set(group)
                group = []
            tool = its
            group.append(command.line)
        if tool is not None:
            await tool.set(group)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
