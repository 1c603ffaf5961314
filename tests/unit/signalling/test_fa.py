"""The FA step by step, as the new agent of a user: from his request to the reply (A5, B19, D6, D7, D12, F3)."""

from __future__ import annotations

import pytest

from roamvpn.signalling.effects import Alarm, Order
from roamvpn.signalling.messages import (
    Ama,
    Amr,
    Applied,
    Code,
    InstanceId,
    RegRep,
    RegReq,
    Result,
    ServiceUpdate,
    Timer,
)
from tests.registrations import NOW, ama_of, ba_of_fa, local_ama_of, reply_of, request_of, served
from tests.signalled import ALICE, CAROL, FRANK, Bench, applies, messages, names, one, ways


def test_a_request_goes_to_the_aaa_server_with_this_agent_as_its_origin() -> None:  # B19, C6
    _, effects = Bench().fa().handle(None, request_of(ALICE, 1, care_of="fa22"), NOW)
    amr = one(effects, Amr)
    assert (amr.origin, amr.relay, amr.request.care_of) == ("fa21", None, None)


def test_what_the_mobile_says_it_holds_is_not_passed_on() -> None:  # C6
    bench = Bench()
    forged = InstanceId.of(bench.information(ALICE))
    _, effects = bench.fa().handle(None, request_of(ALICE, 1, held=forged), NOW)
    assert one(effects, Amr).request.held is None


def test_a_refresh_says_what_is_held_and_names_this_agent() -> None:  # G3
    bench = Bench()
    machine = bench.fa()
    _, effects = machine.handle(served(bench, machine, ALICE), request_of(ALICE, 2), NOW)
    request = one(effects, Amr).request
    assert request.old_fa == "fa21"
    assert request.held == InstanceId.of(bench.on_leg(ALICE))


def test_a_service_update_and_a_good_bye_name_no_old_agent_so_that_they_go_home() -> None:  # C11, E7.2
    bench = Bench()
    machine = bench.fa()
    for more in ({"update": ServiceUpdate()}, {"lifetime": 0}):
        _, effects = machine.handle(served(bench, machine, ALICE), request_of(ALICE, 2, **more), NOW)
        assert one(effects, Amr).request.old_fa is None


def test_who_says_that_he_was_served_here_and_was_not_is_taken_for_new() -> None:  # G26
    _, effects = Bench().fa().handle(None, request_of(ALICE, 1, "fa21"), NOW)
    assert one(effects, Amr).request.old_fa is None


def test_duplicates_and_older_requests_are_ignored() -> None:
    machine = Bench().fa()
    entry, _ = machine.handle(None, request_of(ALICE, 5), NOW)
    assert machine.handle(entry, request_of(ALICE, 5), NOW) == (entry, [])
    assert machine.handle(entry, request_of(ALICE, 4), NOW) == (entry, [])


@pytest.mark.parametrize("order", list(Order))
def test_a_local_answer_sets_the_flag_and_the_reply_consumes_it(order: Order) -> None:  # D6, D12, G20, G23
    bench = Bench(order=order)
    machine = bench.fa("fa21b")
    entry, _ = machine.handle(None, request_of(ALICE, 2, "fa21"), NOW)
    entry, effects = machine.handle(entry, local_ama_of(bench, ALICE, 2, "fa21b"), NOW)
    # the home agent is asked after the AAA (G20), and nothing sends before its reply
    prepares = order is Order.MAKE_BEFORE_BREAK
    assert names(effects) == (["Apply", "Reg Req"] if prepares else ["Reg Req"])
    assert [apply.set for apply in applies(effects)] == [()] * prepares
    assert one(effects, RegReq).care_of == "fa21b"
    assert entry is not None
    assert entry.registration is not None
    assert entry.registration.fresh == bench.on_leg(ALICE, "fa21b", 1)
    entry, effects = machine.handle(entry, reply_of(ALICE, 2, "fa21"), NOW)
    (apply,) = applies(effects)
    assert ways(apply.set) == ["fa21b→ha31", "(fa21b→fa21)"]
    assert entry is not None
    assert entry.registration is not None
    assert entry.registration.fresh is None
    assert entry.serving == bench.on_leg(ALICE, "fa21b", 1)
    assert machine.handle(entry, reply_of(ALICE, 2, "fa21"), NOW) == (entry, [])


