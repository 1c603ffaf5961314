"""Flows through all five roles: what each learns, and what happens when something goes wrong (E, F, G25, G26)."""

from __future__ import annotations

import pytest

from roamvpn.policy.keys import derived
from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling.effects import Order
from roamvpn.signalling.messages import Ama, Bu, Har, ServiceUpdate
from roamvpn.sim.options import MILLISECOND, Faults, Options
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.documents import Documents
from tests.signalled import ALICE, BOB, CAROL, FRANK, SETTINGS, go, tunnels, watched, world_of


def _psks(world: World, nai: str) -> list[bytes]:
    found = []
    for node in world.nodes.values():
        state = node.state
        for name, keys in (state.secrets if state else {}).items():
            if state and name in state.legs and state.legs[name].nai == nai and keys.psk is not None:
                found.append(bytes(keys.psk))
    return found


# what each may know


def test_a_foreign_agent_sees_its_own_segments_and_leg_keys_only() -> None:  # C12
    world = world_of()
    sent = watched(world)
    go(world, CAROL, "fa21")
    (har,) = [message for _, _, message in sent if isinstance(message, Har)]
    assert har.information is not None
    assert {s.kind for s in har.information.segments} == {
        SegmentKind.ACCESS,
        SegmentKind.ENTERPRISE,
        SegmentKind.DIRECT,
    }
    to_aaaf, to_fa = [message for _, _, message in sent if isinstance(message, Ama)]
    assert to_aaaf.information is not None
    assert to_fa.information is not None
    assert {s.kind for s in to_fa.information.segments} == {SegmentKind.ACCESS, SegmentKind.DIRECT}
    keys = [m.information.segments[0].keys for m in (har, to_aaaf, to_fa) if m.information is not None]
    assert len({key.psk for key in keys if key is not None}) == 3


def test_every_leg_of_five_moves_has_a_key_of_its_own() -> None:  # C5, G21
    world = world_of()
    seen: set[bytes] = set()
    for agent in ("fa21", "fa21b", "fa22", "fa21", "fa22"):
        go(world, FRANK, agent, 15)
        both = _psks(world, FRANK)
        assert len(both) == 2
        assert len(set(both)) == 1
        assert not seen & set(both)
        seen |= set(both)


def test_the_mobiles_side_is_the_agent_that_asked_whatever_the_mobile_says() -> None:  # C6
    world = world_of()
    sent = watched(world)
    world.register(FRANK, "fa22", names="fa21")
    world.run(seconds(1))
    (har,) = [message for _, _, message in sent if isinstance(message, Har)]
    assert har.information is not None
    assert har.information.foreign_agent == "fa22"


def test_a_static_gateway_never_changes() -> None:  # F2
    world = world_of()
    state = world.nodes["gw51"].state
    assert state is not None
    before = (state.digest, dict(state.secrets))
    for agent in ("fa21", "fa21b", "fa22"):
        go(world, ALICE, agent)
    world.deregister(ALICE)
    world.run(world.now + seconds(1))
    assert (state.digest, dict(state.secrets)) == before


def test_static_and_dynamic_vpns_of_one_user_move_together() -> None:  # G19
    world = world_of()
    go(world, CAROL, "fa21")
    go(world, CAROL, "fa22", 15)
    assert tunnels(world, "fa22") == {"fa22→ha31", "fa22→pcn41"}
    assert tunnels(world, "fa21") == set()
    assert differences(world, settled=False) == []


def test_a_shared_association_stays_while_anybody_uses_it() -> None:  # F7
    world = world_of()
    go(world, BOB, "fa21")
    go(world, CAROL, "fa21")
    state = world.nodes["fa21"].state
    assert state is not None
    assert state.references["rv-e-pcn41"] == 2
    go(world, BOB, "fa22", 15)
    assert state.references["rv-e-pcn41"] == 1
    go(world, CAROL, "fa22", 15)
    assert "rv-e-pcn41" not in state.peers
    assert differences(world, settled=False) == []


# refresh, good-bye, expiry


def test_a_refresh_changes_no_tunnel_and_does_not_go_home() -> None:  # G3
    world = world_of()
    go(world, FRANK, "fa21")
    sent = watched(world)
    before = world.loads["fa21"].legs_set, world.loads["pcn41b"].legs_set
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    assert [each.name for each in sent] == ["Reg Req", "AMR", "AMA", "Reg Req", "Reg Rep", "Reg Rep"]
    assert (world.loads["fa21"].legs_set, world.loads["pcn41b"].legs_set) == before


def test_deregistration_removes_everything() -> None:  # F10, G25
    world = world_of()
    for nai in (ALICE, CAROL, FRANK):
        go(world, nai, "fa21")
        world.deregister(nai)
        world.run(world.now + seconds(1))
    assert not any(tunnels(world, name) for name in ("fa21", "ha31", "pcn41", "pcn41b"))
    assert differences(world, settled=True) == []


