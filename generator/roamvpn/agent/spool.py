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
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from roamvpn.agent.events import Event, EventType, parse_event
from roamvpn.stores.sqlite_file import Kind, SqliteFile
from roamvpn.tables.problems import InputError, RoamvpnError
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_KIND = Kind(
    "spool of events",
    b"rvsp",
    1,
    (
        # AUTOINCREMENT: a number is never given twice, so a late confirmation hits nothing else
        "CREATE TABLE spool (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
        "CREATE TABLE seen (event_id TEXT PRIMARY KEY, digest BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX seen_at ON seen (at)",
        # seq has 64 bits without a sign, SQLite's integers have one: eight bytes compare as they should
        "CREATE TABLE newest (nai TEXT PRIMARY KEY, seq BLOB NOT NULL, session_id TEXT, at INTEGER NOT NULL)",
        "CREATE INDEX newest_at ON newest (at)",
    ),
)
_BATCH = 512
_PAGE = 256
_PRUNE_EVERY = 60
_CONFIRM_WITHIN = 0.2
"""Seconds that a confirmation waits for an offer to be written with."""


class Outcome(Word):
    """What becomes of an event that is offered."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    STALE = "stale"
    """Something newer of this user is known, or he left a session that is not his newest."""
    REJECTED = "rejected"
    """Another event had this event_id."""
    FULL = "full"
    """The spool has no room; later it will."""


class Spooled(NamedTuple):
    """An event that is to be carried out, and the number by which it is confirmed."""

    id: int
    event: Event


class Limits(NamedTuple):
    """How much is kept, and for how long (seconds)."""

    events: int = 100_000
    """Events that wait; above it the spool is full."""
    ids: int = 2_000_000
    """Events that are remembered as seen, and below users with a newest `seq`: so much disk may hostile events take."""
    users: int = 1_000_000
    waiting: int = 4096
    """Offers that wait for the disk; above it the spool is busy."""
    remember_ids: int = 4000
    """Longer than an event may be old, so that whatever is forgotten is refused by its age."""
    remember_users: int = 86_400
    """After so long without an event a user's newest `seq` is forgotten here; the machines have their own."""


class _Counts(NamedTuple):
    """Rows of the tables."""

    spool: int
    seen: int
    newest: int


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
        self._file = SqliteFile(path, _KIND)
        try:
            with self._file.errors("read"):
                self._counts = _Counts(
                    *(
                        self._file.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - of ours
                        for table in _Counts._fields
                    )
                )
        except BaseException:
            self._file.close()
            raise
        # one thread, which alone touches the file from now on
        self._thread = ThreadPoolExecutor(1, "spool")
        self._offers: deque[_Offer] = deque()
        self._confirmed: list[int] = []
        self._confirm_now = False
        self._timer: asyncio.TimerHandle | None = None
        self._pruned_at = 0
        self._work = asyncio.Event()
        self._arrived = asyncio.Event()
        self._closing = False
        self._log = structlog.get_logger().bind(spool=str(path))
        self._writer = asyncio.create_task(self._write(), name="spool")

    @property
    def held(self) -> int:
        """Events that wait to be carried out."""
        return self._counts.spool

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
                outcomes = await loop.run_in_executor(self._thread, self._commit, events, confirmed, now)
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

    # in the thread

    def _commit(self, events: list[Event], confirmed: list[int], now: int) -> list[Outcome]:
        outcomes = []
        with self._file.errors("written"), self._file.transaction() as connection:
            held, seen, newest = self._counts
            for number in confirmed:
                held -= connection.execute("DELETE FROM spool WHERE id = ?", (number,)).rowcount
            if not self._pruned_at <= now < self._pruned_at + _PRUNE_EVERY:
                self._pruned_at = now
                seen -= self._forget(connection, "seen", now - self._limits.remember_ids)
                newest -= self._forget(connection, "newest", now - self._limits.remember_users)
            counts = _Counts(held, seen, newest)
            for event in events:
                outcome, counts = self._take(connection, event, now, counts)
                outcomes.append(outcome)
        self._counts = counts
        return outcomes

    @staticmethod
    def _forget(connection: sqlite3.Connection, table: str, before: int) -> int:
        return connection.execute(f"DELETE FROM {table} WHERE at < ?", (before,)).rowcount  # noqa: S608 - of ours

    def _take(self, connection: sqlite3.Connection, event: Event, now: int, counts: _Counts) -> tuple[Outcome, _Counts]:
        body = event.encoded()
        digest = blake2b(body, digest_size=16).digest()
        known = connection.execute("SELECT digest FROM seen WHERE event_id = ?", (event.event_id,)).fetchone()
        if known is not None:
            return Outcome.DUPLICATE if known[0] == digest else Outcome.REJECTED, counts
        newest = connection.execute("SELECT seq, session_id FROM newest WHERE nai = ?", (event.nai,)).fetchone()
        seq = event.seq.to_bytes(8)
        session_id = event.session_id
        if newest is not None:
            current: str | None = newest[1]
            if seq <= newest[0]:
                return Outcome.STALE, counts
            if event.type is EventType.DEREGISTER and session_id and current and session_id != current:
                # the end of an earlier session is told after the next has begun: an access point that timed out
                return Outcome.STALE, counts
            if event.type is not EventType.REGISTER:
                session_id = current or session_id
        after = _Counts(counts.spool + 1, counts.seen + 1, counts.newest + (newest is None))
        if any(count > limit for count, limit in zip(after, self._limits, strict=False)):
            return Outcome.FULL, counts
        connection.execute("INSERT INTO spool (body) VALUES (?)", (body,))
        connection.execute("INSERT INTO seen VALUES (?, ?, ?)", (event.event_id, digest, now))
        connection.execute(
            "INSERT INTO newest VALUES (?, ?, ?, ?) ON CONFLICT (nai) DO UPDATE "
            "SET seq = excluded.seq, session_id = excluded.session_id, at = excluded.at",
            (event.nai, seq, session_id, now),
        )
        return Outcome.ACCEPTED, after

    def _page(self, position: int) -> list[tuple[int, bytes]]:
        try:
            with self._file.errors("read"):
                return self._file.connection.execute(
                    "SELECT id, body FROM spool WHERE id > ? ORDER BY id LIMIT ?", (position, _PAGE)
                ).fetchall()
        except RoamvpnError as error:
            # what stands there is read when the next event arrives, or after a restart
            self._log.error("spool cannot be read", error=str(error))
            return []