def test_an_answer_from_home_is_applied_at_once() -> None:  # D6, E1.5
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(CAROL, 1), NOW)
    entry, effects = machine.handle(entry, ama_of(bench, CAROL, 1, "fa21", generation=0), NOW)
    (apply,) = applies(effects)
    assert apply.wait
    assert ways(apply.set) == ["fa21→ha31", "fa21→pcn41"]
    assert machine.handle(entry, ama_of(bench, CAROL, 1, "fa21", generation=0), NOW) == (entry, [])


def test_an_answer_to_another_request_is_ignored() -> None:
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 2), NOW)
    assert machine.handle(entry, ama_of(bench, ALICE, 1, "fa21"), NOW) == (entry, [])
    assert machine.handle(entry, reply_of(ALICE, 2), NOW) == (entry, [])
    assert machine.handle(None, ama_of(bench, ALICE, 1, "fa21"), NOW) == (None, [])


def test_a_refresh_sets_and_deletes_nothing() -> None:  # G3
    bench = Bench()
    machine = bench.fa()
    before = served(bench, machine, FRANK)
    entry, _ = machine.handle(before, request_of(FRANK, 2), NOW)
    again = Ama(FRANK, 2, "fa21", Result.SUCCESS, bench.on_leg(FRANK), authorized=120)
    entry, effects = machine.handle(entry, again, NOW)
    assert names(effects) == ["Reg Req"]
    entry, effects = machine.handle(entry, reply_of(FRANK, 2), NOW + 5000)
    assert names(effects) == ["Reg Rep"]
    assert entry is not None
    assert entry.legs == before.legs
    assert entry.expires == before.expires + 5000


def test_a_service_update_replaces_the_tunnel_by_the_previous_instance() -> None:  # E7.4, G16, D16
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(served(bench, machine, FRANK), request_of(FRANK, 2, update=ServiceUpdate()), NOW)
    ama = ama_of(bench, FRANK, 2, "fa21", generation=0)
    assert ama.information is not None
    segments = tuple(each._replace(far="pcn41") for each in ama.information.segments)
    ama = ama._replace(information=ama.information._replace(version=2, segments=segments))
    _, effects = machine.handle(entry, ama, NOW)
    (apply,) = applies(effects)
    assert ways(apply.set) == ["fa21→pcn41"]
    assert ways(apply.delete) == ["fa21→pcn41b"]


def test_the_mobile_is_told_when_the_tunnels_stand_and_not_before() -> None:  # F3
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 1), NOW)
    entry, effects = machine.handle(entry, ama_of(bench, ALICE, 1, "fa21", generation=0), NOW)
    assert names(effects) == ["Apply"]
    _, effects = machine.handle(entry, Applied(ALICE, 1), NOW)
    assert names(effects) == ["Reg Rep"]


def test_with_old_agents_the_mobile_is_told_after_all_of_them_have_acknowledged() -> None:  # G9, E3.4
    bench = Bench()
    machine = bench.fa("fa22")
    entry, _ = machine.handle(None, request_of(ALICE, 2), NOW)
    entry, _ = machine.handle(entry, ama_of(bench, ALICE, 2, "fa22", "fa21", "fa21b"), NOW)
    entry, effects = machine.handle(entry, Applied(ALICE, 2), NOW)
    assert names(effects) == ["BU", "BU"]
    entry, effects = machine.handle(entry, ba_of_fa(ALICE, 2, "fa21"), NOW)
    assert messages(effects) == []
    for stranger in (ba_of_fa(ALICE, 2, "fa21"), ba_of_fa(ALICE, 1, "fa21b"), ba_of_fa(ALICE, 2, "pcn41")):
        entry, effects = machine.handle(entry, stranger, NOW)
        assert effects == []
    entry, effects = machine.handle(entry, ba_of_fa(ALICE, 2, "fa21b"), NOW)
    assert names(effects) == ["Reg Rep"]
    assert machine.handle(entry, ba_of_fa(ALICE, 2, "fa21b"), NOW) == (entry, [])


