"""The AAAF step by step: what it answers itself, what it takes home, what it remembers (A4, B17, G6, G26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling.messages import (
    Ama,
    Amr,
    Code,
    InstanceId,
    RegRep,
    RegReq,
    Result,
    ServiceUpdate,
    Timer,
)
from tests.signalled import ALICE, CAROL, FRANK, Bench, names, one

if TYPE_CHECKING:
    from roamvpn.signalling.aaaf import CacheEntry

NOW = 1000
END = NOW + 120_000


def _amr(nai: str, seq: int, origin: str, old_fa: str | None = None, **more: Any) -> Amr:  # noqa: ANN401
    return Amr(nai, seq, origin, RegReq(nai, seq, "ha31", more.pop("lifetime", 60), old_fa, **more))


def _answer(bench: Bench, nai: str, seq: int, agent: str = "fa21", generation: int = 0) -> Ama:
    information = bench.in_domain(nai, agent, generation)
    reply = RegRep(nai, seq, Code.ACCEPTED, 60)
    return Ama(nai, seq, agent, Result.SUCCESS, information, (), reply, bench.settings.authorization)


def _cached(bench: Bench, nai: str) -> CacheEntry:
    entry, _ = bench.aaaf().handle(None, _answer(bench, nai, 1), NOW)
    assert entry is not None
    return entry


def test_without_an_old_agent_the_request_goes_home_though_the_user_is_cached() -> None:  # B17
    bench = Bench()
    entry = _cached(bench, ALICE)
    after, effects = bench.aaaf().handle(entry, _amr(ALICE, 2, "fa21b"), NOW)
    assert after == entry
    assert names(effects) == ["AMR"]


def test_with_an_old_agent_but_nothing_cached_the_request_goes_home() -> None:  # B17
    _, effects = Bench().aaaf().handle(None, _amr(ALICE, 2, "fa21b", "fa21"), NOW)
    assert names(effects) == ["AMR"]


def test_the_relay_adds_its_name_and_leaves_the_origin_alone() -> None:  # A4, C6
    amr = _amr(ALICE, 1, "fa21")
    _, effects = Bench().aaaf().handle(None, amr, NOW)
    assert one(effects, Amr) == amr._replace(relay="aaaf23")


def test_a_move_within_the_domain_is_answered_from_the_cache_and_home_hears_nothing() -> None:  # B17, E2.1, G6
    bench = Bench()
    entry, effects = bench.aaaf().handle(_cached(bench, ALICE), _amr(ALICE, 2, "fa21b", "fa21"), NOW)
    assert names(effects) == ["AMA"]
    ama = one(effects, Ama)
    assert ama.reply is None
    assert ama.old_fas == ()
    assert ama.origin == "fa21b"
    assert entry is not None
    assert entry.information.foreign_agent == "fa21b"


def test_a_local_answer_replaces_the_old_agent_and_counts_the_generation() -> None:  # C10, F8
    bench = Bench()
    before = _cached(bench, CAROL)
    after, _ = bench.aaaf().handle(before, _amr(CAROL, 2, "fa21b", "fa21"), NOW)
    assert after is not None
    assert after.information.generation == before.information.generation + 1
    for old, new in zip(before.information.segments, after.information.segments, strict=True):
        assert new == old._replace(near="fa21b")


@pytest.mark.parametrize("old_fa", ["fa22", "pcn41", "nobody", "fa21b"])
def test_an_old_agent_that_is_not_the_cached_one_takes_the_request_home(old_fa: str) -> None:  # G26
    bench = Bench()
    entry = _cached(bench, ALICE)
    after, effects = bench.aaaf().handle(entry, _amr(ALICE, 2, "fa21b", old_fa), NOW)
    assert after == entry
    assert names(effects) == ["AMR"]


def test_service_updates_and_good_byes_go_home() -> None:  # C11, F10
    bench = Bench()
    for more in ({"update": ServiceUpdate()}, {"lifetime": 0}):
        _, effects = bench.aaaf().handle(_cached(bench, ALICE), _amr(ALICE, 2, "fa21b", "fa21", **more), NOW)
        assert names(effects) == ["AMR"]


def test_the_answer_from_home_is_cached_and_passed_on_with_keys_of_the_leg_only() -> None:  # A4, B17, C12
    bench = Bench()
    ama = _answer(bench, FRANK, 1)
    entry, effects = bench.aaaf().handle(None, ama, NOW)
    assert entry is not None
    assert entry.information == ama.information
    told = one(effects, Ama)
    assert told.information == bench.on_leg(FRANK)
    assert told._replace(information=ama.information) == ama
    assert told.information is not None
    assert told.information.segments[0].keys != entry.information.segments[0].keys


def test_nothing_beyond_the_home_agent_is_ever_cached_here() -> None:  # C12
    entry = _cached(Bench(), CAROL)
    assert [each.kind for each in entry.information.segments] == [SegmentKind.ACCESS, SegmentKind.DIRECT]


def test_a_duplicate_of_a_move_is_answered_as_before() -> None:
    bench = Bench()
    amr = _amr(ALICE, 2, "fa21b", "fa21")
    entry, first = bench.aaaf().handle(_cached(bench, ALICE), amr, NOW)
    again, second = bench.aaaf().handle(entry, amr, NOW)
    assert (again, second) == (entry, first)


def test_what_is_older_than_the_cache_neither_is_answered_nor_replaces_it() -> None:
    bench = Bench()
    entry, _ = bench.aaaf().handle(_cached(bench, ALICE), _amr(ALICE, 5, "fa21b", "fa21"), NOW)
    assert bench.aaaf().handle(entry, _amr(ALICE, 4, "fa21", "fa21b"), NOW) == (entry, [])
    after, effects = bench.aaaf().handle(entry, _answer(bench, ALICE, 4), NOW)
    assert after == entry
    # the agent that waits for it is to have it all the same
    assert names(effects) == ["AMA"]


def test_a_move_that_came_to_nothing_is_forgotten_when_the_mobile_names_where_it_was_before() -> None:
    bench = Bench()
    failed, _ = bench.aaaf().handle(_cached(bench, ALICE), _amr(ALICE, 2, "fa21b", "fa21"), NOW)
    after, effects = bench.aaaf().handle(failed, _amr(ALICE, 3, "fa21b", "fa21"), NOW)
    assert names(effects) == ["AMA"]
    assert after is not None
    # the home agent counted the failed one not at all, or counted it once
    assert after.information.generation == 1


def test_a_refresh_is_answered_where_agent_and_cache_hold_the_same() -> None:  # G3
    bench = Bench()
    entry = _cached(bench, ALICE)
    held = InstanceId.of(entry.information)
    _, effects = bench.aaaf().handle(entry, _amr(ALICE, 2, "fa21", "fa21", held=held), NOW)
    assert names(effects) == ["AMA"]
    for other in (None, held._replace(generation=1), held._replace(version=9), held._replace(session_id="x")):
        _, effects = bench.aaaf().handle(entry, _amr(ALICE, 2, "fa21", "fa21", held=other), NOW)
        assert names(effects) == ["AMR"]


def test_a_cache_answers_for_as_long_as_home_allows_and_then_is_gone() -> None:  # G25
    bench = Bench()
    entry = _cached(bench, ALICE)
    assert bench.aaaf().deadline(entry) == END
    amr = _amr(ALICE, 2, "fa21b", "fa21")
    _, effects = bench.aaaf().handle(entry, amr, END - 5000)
    assert one(effects, Ama).authorized == 5
    _, effects = bench.aaaf().handle(entry, amr, END)
    assert names(effects) == ["AMR"]
    assert bench.aaaf().handle(entry, Timer(ALICE), END - 1) == (entry, [])
    assert bench.aaaf().handle(entry, Timer(ALICE), END) == (None, [])


def test_a_move_does_not_lengthen_what_home_allowed() -> None:  # G25
    bench = Bench()
    entry, _ = bench.aaaf().handle(_cached(bench, ALICE), _amr(ALICE, 2, "fa21b", "fa21"), NOW + 9000)
    assert entry is not None
    assert entry.until == END


def test_who_signed_off_is_forgotten() -> None:  # F10
    bench = Bench()
    ama = Ama(ALICE, 2, "fa21", Result.SUCCESS, reply=RegRep(ALICE, 2, Code.ACCEPTED, 0))
    entry, effects = bench.aaaf().handle(_cached(bench, ALICE), ama, NOW)
    assert entry is None
    assert names(effects) == ["AMA"]


def test_a_refusal_leaves_the_cache_as_it_is() -> None:
    bench = Bench()
    entry = _cached(bench, ALICE)
    ama = Ama(ALICE, 2, "fa21b", Result.UNABLE_TO_COMPLY)
    after, effects = bench.aaaf().handle(entry, ama, NOW)
    assert after == entry
    assert names(effects) == ["AMA"]


def test_a_realm_that_nobody_serves_is_refused_here() -> None:
    entry, effects = Bench().aaaf().handle(None, _amr("alice@nowhere.example", 1, "fa21"), NOW)
    assert entry is None
    assert one(effects, Ama).result is Result.UNABLE_TO_DELIVER


def test_the_cache_does_not_outlive_a_restart() -> None:  # G6
    assert not Bench().aaaf().durable
