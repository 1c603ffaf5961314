"""The compile: the oracle of installed tunnels (F9), its reference counts, and its independence of history."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from roamvpn.policy.compile import Fleet, compile_fleet
from roamvpn.policy.keys import derived
from roamvpn.policy.views import ipsec_information, qos_filters, routes
from roamvpn.tables.records import Session
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.tables.site import Site

SITE: Site = Documents().site()
AGENTS = ("fa21", "fa21b", "fa22")
USERS = sorted(SITE.tables.subscribers)


def _session(nai: str, agent: str, generation: int = 0) -> Session:
    return Session(session_id=f"s-{USERS.index(nai)}", nai=nai, foreign_agent=agent, generation=generation)


def _fleet(*sessions: Session) -> Fleet:
    return compile_fleet(SITE.tables, sessions, None, derived(b"k" * 32))


def _arrows(fleet: Fleet, profile: int) -> set[str]:
    return {
        f"{leg.gateway}→{leg.peer}"
        for state in fleet.states.values()
        for leg in state.legs.values()
        if leg.profile_number == profile
    }


def test_steady_state_towards_a_static_gateway() -> None:
    # F9, E1: FA{→HA}, HA{→FA, →GW}, GW{→HA}
    fleet = _fleet(_session("alice@isp3.example", "fa21"))
    assert _arrows(fleet, 1) == {"fa21→ha31", "ha31→fa21", "ha31→gw51", "gw51→ha31"}


def test_steady_state_towards_a_dynamic_gateway() -> None:
    # F9, E4, F6: FA{→PCN}, PCN{→FA}, HA{}
    fleet = _fleet(_session("frank@isp3.example", "fa21"))
    assert _arrows(fleet, 7) == {"fa21→pcn41b", "pcn41b→fa21"}


def test_every_tunnel_has_its_other_half() -> None:
    fleet = compile_fleet(SITE.tables, SITE.sessions)
    for state in fleet.states.values():
        for leg in state.legs.values():
            other = fleet.states[leg.peer].legs[f"rv-{leg.flow}-{leg.gateway}"]
            assert (other.source, other.destination) == (leg.destination, leg.source)
            assert (other.in_spi, other.out_spi) == (leg.out_spi, leg.in_spi)
            assert other.peer_address == leg.local_address
            # just one end initiates an association, none a filter
            assert other.initiate + leg.initiate == leg.has_association


def test_a_user_without_a_record_gets_nothing() -> None:
    assert _fleet(_session("grace@isp3.example", "fa21")).states == _fleet().states  # F1, G25


def test_both_at_once_is_the_union() -> None:
    fleet = _fleet(_session("carol@isp3.example", "fa22"))  # G19
    assert _arrows(fleet, 3) >= {"fa22→ha31", "ha31→gw51"}
    assert _arrows(fleet, 4) == {"fa22→pcn41", "pcn41→fa22"}


def test_the_static_gateway_is_the_same_wherever_users_roam() -> None:
    states = [_fleet(*(_session(nai, agent) for nai in USERS)).states["gw51"] for agent in AGENTS]  # F2
    assert states[0] == states[1] == states[2] == _fleet().states["gw51"]


def test_the_segment_to_the_enterprise_is_untouched_by_a_move() -> None:
    before = _fleet(_session("alice@isp3.example", "fa21")).states["ha31"]
    after = _fleet(_session("alice@isp3.example", "fa21b", generation=1)).states["ha31"]
    (leg,) = (name for name in before.legs if name.endswith("-gw51"))
    assert before.legs[leg] == after.legs[leg]  # E2.2
    moved = next(leg for name, leg in after.legs.items() if name.endswith("-fa21b"))
    assert moved.device == "rv-own1"


def test_a_shared_association_stays_until_its_last_user_leaves() -> None:
    # F7: bob and carol share the pair fa21, pcn41
    fleet = _fleet(_session("bob@isp3.example", "fa21"), _session("carol@isp3.example", "fa21"))
    assert fleet.states["fa21"].references["rv-e-pcn41"] == 2
    fleet.deregister("bob@isp3.example")
    assert "rv-e-pcn41" in fleet.states["fa21"].peers
    fleet.deregister("carol@isp3.example")
    assert "rv-e-pcn41" not in fleet.states["fa21"].peers
    assert fleet.states == _fleet().states  # F10


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(USERS), st.sampled_from([*AGENTS, None]), st.integers(0, 3)), min_size=1, max_size=25
    )
)
def test_any_history_ends_in_what_a_fresh_compile_gives(history: list[tuple[str, str | None, int]]) -> None:
    fleet = _fleet()
    current: dict[str, Session] = {}
    for nai, agent, generation in history:
        if agent is None:
            fleet.deregister(nai)
            current.pop(nai, None)
        else:
            current[nai] = _session(nai, agent, generation)
            fleet.register(current[nai])
    fresh = _fleet(*current.values())
    assert fleet.states == fresh.states
    assert {n: s.digest for n, s in fleet.states.items()} == {n: s.digest for n, s in fresh.states.items()}


def test_the_order_of_rows_does_not_matter() -> None:
    documents = Documents()
    for rows in (documents.records, documents.rows, documents.sessions, documents.network["subscribers"]):
        random.Random(7).shuffle(rows)  # noqa: S311 - the same order in each run
    shuffled = documents.site()
    assert compile_fleet(shuffled.tables, shuffled.sessions).states == compile_fleet(SITE.tables, SITE.sessions).states


def test_only_the_gateways_of_a_registration_change() -> None:
    fleet = compile_fleet(SITE.tables, SITE.sessions)
    assert fleet.register(_session("alice@isp3.example", "fa22", 1)) == {"fa21", "fa22", "ha31"}


def test_identifiers_never_dangle() -> None:
    # B12 to B15
    for state in compile_fleet(SITE.tables, SITE.sessions).states.values():
        information = ipsec_information(state)
        tunnels = {row.identifier for row in information.tunnels}
        protections = {row.identifier for row in information.esp}
        assert {row.tunnel_id for row in information.ipsec} == tunnels
        assert {row.esp_id for row in information.ipsec} - {None} == protections
        assert len(information.ipsec) == 2 * len(state.legs)
        # a home agent both decodes a flow and sends it on: its direction is part of the key there
        directions = {row.identifier: row.direction for row in information.tunnels}
        keys = [(row.source, row.destination, directions[row.tunnel_id]) for row in information.ipsec]
        assert len(set(keys)) == len(keys)


def test_users_of_one_association_share_its_rows() -> None:
    fleet = _fleet(_session("bob@isp3.example", "fa21"), _session("carol@isp3.example", "fa21"))
    information = ipsec_information(fleet.states["pcn41"])  # B15
    assert len(information.ipsec) == 4
    assert len(information.esp) == 2


def test_encapsulation_only_has_a_tunnel_and_no_protection() -> None:
    information = ipsec_information(_fleet(_session("erin@isp3.example", "fa21")).states["fa21"])  # S229
    assert {row.esp_id for row in information.ipsec} == {None}
    assert {row.encapsulation_method for row in information.tunnels} == {"ipip"}
    assert information.esp == ()


def test_every_mark_leads_to_a_device_and_fails_closed() -> None:
    for state in compile_fleet(SITE.tables, SITE.sessions).states.values():
        table = routes(state)  # B16, S227
        for row in qos_filters(state):
            kinds = sorted(route.kind for route in table if route.table == row.mark)
            assert kinds == ["prohibit", "unicast"]


def test_a_class_marks_and_none_leaves_alone() -> None:
    rows = {row.source: row.dscp for row in qos_filters(compile_fleet(SITE.tables, SITE.sessions).states["fa21"])}
    assert rows["203.0.113.5/32"] == 46  # D15
    assert rows["203.0.113.8/32"] is None  # S224
