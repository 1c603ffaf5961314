"""The FA when something is refused or silent, and when the user leaves (F10, G18, G25, G26)."""

from __future__ import annotations

import pytest

from roamvpn.signalling.messages import (
    Ama,
    Amr,
    Applied,
    Bu,
    Code,
    RegRep,
    RegReq,
    Result,
    Timer,
)
from tests.registrations import NOW, ama_of, ba_of_fa, local_ama_of, reply_of, request_of, served
from tests.signalled import ALICE, GRACE, Bench, applies, names, one, ways


def test_tunnels_that_could_not_be_set_are_reported_and_refused() -> None:  # F3
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 1), NOW)
    entry, _ = machine.handle(entry, ama_of(bench, ALICE, 1, "fa21", generation=0), NOW)
    _, effects = machine.handle(entry, Applied(ALICE, 1, ok=False), NOW)
    assert names(effects) == ["Alarm", "Reg Rep"]
    assert one(effects, RegRep).code is Code.FA_RESOURCES


def test_what_the_home_agent_does_not_honour_is_asked_again_as_an_initial_registration() -> None:  # G26
    bench = Bench()
    machine = bench.fa("fa21b")
    entry, _ = machine.handle(None, request_of(ALICE, 2, "fa21"), NOW)
    entry, effects = machine.handle(entry, local_ama_of(bench, ALICE, 2, "fa21b"), NOW)
    prepared = applies(effects)[0].prepare
    entry, effects = machine.handle(entry, reply_of(ALICE, 2, code=Code.HA_UNSPECIFIED), NOW)
    assert names(effects) == ["Apply", "AMR"]
    assert applies(effects)[0].withdrawn == prepared != ()
    request = one(effects, Amr).request
    assert (request.old_fa, request.held, request.seq) == (None, None, 2)
    assert entry is not None
    assert entry.serving is None


def test_a_refusal_from_home_reaches_the_mobile_and_leaves_nothing() -> None:
    bench = Bench()
    for result, code in ((Result.UNABLE_TO_COMPLY, Code.FA_RESOURCES), (Result.HA_NOT_AVAILABLE, Code.HA_UNREACHABLE)):
        machine = bench.fa()
        entry, _ = machine.handle(None, request_of(ALICE, 1), NOW)
        entry, effects = machine.handle(entry, Ama(ALICE, 1, "fa21", result), NOW)
        assert one(effects, RegRep).code is code
        assert entry is None


def test_a_home_agent_that_is_none_is_refused_here() -> None:
    _, effects = Bench().fa().handle(None, RegReq(ALICE, 1, "pcn41", 60), NOW)
    assert one(effects, RegRep).code is Code.FA_PROHIBITED


@pytest.mark.parametrize("local", [False, True])
def test_a_registration_that_nobody_answers_is_given_up_with_what_was_prepared(local: bool) -> None:
    bench = Bench()
    machine = bench.fa("fa21b")
    entry, _ = machine.handle(None, request_of(ALICE, 2, "fa21"), NOW)
    if local:
        entry, _ = machine.handle(entry, local_ama_of(bench, ALICE, 2, "fa21b"), NOW + 5)
    late = NOW + bench.settings.request_timeout * 1000
    assert entry is not None
    assert machine.deadline(entry) == late
    entry, effects = machine.handle(entry, Timer(ALICE), late)
    assert names(effects) == (["Apply", "Reg Rep"] if local else ["Reg Rep"])
    assert one(effects, RegRep).code is Code.FA_TIMEOUT
    assert entry is None


def test_a_user_without_vpns_is_served_all_the_same() -> None:  # G25
    bench = Bench()
    machine = bench.fa()
    entry = served(bench, machine, GRACE)
    assert entry.serving is not None
    assert entry.legs == ()


def test_a_visit_that_nobody_refreshes_ends_with_its_tunnels() -> None:  # G18
    bench = Bench()
    machine = bench.fa()
    entry = served(bench, machine, ALICE)
    assert machine.handle(entry, Timer(ALICE), entry.expires - 1) == (entry, [])
    after, effects = machine.handle(entry, Timer(ALICE), entry.expires)
    assert ways(applies(effects)[0].delete) == ["fa21→ha31"]
    assert after is None


def test_a_good_bye_removes_everything_and_tells_agents_that_were_left() -> None:  # F10, G25
    bench = Bench()
    machine = bench.fa("fa21b")
    entry, _ = machine.handle(served(bench, machine, ALICE, "fa21b"), request_of(ALICE, 2, lifetime=0), NOW)
    gone = Ama(ALICE, 2, "fa21b", Result.SUCCESS, None, ("fa21",), RegRep(ALICE, 2, Code.ACCEPTED, 0))
    entry, effects = machine.handle(entry, gone, NOW)
    assert names(effects) == ["Apply", "BU"]
    assert ways(applies(effects)[0].delete) == ["fa21b→ha31"]
    assert (one(effects, Bu).lifetime, one(effects, Bu).information) == (0, None)
    entry, effects = machine.handle(entry, ba_of_fa(ALICE, 2, "fa21"), NOW)
    assert one(effects, RegRep).lifetime == 0
    assert entry is not None
    assert entry.idle
