"""Flows through all five roles: what each learns, and what happens when something goes wrong (E, F, G25, G26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roamvpn.policy.keys import derived
from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling.effects import Order, Send
from roamvpn.signalling.messages import NAMES, Ama, Amr, Bu, Code, Har, NodeRole, RegReq, ServiceUpdate
from roamvpn.signalling.settings import Settings
from roamvpn.sim.options import MILLISECOND, Faults, Options
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.signalling.messages import Message
    from roamvpn.sim.world import Seen

ALICE, BOB, CAROL, FRANK, GRACE = (f"{name}@isp3.example" for name in ("alice", "bob", "carol", "frank", "grace"))
SETTINGS = Settings(max_lifetime=60, br_threshold=10, authorization=120)


def _world(documents: Documents | None = None, **changes: object) -> World:
    site = (documents or Documents()).site()
    settings = SETTINGS._replace(**changes)  # type: ignore[arg-type] # names and types of settings
    return World(site.tables, derived(b"k" * 32), Options(settings=settings, lifetime=60, durable=True))


def _watched(world: World) -> list[tuple[str, str, Message]]:
    """(sender, receiver, message) of everything that is sent from now on."""
    sent: list[tuple[str, str, Message]] = []

    def watch(seen: Seen) -> None:
        if isinstance(seen.what, Send):
            sent.append((seen.node.name, seen.what.to.name, seen.what.message))

    world.watchers.append(watch)
    return sent


def _names(sent: list[tuple[str, str, Message]]) -> list[str]:
    return [NAMES[type(message)] for _, _, message in sent]


def _go(world: World, nai: str, at: str, wait: float = 1) -> None:
    world.move(nai, at)
    world.run(world.now + seconds(wait))


def _legs(world: World, gateway: str) -> set[str]:
    state = world.nodes[gateway].state
    assert state is not None
    return {
        f"{leg.gateway}→{leg.peer}" for leg in state.legs.values() if leg.handle is not None and leg.owner == "session"
    }


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
    world = _world()
    sent = _watched(world)
    _go(world, CAROL, "fa21")
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
    world = _world()
    seen: set[bytes] = set()
    for agent in ("fa21", "fa21b", "fa22", "fa21", "fa22"):
        _go(world, FRANK, agent, 15)
        both = _psks(world, FRANK)
        assert len(both) == 2
        assert len(set(both)) == 1
        assert not seen & set(both)
        seen |= set(both)


def test_the_mobiles_side_is_the_agent_that_asked_whatever_the_mobile_says() -> None:  # C6
    world = _world()
    sent = _watched(world)
    world.register(FRANK, "fa22", names="fa21")
    world.run(seconds(1))
    (har,) = [message for _, _, message in sent if isinstance(message, Har)]
    assert har.information is not None
    assert har.information.foreign_agent == "fa22"


def test_a_static_gateway_never_changes() -> None:  # F2
    world = _world()
    state = world.nodes["gw51"].state
    assert state is not None
    before = (state.digest, dict(state.secrets))
    for agent in ("fa21", "fa21b", "fa22"):
        _go(world, ALICE, agent)
    world.deregister(ALICE)
    world.run(world.now + seconds(1))
    assert (state.digest, dict(state.secrets)) == before


def test_static_and_dynamic_vpns_of_one_user_move_together() -> None:  # G19
    world = _world()
    _go(world, CAROL, "fa21")
    _go(world, CAROL, "fa22", 15)
    assert _legs(world, "fa22") == {"fa22→ha31", "fa22→pcn41"}
    assert _legs(world, "fa21") == set()
    assert differences(world, settled=False) == []


def test_a_shared_association_stays_while_anybody_uses_it() -> None:  # F7
    world = _world()
    _go(world, BOB, "fa21")
    _go(world, CAROL, "fa21")
    state = world.nodes["fa21"].state
    assert state is not None
    assert state.references["rv-e-pcn41"] == 2
    _go(world, BOB, "fa22", 15)
    assert state.references["rv-e-pcn41"] == 1
    _go(world, CAROL, "fa22", 15)
    assert "rv-e-pcn41" not in state.peers
    assert differences(world, settled=False) == []


# refresh, good-bye, expiry


def test_a_refresh_changes_no_tunnel_and_does_not_go_home() -> None:  # G3
    world = _world()
    _go(world, FRANK, "fa21")
    sent = _watched(world)
    before = world.loads["fa21"].legs_set, world.loads["pcn41b"].legs_set
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    assert _names(sent) == ["Reg Req", "AMR", "AMA", "Reg Req", "Reg Rep", "Reg Rep"]
    assert (world.loads["fa21"].legs_set, world.loads["pcn41b"].legs_set) == before


def test_deregistration_removes_everything() -> None:  # F10, G25
    world = _world()
    for nai in (ALICE, CAROL, FRANK):
        _go(world, nai, "fa21")
        world.deregister(nai)
        world.run(world.now + seconds(1))
    assert not any(_legs(world, name) for name in ("fa21", "ha31", "pcn41", "pcn41b"))
    assert differences(world, settled=True) == []


def test_who_falls_silent_expires_everywhere() -> None:  # G18
    world = _world()
    _go(world, ALICE, "fa21")
    _go(world, FRANK, "fa21")
    for nai in (ALICE, FRANK):
        world.vanish(nai)
    world.run(world.now + seconds(600))
    assert not any(_legs(world, name) for name in ("fa21", "ha31", "pcn41b"))
    assert differences(world, settled=True) == []
    assert not any(table for node in world.nodes.values() for table in node.tables.values())


def test_a_refreshed_vpn_at_a_pcn_lives_on_by_binding_requests() -> None:  # E7.5
    world = _world()
    _go(world, FRANK, "fa21")
    sent = _watched(world)
    world.run(world.now + seconds(300))
    assert _names(sent).count("BR") >= 4
    assert _legs(world, "pcn41b") == {"pcn41b→fa21"}


def test_a_pcn_whose_questions_are_lost_is_posted_to_again() -> None:
    world = _world()
    _go(world, FRANK, "fa21")
    world.cut.add(frozenset(("pcn41b", "ha31")))
    world.run(world.now + seconds(90))
    world.cut.clear()
    world.run(world.now + seconds(60))
    assert _legs(world, "pcn41b") == {"pcn41b→fa21"}
    assert differences(world, settled=False) == []


def test_a_service_update_moves_the_vpn_and_the_old_one_lapses_unanswered() -> None:  # E7
    world = _world()
    _go(world, FRANK, "fa21")
    documents = Documents()
    documents.record(7)["destaddr"] = "198.51.100.7"
    world.database[FRANK] = tuple(documents.site().tables.vpn_database[FRANK])
    world.run(world.now + seconds(1))
    assert _legs(world, "fa21") == {"fa21→pcn41b"}  # E7.1: no tunnel changes yet
    sent = _watched(world)
    world.mobile(FRANK).update = ServiceUpdate()
    world.refresh(FRANK)
    world.run(world.now + seconds(1))
    assert _legs(world, "fa21") == {"fa21→pcn41"}
    assert _legs(world, "pcn41b") == {"pcn41b→fa21"}
    world.run(world.now + seconds(70))
    asked = [(who, to) for who, to, message in sent if NAMES[type(message)] == "BR" and who == "pcn41b"]
    answered = [to for _, to, message in sent if isinstance(message, Bu) and to == "pcn41b"]
    assert asked
    assert answered == []
    assert _legs(world, "pcn41b") == set()
    assert differences(world, settled=False) == []


# moves that meet others


@pytest.mark.parametrize("nai", [ALICE, FRANK])
@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("after", range(0, 66, 3))
def test_a_move_may_meet_another_one_at_any_moment(nai: str, order: Order, after: int) -> None:
    world = _world(order=order)
    _go(world, nai, "fa21")
    world.move(nai, "fa21b")
    world.run(world.now + after * MILLISECOND)
    world.move(nai, "fa22")
    world.run(world.now + seconds(5))
    assert differences(world, settled=False) == []
    assert world.mobile(nai).served_at == "fa22"
    world.run(world.now + seconds(20))
    assert _legs(world, "fa21") | _legs(world, "fa21b") == set()


def test_who_goes_to_and_fro_leaves_nothing_behind() -> None:
    world = _world()
    _go(world, FRANK, "fa21")
    for agent in ("fa21b", "fa21") * 10:
        _go(world, FRANK, agent, 0.2)
        assert differences(world, settled=False) == []
    world.run(world.now + seconds(15))
    assert _legs(world, "fa21b") == set()
    assert differences(world, settled=True) == []


def test_who_returns_while_the_hand_off_stands_has_it_removed_first() -> None:  # G25
    world = _world()
    _go(world, ALICE, "fa21")
    _go(world, ALICE, "fa21b")
    assert _legs(world, "fa21") == {"fa21→fa21b"}
    _go(world, ALICE, "fa21")
    assert _legs(world, "fa21") == {"fa21→ha31"}
    assert _legs(world, "fa21b") == {"fa21b→fa21"}


def test_the_hand_off_tunnel_lives_its_time_and_goes() -> None:  # G25
    world = _world(hand_off=10)
    _go(world, ALICE, "fa21")
    _go(world, ALICE, "fa21b", 9)
    assert _legs(world, "fa21") == {"fa21→fa21b"}
    world.run(world.now + seconds(2))
    assert _legs(world, "fa21") == set()
    assert differences(world, settled=True) == []


@pytest.mark.parametrize("nai", [ALICE, FRANK])
@pytest.mark.parametrize("seed", range(8))
def test_every_message_may_come_twice_and_late(nai: str, seed: int) -> None:
    site = Documents().site()
    faults = Faults(duplicate=1000, late=500, lateness=700 * MILLISECOND)
    options = Options(settings=SETTINGS, lifetime=60, faults=faults)
    world = World(site.tables, derived(b"k" * 32), options, seed)
    for agent in ("fa21", "fa21b", "fa22", "fa21"):
        _go(world, nai, agent, 0.5)
    world.run(world.now + seconds(8))
    assert world.mobile(nai).served_at == "fa21"
    assert differences(world, settled=False) == []


# faults


def test_an_old_agent_that_cannot_be_reached_delays_but_does_not_refuse() -> None:  # G25
    world = _world(ba_timeout=1)
    _go(world, ALICE, "fa21")
    world.cut.add(frozenset(("fa21", "fa21b")))
    _go(world, ALICE, "fa21b", 5)
    assert world.mobile(ALICE).served_at == "fa21b"
    assert any("no binding acknowledgement from fa21" in alarm.text for _, _, alarm in world.alarms)
    world.cut.clear()
    world.run(world.now + seconds(10))
    assert _legs(world, "fa21") == {"fa21→fa21b"}
    assert differences(world, settled=False) == []


def test_a_pcn_that_does_not_acknowledge_delays_the_reply_and_is_asked_again() -> None:  # G25
    world = _world(ba_timeout=1)
    world.crash("pcn41b")
    _go(world, FRANK, "fa21", 1.5)
    assert world.mobile(FRANK).served_at == "fa21"
    assert any("pcn41b" in alarm.text for _, _, alarm in world.alarms)
    world.restart("pcn41b")
    world.run(world.now + seconds(10))
    assert _legs(world, "pcn41b") == {"pcn41b→fa21"}
    assert differences(world, settled=False) == []


def test_an_aaaf_with_an_empty_cache_asks_home() -> None:
    world = _world()
    _go(world, ALICE, "fa21")
    world.crash("aaaf23")
    world.restart("aaaf23")
    sent = _watched(world)
    _go(world, ALICE, "fa21b")
    assert "HAR" in _names(sent)
    assert world.mobile(ALICE).attempts == 1
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("node", ["fa21", "fa21b", "aaaf23", "aaah33", "ha31", "pcn41b"])
@pytest.mark.parametrize("after", range(0, 66, 6))
def test_any_node_may_be_restarted_at_any_moment_of_a_move(node: str, after: int) -> None:
    world = _world()
    _go(world, FRANK, "fa21")
    world.move(FRANK, "fa21b")
    world.run(world.now + after * MILLISECOND)
    world.crash(node)
    world.run(world.now + 50 * MILLISECOND)
    world.restart(node)
    world.run(world.now + seconds(40))
    assert world.mobile(FRANK).served_at == "fa21b"
    assert differences(world, settled=False) == []


def test_without_the_database_moves_go_on_and_new_sessions_are_refused() -> None:  # G25
    world = _world()
    _go(world, ALICE, "fa21")
    world.database_up = False
    _go(world, ALICE, "fa22")
    assert world.mobile(ALICE).served_at == "fa22"
    _go(world, FRANK, "fa21")
    assert world.mobile(FRANK).codes == {Code.FA_RESOURCES: 1}
    assert _legs(world, "pcn41b") == set()
    world.mobile(ALICE).update = ServiceUpdate()
    world.refresh(ALICE)
    world.run(world.now + seconds(1))
    assert world.mobile(ALICE).codes[Code.FA_RESOURCES] >= 1
    assert _legs(world, "fa22") == {"fa22→ha31"}
    world.database_up = True
    world.run(world.now + seconds(5))
    assert world.mobile(FRANK).served_at == "fa21"
    assert differences(world, settled=False) == []


def test_without_a_record_registration_succeeds_and_there_is_no_vpn() -> None:  # G25
    world = _world()
    _go(world, GRACE, "fa21")
    _go(world, GRACE, "fa22")
    assert world.mobile(GRACE).served_at == "fa22"
    assert _legs(world, "fa22") == set()
    assert differences(world, settled=False) == []


def test_without_a_row_one_profile_is_rejected_loudly_and_the_others_set() -> None:  # G25
    documents = Documents()
    documents.record(4)["destaddr"] = "192.0.2.200"
    world = _world(documents)
    _go(world, CAROL, "fa21")
    assert _legs(world, "fa21") == {"fa21→ha31"}
    assert any("profile 4" in alarm.text and "no CN-GW row" in alarm.text for _, _, alarm in world.alarms)


def test_somebody_unknown_is_refused() -> None:
    world = _world()
    amr = Amr("eve@isp3.example", 1, "fa21", RegReq("eve@isp3.example", 1, "ha31", 60), "aaaf23")
    ama = world.nodes["aaah33"].receive(NodeRole.AAAH, amr, 0)
    (send,) = [effect for effect in ama if isinstance(effect, Send)]
    assert isinstance(send.message, Ama)
    assert send.message.result == 4001
    assert not world.nodes["aaah33"].tables[NodeRole.AAAH]


def test_an_old_agent_that_is_not_the_sessions_makes_it_an_initial_registration() -> None:  # G26
    world = _world()
    _go(world, ALICE, "fa22")
    sent = _watched(world)
    world.register(ALICE, "fa21b", names="fa21")
    world.run(world.now + seconds(1))
    assert "HAR" in _names(sent)
    assert differences(world, settled=False) == []


def test_a_stale_cache_of_a_left_domain_is_not_believed_and_ages_out() -> None:  # G25, G26
    world = _world()
    _go(world, FRANK, "fa21")
    _go(world, FRANK, "fa22")
    # the old domain's cache still has him at fa21, and the terminal says so
    world.register(FRANK, "fa21b", names="fa21")
    world.run(world.now + seconds(2))
    assert world.mobile(FRANK).served_at == "fa21b"
    assert differences(world, settled=False) == []
    world.vanish(FRANK)
    world.run(world.now + seconds(400))
    assert not world.nodes["aaaf23"].tables[NodeRole.AAAF]
    assert not world.nodes["aaaf23b"].tables[NodeRole.AAAF]


def test_an_agent_without_an_aaa_server_and_a_realm_that_nobody_serves() -> None:
    documents = Documents()
    documents.network["aaa_servers"].pop("aaaf23")
    world = _world(documents)
    _go(world, ALICE, "fa21")
    _go(world, ALICE, "fa21b")
    assert world.mobile(ALICE).served_at == "fa21b"
    assert differences(world, settled=False) == []
    documents.network["aaa_servers"].pop("aaah33")
    documents.network["aaa_servers"].pop("aaaf23b")
    lost = _world(documents)
    _go(lost, ALICE, "fa21")
    assert lost.mobile(ALICE).codes == {Code.FA_PROHIBITED: 1}