def test_who_falls_silent_expires_everywhere() -> None:  # G18
    world = world_of()
    go(world, ALICE, "fa21")
    go(world, FRANK, "fa21")
    for nai in (ALICE, FRANK):
        world.vanish(nai)
    world.run(world.now + seconds(600))
    assert not any(tunnels(world, name) for name in ("fa21", "ha31", "pcn41b"))
    assert differences(world, settled=True) == []
    assert not any(table for node in world.nodes.values() for table in node.tables.values())


def test_a_refreshed_vpn_at_a_pcn_lives_on_by_binding_requests() -> None:  # E7.5
    world = world_of()
    go(world, FRANK, "fa21")
    sent = watched(world)
    world.run(world.now + seconds(300))
    assert [each.name for each in sent].count("BR") >= 4
    assert tunnels(world, "pcn41b") == {"pcn41b→fa21"}


def test_a_pcn_whose_questions_are_lost_is_posted_to_again() -> None:
    world = world_of()
    go(world, FRANK, "fa21")
    world.cut.add(frozenset(("pcn41b", "ha31")))
    world.run(world.now + seconds(90))
    world.cut.clear()
    world.run(world.now + seconds(60))
    assert tunnels(world, "pcn41b") == {"pcn41b→fa21"}
    assert differences(world, settled=False) == []


def test_a_service_update_moves_the_vpn_and_the_old_one_lapses_unanswered() -> None:  # E7
    world = world_of()
    go(world, FRANK, "fa21")
    documents = Documents()
    documents.record(7)["destaddr"] = "198.51.100.7"
    world.database[FRANK] = tuple(documents.site().tables.vpn_database[FRANK])
    world.run(world.now + seconds(1))
    assert tunnels(world, "fa21") == {"fa21→pcn41b"}  # E7.1: no tunnel changes yet
    sent = watched(world)
    world.mobile(FRANK).update = ServiceUpdate()
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    assert tunnels(world, "fa21") == {"fa21→pcn41"}
    assert tunnels(world, "pcn41b") == {"pcn41b→fa21"}
    world.run(world.now + seconds(70))
    asked = [each for each in sent if each.name == "BR" and each.sender.name == "pcn41b"]
    answered = [each for each in sent if isinstance(each.message, Bu) and each.to.name == "pcn41b"]
    assert asked
    assert answered == []
    assert tunnels(world, "pcn41b") == set()
    assert differences(world, settled=False) == []


# moves that meet others


@pytest.mark.parametrize("nai", [ALICE, FRANK])
@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("after", range(0, 66, 3))
def test_a_move_may_meet_another_one_at_any_moment(nai: str, order: Order, after: int) -> None:
    world = world_of(order=order)
    go(world, nai, "fa21")
    world.move(nai, "fa21b")
    world.run(world.now + after * MILLISECOND)
    world.move(nai, "fa22")
    world.run(world.now + seconds(5))
    assert differences(world, settled=False) == []
    assert world.mobile(nai).served_at == "fa22"
    world.run(world.now + seconds(20))
    assert tunnels(world, "fa21") | tunnels(world, "fa21b") == set()


def test_who_goes_to_and_fro_leaves_nothing_behind() -> None:
    world = world_of()
    go(world, FRANK, "fa21")
    for agent in ("fa21b", "fa21") * 10:
        go(world, FRANK, agent, 0.2)
        assert differences(world, settled=False) == []
    world.run(world.now + seconds(15))
    assert tunnels(world, "fa21b") == set()
    assert differences(world, settled=True) == []


def test_who_returns_while_the_hand_off_stands_has_it_removed_first() -> None:  # G25
    world = world_of()
    go(world, ALICE, "fa21")
    go(world, ALICE, "fa21b")
    assert tunnels(world, "fa21") == {"fa21→fa21b"}
    go(world, ALICE, "fa21")
    assert tunnels(world, "fa21") == {"fa21→ha31"}
    assert tunnels(world, "fa21b") == {"fa21b→fa21"}


def test_the_hand_off_tunnel_lives_its_time_and_goes() -> None:  # G25
    world = world_of(hand_off=10)
    go(world, ALICE, "fa21")
    go(world, ALICE, "fa21b", 9)
    assert tunnels(world, "fa21") == {"fa21→fa21b"}
    world.run(world.now + seconds(2))
    assert tunnels(world, "fa21") == set()
    assert differences(world, settled=True) == []


@pytest.mark.parametrize("nai", [ALICE, FRANK])
@pytest.mark.parametrize("seed", range(8))
def test_every_message_may_come_twice_and_late(nai: str, seed: int) -> None:
    site = Documents().site()
    faults = Faults(duplicate=1000, late=500, lateness=700 * MILLISECOND)
    options = Options(settings=SETTINGS, lifetime=60, faults=faults)
    world = World(site.tables, derived(b"k" * 32), options, seed)
    for agent in ("fa21", "fa21b", "fa22", "fa21"):
        go(world, nai, agent, 0.5)
    world.run(world.now + seconds(8))
    assert world.mobile(nai).served_at == "fa21"
    assert differences(world, settled=False) == []
