"""The hand-off tunnel: its selectors, its key, its device and its life (D13, E2.3 to E2.5, G10, G21, G25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.signalling.messages import Address, Ama, Applied, Ba, Bu, Code, NodeRole, RegRep, RegReq, Result, Timer
from tests.signalled import ALICE, BOB, CAROL, FRANK, Bench, applies, names, one, ways

if TYPE_CHECKING:
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.visitor import Visitor

NOW = 1000
USERS = [ALICE, BOB, CAROL, FRANK]
_ACKNOWLEDGED = Ba(ALICE, 2, Address(NodeRole.FA, "fa21"), Code.ACCEPTED)


def _arrived(bench: Bench, nai: str, agent: str, seq: int, *old: str) -> tuple[Visitor, list[Effect]]:
    """A user whose tunnels at an agent stand, and what it does then."""
    machine = bench.fa(agent)
    entry, _ = machine.handle(None, RegReq(nai, seq, "ha31", 60), NOW)
    information = bench.on_leg(nai, agent, seq - 1)
    reply = RegRep(nai, seq, Code.ACCEPTED, 60)
    entry, _ = machine.handle(entry, Ama(nai, seq, agent, Result.SUCCESS, information, old, reply, 120), NOW)
    entry, effects = machine.handle(entry, Applied(nai, seq), NOW)
    assert entry is not None
    return entry, effects


def _update(bench: Bench, nai: str) -> tuple[Visitor, Bu]:
    """Of fa21b to fa21."""
    entry, effects = _arrived(bench, nai, "fa21b", 2, "fa21")
    return entry, one(effects, Bu)


def _segments(bu: Bu) -> tuple[Segment, ...]:
    assert bu.information is not None
    return bu.information.segments


@pytest.mark.parametrize("nai", USERS)
def test_the_copied_profile_leads_from_the_old_agent_to_the_new(nai: str) -> None:  # E2.3, G21
    bench = Bench()
    _, bu = _update(bench, nai)
    leg = [each for each in bench.on_leg(nai, "fa21b", 1).segments if each.kind is not SegmentKind.ENTERPRISE]
    assert [(each.kind, each.near, each.far) for each in _segments(bu)] == [
        (SegmentKind.HAND_OFF, "fa21b", "fa21") for _ in leg
    ]
    for copied, profile in zip(_segments(bu), leg, strict=True):
        # F8: the same packets, the same classes, the same protection
        assert copied[1:9] == profile[1:9]


@pytest.mark.parametrize("nai", USERS)
def test_selectors_are_swapped_packets_go_to_the_mobile(nai: str) -> None:  # G21, G10
    bench = Bench()
    machine = bench.fa()
    entry, _ = _arrived(bench, nai, "fa21", 1)
    _, bu = _update(bench, nai)
    _, effects = machine.handle(entry, bu, NOW)
    home = f"{bench.tables.subscribers[nai].home_address}/32"
    sending = [each.leg for each in applies(effects)[0].set if each.leg is not None]
    assert len(sending) == len(entry.legs)
    for leg, segment in zip(sending, _segments(bu), strict=True):
        assert (leg.gateway, leg.peer) == ("fa21", "fa21b")
        assert leg.destination == home
        assert leg.source == segment.correspondent.text
        assert leg.service_class == segment.downclass


@pytest.mark.parametrize("nai", [ALICE, FRANK])
def test_its_key_is_its_own_and_its_spis_are_not_the_records(nai: str) -> None:  # G21, C5
    bench = Bench()
    _, bu = _update(bench, nai)
    (segment,) = _segments(bu)
    known = (bench.information(nai), bench.in_domain(nai), bench.on_leg(nai), bench.on_leg(nai, "fa21b", 1))
    assert segment.keys is not None
    assert segment.keys not in {each.keys for information in known for each in information.segments}
    assert (segment.up_spi, segment.down_spi) == (0, 0)


def test_what_gateways_share_needs_no_key() -> None:  # C5, D17
    _, bu = _update(Bench(), BOB)
    assert [each.keys for each in _segments(bu)] == [None]


@pytest.mark.parametrize("nai", [ALICE, FRANK])
def test_at_the_new_agent_it_decodes_on_another_device_than_the_new_leg(nai: str) -> None:  # G21
    bench = Bench()
    entry, _ = _update(bench, nai)
    (serving,), (decoding,) = entry.legs, entry.incoming[0].legs
    assert serving.leg is not None
    assert decoding.leg is not None
    assert decoding.leg.handle is None
    assert decoding.leg.device != serving.leg.device
    assert {decoding.leg.device, serving.leg.device} == {"rv-own0", "rv-own1"}


@pytest.mark.parametrize("nai", [ALICE, FRANK])
def test_both_halves_have_one_key(nai: str) -> None:  # G21
    bench = Bench()
    there, bu = _update(bench, nai)
    machine = bench.fa()
    entry, _ = _arrived(bench, nai, "fa21", 1)
    after, _ = machine.handle(entry, bu, NOW)
    assert after is not None
    assert after.outgoing is not None
    assert after.outgoing.legs[0].keys == there.incoming[0].legs[0].keys is not None


def test_the_old_agent_deletes_its_tunnels_and_acknowledges_when_the_new_one_stands() -> None:  # E2.4, E2.5, F4, D13
    bench = Bench()
    machine = bench.fa()
    entry, _ = _arrived(bench, CAROL, "fa21", 1)
    _, bu = _update(bench, CAROL)
    after, effects = machine.handle(entry, bu, NOW)
    assert names(effects) == ["Apply"]
    (apply,) = applies(effects)
    assert ways(apply.delete) == ["fa21→ha31", "fa21→pcn41"]
    assert ways(apply.set) == ["fa21→fa21b", "fa21→fa21b"]
    assert apply.wait
    after, effects = machine.handle(after, Applied(CAROL, 2), NOW)
    ba = one(effects, Ba)
    assert (ba.status, ba.seq, ba.sender.name) == (Code.ACCEPTED, 2, "fa21")
    assert after is not None
    assert after.serving is None


def test_a_repetition_is_acknowledged_once_it_stands_and_sets_nothing_again() -> None:
    bench = Bench()
    machine = bench.fa()
    entry, _ = _arrived(bench, ALICE, "fa21", 1)
    _, bu = _update(bench, ALICE)
    setting, _ = machine.handle(entry, bu, NOW)
    assert machine.handle(setting, bu, NOW) == (setting, [])
    stands, _ = machine.handle(setting, Applied(ALICE, 2), NOW)
    after, effects = machine.handle(stands, bu, NOW)
    assert after == stands
    assert names(effects) == ["BA"]


def test_an_older_binding_update_is_told_so_and_the_user_stays() -> None:
    bench = Bench()
    machine = bench.fa()
    entry, _ = _arrived(bench, ALICE, "fa21", 5)
    _, bu = _update(bench, ALICE)
    after, effects = machine.handle(entry, bu, NOW)
    assert after == entry
    assert names(effects) == ["BA"]
    assert one(effects, Ba).status is Code.STALE


def test_who_does_not_serve_the_user_has_nothing_to_hand_off() -> None:
    bench = Bench()
    _, bu = _update(bench, ALICE)
    _, effects = bench.fa().handle(None, bu, NOW)
    assert names(effects) == ["BA"]
    assert one(effects, Ba).status is Code.STALE


def test_what_was_under_way_here_is_older_than_the_call_to_elsewhere() -> None:
    bench = Bench()
    machine = bench.fa()
    asked, _ = machine.handle(None, RegReq(ALICE, 1, "ha31", 60), NOW)
    _, bu = _update(bench, ALICE)
    called, _ = machine.handle(asked, bu, NOW)
    late = Ama(ALICE, 1, "fa21", Result.SUCCESS, bench.on_leg(ALICE), (), RegRep(ALICE, 1, Code.ACCEPTED, 60), 120)
    after, effects = machine.handle(called, late, NOW)
    assert effects == []
    assert after == called


def test_it_lives_its_time_at_both_ends_whatever_the_registration_lasts() -> None:  # G18, G25
    bench = Bench()
    life = bench.settings.hand_off * 1000
    there, bu = _update(bench, ALICE)
    assert bu.lifetime == bench.settings.hand_off
    machine = bench.fa()
    entry, _ = _arrived(bench, ALICE, "fa21", 1)
    entry_after, _ = machine.handle(entry, bu._replace(lifetime=9999), NOW)
    entry_after, effects = machine.handle(entry_after, Applied(ALICE, 2), NOW)
    old, applied = machine.handle(entry_after, Timer(ALICE), NOW + life - 1)
    assert applied == []
    old, applied = machine.handle(old, Timer(ALICE), NOW + life)
    assert ways(applies(applied)[0].delete) == ["fa21→fa21b"]
    new, _ = bench.fa("fa21b").handle(there, one(effects, Ba), NOW)
    new, applied = bench.fa("fa21b").handle(new, Timer(ALICE), NOW + life)
    assert ways(applies(applied)[0].delete) == ["(fa21b→fa21)"]
    assert new is not None
    assert ways(new.contributions) == ["fa21b→ha31"]


def test_who_comes_back_while_it_stands_has_it_removed_in_the_same_step() -> None:  # G25
    bench = Bench()
    machine = bench.fa()
    entry, _ = _arrived(bench, ALICE, "fa21", 1)
    _, bu = _update(bench, ALICE)
    handed, _ = machine.handle(entry, bu, NOW)
    handed, _ = machine.handle(handed, Applied(ALICE, 2), NOW)
    asked, _ = machine.handle(handed, RegReq(ALICE, 3, "ha31", 60, "fa21b"), NOW)
    reply = RegRep(ALICE, 3, Code.ACCEPTED, 60)
    back = Ama(ALICE, 3, "fa21", Result.SUCCESS, bench.on_leg(ALICE, "fa21", 2), ("fa21b",), reply, 120)
    after, effects = machine.handle(asked, back, NOW)
    (apply,) = applies(effects)
    assert ways(apply.delete) == ["fa21→fa21b"]
    assert ways(apply.set) == ["fa21→ha31", "(fa21→fa21b)"]
    assert after is not None
    assert after.outgoing is None


def test_the_agent_that_he_left_to_go_back_stops_decoding_from_there() -> None:  # G25
    bench = Bench()
    machine = bench.fa("fa21b")
    there, _ = machine.handle(_update(bench, ALICE)[0], _ACKNOWLEDGED, NOW)
    information = bench.on_leg(ALICE, "fa21", 2)
    segments = tuple(each._replace(kind=SegmentKind.HAND_OFF, far="fa21b") for each in information.segments)
    bu = Bu(ALICE, 3, Address(NodeRole.FA, "fa21"), 10, 0, information._replace(segments=segments))
    after, effects = machine.handle(there, bu, NOW)
    (apply,) = applies(effects)
    assert sorted(ways(apply.delete)) == ["(fa21b→fa21)", "fa21b→ha31"]
    assert after is not None
    assert after.incoming == ()


def test_a_restored_agent_has_both_kinds_of_halves_again() -> None:
    bench = Bench()
    there, bu = _update(bench, CAROL)
    machine = bench.fa()
    entry, _ = _arrived(bench, CAROL, "fa21", 1)
    handed, _ = machine.handle(entry, bu, NOW)
    handed, _ = machine.handle(handed, Applied(CAROL, 2), NOW)
    assert handed is not None
    assert handed.outgoing is not None
    for each in (there, handed):
        outgoing = each.outgoing._replace(legs=()) if each.outgoing is not None else None
        incoming = tuple(half._replace(legs=()) for half in each.incoming)
        stored = each._replace(legs=(), outgoing=outgoing, incoming=incoming)
        assert machine.restored(stored)._replace(registration=None) == each._replace(registration=None)
