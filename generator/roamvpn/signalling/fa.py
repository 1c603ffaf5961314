"""The foreign agent (A5, B19, B20, D6 to D13): registers mobiles, serves them, and hands them off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.signalling.correspondence import Case
from roamvpn.signalling.effects import Alarm, Apply, Send
from roamvpn.signalling.hand_offs import HandOffs
from roamvpn.signalling.machine import answer, applied
from roamvpn.signalling.messages import (
    REPLY_CODES,
    Address,
    Ama,
    Amr,
    Applied,
    Ba,
    Bu,
    Code,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    Result,
    Timer,
)
from roamvpn.signalling.settings import MS
from roamvpn.signalling.visitor import Incoming, Registration, Stage, Visitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.keys import Entropy
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.messages import Event


class Fa:
    """The foreign agent's machine. `entropy` draws the keys of hand-off tunnels."""

    role = NodeRole.FA
    durable = True
    by_profile = False
    entry = Visitor

    def __init__(self, surroundings: Surroundings, entropy: Entropy) -> None:
        self._name = surroundings.name
        self._here = Address(NodeRole.FA, surroundings.name)
        self._directory = surroundings.directory
        self._legs = surroundings.legs
        self._settings = surroundings.settings
        self._prepares = surroundings.settings.prepares
        self._hand_offs = HandOffs(surroundings, entropy)
        self._handlers: dict[type, Callable[[Visitor, Any, int], tuple[Visitor, list[Effect]]]] = {
            RegReq: self._request,
            Bu: self._bu,
            Ama: self._ama,
            Applied: self._applied,
            RegRep: self._reply,
            Ba: self._ba,
            Timer: self._timer,
        }

    def handle(self, entry: Visitor | None, event: Event, now: int) -> tuple[Visitor | None, list[Effect]]:
        """S205 to S212."""
        kind = type(event)
        if entry is None:
            # only a request, or a binding update for somebody who was here, begins something
            if kind is not RegReq and kind is not Bu:
                return None, []
            entry = Visitor(event.nai)  # type: ignore[union-attr] # both have one
        changed, effects = self._handlers[kind](entry, event, now)
        return (None if changed.expires <= now and changed.idle else changed), effects

    # the mobile asks

    def _request(self, entry: Visitor, request: RegReq, now: int) -> tuple[Visitor, list[Effect]]:
        newest = max(entry.seq, entry.registration.request.seq if entry.registration is not None else 0)
        if request.seq <= newest:
            return entry, []
        held, old_fa = None, request.old_fa
        if entry.serving is not None and old_fa in (None, self._name):
            # he is here already: a refresh, which the domain answers; a service update or good-bye goes home
            held = InstanceId.of(entry.serving)
            old_fa = self._name if request.lifetime and request.update is None else None
        elif old_fa == self._name:
            # he was served here, says he; this agent knows that he was not, or no more
            old_fa = None
        request = request._replace(old_fa=old_fa, care_of=None, held=held)
        effects = self._withdrawal(entry.registration)
        return self._ask(entry, request, now, effects, received=RegReq)

    def _ask(
        self, entry: Visitor, request: RegReq, now: int, effects: list[Effect], received: type
    ) -> tuple[Visitor, list[Effect]]:
        server = self._directory.aaa_of(self._name, entry.nai)
        if server is None or not self._directory.is_home_agent(request.home_agent):
            refusal = answer(
                self.role, RegReq, Case.REFUSED, entry.nai, RegRep(entry.nai, request.seq, Code.FA_PROHIBITED)
            )
            return entry._replace(registration=None), [*effects, refusal]
        deadline = now + self._settings.request_timeout * MS
        entry = entry._replace(registration=Registration(request, Stage.AAA, deadline))
        amr = Amr(entry.nai, request.seq, self._name, request)
        if server.role is NodeRole.AAAH:
            return entry, [*effects, Send(server, amr)]
        case = Case.ANY if received is RegReq else Case.ANEW
        return entry, [*effects, answer(self.role, received, case, server.name, amr)]

    # the AAA answers

    def _ama(self, entry: Visitor, ama: Ama, now: int) -> tuple[Visitor, list[Effect]]:
        registration = entry.registration
        if registration is None or registration.stage is not Stage.AAA or registration.request.seq != ama.seq:
            return entry, []
        if ama.result is not Result.SUCCESS:
            code = ama.reply.code if ama.reply is not None else REPLY_CODES[ama.result]
            packet = ama.reply.packet if ama.reply is not None else b""
            return self._failed(entry, code, Ama, Case.REFUSED, packet)
        # S208: store the VPN information, set "cache updated"
        if ama.reply is None:
            return self._local(entry, registration, ama.information)
        reply = ama.reply._replace(old_fas=ama.old_fas)
        if not registration.request.lifetime:
            told = registration._replace(old_fas=reply.old_fas, lifetime=reply.lifetime, packet=reply.packet)
            return self._gone(entry, told, now)
        return self._consume(entry, registration._replace(fresh=ama.information), reply, now)

    def _local(
        self, entry: Visitor, registration: Registration, fresh: VpnInformation | None
    ) -> tuple[Visitor, list[Effect]]:
        """S209, S213, S217 with G20: an answer from the domain's cache; the home agent is asked directly."""
        request = registration.request
        if fresh is None:
            return entry, []
        effects: list[Effect] = []
        legs: tuple[Contribution, ...] = ()
        prepared: tuple[Contribution, ...] = ()
        if self._prepares and fresh != entry.serving:
            legs = self._compiled(fresh)
            prepared = tuple([each for each in legs if each not in entry.legs])
            if prepared:
                effects.append(Apply(entry.nai, request.seq, prepare=prepared))
        asked = request._replace(care_of=self._name, held=InstanceId.of(fresh))
        effects.append(answer(self.role, Ama, Case.LOCAL, request.home_agent, asked))
        deadline = registration.deadline
        waiting = Registration(request, Stage.HOME_AGENT, deadline, fresh, legs, prepared, local=True)
        return entry._replace(registration=waiting), effects

    # the home agent answers

    def _reply(self, entry: Visitor, reply: RegRep, now: int) -> tuple[Visitor, list[Effect]]:
        registration = entry.registration
        if registration is None or registration.stage is not Stage.HOME_AGENT or registration.request.seq != reply.seq:
            return entry, []
        if reply.code is Code.HA_UNSPECIFIED and registration.local:
            # G26: what this domain remembers does not fit; as an initial registration, then
            effects = self._withdrawal(registration)
            request = registration.request._replace(old_fa=None, held=None)
            return self._ask(entry, request, now, effects, received=RegRep)
        if reply.code is not Code.ACCEPTED:
            return self._failed(entry, reply.code, RegRep, Case.REFUSED, reply.packet)
        return self._consume(entry, registration, reply, now)

    def _consume(
        self, entry: Visitor, registration: Registration, reply: RegRep, now: int
    ) -> tuple[Visitor, list[Effect]]:
        """S220: with the flag S216, tunnels; without it S217. The flag is cleared."""
        settings = self._settings
        fresh, seq, prepared = registration.fresh, registration.request.seq, registration.prepared
        before = entry.contributions
        deadline = now + settings.request_timeout * MS
        expires = now + reply.lifetime * MS
        told = Registration(
            registration.request,
            Stage.TUNNELS,
            deadline,
            lifetime=reply.lifetime,
            old_fas=reply.old_fas,
            local=registration.local,
            packet=reply.packet,
        )
        if fresh is None:
            entry = entry._replace(seq=seq, expires=expires, registration=told)
        else:
            legs = entry.legs if fresh == entry.serving else registration.fresh_legs or self._compiled(fresh)
            incoming = self._hand_offs.incoming(entry, fresh, told, now)
            # G25: back while the hand-off tunnel stands: that goes first
            entry = Visitor(entry.nai, seq, fresh, expires, told, None, incoming, legs, entry.stands)
        # who has prepared is waited for: then the others, who learn last, bring the associations up
        initiate = not (told.local and self._prepares)
        after = entry.contributions
        apply = applied(entry.nai, seq, before, after, prepared, initiate=initiate, wait=True)
        if apply is None and not entry.stands:
            # nothing is new, but what was asked for last has not come up: this registration waits for it, too
            apply = Apply(entry.nai, seq, initiate=initiate, wait=True)
        if apply is None:
            return self._tell(entry, told, now)
        return entry._replace(stands=False), [apply]

    def _gone(self, entry: Visitor, registration: Registration, now: int) -> tuple[Visitor, list[Effect]]:
        """Deregistered: everything of the session goes (F10, G25), here and at agents that have not heard of it."""
        seq, before = registration.request.seq, entry.contributions
        until = now + self._settings.max_lifetime * MS
        # those that have not heard of it, and those that still hand packets off to here
        old_fas = dict.fromkeys((*registration.old_fas, *(each.old_fa for each in entry.incoming)))
        duties = tuple(Incoming(old, seq, None, until, again_at=now) for old in old_fas)
        entry = self._remembered(entry, seq, now)._replace(serving=None, legs=(), outgoing=None, incoming=duties)
        apply = applied(entry.nai, seq, before, entry.contributions)
        entry, effects = self._tell(entry, registration, now)
        return entry, [apply, *effects] if apply is not None else effects

    def _failed(
        self, entry: Visitor, code: Code, received: type, case: Case, packet: bytes = b""
    ) -> tuple[Visitor, list[Effect]]:
        registration = entry.registration
        effects = self._withdrawal(registration)
        if registration is not None:
            reply = RegRep(entry.nai, registration.request.seq, code, packet=packet)
            effects.append(answer(self.role, received, case, entry.nai, reply))
        return entry._replace(registration=None), effects

    def _withdrawal(self, registration: Registration | None) -> list[Effect]:
        """What was prepared for a registration that comes to nothing."""
        if registration is None or not registration.prepared:
            return []
        return [Apply(registration.request.nai, registration.request.seq, withdrawn=registration.prepared)]

    def _applied(self, entry: Visitor, event: Applied, now: int) -> tuple[Visitor, list[Effect]]:
        """The tunnels stand: the old agents, or the mobile, may be told (F3, E2.5)."""
        if event.ok and event.seq == entry.seq:
            entry = entry._replace(stands=True)
        registration, outgoing = entry.registration, entry.outgoing
        failed = [] if event.ok else [Alarm(entry.nai, f"{self._name} could not set its tunnels")]
        if outgoing is not None and outgoing.seq == event.seq and not outgoing.acknowledged:
            ba = Ba(entry.nai, outgoing.seq, self._here, Code.ACCEPTED if event.ok else Code.HA_UNSPECIFIED)
            entry = entry._replace(outgoing=outgoing._replace(acknowledged=True))
            return entry, [*failed, answer(self.role, Bu, Case.ANY, outgoing.new_fa, ba)]
        if registration is None or registration.stage is not Stage.TUNNELS or registration.request.seq != event.seq:
            return entry, []
        if failed:
            entry, effects = self._failed(entry, Code.FA_RESOURCES, registration.asked, Case.REFUSED)
            return entry, [*failed, *effects]
        return self._tell(entry, registration, now)

    # the old agents

    def _tell(self, entry: Visitor, registration: Registration, now: int) -> tuple[Visitor, list[Effect]]:
        """S217: binding updates to the agents that were left, or at once the reply to the mobile."""
        seq = registration.request.seq
        due = [each for each in entry.incoming if each.seq == seq and each.again_at is not None]
        if not due:
            return self._done(entry, registration, registration.asked, Case.NO_OLD)
        effects: list[Effect] = [
            answer(self.role, registration.asked, Case.OLD, each.old_fa, self._hand_offs.update(entry.nai, each))
            for each in due
        ]
        waiting = registration._replace(stage=Stage.OLD_AGENTS, deadline=now + self._settings.ba_timeout * MS)
        return entry._replace(incoming=self._hand_offs.sent(entry.incoming, due, now), registration=waiting), effects

    def _ba(self, entry: Visitor, ba: Ba, now: int) -> tuple[Visitor, list[Effect]]:
        before = entry
        incoming = []
        for each in entry.incoming:
            if each.seq != ba.seq or each.old_fa != ba.sender.name or each.again_at is None:
                incoming.append(each)
            elif ba.status is Code.ACCEPTED and each.information is not None:
                # the old agent counts from when it heard of it, which was before now
                incoming.append(each._replace(again_at=None, until=now + self._settings.hand_off * MS))
            # else it has nothing to hand off
        entry = entry._replace(incoming=tuple(incoming))
        effects: list[Effect] = []
        if len(incoming) < len(before.incoming):
            apply = applied(entry.nai, ba.seq, before.contributions, entry.contributions)
            effects += [apply] if apply is not None else []
        registration = entry.registration
        if registration is None or registration.stage is not Stage.OLD_AGENTS:
            return entry, effects
        seq = registration.request.seq
        if any(each.seq == seq and each.again_at is not None for each in entry.incoming):
            return entry, effects
        entry, last = self._done(entry, registration, Ba, Case.ACKNOWLEDGED)
        return entry, [*effects, *last]

    def _done(
        self, entry: Visitor, registration: Registration, received: type, case: Case
    ) -> tuple[Visitor, list[Effect]]:
        """F3: the reply to the mobile, always last."""
        request = registration.request
        reply = RegRep(entry.nai, request.seq, Code.ACCEPTED, registration.lifetime, packet=registration.packet)
        return entry._replace(registration=None), [answer(self.role, received, case, entry.nai, reply)]

    # the user went elsewhere

    def _bu(self, entry: Visitor, bu: Bu, now: int) -> tuple[Visitor, list[Effect]]:
        """S219: destination GW := the new foreign agent; what was set for this user goes (F4)."""
        outgoing, registration = entry.outgoing, entry.registration
        effects: list[Effect] = []
        if registration is not None and registration.request.seq < bu.seq:
            effects += self._withdrawal(registration)
            entry = entry._replace(registration=None)
        if outgoing is not None and outgoing.seq == bu.seq:
            # a repetition; if the tunnel is not up yet, the acknowledgement comes with it
            return entry, [*effects, self._acknowledge(bu, Code.ACCEPTED)] if outgoing.acknowledged else effects
        if bu.seq <= entry.seq:
            return entry, [*effects, self._acknowledge(bu, Code.STALE)]
        if entry.serving is None and outgoing is None:
            # nothing to hand off; but what was on its way here is older now
            return self._remembered(entry, bu.seq, now), [*effects, self._acknowledge(bu, Code.STALE)]
        before = entry.contributions
        onward = self._hand_offs.outgoing(bu, now) if bu.lifetime and bu.information is not None else None
        # tunnels from the agent that he went back to have nothing to carry any more
        incoming = tuple(each for each in entry.incoming if each.old_fa != bu.sender.name)
        expires = now + self._settings.remember * MS
        entry = Visitor(bu.nai, bu.seq, None, expires, entry.registration, onward, incoming)
        waits = onward is not None and bool(onward.legs)
        apply = applied(bu.nai, bu.seq, before, entry.contributions, initiate=bu.ready, wait=waits)
        if apply is not None:
            effects.append(apply)
            if waits:
                return entry, effects
        if onward is not None:
            entry = entry._replace(outgoing=onward._replace(acknowledged=True))
        return entry, [*effects, self._acknowledge(bu, Code.ACCEPTED)]

    def _remembered(self, entry: Visitor, seq: int, now: int) -> Visitor:
        return entry._replace(seq=seq, expires=now + self._settings.remember * MS)

    def _acknowledge(self, bu: Bu, status: Code) -> Effect:
        return answer(self.role, Bu, Case.ANY, bu.sender.name, Ba(bu.nai, bu.seq, self._here, status))

    # time

    def _timer(self, entry: Visitor, _event: Timer, now: int) -> tuple[Visitor, list[Effect]]:
        before = entry.contributions
        effects: list[Effect] = []
        if entry.serving is not None and now >= entry.expires:
            entry = entry._replace(serving=None, legs=())
        if entry.outgoing is not None and now >= entry.outgoing.until:
            entry = entry._replace(outgoing=None)
        entry = entry._replace(incoming=tuple(each for each in entry.incoming if each.until > now))
        apply = applied(entry.nai, entry.seq, before, entry.contributions)
        if apply is not None:
            effects.append(apply)
        registration = entry.registration
        if registration is not None and now >= registration.deadline:
            entry, late = self._late(entry, registration)
            effects += late
        due = [each for each in entry.incoming if each.again_at is not None and now >= each.again_at]
        effects += [
            answer(self.role, Timer, Case.OLD, each.old_fa, self._hand_offs.update(entry.nai, each)) for each in due
        ]
        return entry._replace(incoming=self._hand_offs.sent(entry.incoming, due, now)), effects

    def _late(self, entry: Visitor, registration: Registration) -> tuple[Visitor, list[Effect]]:
        if registration.stage is not Stage.OLD_AGENTS:
            return self._failed(entry, Code.FA_TIMEOUT, Timer, Case.LATE)
        # G25: the reply goes out, an alarm is raised, the binding update is repeated
        missing = ", ".join(each.old_fa for each in entry.incoming if each.again_at is not None)
        alarm = Alarm(entry.nai, f"no binding acknowledgement from {missing}: it is asked again")
        entry, effects = self._done(entry, registration, Timer, Case.LATE)
        return entry, [alarm, *effects]

    def deadline(self, entry: Visitor) -> int | None:
        """The end of patience, of the visit, of a hand-off tunnel; or the next repetition."""
        registration, outgoing, incoming = entry.registration, entry.outgoing, entry.incoming
        if registration is None and outgoing is None and not incoming:
            return entry.expires
        times = [each.until if each.again_at is None else min(each.until, each.again_at) for each in incoming]
        if entry.serving is not None:
            times.append(entry.expires)
        if registration is not None:
            times.append(registration.deadline)
        if outgoing is not None:
            times.append(outgoing.until)
        return min(times) if len(times) > 1 else times[0]

    # what is set here

    def restored(self, entry: Visitor) -> Visitor:
        """With its legs; what was being set is set before anything is answered."""
        outgoing = entry.outgoing
        if outgoing is not None:
            outgoing = outgoing._replace(legs=self._hand_offs.far_ends(outgoing.information), acknowledged=True)
        incoming = tuple(
            each._replace(legs=self._hand_offs.near_ends(each.information)) if each.information is not None else each
            for each in entry.incoming
        )
        legs = self._compiled(entry.serving) if entry.serving is not None else ()
        return entry._replace(outgoing=outgoing, incoming=incoming, legs=legs)

    def contributions(self, entry: Visitor) -> tuple[Contribution, ...]:
        """All that is set for this user."""
        return entry.contributions

    def _compiled(self, information: VpnInformation) -> tuple[Contribution, ...]:
        generation, agent = information.generation, information.foreign_agent
        return tuple(
            [
                self._legs.near_end(segment, generation, segment.keys, agent)
                for segment in information.segments
                if not segment.empty
            ]
        )
