"""The AAAH when something is refused, silent, late or at its end (F10, G18, G25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.effects import Alarm, Search
from roamvpn.signalling.messages import (
    Ama,
    Code,
    Found,
    Haa,
    Har,
    RegRep,
    Result,
    ServiceUpdate,
    Timer,
)
from tests.documents import Documents
from tests.registrations import NOW, amr_of, haa_of, posted_home, registered_home
from tests.signalled import ALICE, CAROL, GRACE, Bench, names, one

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.paths import Segment


def _segments(information: VpnInformation | None) -> tuple[Segment, ...]:
    assert information is not None
    return information.segments


def test_what_the_home_agent_refused_changes_no_session() -> None:
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, ALICE)
    asked, _ = machine.handle(entry, amr_of(ALICE, 2, "fa22"), NOW)
    refused = Haa(ALICE, 2, Result.MIP_REPLY_FAILURE, RegRep(ALICE, 2, Code.STALE))
    after, effects = machine.handle(asked, refused, NOW)
    assert one(effects, Ama).result is Result.MIP_REPLY_FAILURE
    assert after == entry


def test_a_home_agent_that_is_silent_is_given_up_and_its_late_answer_ignored() -> None:
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, ALICE)
    asked, _ = machine.handle(entry, amr_of(ALICE, 2, "fa22"), NOW)
    assert asked is not None
    deadline = machine.deadline(asked)
    assert deadline == NOW + bench.settings.request_timeout * 1000
    after, effects = machine.handle(asked, Timer(ALICE), deadline)
    assert one(effects, Ama).result is Result.HA_NOT_AVAILABLE
    assert after == entry
    assert machine.handle(after, haa_of(ALICE, 2, 1), deadline) == (after, [])


def test_duplicates_are_silent_and_older_requests_are_told_so() -> None:
    bench = Bench()
    machine = bench.aaah()
    entry, _ = machine.handle(registered_home(bench, machine, ALICE), amr_of(ALICE, 5, "fa22"), NOW)
    assert machine.handle(entry, amr_of(ALICE, 5, "fa22"), NOW) == (entry, [])
    after, effects = machine.handle(entry, amr_of(ALICE, 4, "fa21b"), NOW)
    ama = one(effects, Ama)
    assert after == entry
    assert ama.reply is not None
    assert ama.reply.code is Code.STALE


def test_what_was_found_for_an_older_request_is_ignored() -> None:
    bench = Bench()
    machine = bench.aaah()
    entry, _ = machine.handle(None, amr_of(ALICE, 1), NOW)
    newer, effects = machine.handle(entry, amr_of(ALICE, 2, "fa22"), NOW)
    assert effects == [Search(ALICE, 2)]
    assert machine.handle(newer, Found(ALICE, 1, bench.records(ALICE)), NOW) == (newer, [])


def test_without_the_database_a_new_session_is_refused_and_nothing_is_kept() -> None:  # G25
    bench = Bench()
    machine = bench.aaah()
    entry, _ = machine.handle(None, amr_of(ALICE, 1), NOW)
    after, effects = machine.handle(entry, Found(ALICE, 1, None), NOW)
    assert one(effects, Ama).result is Result.UNABLE_TO_COMPLY
    assert "cannot be reached" in one(effects, Alarm).text
    assert after is None


def test_without_the_database_a_service_update_is_refused_and_the_session_stays() -> None:  # G25
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, ALICE)
    searching, _ = machine.handle(entry, amr_of(ALICE, 2, update=ServiceUpdate()), NOW)
    after, effects = machine.handle(searching, Found(ALICE, 2, None), NOW)
    assert one(effects, Ama).result is Result.UNABLE_TO_COMPLY
    assert after == entry


def test_without_a_record_there_is_a_session_without_vpns() -> None:  # G25
    bench = Bench()
    machine = bench.aaah()
    entry, information = posted_home(bench, machine, GRACE)
    assert information.segments == ()
    _, effects = machine.handle(entry, haa_of(GRACE, 1), NOW)
    assert one(effects, Ama).result is Result.SUCCESS


def test_a_profile_without_a_row_is_rejected_loudly_and_the_others_are_posted() -> None:  # G25
    documents = Documents()
    documents.record(4)["destaddr"] = "192.0.2.200"
    bench = Bench(documents.site().tables)
    machine = bench.aaah()
    entry, _ = machine.handle(None, amr_of(CAROL, 1), NOW)
    _, effects = machine.handle(entry, Found(CAROL, 1, bench.records(CAROL)), NOW)
    assert names(effects) == ["Alarm", "HAR"]
    assert "profile 4" in one(effects, Alarm).text
    assert {each.profile_number for each in _segments(one(effects, Har).information)} == {3}


@pytest.mark.parametrize(("nai", "origin"), [("eve@isp3.example", "fa21"), (ALICE, "pcn41"), (ALICE, "nobody")])
def test_unknown_users_and_hosts_that_are_no_foreign_agents_are_refused(nai: str, origin: str) -> None:  # F1
    entry, effects = Bench().aaah().handle(None, amr_of(nai, 1, origin), NOW)
    assert entry is None
    assert one(effects, Ama).result is Result.AUTHENTICATION_REJECTED


def test_who_signs_off_has_no_session_once_the_home_agent_agrees() -> None:  # F10
    bench = Bench()
    machine = bench.aaah()
    entry, effects = machine.handle(registered_home(bench, machine, ALICE), amr_of(ALICE, 2, lifetime=0), NOW)
    assert one(effects, Har).information is None
    assert entry is not None
    assert entry.information is not None
    entry, effects = machine.handle(entry, haa_of(ALICE, 2), NOW)
    assert entry is not None
    assert entry.information is None
    assert one(effects, Ama).information is None
    assert machine.handle(entry, Timer(ALICE), NOW + bench.settings.remember * 1000) == (None, [])


def test_a_session_that_nobody_refreshes_ends() -> None:  # G18
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, ALICE)
    end = machine.deadline(entry)
    assert end == NOW + (bench.settings.authorization + bench.settings.max_lifetime) * 1000
    assert machine.handle(entry, Timer(ALICE), end - 1) == (entry, [])
    assert machine.handle(entry, Timer(ALICE), end) == (None, [])
