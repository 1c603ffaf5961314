"""The proxy correspondent node (A7, B22, D13): takes binding updates for the correspondents behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.correspondence import Case
from roamvpn.signalling.machine import answer, applied
from roamvpn.signalling.messages import Address, Ba, Br, Bu, Code, NodeRole, Timer
from roamvpn.signalling.settings import MS
from roamvpn.tables.rows import replaced_often

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.messages import Event


@replaced_often
class PcnEntry(NamedTuple):
    """One VPN of one user; without `information` just how far its sequence has come."""

    nai: str
    profile_number: int
    seq: int
    home_agent: str
    information: VpnInformation | None
    expires: int
    ask_at: int | None = None
    legs: tuple[Contribution, ...] = ()


class Pcn:
    """The PCN's machine; an entry is one VPN, since every VPN is posted and lapses by itself (D10, E7.5)."""

    role = NodeRole.PCN
    durable = True
    by_profile = True
    entry = PcnEntry

    def __init__(self, surroundings: Surroundings) -> None:
        self._here = Address(NodeRole.PCN, surroundings.name)
        self._legs = surroundings.legs
        self._settings = surroundings.settings

    def handle(self, entry: PcnEntry | None, event: Event, now: int) -> tuple[PcnEntry | None, list[Effect]]:
        """A binding update, or the time."""
        if isinstance(event, Bu):
            return self._bu(entry, event, now)
        if isinstance(event, Timer) and entry is not None:
            return self._timer(entry, now)
        return entry, []

    def _bu(self, entry: PcnEntry | None, bu: Bu, now: int) -> tuple[PcnEntry | None, list[Effect]]:
        if entry is not None and bu.seq < entry.seq:
            return entry, [self._ba(bu, Code.STALE)]
        if entry is not None and bu.seq == entry.seq and entry.information is None and bu.lifetime:
            # the delete of this event was here before
            return entry, [self._ba(bu, Code.STALE)]
        # S219 the posted information replaces what was cached
        information = bu.information if bu.lifetime else None
        settings = self._settings
        end = now + (bu.lifetime if information is not None else settings.remember) * MS
        ask_at = self._ask_at(end, now) if information is not None else None
        before = entry.legs if entry is not None else ()
        kept = entry is not None and entry.information == information
        legs = before if kept else self._compiled(information)
        home_agent = bu.sender.name
        changed = PcnEntry(bu.nai, bu.profile_number, bu.seq, home_agent, information, end, ask_at, legs)
        effects: list[Effect] = []
        # S216 to S232: QoS and tunnels, this instance's old rows by the previous instance
        apply = applied(bu.nai, bu.seq, before, changed.legs, initiate=bu.ready)
        if apply is not None:
            effects.append(apply)
        return changed, [*effects, self._ba(bu, Code.ACCEPTED)]

    def _timer(self, entry: PcnEntry, now: int) -> tuple[PcnEntry | None, list[Effect]]:
        if now >= entry.expires:
            if entry.information is None:
                return None, []
            # not refreshed: the VPN ends now, not at the binding request (E7.5, F10)
            # One sequence less, so that the binding update may still come and set it up again
            until = now + self._settings.remember * MS
            gone = PcnEntry(entry.nai, entry.profile_number, entry.seq - 1, entry.home_agent, None, until)
            apply = applied(entry.nai, entry.seq, entry.legs, ())
            return gone, [apply] if apply is not None else []
        if entry.ask_at is not None and now >= entry.ask_at:
            # asked again at half of what is left, as the request or its answer may get lost
            br = Br(entry.nai, self._here, entry.profile_number)
            asked = entry._replace(ask_at=self._ask_at(entry.expires, now))
            return asked, [answer(self.role, Timer, Case.ENDING, entry.home_agent, br)]
        return entry, []

    def _ask_at(self, end: int, now: int) -> int | None:
        """When to ask next: at the threshold, after that at half of what is left."""
        at = end - self._settings.br_threshold * MS
        if at > now:
            return at
        half = (end - now) // 2
        return now + half if half >= MS else None

    def deadline(self, entry: PcnEntry) -> int:
        """The next question, or the end."""
        return entry.expires if entry.ask_at is None else min(entry.ask_at, entry.expires)

    def restored(self, entry: PcnEntry) -> PcnEntry:
        """With its leg."""
        return entry._replace(legs=self._compiled(entry.information))

    def contributions(self, entry: PcnEntry) -> tuple[Contribution, ...]:
        """The leg towards the foreign agent."""
        return entry.legs

    def _compiled(self, information: VpnInformation | None) -> tuple[Contribution, ...]:
        if information is None:
            return ()
        generation = information.generation
        return tuple(
            [
                self._legs.far_end(segment, generation, self._legs.leg_keys(segment, generation))
                for segment in information.segments
                if not segment.empty
            ]
        )

    def _ba(self, bu: Bu, status: Code) -> Effect:
        ba = Ba(bu.nai, bu.seq, self._here, status, bu.profile_number)
        return answer(self.role, Bu, Case.ANY, bu.sender.name, ba)
