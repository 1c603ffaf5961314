"""The AAAH step by step: when it searches, which keys it draws, what it posts to whom (C4 to C13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.policy.paths import Segment, SegmentKind
from roamvpn.signalling.effects import Search
from roamvpn.signalling.messages import (
    Ama,
    Found,
    Har,
    ServiceUpdate,
)
from tests.documents import Documents
from tests.registrations import NOW, amr_of, haa_of, posted_home, registered_home
from tests.signalled import ALICE, BOB, CAROL, FRANK, Bench, names, one

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation


def _segments(information: VpnInformation | None) -> tuple[Segment, ...]:
    assert information is not None
    return information.segments


def test_without_a_session_the_database_is_searched_by_nai_before_anything_is_sent() -> None:  # C4
    bench = Bench()
    _, effects = bench.aaah().handle(None, amr_of(ALICE, 1), NOW)
    assert effects == [Search(ALICE, 1)]


@pytest.mark.parametrize("agent", ["fa21", "fa21b", "fa22"])
def test_with_a_session_the_database_is_not_searched(agent: str) -> None:  # C4, G5
    bench = Bench()
    machine = bench.aaah()
    _, effects = machine.handle(registered_home(bench, machine, ALICE), amr_of(ALICE, 2, agent), NOW)
    assert names(effects) == ["HAR"]


def test_a_service_update_searches_whatever_is_cached_and_keeps_the_keys_of_what_stays() -> None:  # C11, E7.2
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, CAROL)
    before = _segments(entry.information)[0]
    searching, effects = machine.handle(entry, amr_of(CAROL, 2, update=ServiceUpdate()), NOW)
    assert effects == [Search(CAROL, 2)]
    _, effects = machine.handle(searching, Found(CAROL, 2, bench.records(CAROL)[:1]), NOW)
    information = one(effects, Har).information
    assert information is not None
    assert {segment.profile_number for segment in information.segments} == {3}
    assert before.keys is not None
    assert information.segments[0] == before
    assert entry.information is not None
    assert information.session_id == entry.information.session_id
    assert information.version == 2


def test_no_two_users_and_no_two_vpns_have_a_key_in_common() -> None:  # C5
    documents = Documents()
    documents.record(4).update(vpnshare=1, upclass="ef", downclass="ef", up_spi=0x2001, down_spi=0x2002)
    bench = Bench(documents.site().tables)
    machine = bench.aaah()
    found = [segment for nai in (ALICE, CAROL, FRANK) for segment in posted_home(bench, machine, nai)[1].segments]
    keys = [bytes(each.keys.psk) for each in found if each.keys is not None and each.keys.psk is not None]
    assert len(keys) == 4
    assert len(set(keys)) == 4


def test_who_relies_on_what_gateways_share_gets_no_key() -> None:  # C5
    bench = Bench()
    _, information = posted_home(bench, bench.aaah(), BOB)
    assert [segment.keys for segment in information.segments] == [None]


def test_two_sessions_of_one_user_have_other_names_and_other_keys() -> None:  # B10, C5
    bench = Bench()
    machine = bench.aaah()
    first, second = (posted_home(bench, machine, FRANK, seq)[1] for seq in (1, 2))
    assert first.session_id != second.session_id
    assert first.segments[0].keys != second.segments[0].keys


def test_the_mobiles_side_is_the_host_that_asked_not_what_the_request_says() -> None:  # C6
    bench = Bench()
    machine = bench.aaah()
    amr = amr_of(FRANK, 1, "fa22", care_of="fa21", old_fa="fa21b")
    entry, _ = machine.handle(None, amr, NOW)
    _, effects = machine.handle(entry, Found(FRANK, 1, bench.records(FRANK)), NOW)
    har = one(effects, Har)
    assert har.information is not None
    assert har.information.foreign_agent == "fa22"
    assert [segment.near for segment in har.information.segments] == ["fa22"]
    assert har.request.care_of == "fa22"


def test_a_static_destination_makes_two_vpns_and_a_dynamic_one_makes_one() -> None:  # C8, C9
    bench = Bench()
    machine = bench.aaah()
    static, dynamic = (posted_home(bench, machine, nai)[1].segments for nai in (ALICE, FRANK))
    assert [(each.kind, each.near, each.far) for each in static] == [
        (SegmentKind.ACCESS, "fa21", "ha31"),
        (SegmentKind.ENTERPRISE, "ha31", "gw51"),
    ]
    assert [(each.kind, each.near, each.far) for each in dynamic] == [(SegmentKind.DIRECT, "fa21", "pcn41b")]


def test_all_hits_are_posted_static_and_dynamic_together() -> None:  # B4, G19
    bench = Bench()
    _, information = posted_home(bench, bench.aaah(), CAROL)
    kinds = [(each.profile_number, each.kind) for each in information.segments]
    assert kinds == [(3, SegmentKind.ACCESS), (3, SegmentKind.ENTERPRISE), (4, SegmentKind.DIRECT)]


def test_a_move_between_domains_replaces_the_old_agent_by_the_new_and_nothing_else() -> None:  # C10, F8
    bench = Bench()
    machine = bench.aaah()
    entry = registered_home(bench, machine, CAROL)
    _, effects = machine.handle(entry, amr_of(CAROL, 2, "fa22"), NOW)
    moved = one(effects, Har).information
    assert moved is not None
    assert entry.information is not None
    assert moved._replace(foreign_agent="fa21", segments=()) == entry.information._replace(segments=())
    for old, new in zip(entry.information.segments, moved.segments, strict=True):
        changed = [name for name, was, is_ in zip(old._fields, old, new, strict=True) if was != is_]
        assert changed == ([] if old.kind is SegmentKind.ENTERPRISE else ["near"])


def test_the_home_agent_is_posted_everything_and_the_foreign_agent_its_own_only() -> None:  # C12
    bench = Bench()
    machine = bench.aaah()
    entry, information = posted_home(bench, machine, CAROL)
    assert SegmentKind.ENTERPRISE in {each.kind for each in information.segments}
    _, effects = machine.handle(entry, haa_of(CAROL, 1), NOW)
    told = _segments(one(effects, Ama).information)
    assert [each.kind for each in told] == [SegmentKind.ACCESS, SegmentKind.DIRECT]
    assert told[0].keys != information.segments[0].keys


def test_the_old_agents_that_the_home_agent_names_are_copied_into_the_answer() -> None:  # C13
    bench = Bench()
    machine = bench.aaah()
    entry, _ = machine.handle(registered_home(bench, machine, ALICE), amr_of(ALICE, 2, "fa22"), NOW)
    _, effects = machine.handle(entry, haa_of(ALICE, 2, 1, ("fa21", "fa21b")), NOW)
    ama = one(effects, Ama)
    assert ama.old_fas == ("fa21", "fa21b")
    assert ama.reply is not None
    assert ama.authorized == bench.settings.authorization


def test_the_generation_is_the_home_agents() -> None:
    bench = Bench()
    machine = bench.aaah()
    entry, _ = machine.handle(registered_home(bench, machine, ALICE), amr_of(ALICE, 2, "fa22"), NOW)
    entry, effects = machine.handle(entry, haa_of(ALICE, 2, 7), NOW)
    assert entry is not None
    assert entry.information is not None
    assert entry.information.generation == 7
    ama = one(effects, Ama)
    assert ama.information is not None
    assert ama.information.generation == 7
