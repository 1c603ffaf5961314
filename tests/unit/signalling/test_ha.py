"""The HA step by step: what triggers tunnels and binding updates, what it answers and when (A6, B21, D8 to D10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.effects import Alarm, Send
from roamvpn.signalling.messages import (
    Bu,
    Haa,
    RegReq,
    Result,
    Timer,
)
from tests.documents import Documents
from tests.registrations import NOW, ba_of_pcn, bound, direct, har_of
from tests.signalled import ALICE, CAROL, FRANK, Bench, applies, messages, names, one, ways

if TYPE_CHECKING:
    from roamvpn.signalling.binding import Binding
    from roamvpn.signalling.effects import Effect

Stepped = tuple["Binding | None", "list[Effect]"]


def _two_dynamic() -> Documents:
    documents = Documents()
    documents.record(3)["destaddr"] = "198.51.100.200"
    return documents


def test_a_new_binding_sets_the_tunnels_of_a_static_vpn_both_sides_of_it() -> None:  # E1.3, G3, G7
    bench = Bench()
    _, effects = bench.ha().handle(None, har_of(bench.information(ALICE), 1), NOW)
    assert names(effects) == ["Apply", "HAA"]
    (apply,) = applies(effects)
    assert ways(apply.set) == ["ha31→gw51", "ha31→fa21"]
    assert apply.delete == ()


def test_a_dynamic_vpn_sets_no_tunnel_here_and_waits_for_its_pcn() -> None:  # E4.2, F6, G4
    bench = Bench()
    entry, effects = bench.ha().handle(None, har_of(bench.information(FRANK), 1), NOW)
    assert names(effects) == ["BU"]
    _, effects = bench.ha().handle(entry, ba_of_pcn(FRANK, 1, 7), NOW)
    assert names(effects) == ["HAA"]


@pytest.mark.parametrize("nai", [ALICE, FRANK, CAROL])
def test_the_same_care_of_address_and_the_same_vpns_change_nothing_but_the_lifetime(nai: str) -> None:  # G3, D8
    bench = Bench()
    before = bound(bench, nai)
    for request in (direct(bench, nai, 2, "fa21"), har_of(bench.information(nai), 2)):
        entry, effects = bench.ha().handle(before, request, NOW + 5000)
        assert names(effects) == ["Reg Rep" if isinstance(request, RegReq) else "HAA"]
        assert entry is not None
        assert entry.expires == before.expires + 5000
        assert (entry.information, entry.legs) == (before.information, before.legs)


@pytest.mark.parametrize("way", ["direct", "HAR"])
def test_a_new_care_of_address_rewrites_the_tunnel_to_the_agent_only(way: str) -> None:  # D9, G2, E2.2, E3.2, F4
    bench = Bench()
    before = bound(bench, ALICE)
    har = har_of(bench.information(ALICE, "fa21b"), 2)
    request = direct(bench, ALICE, 2, "fa21b") if way == "direct" else har
    entry, effects = bench.ha().handle(before, request, NOW)
    (apply,) = applies(effects)
    assert ways(apply.set) == ["ha31→fa21b"]
    assert ways(apply.delete) == ["ha31→fa21"]
    assert entry is not None
    assert ways(entry.legs) == ["ha31→gw51", "ha31→fa21b"]


def test_other_vpns_at_the_same_care_of_address_are_set_and_posted() -> None:  # G3, E7.3
    bench = Bench()
    before = bound(bench, FRANK)
    documents = Documents()
    documents.record(7)["destaddr"] = "198.51.100.7"
    changed = Bench(documents.site().tables).information(FRANK)
    _, effects = bench.ha().handle(before, har_of(changed._replace(version=2), 2), NOW)
    assert names(effects) == ["BU"]
    assert [str(send.to) for send in effects if isinstance(send, Send)] == ["pcn41"]


def test_another_association_for_the_same_packets_is_of_another_generation() -> None:  # G3
    bench = Bench()
    documents = Documents()
    documents.record(1)["security"] = "ah"
    changed = Bench(documents.site().tables).information(ALICE)
    entry, effects = bench.ha().handle(bound(bench, ALICE), har_of(changed._replace(version=2), 2), NOW)
    assert entry is not None
    assert entry.information is not None
    # the two cannot share a device
    assert entry.information.generation == 1
    (apply,) = applies(effects)
    assert ways(apply.set) == ways(apply.delete) == ["ha31→gw51", "ha31→fa21"]


def test_each_dynamic_profile_is_posted_by_itself_and_static_ones_are_not() -> None:  # D10
    bench = Bench()
    _, effects = bench.ha().handle(None, har_of(bench.information(CAROL), 1), NOW)
    bu = one(effects, Bu)
    assert bu.information is not None
    assert [(each.profile_number, each.far) for each in bu.information.segments] == [(4, "pcn41")]
    assert bu.lifetime == 60
    two = Bench(_two_dynamic().site().tables)
    _, effects = two.ha().handle(None, har_of(two.information(CAROL), 1), NOW)
    posted = [bu for bu in messages(effects) if isinstance(bu, Bu)]
    assert [(bu.profile_number, len(bu.information.segments)) for bu in posted if bu.information] == [(3, 1), (4, 1)]


def test_the_answer_waits_for_every_acknowledgement() -> None:  # G4, B21
    bench = Bench(_two_dynamic().site().tables)
    machine = bench.ha()
    entry, _ = machine.handle(None, har_of(bench.information(CAROL), 1), NOW)
    entry, effects = machine.handle(entry, ba_of_pcn(CAROL, 1, 4, "pcn41"), NOW)
    assert effects == []
    assert machine.handle(entry, ba_of_pcn(CAROL, 1, 4, "pcn41"), NOW) == (entry, [])
    entry, effects = machine.handle(entry, ba_of_pcn(CAROL, 1, 3), NOW)
    assert names(effects) == ["HAA"]
    assert machine.handle(entry, ba_of_pcn(CAROL, 1, 3), NOW) == (entry, [])


def test_an_acknowledgement_of_an_older_event_answers_nothing() -> None:  # G4
    bench = Bench()
    entry, effects = bench.ha().handle(bound(bench, FRANK), direct(bench, FRANK, 2, "fa21b"), NOW)
    assert names(effects) == ["BU"]
    assert bench.ha().handle(entry, ba_of_pcn(FRANK, 1, 7), NOW) == (entry, [])
    _, effects = bench.ha().handle(entry, ba_of_pcn(FRANK, 2, 7), NOW)
    assert names(effects) == ["Reg Rep"]


def test_a_pcn_that_is_silent_is_reported_answered_without_and_asked_again() -> None:  # G25
    bench = Bench()
    machine = bench.ha()
    entry, _ = machine.handle(None, har_of(bench.information(FRANK), 1), NOW)
    kinds: list[str] = []
    for _ in range(6):
        assert entry is not None
        now = machine.deadline(entry)
        entry, effects = machine.handle(entry, Timer(FRANK), now)
        kinds += names(effects)
    assert kinds.count("Alarm") == 1
    assert kinds.count("HAA") == 1
    assert kinds.count("BU") >= 4
    entry, effects = machine.handle(entry, ba_of_pcn(FRANK, 1, 7), now)
    assert effects == []
    assert entry is not None
    assert entry.posts == ()


def test_the_alarm_names_the_pcn_and_the_answer_does_not_refuse() -> None:  # G25
    bench = Bench()
    machine = bench.ha()
    entry, _ = machine.handle(None, har_of(bench.information(FRANK), 1), NOW)
    _, effects = machine.handle(entry, Timer(FRANK), NOW + bench.settings.ba_timeout * 1000)
    assert "pcn41b" in one(effects, Alarm).text
    assert one(effects, Haa).result is Result.SUCCESS