def test_an_old_agent_that_has_nothing_to_hand_off_is_no_reason_to_wait() -> None:
    bench = Bench()
    machine = bench.fa("fa22")
    entry, _ = machine.handle(None, request_of(ALICE, 2), NOW)
    entry, _ = machine.handle(entry, ama_of(bench, ALICE, 2, "fa22", "fa21"), NOW)
    entry, _ = machine.handle(entry, Applied(ALICE, 2), NOW)
    entry, effects = machine.handle(entry, ba_of_fa(ALICE, 2, "fa21", Code.STALE), NOW)
    assert names(effects) == ["Apply", "Reg Rep"]
    assert ways(applies(effects)[0].delete) == ["(fa22→fa21)"]
    assert entry is not None
    assert entry.incoming == ()


def test_an_old_agent_that_is_silent_is_reported_replied_without_and_asked_again() -> None:  # G25
    bench = Bench()
    machine = bench.fa("fa22")
    entry, _ = machine.handle(None, request_of(ALICE, 2), NOW)
    entry, _ = machine.handle(entry, ama_of(bench, ALICE, 2, "fa22", "fa21"), NOW)
    entry, _ = machine.handle(entry, Applied(ALICE, 2), NOW)
    late = NOW + bench.settings.ba_timeout * 1000
    for _ in range(10):
        if entry is None or entry.registration is None:
            break
        now = machine.deadline(entry)
        assert now is not None
        entry, effects = machine.handle(entry, Timer(ALICE), now)
    assert now == late
    assert "fa21" in one(effects, Alarm).text
    assert one(effects, RegRep).code is Code.ACCEPTED
    assert entry is not None
    again = machine.deadline(entry)
    assert again is not None
    entry, effects = machine.handle(entry, Timer(ALICE), again)
    assert names(effects) == ["BU"]
    entry, effects = machine.handle(entry, ba_of_fa(ALICE, 2, "fa21"), again)
    assert effects == []
    assert entry is not None
    assert entry.incoming[0].until == again + bench.settings.hand_off * 1000


def test_a_user_whose_tunnels_did_not_come_up_is_not_told_that_they_stand() -> None:  # F3
    bench = Bench()
    machine = bench.fa()
    entry, _ = machine.handle(None, request_of(ALICE, 1), NOW)
    entry, _ = machine.handle(entry, ama_of(bench, ALICE, 1, "fa21", generation=0), NOW)
    entry, effects = machine.handle(entry, Applied(ALICE, 1, ok=False), NOW)
    assert one(effects, RegRep).code is Code.FA_RESOURCES
    # he asks again, and nothing has changed; the gateway is still at it
    for seq, ok in ((2, False), (3, True)):
        entry, _ = machine.handle(entry, request_of(ALICE, seq), NOW)
        entry, effects = machine.handle(entry, ama_of(bench, ALICE, seq, "fa21", generation=0), NOW)
        (apply,) = applies(effects)
        assert (apply.set, apply.delete, apply.wait) == ((), (), True)
        entry, effects = machine.handle(entry, Applied(ALICE, seq, ok=ok), NOW)
        assert one(effects, RegRep).code is (Code.ACCEPTED if ok else Code.FA_RESOURCES)
    # from now on there is nothing to wait for
    entry, _ = machine.handle(entry, request_of(ALICE, 4), NOW)
    entry, effects = machine.handle(entry, ama_of(bench, ALICE, 4, "fa21", generation=0), NOW)
    assert names(effects) == ["Reg Rep"]
