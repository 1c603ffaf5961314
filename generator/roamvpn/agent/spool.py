"""Events on disk from before they are answered until they are carried out, in one SQLite file.

Delivery is at least once: what is not confirmed comes again after a restart, in the order of arrival. Each event is
accepted once (by `event_id`), and a user's events only in ascending `seq`; both are known across restarts.

Whatever waits while the disk is busy is written in the next transaction together: the more come, the fewer syncs
each costs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from roamvpn.agent.events import Event, parse_event
from roamvpn.agent.spool_file import Limits, Outcome, SpoolFile
from roamvpn.tables.problems import InputError, RoamvpnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_BATCH = 512
_PAGE = 256
_CONFIRM_WITHIN = 0.2
"""Seconds that a confirmation waits for an offer to be written with."""


class Spooled(NamedTuple):
    """An event that is to be carried out, and the number by which it is confirmed."""

    id: int
    event: Event


class _Offer(NamedTuple):
    event: Event
    answer: asyncio.Future[Outcome]


class Spool:
    """The file at `path`; `clock` gives Unix seconds. Open it in a running loop, and close it there.

    Raises RoamvpnError where the file cannot be opened; `offer` raises it where it cannot be written.
    """

    def __init__(self, path: Path, clock: Callable[[], float], limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self._clock = clock
        self._limits = limits
        self._file = SpoolFile(path, limits)
        # one thread, which alone touches the file from now on
        self._thread = ThreadPoolExecutor(1, "spool")
        self._offers: deque[_Offer] = deque()
        self._confirmed: list[int] = []
        self._confirm_now = False
        self._timer: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._arrived = asyncio.Event()
        self._closing = False
        self._log = structlog.get_logger().bind(spool=str(path))
        self._writer = asyncio.create_task(self._write(), name="spool")

    @property
    def held(self) -> int:
        """Events that wait to be carried out."""
        return self._file.counts.spool

    @property
    def busy(self) -> bool:
        """Whether so many offers wait for the disk that no more should be made."""
        return len(self._offers) >= self._limits.waiting

    async def offer(self, event: Event) -> Outcome:
        """Take an event. What is accepted is on disk when this returns; so is the knowledge of duplicates."""
        if self._closing:
            return Outcome.FULL
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._offers.append(_Offer(event, answer))
        self._work.set()
        return await answer

    async def events(self) -> AsyncIterator[Spooled]:
        """What is not confirmed yet, oldest first, then what arrives, until the spool is closed. For one consumer."""
        loop = asyncio.get_running_loop()
        position = 0
        while not self._closing:
            self._arrived.clear()
            rows = await loop.run_in_executor(self._thread, self._page, position)
            for position, body in rows:
                try:
                    event = parse_event(body)
                except InputError as error:
                    # of a version that this one does not know; it must not stand in the way for ever
                    self._log.error("event cannot be read", id=position, problems=str(error))
                    self.confirm(position)
                else:
                    yield Spooled(position, event)
            if not rows and not self._closing:
                await self._arrived.wait()

    def confirm(self, number: int) -> None:
        """The event is carried out. Written with what is written next; lost in a crash, the event comes again."""
        self._confirmed.append(number)
        if len(self._confirmed) >= _BATCH:
            self._due()
        elif self._timer is None:
            # a sync of its own would make the next offer wait
            self._timer = asyncio.get_running_loop().call_later(_CONFIRM_WITHIN, self._due)

    def _due(self) -> None:
        self._confirm_now = True
        self._work.set()

    async def close(self) -> None:
        """Write what waits, and let the file go."""
        if self._closing:
            return
        self._closing = True
        self._work.set()
        self._arrived.set()
        await self._writer
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    async def __aenter__(self) -> Self:
        """Open since it was made."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closed."""
        await self.close()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while await self._something():
            offers = [self._offers.popleft() for _ in range(min(len(self._offers), _BATCH))]
            confirmed, self._confirmed, self._confirm_now = self._confirmed, [], False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            events, now = [offer.event for offer in offers], int(self._clock())
            try:
                outcomes = await loop.run_in_executor(self._thread, self._file.commit, events, confirmed, now)
            except RoamvpnError as error:
                self._failed(offers, confirmed, error)
                continue
            for offer, outcome in zip(offers, outcomes, strict=True):
                # whoever asked may have gone; what he offered is kept all the same
                if not offer.answer.done():
                    offer.answer.set_result(outcome)
            if Outcome.ACCEPTED in outcomes:
                self._arrived.set()

    async def _something(self) -> bool:
        """Wait until there is something to write; False at the end."""
        while not self._offers and not (self._confirmed and (self._confirm_now or self._closing)):
            if self._closing:
                return False
            self._work.clear()
            await self._work.wait()
        return True

    def _failed(self, offers: list[_Offer], confirmed: list[int], error: RoamvpnError) -> None:
        self._log.error("spool cannot be written", error=str(error), offers=len(offers))
        for offer in offers:
            if not offer.answer.done():
                offer.answer.set_exception(RoamvpnError(str(error)))
        if not self._closing:
            # with the next offer: to try at once, and again, would help nobody
            self._confirmed = confirmed + self._confirmed

    def _page(self, position: int) -> list[tuple[int, bytes]]:
        try:
            return self._file.page(position, _PAGE)
        except RoamvpnError as error:
            # what stands there is read when the next event arrives, or after a restart
            self._log.error("spool cannot be read", error=str(error))
            return []
