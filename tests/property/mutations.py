"""Deliberate mutations of the state machines: each breaks one rule, and the oracle must notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roamvpn.policy import compile  # noqa: A004 - the module
from roamvpn.policy.compile import Decider
from roamvpn.policy.information import VpnInformation, with_keys
from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling import effects, fa, ha, node, pcn
from roamvpn.signalling import machine as machines
from roamvpn.signalling.aaaf import Aaaf
from roamvpn.signalling.aaah import Aaah
from roamvpn.signalling.fa import Fa
from roamvpn.signalling.ha import Ha
from roamvpn.signalling.hand_offs import HandOffs
from roamvpn.signalling.messages import Ama, Code, RegRep
from roamvpn.signalling.pcn import Pcn

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

Patch = "pytest.MonkeyPatch"
MUTATIONS: dict[str, Callable[[Any], None]] = {}


def _mutation(function: Callable[[Any], None]) -> Callable[[Any], None]:
    MUTATIONS[function.__name__.replace("_", " ")] = function
    return function


def _keeps(module: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Deletes nothing."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = machines.applied

        def applied(*args: Any, **options: Any) -> Any:
            apply = real(*args, **options)
            return apply if apply is None else apply._replace(delete=())

        monkeypatch.setattr(module, "applied", applied)

    return patch


MUTATIONS["the old foreign agent skips a delete (F4)"] = _keeps(fa)
MUTATIONS["the home agent skips a delete (E2.2)"] = _keeps(ha)
MUTATIONS["the PCN skips a delete (E5.2)"] = _keeps(pcn)


@_mutation
def deleted_is_what_the_new_instance_names(monkeypatch: pytest.MonkeyPatch) -> None:  # G16
    real = effects.change

    def change(before: Any, after: Any) -> Any:
        new, old = real(before, after)
        names = {each.leg.name for each in after if each.leg is not None}
        return new, tuple(each for each in old if each.leg is not None and each.leg.name in names)

    monkeypatch.setattr(machines, "change", change)


@_mutation
def the_flag_cache_updated_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:  # D12
    real = Fa._consume

    def consume(self: Fa, entry: Any, registration: Any, *args: Any) -> Any:
        return real(self, entry, registration._replace(fresh=None), *args)

    monkeypatch.setattr(Fa, "_consume", consume)


@_mutation
def a_leg_reuses_the_key_of_the_first_generation(monkeypatch: pytest.MonkeyPatch) -> None:  # C5
    real = VpnInformation.on_leg
    monkeypatch.setattr(
        VpnInformation,
        "on_leg",
        lambda self: real(self._replace(generation=0))._replace(generation=self.generation),
    )


@_mutation
def all_vpns_of_a_user_have_one_key(monkeypatch: pytest.MonkeyPatch) -> None:  # C5
    real = Aaah._har

    def har(self: Aaah, home_agent: str, amr: Any, information: Any) -> Any:
        if information is not None:
            found = [each.keys for each in information.segments if each.keys is not None]
            segments = (with_keys(each, found[0]) if each.keys is not None else each for each in information.segments)
            information = information._replace(segments=tuple(segments))
        return real(self, home_agent, amr, information)

    monkeypatch.setattr(Aaah, "_har", har)


@_mutation
def the_hand_off_reuses_the_key_of_the_leg(monkeypatch: pytest.MonkeyPatch) -> None:  # G21
    real = HandOffs.handed_off

    def handed_off(self: HandOffs, fresh: Any, *args: Any) -> Any:
        incoming: Any = real(self, fresh, *args)
        keys = {each.profile_number: each.keys for each in fresh.segments}
        segments = (with_keys(each, keys[each.profile_number]) for each in incoming.information.segments)
        information = incoming.information._replace(segments=tuple(segments))
        return incoming._replace(information=information, legs=self.near_ends(information))

    monkeypatch.setattr(HandOffs, "handed_off", handed_off)


@_mutation
def the_aaaf_is_given_root_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VpnInformation, "in_domain", lambda self, _domain: self)


@_mutation
def the_foreign_agent_is_given_all_profiles(monkeypatch: pytest.MonkeyPatch) -> None:  # C12
    monkeypatch.setattr(VpnInformation, "for_foreign_agent", lambda self: self)


@_mutation
def a_move_rewrites_the_segment_to_the_enterprise_as_well(monkeypatch: pytest.MonkeyPatch) -> None:  # G2
    def moved(self: VpnInformation, agent: str, generation: int) -> VpnInformation:
        segments = tuple(each._replace(near=agent) for each in self.segments)
        return self._replace(foreign_agent=agent, generation=generation, segments=segments)

    monkeypatch.setattr(VpnInformation, "moved", moved)


@_mutation
def the_home_agent_takes_older_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ha._har
    monkeypatch.setattr(
        Ha, "_har", lambda self, entry, har, now: real(self, entry._replace(seq=0) if entry else None, har, now)
    )


@_mutation
def the_pcn_takes_older_binding_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pcn._bu
    monkeypatch.setattr(
        Pcn, "_bu", lambda self, entry, bu, now: real(self, entry._replace(seq=0) if entry else None, bu, now)
    )


@_mutation
def the_foreign_agent_takes_older_binding_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fa._bu
    monkeypatch.setattr(Fa, "_bu", lambda self, entry, bu, now: real(self, entry._replace(seq=0), bu, now))


@_mutation
def a_reply_to_another_request_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fa._ama

    def ama(self: Fa, entry: Any, event: Ama, now: int) -> Any:
        if entry.registration is not None:
            event = event._replace(seq=entry.registration.request.seq)
        return real(self, entry, event, now)

    monkeypatch.setattr(Fa, "_ama", ama)


@_mutation
def an_old_agent_that_is_not_the_sessions_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:  # G26
    real_local, real_request = Aaaf._local, Ha._request

    def local(self: Aaaf, entry: Any, amr: Any, now: int) -> Any:
        lied = amr._replace(request=amr.request._replace(old_fa=entry.information.foreign_agent))
        return real_local(self, entry, lied if amr.request.old_fa != amr.origin else amr, now)

    def request(self: Ha, entry: Any, asked: Any, now: int) -> Any:
        known = entry.information if entry is not None else None
        if known is not None and asked.held is not None and asked.care_of != known.foreign_agent:
            asked = asked._replace(
                old_fa=known.foreign_agent, held=type(asked.held).of(known)._replace(generation=known.generation + 1)
            )
        return real_request(self, entry, asked, now)

    monkeypatch.setattr(Aaaf, "_local", local)
    monkeypatch.setattr(Ha, "_request", request)


@_mutation
def the_home_agent_forgets_who_was_left(monkeypatch: pytest.MonkeyPatch) -> None:  # C13
    monkeypatch.setattr(Ha, "_left", lambda *_: ())


@_mutation
def a_binding_update_to_a_pcn_is_forgotten_once_sent(monkeypatch: pytest.MonkeyPatch) -> None:  # G25
    real = Ha._bind

    def bind(*args: Any) -> Any:
        entry, effects = real(*args)
        return entry._replace(posts=(), grants=()), effects

    monkeypatch.setattr(Ha, "_bind", bind)


@_mutation
def a_binding_update_to_an_old_agent_is_forgotten_once_sent(monkeypatch: pytest.MonkeyPatch) -> None:  # G25
    real = HandOffs.sent
    monkeypatch.setattr(HandOffs, "sent", lambda *args: tuple(each._replace(again_at=None) for each in real(*args)))


@_mutation
def the_pcn_keeps_what_has_lapsed(monkeypatch: pytest.MonkeyPatch) -> None:  # E7.5
    real = Pcn._timer
    monkeypatch.setattr(
        Pcn,
        "_timer",
        lambda self, entry, now: (
            (entry._replace(expires=now + 60_000), [])
            if entry.information is not None and now >= entry.expires
            else real(self, entry, now)
        ),
    )


@_mutation
def the_home_agent_answers_any_binding_request(monkeypatch: pytest.MonkeyPatch) -> None:  # E7.5
    real = Ha._br

    def br(self: Ha, entry: Any, event: Any, now: int) -> Any:
        information = entry.information
        if information is None or event.sender.name in {each.far for each in information.dynamic}:
            return real(self, entry, event, now)
        lent = information._replace(
            segments=tuple(
                each._replace(kind=SegmentKind.DIRECT, profile_number=event.profile_number, far=event.sender.name)
                for each in information.segments[:1]
            )
        )
        entry, effects = real(self, entry._replace(information=lent), event, now)
        return entry._replace(information=information), effects

    monkeypatch.setattr(Ha, "_br", br)


@_mutation
def nobody_keeps_the_pcns_vpn_alive(monkeypatch: pytest.MonkeyPatch) -> None:  # E7.5
    monkeypatch.setattr(Ha, "_br", lambda _self, entry, _br, _now: (entry, []))
    monkeypatch.setattr(Ha, "_granted", lambda *_: ())


@_mutation
def a_shared_association_goes_with_its_first_user(monkeypatch: pytest.MonkeyPatch) -> None:  # F7
    real = compile.remove

    def remove(state: Any, contribution: Any) -> None:
        real(state, contribution)
        if contribution.peer is not None:
            state.peers.pop(contribution.peer.name, None)

    monkeypatch.setattr(node, "remove", remove)


@_mutation
def a_service_update_is_answered_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:  # C11
    real = Aaah._amr
    monkeypatch.setattr(
        Aaah,
        "_amr",
        lambda self, entry, amr, now: real(
            self, entry, amr._replace(request=amr.request._replace(update=None)) if entry else amr, now
        ),
    )


@_mutation
def a_user_who_signs_off_is_kept_at_the_pcn(monkeypatch: pytest.MonkeyPatch) -> None:  # F10
    real = Ha._deregister

    def deregister(self: Ha, entry: Any, *args: Any) -> Any:
        if entry is not None and entry.information is not None:
            entry = entry._replace(information=entry.information._replace(segments=()))
        return real(self, entry, *args)

    monkeypatch.setattr(Ha, "_deregister", deregister)


@_mutation
def a_user_who_signs_off_is_kept_at_the_foreign_agent(monkeypatch: pytest.MonkeyPatch) -> None:  # F10
    real = Fa._gone

    def gone(self: Fa, entry: Any, registration: Any, now: int) -> Any:
        changed, effects = real(self, entry, registration, now)
        changed = changed._replace(serving=entry.serving, legs=entry.legs)
        return changed, [each for each in effects if not hasattr(each, "delete")]

    monkeypatch.setattr(Fa, "_gone", gone)


@_mutation
def a_binding_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:  # G18
    real = Ha._timer
    monkeypatch.setattr(Ha, "_timer", lambda self, entry, now: real(self, entry._replace(expires=now + 60_000), now))


@_mutation
def a_visit_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:  # G18
    real = Fa._timer
    monkeypatch.setattr(
        Fa, "_timer", lambda self, entry, rings, now: real(self, entry._replace(expires=now + 60_000), rings, now)
    )


@_mutation
def a_hand_off_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:  # G18, G25
    real = HandOffs.outgoing

    def outgoing(self: HandOffs, bu: Any, now: int) -> Any:
        found = real(self, bu, now)
        return found._replace(until=now + 10_000_000) if found is not None else None

    monkeypatch.setattr(HandOffs, "outgoing", outgoing)


@_mutation
def who_returns_keeps_the_hand_off(monkeypatch: pytest.MonkeyPatch) -> None:  # G25
    real = Fa._consume

    def consume(self: Fa, entry: Any, *args: Any) -> Any:
        kept = entry.outgoing
        changed, effects = real(self, entry, *args)
        return changed._replace(outgoing=kept), effects

    monkeypatch.setattr(Fa, "_consume", consume)


@_mutation
def a_restarted_home_agent_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ha, "restored", lambda _self, entry: entry)


@_mutation
def a_restarted_foreign_agent_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fa, "restored", lambda _self, entry: entry)


@_mutation
def a_foreign_agent_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fa, "durable", False)


@_mutation
def a_pcn_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pcn, "durable", False)


@_mutation
def a_refused_local_move_is_not_tried_at_home(monkeypatch: pytest.MonkeyPatch) -> None:  # G26
    real = Fa._reply

    def reply(self: Fa, entry: Any, event: RegRep, now: int) -> Any:
        # taken for accepted instead
        return real(self, entry, event._replace(code=Code.ACCEPTED, lifetime=event.lifetime or 20), now)

    monkeypatch.setattr(Fa, "_reply", reply)


@_mutation
def the_other_direction_has_the_class_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:  # G10
    real = Aaah._har

    def har(self: Aaah, home_agent: str, amr: Any, information: Any) -> Any:
        if information is not None:
            segments = tuple(each._replace(downclass=each.upclass) for each in information.segments)
            information = information._replace(segments=segments)
        return real(self, home_agent, amr, information)

    monkeypatch.setattr(Aaah, "_har", har)


@_mutation
def a_vpn_keeps_its_root_with_another_far_end(monkeypatch: pytest.MonkeyPatch) -> None:  # C5, E7
    real = Decider._segment_keys

    def segment_keys(self: Decider, segment: Any, session_id: str, known: Any) -> Any:
        held = {(flow, segment.far): keys for (flow, _), keys in known.items()}
        return real(self, segment, session_id, held)

    monkeypatch.setattr(Decider, "_segment_keys", segment_keys)
