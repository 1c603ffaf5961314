"""The AAA server of a visited domain (A4, B17): no subscriber data, but a cache that answers moves within it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.correspondence import Case
from roamvpn.signalling.machine import answer
from roamvpn.signalling.messages import Ama, Amr, InstanceId, NodeRole, Result, Timer
from roamvpn.signalling.settings import MS
from roamvpn.tables.rows import replaced_often

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.messages import Event


@replaced_often
class CacheEntry(NamedTuple):
    """One user's VPN information, with the keys of this domain.

    `before` is where he was, and in which generation, before the last move that was answered here: until the next
    request names his agent, that move may have failed.
    """

    nai: str
    seq: int
    information: VpnInformation
    until: int
    before: tuple[str, int] | None = None


class Aaaf:
    """The AAAF's machine. Its cache is memory only: what is missing is fetched from home."""

    role = NodeRole.AAAF
    durable = False
    by_profile = False
    entry = CacheEntry

    def __init__(self, surroundings: Surroundings) -> None:
        self._name = surroundings.name
        self._directory = surroundings.directory

    def handle(self, entry: CacheEntry | None, event: Event, now: int) -> tuple[CacheEntry | None, list[Effect]]:
        """S101: by command code."""
        if isinstance(event, Amr):
            return self._amr(entry, event, now)
        if isinstance(event, Ama):
            return self._ama(entry, event, now)
        if isinstance(event, Timer) and entry is not None and now >= entry.until:
            # a stale cache ages out (G25)
            return None, []
        return entry, []

    def _amr(self, entry: CacheEntry | None, amr: Amr, now: int) -> tuple[CacheEntry | None, list[Effect]]:
        if entry is not None and amr.seq < entry.seq:
            return entry, []
        local = self._local(entry, amr, now) if entry is not None else None
        if local is not None:
            authorized = (local.until - now) // MS
            ama = Ama(amr.nai, amr.seq, amr.origin, Result.SUCCESS, local.information.on_leg(), authorized=authorized)
            return local, [answer(self.role, Amr, Case.HIT, amr.origin, ama)]
        home = self._directory.aaah_of(amr.nai)
        if home is None:
            ama = Ama(amr.nai, amr.seq, amr.origin, Result.UNABLE_TO_DELIVER)
            return entry, [answer(self.role, Amr, Case.REFUSED, amr.origin, ama)]
        return entry, [answer(self.role, Amr, Case.MISS, home.name, amr._replace(relay=self._name))]

    def _local(self, entry: CacheEntry, amr: Amr, now: int) -> CacheEntry | None:
        """The cache entry that answers the request, or None where home must (B17, G26)."""
        request, cached = amr.request, entry.information
        if not request.lifetime or request.update is not None or now >= entry.until:
            return None
        if amr.seq == entry.seq:
            # a duplicate is answered as before; an agent that was refused names no old one
            return entry if request.old_fa is not None and cached.foreign_agent == amr.origin else None
        if request.old_fa == amr.origin:
            # a refresh: the agent and this cache must hold the same
            held = InstanceId.of(cached)
            if cached.foreign_agent != amr.origin or request.held != held:
                return None
            return entry._replace(seq=amr.seq, before=None)
        if request.old_fa == cached.foreign_agent:
            # the user was served there: the last move has succeeded
            before = (cached.foreign_agent, cached.generation)
        elif entry.before is not None and request.old_fa == entry.before[0]:
            before = entry.before
        else:
            return None
        # C10 only old FA by new
        moved = cached.moved(amr.origin, before[1] + 1)
        return entry._replace(seq=amr.seq, information=moved, before=before)

    def _ama(self, entry: CacheEntry | None, ama: Ama, now: int) -> tuple[CacheEntry | None, list[Effect]]:
        information = ama.information
        onward = ama if information is None else ama._replace(information=information.on_leg())
        effects: list[Effect] = [answer(self.role, Ama, Case.ANY, ama.origin, onward)]
        if entry is not None and ama.seq < entry.seq:
            return entry, effects
        if information is not None:
            # S103
            return CacheEntry(ama.nai, ama.seq, information, now + ama.authorized * MS), effects
        if ama.reply is not None and ama.result is Result.SUCCESS and not ama.reply.lifetime:
            return None, effects
        return entry, effects

    def deadline(self, entry: CacheEntry) -> int | None:
        """When it ages out."""
        return entry.until

    def restored(self, entry: CacheEntry) -> CacheEntry:
        """As it is."""
        return entry

    def contributions(self, entry: CacheEntry) -> tuple[Contribution, ...]:  # noqa: ARG002 - an AAA server is no gateway
        """Nothing."""
        return ()
