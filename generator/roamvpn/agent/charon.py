"""charon as the agent sees it: what it was given, and which SAs stand, known from its events and not by asking.

SAs are told apart by the unique id of their IKE_SA, for successive generations of a leg share a connection name.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.plan import Key
from roamvpn.agent.vici import Client, Events
from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.units import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from roamvpn.agent.material import Association
    from roamvpn.agent.vici import Message
    from roamvpn.gateway.vici import Value

_EVENTS = ("child-updown", "ike-updown", "ike-rekey")
_INSTALLED = (b"INSTALLED", b"REKEYING", b"REKEYED")
_TERMINATE_MS = 2_000
_GRACE = 5.0
_AGAIN = 0.1
_SIDE_BY_SIDE = 8
"""charon has 16 threads; each command that waits occupies one."""
NOT_YET = "not established after"
"""What charon says when its patience with an initiate ends, though it goes on itself."""


class Sa(NamedTuple):
    """An IKE_SA of ours with an installed child."""

    unique: str
    name: str
    mark: int
    key: Key | None


class Charon:
    """One charon, over its restarts.

    `raised` is told of each association that has come up, `lost` of each whose last SA went without our asking,
    `stray` of an SA that came up and nobody expects, `back` when a charon listens: a new one knows of nothing.
    """

    def __init__(
        self,
        path: str,
        *,
        raised: Callable[[Key], None],
        lost: Callable[[Key], None],
        stray: Callable[[Sa], None],
        back: Callable[[], None],
    ) -> None:
        self._client = Client(path)
        self._events = Events(path, _EVENTS, self._heard, self._connected, self._gone)
        self._raised = raised
        self._lost = lost
        self._stray = stray
        self._back = back
        self._task: asyncio.Task[None] | None = None
        self._resync: asyncio.Task[None] | None = None
        self._aside = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._sas: dict[str, Sa] = {}
        self._uniques: dict[Key, dict[str, None]] = {}
        self._expected: dict[tuple[str, int], Key] = {}
        self._news: set[str] = set()
        self.loaded: dict[str, Key] = {}
        self.present = asyncio.Event()
        """Whether a charon is listened to and its SAs are known."""

    def start(self) -> None:
        """Listen to events from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._events.run())

    async def close(self) -> None:
        """Listen no more."""
        for task in (self._task, self._resync):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._client.close()

    # what it is given

    async def load(self, association: Association) -> None:
        """Secret, then connection; raises GatewayError naming the connection."""
        key = association.key
        # before charon has it: the other end may be quicker than charon's answer
        self.loaded[key.name] = self._expected[key.name, key.mark] = key
        try:
            if association.secret is not None:
                await self._client.request("load-shared", association.secret)
            await self._client.request("load-conn", {key.name: association.connection})
        except GatewayError as error:
            if self.loaded.get(key.name) == key:
                del self.loaded[key.name]
            raise GatewayError("charon", f"{key.name}: {error.message}") from None

    def doubt(self, key: Key) -> None:
        """It is not sure that charon still has it: `swanctl --load-all`, as at a start, forgets what no file names."""
        if self.loaded.get(key.name) == key:
            del self.loaded[key.name]

    async def unload(self, key: Key) -> None:
        """Take connection and secret out again; SAs stand without them. Another one of its name stays."""
        if self.loaded.get(key.name) != key:
            return
        del self.loaded[key.name]
        for command, which in (("unload-conn", {"name": key.name}), ("unload-shared", {"id": f"ike-{key.name}"})):
            try:
                await self._client.request(command, which)
            except GatewayError as error:
                if "not found" not in error.message:
                    raise

    async def initiate(self, key: Key, within: float, begun: Callable[[], None] = lambda: None) -> str:
        """Bring it up; returns what charon says against it within so many seconds, or nothing.

        `begun` is told when it is its turn: not more than some are asked for at once.
        """
        message = {"child": key.name, "ike": key.name, "timeout": str(int(within * 1000))}
        async with self._aside:
            begun()
            try:
                await self._client.aside("initiate", message, within + _GRACE)
            except GatewayError as error:
                return error.message
        return ""

    async def abandon(self, name: str) -> None:
        """Close attempts of ours to set a connection up that have not come to an end."""
        for event in await self._client.stream("list-sas", "list-sa", {"ike": name, "noblock": "yes"}):
            for node in event.values():
                if isinstance(node, dict) and node.get("state") == b"CONNECTING":
                    await self.terminate(_text(node.get("uniqueid")))

    async def terminate(self, unique: str) -> None:
        """Close an IKE_SA; one that is gone already is no error."""
        message = {"ike-id": unique, "force": "yes", "timeout": str(_TERMINATE_MS)}
        async with self._aside:
            while self.present.is_set():
                try:
                    await self._client.aside("terminate", message, _TERMINATE_MS / 1000 + _GRACE)
                except GatewayError as error:
                    # charon's own words: it has gone, or goes; otherwise it was not even asked
                    if not error.message.startswith("terminate:"):
                        await asyncio.sleep(_AGAIN)
                        continue
                return

    # what stands

    def up(self, key: Key) -> tuple[str, ...]:
        """Unique ids of the IKE_SAs of an association, oldest first."""
        return tuple(self._uniques.get(key, ()))

    def expect(self, key: Key) -> None:
        """SAs of this name and interface id belong to this association, those too that stand already."""
        self._expected[key.name, key.mark] = key
        for sa in list(self._sas.values()):
            if (sa.name, sa.mark) == (key.name, key.mark) and sa.key != key:
                self._put(sa._replace(key=key))

    def forget(self, key: Key) -> tuple[str, ...]:
        """An association that nobody wants: nobody is told of it any more. Returns the ids of what still stands."""
        uniques = self.up(key)
        for unique in uniques:
            self._put(self._sas[unique]._replace(key=None))
        if self._expected.get((key.name, key.mark)) == key:
            del self._expected[key.name, key.mark]
        return uniques

    def standing(self) -> tuple[Sa, ...]:
        """All SAs of ours."""
        return tuple(self._sas.values())

    async def connections(self) -> set[str]:
        """Names of our connections that are loaded, asked from charon: with thousands it takes its time."""
        events = await self._client.stream("list-conns", "list-conn")
        return {name for event in events for name in event if name.startswith(OURS)}

    async def secrets(self) -> set[str]:
        """Connection names of our secrets that are loaded."""
        keys = (await self._client.request("get-shared")).get("keys", [])
        prefix = f"ike-{OURS}"
        names = [key.decode(errors="replace") for key in keys if isinstance(key, bytes)]
        return {name.removeprefix("ike-") for name in names if name.startswith(prefix)}

    async def unload_stray(self, name: str) -> None:
        """Take out a connection and a secret that are not known here."""
        key = self.loaded[name] = Key(name, "", 0)
        await self.unload(key)

    async def look(self) -> None:
        """Ask which SAs stand; associations that went meanwhile are told as lost. Raises GatewayError."""
        self._news.clear()
        events = await self._client.stream("list-sas", "list-sa", {"noblock": "yes"})
        # what was told while charon listed is newer than its list
        found = {sa.unique: sa for event in events for sa in self._listed(event) if sa.unique not in self._news}
        before = set(self._uniques)
        for sa in list(self._sas.values()):
            if sa.unique not in self._news and sa.unique not in found:
                self._take(sa)
        for sa in found.values():
            self._add(sa)
        self.present.set()
        for key in before - set(self._uniques):
            self._lost(key)

    # events

    def _connected(self) -> None:
        # the socket does not close while charon runs: this is another one, which knows nothing and counts anew
        self.loaded.clear()
        self._sas.clear()
        self._uniques.clear()
        if self._resync is not None:
            self._resync.cancel()
        self._resync = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        while True:
            try:
                await self.look()
                break
            except GatewayError:
                # where charon went meanwhile, whoever connects next asks again, and ends this
                await asyncio.sleep(_AGAIN)
        self._back()

    def _gone(self) -> None:
        self.present.clear()

    def _heard(self, event: str, message: Message) -> None:
        for name, node in message.items():
            if not name.startswith(OURS) or not isinstance(node, dict):
                continue
            if event == "ike-rekey":
                self._rekeyed(node)
            elif message.get("up") == b"yes":
                if event == "child-updown":
                    for sa in self._children(name, node):
                        self._news.add(sa.unique)
                        self._add(sa)
                        if sa.key is None:
                            self._stray(sa)
            else:
                unique = _text(node.get("uniqueid"))
                self._news.add(unique)
                self._drop(unique)

    def _rekeyed(self, node: dict[str, Value]) -> None:
        old, new = node.get("old"), node.get("new")
        if isinstance(old, dict) and isinstance(new, dict):
            sa = self._sas.get(_text(old.get("uniqueid")))
            if sa is not None:
                self._put(sa._replace(unique=_text(new.get("uniqueid"))))
                self._take(sa)

    def _listed(self, event: Message) -> Iterator[Sa]:
        for name, node in event.items():
            if name.startswith(OURS) and isinstance(node, dict) and node.get("state") in (b"ESTABLISHED", b"REKEYING"):
                yield from self._children(name, node)

    def _children(self, name: str, node: dict[str, Value]) -> Iterator[Sa]:
        children, unique = node.get("child-sas"), _text(node.get("uniqueid"))
        for child in children.values() if isinstance(children, dict) else ():
            if isinstance(child, dict) and child.get("state") in _INSTALLED:
                mark = _number(child.get("if-id-in"))
                known = self.loaded.get(name)
                key = known if known is not None and known.mark == mark else self._expected.get((name, mark))
                yield Sa(unique, name, mark, key)

    def _add(self, sa: Sa) -> None:
        known = self._sas.get(sa.unique)
        if known is not None and known.key is not None:
            return
        if known is not None and known.mark == sa.mark and sa.key is None:
            return
        self._put(sa)
        if sa.key is not None:
            self._raised(sa.key)

    def _put(self, sa: Sa) -> None:
        before = self._sas.get(sa.unique)
        if before is not None:
            self._take(before)
        self._sas[sa.unique] = sa
        if sa.key is not None:
            self._uniques.setdefault(sa.key, {})[sa.unique] = None

    def _take(self, sa: Sa) -> None:
        self._sas.pop(sa.unique, None)
        if sa.key is not None:
            uniques = self._uniques.get(sa.key, {})
            uniques.pop(sa.unique, None)
            if not uniques:
                self._uniques.pop(sa.key, None)

    def _drop(self, unique: str) -> None:
        sa = self._sas.get(unique)
        if sa is not None:
            self._take(sa)
            if sa.key is not None and sa.key not in self._uniques:
                self._lost(sa.key)


def _text(value: Value | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _number(value: Value | None) -> int:
    try:
        return int(_text(value), 16)
    except ValueError:
        return 0
