"""The home AAA server (A3, B18, Figs 10 to 13): VPN database, path determination, keys, the session's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy.information import VpnInformation
from roamvpn.signalling.correspondence import Case
from roamvpn.signalling.effects import Alarm, Search, Send
from roamvpn.signalling.machine import answer
from roamvpn.signalling.messages import (
    Address,
    Ama,
    Amr,
    Code,
    Found,
    Haa,
    Har,
    NodeRole,
    RegRep,
    Result,
    Timer,
)
from roamvpn.signalling.settings import MS
from roamvpn.tables.rows import replaced_often

if TYPE_CHECKING:
    from roamvpn.policy.compile import Decider
    from roamvpn.policy.keys import Entropy
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.messages import Event


@replaced_often
class HomeRequest(NamedTuple):
    """A registration under way. `information` is what the HAR carried; None while the database is searched."""

    amr: Amr
    deadline: int
    information: VpnInformation | None = None


@replaced_often
class HomeEntry(NamedTuple):
    """One user: his session's VPN information, once the home agent has it, and the registration under way."""

    nai: str
    seq: int
    information: VpnInformation | None = None
    expires: int = 0
    pending: HomeRequest | None = None


class Aaah:
    """The AAAH's machine. `decider` has the tables; `entropy` draws session identifiers."""

    role = NodeRole.AAAH
    durable = True
    by_profile = False
    entry = HomeEntry

    def __init__(self, surroundings: Surroundings, decider: Decider, entropy: Entropy) -> None:
        self._name = surroundings.name
        self._directory = surroundings.directory
        self._settings = surroundings.settings
        self._decider = decider
        self._entropy = entropy

    def handle(self, entry: HomeEntry | None, event: Event, now: int) -> tuple[HomeEntry | None, list[Effect]]:
        """S101: by command code."""
        if isinstance(event, Amr):
            return self._amr(entry, event, now)
        if entry is None:
            return None, []
        if isinstance(event, Haa):
            return self._haa(entry, event, now)
        if isinstance(event, Found):
            return self._found(entry, event)
        if isinstance(event, Timer):
            return self._timer(entry, now)
        return entry, []

    def _amr(self, entry: HomeEntry | None, amr: Amr, now: int) -> tuple[HomeEntry | None, list[Effect]]:
        newest = max(entry.seq, entry.pending.amr.seq if entry.pending is not None else 0) if entry is not None else 0
        if amr.seq == newest:
            return entry, []
        if amr.seq < newest:
            stale = RegRep(amr.nai, amr.seq, Code.STALE)
            return entry, [self._refusal(amr, Result.MIP_REPLY_FAILURE, stale)]
        user = self._decider.tables.subscribers.get(amr.nai)
        if user is None or not self._directory.is_foreign_agent(amr.origin):
            return entry, [self._refusal(amr, Result.AUTHENTICATION_REJECTED)]
        entry = entry or HomeEntry(amr.nai, 0)
        deadline = now + self._settings.request_timeout * MS
        known = entry.information
        if not amr.request.lifetime:
            return entry._replace(pending=HomeRequest(amr, deadline)), [self._har(user.home_agent, amr, None)]
        if known is None or amr.request.update is not None:
            # C4, C11, S105: no cached session, or a service update
            return entry._replace(pending=HomeRequest(amr, deadline)), [Search(amr.nai, amr.seq)]
        # C10: of what is cached only the foreign agent changes
        moved = known.moved(amr.origin, known.generation)
        return entry._replace(pending=HomeRequest(amr, deadline, moved)), [self._har(user.home_agent, amr, moved)]

    def _found(self, entry: HomeEntry, found: Found) -> tuple[HomeEntry | None, list[Effect]]:
        """S106 path determination and S107, S108 keys, for all hits."""
        request = entry.pending
        if request is None or request.amr.seq != found.seq or request.information is not None:
            return entry, []
        if found.records is None:
            failed = self._settled(entry._replace(pending=None))
            alarm = Alarm(entry.nai, "the VPN database cannot be reached: registration refused")
            return failed, [alarm, self._refusal(request.amr, Result.UNABLE_TO_COMPLY)]
        known = entry.information
        session_id = known.session_id if known is not None else self._session_id(entry.nai, found.seq)
        held = known.segments if known is not None else ()
        # S109: the request-originating host, which survives the relay (C6)
        agent = request.amr.origin
        segments, rejected = self._decider.segments(session_id, agent, found.records, held)
        user = self._decider.tables.subscribers[entry.nai]
        generation = known.generation if known is not None else 0
        information = VpnInformation(session_id, entry.nai, user.home_address, found.seq, agent, generation, segments)
        effects: list[Effect] = [Alarm(entry.nai, str(each)) for each in rejected]
        effects.append(self._har(user.home_agent, request.amr, information))
        return entry._replace(pending=request._replace(information=information)), effects

    def _haa(self, entry: HomeEntry, haa: Haa, now: int) -> tuple[HomeEntry | None, list[Effect]]:
        request = entry.pending
        if request is None or request.amr.seq != haa.seq:
            return entry, []
        amr = request.amr
        if haa.result is not Result.SUCCESS:
            return self._settled(entry._replace(pending=None)), [self._refusal(amr, haa.result, haa.reply)]
        settings = self._settings
        information = request.information
        if information is None:
            # deregistered: the session ends (F10); its sequence is remembered for a while
            ended = HomeEntry(entry.nai, haa.seq, None, now + settings.remember * MS)
            return ended, [self._ama(amr, haa, None)]
        information = information._replace(generation=haa.generation)
        # an AAAF may answer to the end of its authorization, and that registration may last its whole lifetime
        expires = now + (settings.authorization + settings.max_lifetime) * MS
        done = entry._replace(seq=haa.seq, information=information, expires=expires, pending=None)
        return done, [self._ama(amr, haa, information)]

    def _timer(self, entry: HomeEntry, now: int) -> tuple[HomeEntry | None, list[Effect]]:
        effects: list[Effect] = []
        request = entry.pending
        if request is not None and now >= request.deadline:
            refusal = Ama(entry.nai, request.amr.seq, request.amr.origin, Result.HA_NOT_AVAILABLE)
            effects.append(self._to_relay(request.amr, Timer, Case.LATE, refusal))
            entry = entry._replace(pending=None)
        if entry.information is not None and now >= entry.expires:
            entry = entry._replace(information=None)
        if entry.information is None and entry.pending is None and now >= entry.expires:
            return None, effects
        return self._settled(entry) if entry.pending is None else entry, effects

    def _settled(self, entry: HomeEntry) -> HomeEntry | None:
        """An entry that knows nothing is none."""
        return entry if entry.information is not None or entry.seq else None

    def deadline(self, entry: HomeEntry) -> int | None:
        """The end of patience, or of the session."""
        return entry.pending.deadline if entry.pending is not None else entry.expires

    def restored(self, entry: HomeEntry) -> HomeEntry:
        """As it is: a search that was under way is asked for again by the mobile's next request."""
        return entry

    def contributions(self, entry: HomeEntry) -> tuple[Contribution, ...]:  # noqa: ARG002 - an AAA server is no gateway
        """Nothing."""
        return ()

    def _session_id(self, nai: str, seq: int) -> str:
        return f"{self._name};{self._entropy(f'session {nai} {seq}', 8).hex()}"

    def _har(self, home_agent: str, amr: Amr, information: VpnInformation | None) -> Effect:
        request = amr.request._replace(care_of=amr.origin, held=None)
        har = Har(amr.nai, amr.seq, self._name, request, information)
        return answer(self.role, Amr, Case.ANY, home_agent, har)

    def _ama(self, amr: Amr, haa: Haa, information: VpnInformation | None) -> Effect:
        """C12, C13: the foreign agent's profiles only, and the old foreign agents."""
        if information is not None:
            domain = self._directory.domain(amr.origin)
            information = information.for_foreign_agent().in_domain(domain)
        reply = haa.reply
        authorized = self._settings.authorization
        ama = Ama(amr.nai, amr.seq, amr.origin, haa.result, information, reply.old_fas, reply, authorized)
        return self._to_relay(amr, Haa, Case.ANY, ama)

    def _refusal(self, amr: Amr, result: Result, reply: RegRep | None = None) -> Effect:
        return self._to_relay(amr, Amr, Case.REFUSED, Ama(amr.nai, amr.seq, amr.origin, result, reply=reply))

    def _to_relay(self, amr: Amr, received: type, case: Case, ama: Ama) -> Effect:
        """By the AAAF that relayed the request, or straight to a foreign agent of this domain."""
        if amr.relay is None:
            if ama.information is not None:
                ama = ama._replace(information=ama.information.on_leg())
            return Send(Address(NodeRole.FA, amr.origin), ama)
        return answer(self.role, received, case, amr.relay, ama)
