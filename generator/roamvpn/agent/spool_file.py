"""The spool's three tables: what waits, what was seen, and how far each user is. For one thread at a time."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.agent.events import EventType
from roamvpn.stores.sqlite_file import Kind, SqliteFile
from roamvpn.tables.types import Word

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from roamvpn.agent.events import Event

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
_PRUNE_EVERY = 60
"""Seconds."""


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


class Counts(NamedTuple):
    """Rows of the tables."""

    spool: int
    seen: int
    newest: int


class SpoolFile:
    """The file at `path`, synced when `commit` returns. Raises RoamvpnError where it cannot be used."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._pruned_at = 0
        self._file = SqliteFile(path, _KIND)
        try:
            with self._file.errors("read"):
                self.counts = Counts(*map(self._count, Counts._fields))
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _count(self, table: str) -> int:
        count: int = self._file.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - of ours
        return count

    def commit(self, events: list[Event], confirmed: list[int], now: int) -> list[Outcome]:
        """Take these events at `now` (Unix seconds) and forget what is confirmed: all of it, or nothing."""
        outcomes = []
        with self._file.errors("written"), self._file.transaction() as connection:
            held, seen, newest = self.counts
            for number in confirmed:
                held -= connection.execute("DELETE FROM spool WHERE id = ?", (number,)).rowcount
            if not self._pruned_at <= now < self._pruned_at + _PRUNE_EVERY:
                self._pruned_at = now
                seen -= self._forget(connection, "seen", now - self._limits.remember_ids)
                newest -= self._forget(connection, "newest", now - self._limits.remember_users)
            counts = Counts(held, seen, newest)
            for event in events:
                outcome, counts = self._take(connection, event, now, counts)
                outcomes.append(outcome)
        self.counts = counts
        return outcomes

    @staticmethod
    def _forget(connection: sqlite3.Connection, table: str, before: int) -> int:
        return connection.execute(f"DELETE FROM {table} WHERE at < ?", (before,)).rowcount  # noqa: S608 - of ours

    def _take(self, connection: sqlite3.Connection, event: Event, now: int, counts: Counts) -> tuple[Outcome, Counts]:
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
        after = Counts(counts.spool + 1, counts.seen + 1, counts.newest + (newest is None))
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

    def page(self, position: int, limit: int) -> list[tuple[int, bytes]]:
        """So many of the events that wait after this one, by number: numbers and bodies."""
        with self._file.errors("read"):
            return self._file.connection.execute(
                "SELECT id, body FROM spool WHERE id > ? ORDER BY id LIMIT ?", (position, limit)
            ).fetchall()
