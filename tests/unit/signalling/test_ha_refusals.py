"""The HA: what it refuses, whom it names, when it ends (C13, F10, G18, G26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.signalling.messages import (
    Address,
    Br,
    Bu,
    Code,
    Haa,
    NodeRole,
    RegRep,
    Timer,
)
from tests.registrations import NOW, ba_of_pcn, bound, direct, har_of
from tests.signalled import ALICE, CAROL, FRANK, Bench, applies, names, one, ways

if TYPE_CHECKING:
    from roamvpn.signalling.binding import Binding
    from roamvpn.signalling.effects import Effect

Stepped = tuple["Binding | None", "list[Effect]"]


def test_an_old_agent_that_is_not_the_bindings_is_not_honoured() -> None:  # G26
    bench = Bench()
    before = bound(bench, ALICE)
    for request in (
        direct(bench, ALICE, 2, "fa21b", old_fa="fa22"),
        direct(bench, ALICE, 2, "fa21b", old_fa=None),
        direct(bench, ALICE, 2, "fa21b", generation=2),
        direct(bench, ALICE, 2, "fa21", generation=1),
        direct(bench, ALICE, 2, "fa21b")._replace(held=None),
    ):
        entry, effects = bench.ha().handle(before, request, NOW)
        assert entry == before
        assert one(effects, RegRep).code is Code.HA_UNSPECIFIED


def test_a_direct_request_of_somebody_unknown_is_refused_and_leaves_nothing() -> None:  # G26
    bench = Bench()
    entry, effects = bench.ha().handle(None, direct(bench, ALICE, 2, "fa21b"), NOW)
    assert entry is None
    assert one(effects, RegRep).code is Code.HA_UNSPECIFIED


def test_what_is_older_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    entry, _ = bench.ha().handle(bound(bench, ALICE), direct(bench, ALICE, 5, "fa21b"), NOW)
    after, effects = bench.ha().handle(entry, direct(bench, ALICE, 4, "fa21"), NOW)
    assert after == entry
    assert one(effects, RegRep).code is Code.STALE
    after, effects = bench.ha().handle(entry, har_of(bench.information(ALICE, "fa22"), 4), NOW)
    assert after == entry
    assert one(effects, Haa).reply.code is Code.STALE


def test_a_duplicate_is_answered_again_but_not_before_the_first() -> None:  # G4
    bench = Bench()
    har = har_of(bench.information(FRANK), 1)
    waiting, _ = bench.ha().handle(None, har, NOW)
    assert bench.ha().handle(waiting, har, NOW) == (waiting, [])
    answered, _ = bench.ha().handle(waiting, ba_of_pcn(FRANK, 1, 7), NOW)
    _, effects = bench.ha().handle(answered, har, NOW)
    assert "HAA" in names(effects)
    assert applies(effects) == []


def test_the_old_agent_is_named_in_the_answer_to_a_move_and_not_to_a_refresh() -> None:  # C13, E3.3
    bench = Bench()
    moved, effects = bench.ha().handle(bound(bench, ALICE), har_of(bench.information(ALICE, "fa22"), 2), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa21",)
    refresh = har_of(bench.information(ALICE, "fa22"), 3, answered=2)
    _, effects = bench.ha().handle(moved, refresh, NOW)
    assert one(effects, Haa).reply.old_fas == ()


def test_an_agent_stays_named_until_the_mobile_has_had_a_reply() -> None:  # C13
    bench = Bench()
    moved, _ = bench.ha().handle(bound(bench, ALICE), har_of(bench.information(ALICE, "fa21b"), 2), NOW)
    onward, effects = bench.ha().handle(moved, har_of(bench.information(ALICE, "fa22"), 3, answered=1), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa21", "fa21b")
    _, effects = bench.ha().handle(onward, har_of(bench.information(ALICE, "fa21"), 4, answered=3), NOW)
    assert one(effects, Haa).reply.old_fas == ("fa22",)


def test_a_binding_request_is_answered_only_while_that_pcn_holds_a_cached_vpn() -> None:  # B21, E7.5
    bench = Bench()
    entry = bound(bench, FRANK)
    asked = Br(FRANK, Address(NodeRole.PCN, "pcn41b"), 7)
    _, effects = bench.ha().handle(entry, asked, NOW + 50_000)
    bu = one(effects, Bu)
    assert (bu.profile_number, bu.lifetime) == (7, 10)
    for other in (asked._replace(sender=Address(NodeRole.PCN, "pcn41")), asked._replace(profile_number=8)):
        assert bench.ha().handle(entry, other, NOW) == (entry, [])
    assert bench.ha().handle(None, asked, NOW) == (None, [])


def test_who_signs_off_loses_his_tunnels_and_his_pcns_are_told_before_the_answer() -> None:  # F10, G4
    bench = Bench()
    leaving = har_of(None, 2, nai=CAROL, lifetime=0)
    entry, effects = bench.ha().handle(bound(bench, CAROL), leaving, NOW)
    assert names(effects) == ["Apply", "BU"]
    assert sorted(ways(applies(effects)[0].delete)) == ["ha31→fa21", "ha31→gw51"]
    bu = one(effects, Bu)
    assert (bu.lifetime, bu.information) == (0, None)
    entry, effects = bench.ha().handle(entry, ba_of_pcn(CAROL, 2, 4, "pcn41"), NOW)
    assert one(effects, Haa).reply.lifetime == 0
    assert entry is not None
    assert entry.information is None


def test_a_binding_that_nobody_refreshes_ends_with_its_tunnels() -> None:  # G18, F10
    bench = Bench()
    entry = bound(bench, ALICE)
    assert bench.ha().handle(entry, Timer(ALICE), entry.expires - 1) == (entry, [])
    after, effects = bench.ha().handle(entry, Timer(ALICE), entry.expires)
    assert sorted(ways(applies(effects)[0].delete)) == ["ha31→fa21", "ha31→gw51"]
    assert after is not None
    assert after.information is None
    assert after.seq == 1
    assert bench.ha().handle(after, Timer(ALICE), after.expires) == (None, [])


def test_nobody_gets_more_than_the_longest_lifetime() -> None:
    bench = Bench()
    entry, effects = bench.ha().handle(None, har_of(bench.information(ALICE), 1, lifetime=99999), NOW)
    assert one(effects, Haa).reply.lifetime == bench.settings.max_lifetime
    assert entry is not None
    assert entry.expires == NOW + bench.settings.max_lifetime * 1000


def test_a_restored_binding_has_the_same_legs() -> None:
    bench = Bench()
    entry = bound(bench, ALICE)
    assert bench.ha().restored(entry._replace(legs=())) == entry
