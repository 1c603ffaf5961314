"""Requests under way: those of peers that want answers, ours that wait for them, and those that came twice."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.types import Word
from roamvpn.wire.diameter_frames import with_ids

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from roamvpn.daemon.diameter.connection import Connection
    from roamvpn.wire.diameter_avps import Reader
    from roamvpn.wire.diameter_frames import Header

_ASKERS = 4
"""From how many connections one request may be asked and still be answered on all of them."""


class Undelivered(Word):
    """Why a request has no answer."""

    NO_PEER = "no peer"
    TIMEOUT = "no answer in time"
    BUSY = "too many wait"


Answer = bytes | Undelivered
"""What comes of a request: the answer, whole, or why there is none."""


class DuplicateKey(NamedTuple):
    """What makes two requests one (RFC 6733 section 3, end-to-end identifier)."""

    origin: str
    command: int
    end_to_end: int


@dataclass(slots=True, eq=False)
class Request:
    """A peer's request. `answer` it once, whenever; it goes to whoever still waits for it.

    `settled` is called with the answer, or with None where nobody waits any more; `then` after that.
    """

    raw: bytes
    header: Header
    reader: Reader
    peer: str
    origin: str
    askers: list[tuple[Connection, int]]
    settled: Callable[[Request, bytes | None], None]
    then: Callable[[], None] | None = None
    answered: bool = False

    @property
    def key(self) -> DuplicateKey:
        """That of its duplicates."""
        return DuplicateKey(self.origin, self.header.command, self.header.end_to_end)

    def asked_again(self, connection: Connection, hop_by_hop: int) -> None:
        """The same request, by another way."""
        if (connection, hop_by_hop) not in self.askers:
            connection.inbound += 1
            self.askers.append((connection, hop_by_hop))
            for gone, _ in self.askers[:-_ASKERS]:
                gone.inbound -= 1
            del self.askers[:-_ASKERS]

    def answer(self, raw: bytes) -> None:
        """The answer, whole; its hop-by-hop identifier is set here. A second one is dropped."""
        self._settle(raw)

    def abandon(self) -> None:
        """There will be no answer: whoever asks again is heard as for the first time."""
        self._settle(None)

    def _settle(self, raw: bytes | None) -> None:
        if self.answered:
            return
        self.answered = True
        for connection, hop_by_hop in self.askers:
            connection.inbound -= 1
            if raw is not None:
                connection.send(with_ids(raw, hop_by_hop, self.header.end_to_end))
        self.askers.clear()
        self.settled(self, raw)
        if self.then is not None:
            self.then()


class Duplicates:
    """Requests of late and their answers, so many and so many octets at most; the oldest go."""

    def __init__(self, most: int = 4096, octets: int = 8 << 20) -> None:
        self._most, self._room = most, octets
        self._known: OrderedDict[DuplicateKey, Request | bytes] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        """How many."""
        return len(self._known)

    def find(self, key: DuplicateKey) -> Request | bytes | None:
        """The request under way, its answer, or None for a new one."""
        return self._known.get(key)

    def add(self, request: Request) -> None:
        """A new one."""
        self._known[request.key] = request
        self._trim()

    def answered(self, key: DuplicateKey, raw: bytes) -> None:
        """It has an answer now."""
        if key in self._known:
            self._known[key] = raw
            self._octets += len(raw)
            self._trim()

    def forget(self, key: DuplicateKey) -> None:
        """As if it had never come."""
        found = self._known.pop(key, None)
        if isinstance(found, bytes):
            self._octets -= len(found)

    def _trim(self) -> None:
        while self._known and (len(self._known) > self._most or self._octets > self._room):
            _, found = self._known.popitem(last=False)
            if isinstance(found, bytes):
                self._octets -= len(found)


@dataclass(slots=True, eq=False)
class Outgoing:
    """A request of ours. `tried` are the peers that it has gone to."""

    raw: bytes
    end_to_end: int
    host: str | None
    realm: str
    on_answer: Callable[[Answer], None]
    tried: list[str] = field(default_factory=list)
    waits: list[tuple[Connection, int]] = field(default_factory=list)
    """Where an answer may come from."""
    timer: asyncio.TimerHandle | None = None
    done: bool = False

    def finish(self, answer: Answer) -> None:
        """The first answer counts; its owner hears of no other."""
        if self.done:
            return
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        for connection, identifier in self.waits:
            connection.pending.pop(identifier, None)
        self.waits.clear()
        self.on_answer(answer)
