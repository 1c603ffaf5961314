"""The HA step by step: what triggers tunnels and binding updates, what it answers and when (A6, B21, D8 to D10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.signalling.effects import Alarm, Send
from roamvpn.signalling.messages import (
    Address,
    Ba,
    Br,
    Bu,
    Code,
    Haa,
    Har,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    Result,
    Timer,
)
from tests.documents import Documents
from tests.signalled import ALICE, CAROL, FRANK, Bench, applies, messages, names, one, ways

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.signalling.binding import Binding
    from roamvpn.signalling.effects import Effect

NOW = 1000
Stepped = tuple["Binding | None", "list[Effect]"]


def _har(information: VpnInformation | None, seq: int, **more: Any) -> Har:  # noqa: ANN401 - fields of a request
    nai = more.pop("nai", None) or (information.nai if information is not None else ALICE)
    agent = more.pop("care_of", None) or (information.foreign_agent if information is not None else "fa21")
    request = RegReq(nai, seq, "ha31", more.pop("lifetime", 60), care_of=agent, **more)
    return Har(nai, seq, "aaah33", request, information)


def _ba(nai: str, seq: int, number: int, pcn: str = "pcn41b", status: Code = Code.ACCEPTED) -> Ba:
    return Ba(nai, seq, Address(NodeRole.PCN, pcn), status, number)


def _bound(bench: Bench, nai: str, seq: int = 1, now: int = NOW) -> Binding:
    """A user at fa21, whose PCNs have acknowledged."""
    entry, effects = bench.ha().handle(None, _har(bench.information(nai), seq), now)
    for bu in messages(effects):
        if isinstance(bu, Bu):
            entry, _ = bench.ha().handle(entry, _ba(nai, seq, bu.profile_number), now)
    assert entry is not None
    assert entry.deferred is None
    return entry


def _direct(bench: Bench, nai: str, seq: int, agent: str, **more: Any) -> RegReq:  # noqa: ANN401 - fields of a request
    generation = more.pop("generation", 0 if agent == "fa21" else 1)
    held = InstanceId.of(bench.on_leg(nai, agent, generation))
    old_fa = more.pop("old_fa", "fa21")
    return RegReq(nai, seq, "ha31", 60, old_fa, care_of=agent, held=held, **more)


def _two_dynamic() -> Documents:
    documents = Documents()
    documents.record(3)["destaddr"] = "198.51.100.200"
    return documents


# what triggers S214 to S216


def test_a_new_binding_sets_the_tunnels_of_a_static_vpn_both_sides_of_it() -> None:  # E1.3, G3, G7
    bench = Bench()
    _, effects = bench.ha().handle(None, _har(bench.information(ALICE), 1), NOW)
    assert names(effects) == ["Apply", "HAA"]
    (apply,) = applies(effects)
    assert ways(apply.set) == ["ha31→gw51", "ha31→fa21"]
    assert apply.delete == ()


def test_a_dynamic_vpn_sets_no_tunnel_here_and_waits_for_its_pcn() -> None:  # E4.2, F6, G4
    bench = Bench()
    entry, effects = bench.ha().handle(None, _har(bench.information(FRANK), 1), NOW)
    assert names(effects) == ["BU"]
    _, effects = bench.ha().handle(entry, _ba(FRANK, 1, 7), NOW)
    assert names(effects) == ["HAA"]


@pytest.mark.parametrize("nai", [ALICE, FRANK, CAROL])
def test_the_same_care_of_address_and_the_same_vpns_change_nothing_but_the_lifetime(nai: str) -> None:  # G3, D8
    bench = Bench()
    before = _bound(bench, nai)
    for request in (_direct(bench, nai, 2, "fa21"), _har(bench.information(nai), 2)):
        entry, effects = bench.ha().handle(before, request, NOW + 5000)
        assert names(effects) == ["Reg Rep" if isinstance(request, RegReq) else "HAA"]
        assert entry is not None
        assert entry.expires == before.expires + 5000
        assert (entry.information, entry.legs) == (before.information, before.legs)


@pytest.mark.parametrize("way", ["direct", "HAR"])
def test_a_new_care_of_address_rewrites_the_tunnel_to_the_agent_only(way: str) -> None:  # D9, G2, E2.2, E3.2, F4
    bench = Bench()
    before = _bound(bench, ALICE)
    har = _har(bench.information(ALICE, "fa21b"), 2)
    request = _direct(bench, ALICE, 2, "fa21b") if way == "direct" else har
    entry, effects = bench.ha().handle(before, request, NOW)
    (apply,) = applies(effects)
    assert ways(apply.set) == ["ha31→fa21b"]
    assert ways(apply.delete) == ["ha31→fa21"]
    assert entry is not None
    assert ways(entry.legs) == ["ha31→gw51", "ha31→fa21b"]


def test_other_vpns_at_the_same_care_of_address_are_set_and_posted() -> None:  # G3, E7.3
    bench = Bench()
    before = _bound(bench, FRANK)
    documents = Documents()
    documents.record(7)["destaddr"] = "198.51.100.7"
    changed = Bench(documents.site().tables).information(FRANK)
    _, effects = bench.ha().handle(before, _har(changed._replace(version=2), 2), NOW)
    assert names(effects) == ["BU"]
    assert [str(send.to) for send in effects if isinstance(send, Send)] == ["pcn41"]


def test_another_association_for_the_same_packets_is_of_another_generation() -> None:  # G3
    bench = Bench()
    documents = Documents()
    documents.record(1)["security"] = "ah"
    changed = Bench(documents.site().tables).information(ALICE)
    entry, effects = bench.ha().handle(_bound(bench, ALICE), _har(changed._replace(version=2), 2), NOW)
    assert entry is not None
    assert entry.information is not None
    # the two cannot share a device
    assert entry.information.generation == 1
    (apply,) = applies(effects)
    assert ways(apply.set) == ways(apply.delete) == ["ha31→gw51", "ha31→fa21"]


# S215


def test_each_dynamic_profile_is_posted_by_itself_and_static_ones_are_not() -> None:  # D10
    bench = Bench()
    _, effects = bench.ha().handle(None, _har(bench.information(CAROL), 1), NOW)
    bu = one(effects, Bu)
    assert bu.information is not None
    assert [(each.profile_number, each.far) for each in bu.information.segments] == [(4, "pcn41")]
    assert bu.lifetime == 60
    two = Bench(_two_dynamic().site().tables)
    _, effects = two.ha().handle(None, _har(two.information(CAROL), 1), NOW)
    posted = [bu for bu in messages(effects) if isinstance(bu, Bu)]
    assert [(bu.profile_number, len(bu.information.segments)) for bu in posted if bu.information] == [(3, 1), (4, 1)]


def test_the_answer_waits_for_every_acknowledgement() -> None:  # G4, B21
    bench = Bench(_two_dynamic().site().tables)
    machine = bench.ha()
    entry, _ = machine.handle(None, _har(bench.information(CAROL), 1), NOW)
    entry, effects = machine.handle(entry, _ba(CAROL, 1, 4, "pcn41"), NOW)
    assert effects == []
    assert machine.handle(entry, _ba(CAROL, 1, 4, "pcn41"), NOW) == (entry, [])
    entry, effects = machine.handle(entry, _ba(CAROL, 1, 3), NOW)
    assert names(effects) == ["HAA"]
    assert machine.handle(entry, _ba(CAROL, 1, 3), NOW) == (entry, [])


def test_an_acknowledgement_of_an_older_event_answers_nothing() -> None:  # G4
    bench = Bench()
    entry, effects = bench.ha().handle(_bound(bench, FRANK), _direct(bench, FRANK, 2, "fa21b"), NOW)
    assert names(effects) == ["BU"]
    assert bench.ha().handle(entry, _ba(FRANK, 1, 7), NOW) == (entry, [])
    _, effects = bench.ha().handle(entry, _ba(FRANK, 2, 7), NOW)
    assert names(effects) == ["Reg Rep"]


def test_a_pcn_that_is_silent_is_reported_answered_without_and_asked_again() -> None:  # G25
    bench = Bench()
    machine = bench.ha()
    entry, _ = machine.handle(None, _har(bench.information(FRANK), 1), NOW)
    kinds: list[str] = []
    while entry is not None and entry.posts and len(kinds) < 8:
        now = machine.deadline(entry)
        entry, effects = machine.handle(entry, Timer(FRANK), now)
        kinds += names(effects)
    assert kinds.count("Alarm") == 1
    assert kinds.count("HAA") == 1
    assert kinds.count("BU") >= 4
    entry, effects = machine.handle(entry, _ba(FRANK, 1, 7), now)
    assert effects == []
    assert entry is not None
    assert entry.posts == ()


def test_the_alarm_names_the_pcn_and_the_answer_does_not_refuse() -> None:  # G25
    bench = Bench()
    machine = bench.ha()
    entry, _ = machine.handle(None, _har(bench.information(FRANK), 1), NOW)
    _, effects = machine.handle(entry, Timer(FRANK), NOW + bench.settings.ba_timeout * 1000)
    assert "pcn41b" in one(effects, Alarm).text
    assert one(effects, Haa).result is Result.SUCCESS


# what is refused


def test_an_old_agent_that_is_not_the_bindings_is_not_honoured() -> None:  # G26
    bench = Bench()
    before = _bound(bench, ALICE)
    for request in (
        _direct(bench, ALICE, 2, "fa21b", old_fa="fa22"),
        _direct(bench, ALICE, 2, "fa21b", old_fa=None),
        _direct(bench, ALICE, 2, "fa21b", generation=2),
        _direct(bench, ALICE, 2, "fa21", generation=1),
        _direct(bench, ALICE, 2, "fa21b")._replace(held=None),
    ):
        entry, effects = bench.ha().handle(before, request, NOW)
        assert entry == before
        assert one(effects, RegRep).code is Code.HA_UNSPECIFIED


def test_a_direct_request_of_somebody_unknown_is_refused_and_leaves_nothing() -> None:  # G26
    bench = Bench()
    entry, effects = bench.ha().handle(None, _direct(bench, ALICE, 2, "fa21b"), NOW)
    assert entry is None
    assert one(effects, RegRep).code is Code.HA_UNSPECIFIED


def test_what_is_older_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    entry, _ = bench.ha().handle(_bound(bench, ALICE), _direct(bench, ALICE, 5, "fa21b"), NOW)
    after, effects = bench.ha().handle(entry, _direct(bench, ALICE, 4, "fa21"), NOW)
    assert after == entry
    assert one(effects, RegRep).code is Code.STALE
    after, effects = bench.ha().handle(entry, _har(bench.information(ALICE, "fa22"), 4), NOW)
    assert after == entry
    assert one(effects, Haa).reply.code is Code.STALE


def test_a_duplicate_is_answered_again_but_not_before_the_first() -> None:  # G4
    bench = Bench()
    har = _har(bench.information(FRANK), 1)
    waiting, _ = bench.ha().handle(None, har, NOW)
    assert bench.ha().handle(waiting, har, NOW) == (waiting, [])
    answered, _ = bench.ha().handle(waiting, _ba(FRANK, 1, 7), NOW)
    _, effects = bench.ha().handle(answered, har, NOW)
    assert "HAA" in names(effects)
    assert applies(effects) == []


# who is to be told


def test_the_old_agent_is_named_in_the_answer_to_a_move_and_not_to_a_refresh() -> None:  # C13, E3.3
    bench = Bench()
    moved, effects = bench.ha().handle(_bound(bench, ALICE), _har(bench.information(ALICE, "fa22"), 2), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa21",)
    refresh = _har(bench.information(ALICE, "fa22"), 3, answered=2)
    _, effects = bench.ha().handle(moved, refresh, NOW)
    assert one(effects, Haa).reply.old_fas == ()


def test_an_agent_stays_named_until_the_mobile_has_had_a_reply() -> None:  # C13
    bench = Bench()
    moved, _ = bench.ha().handle(_bound(bench, ALICE), _har(bench.information(ALICE, "fa21b"), 2), NOW)
    onward, effects = bench.ha().handle(moved, _har(bench.information(ALICE, "fa22"), 3, answered=1), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa21", "fa21b")
    _, effects = bench.ha().handle(onward, _har(bench.information(ALICE, "fa21"), 4, answered=3), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa22",)


# binding requests


def test_a_binding_request_is_answered_only_while_that_pcn_holds_a_cached_vpn() -> None:  # B21, E7.5
    bench = Bench()
    entry = _bound(bench, FRANK)
    asked = Br(FRANK, Address(NodeRole.PCN, "pcn41b"), 7)
    _, effects = bench.ha().handle(entry, asked, NOW + 50_000)
    bu = one(effects, Bu)
    assert (bu.profile_number, bu.lifetime) == (7, 10)
    for other in (asked._replace(sender=Address(NodeRole.PCN, "pcn41")), asked._replace(profile_number=8)):
        assert bench.ha().handle(entry, other, NOW) == (entry, [])
    assert bench.ha().handle(None, asked, NOW) == (None, [])


# the end


def test_who_signs_off_loses_his_tunnels_and_his_pcns_are_told_before_the_answer() -> None:  # F10, G4
    bench = Bench()
    leaving = _har(None, 2, nai=CAROL, lifetime=0)
    entry, effects = bench.ha().handle(_bound(bench, CAROL), leaving, NOW)
    assert names(effects) == ["Apply", "BU"]
    assert sorted(ways(applies(effects)[0].delete)) == ["ha31→fa21", "ha31→gw51"]
    bu = one(effects, Bu)
    assert (bu.lifetime, bu.information) == (0, None)
    entry, effects = bench.ha().handle(entry, _ba(CAROL, 2, 4, "pcn41"), NOW)
    assert one(effects, Haa).reply.lifetime == 0
    assert entry is not None
    assert entry.information is None


def test_a_binding_that_nobody_refreshes_ends_with_its_tunnels() -> None:  # G18, F10
    bench = Bench()
    entry = _bound(bench, ALICE)
    assert bench.ha().handle(entry, Timer(ALICE), entry.expires - 1) == (entry, [])
    after, effects = bench.ha().handle(entry, Timer(ALICE), entry.expires)
    assert sorted(ways(applies(effects)[0].delete)) == ["ha31→fa21", "ha31→gw51"]
    assert after is not None
    assert after.information is None
    assert after.seq == 1
    assert bench.ha().handle(after, Timer(ALICE), after.expires) == (None, [])


def test_nobody_gets_more_than_the_longest_lifetime() -> None:
    bench = Bench()
    entry, effects = bench.ha().handle(None, _har(bench.information(ALICE), 1, lifetime=99999), NOW)
    assert one(effects, Haa).reply.lifetime == bench.settings.max_lifetime
    assert entry is not None
    assert entry.expires == NOW + bench.settings.max_lifetime * 1000


def test_a_restored_binding_has_the_same_legs() -> None:
    bench = Bench()
    entry = _bound(bench, ALICE)
    assert bench.ha().restored(entry._replace(legs=())) == entry
