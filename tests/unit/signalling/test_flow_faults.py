"""Flows through all five roles when something cannot be reached, or is not what it was said to be (G25, G26)."""

from __future__ import annotations

import pytest

from roamvpn.signalling.effects import Send
from roamvpn.signalling.messages import Ama, Amr, Code, NodeRole, RegReq, ServiceUpdate
from roamvpn.sim.options import MILLISECOND
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import seconds
from tests.documents import Documents
from tests.signalled import ALICE, CAROL, FRANK, GRACE, go, tunnels, watched, world_of


def test_an_old_agent_that_cannot_be_reached_delays_but_does_not_refuse() -> None:  # G25
    world = world_of(ba_timeout=1)
    go(world, ALICE, "fa21")
    world.cut.add(frozenset(("fa21", "fa21b")))
    go(world, ALICE, "fa21b", 5)
    assert world.mobile(ALICE).served_at == "fa21b"
    assert any("no binding acknowledgement from fa21" in alarm.text for _, _, alarm in world.alarms)
    world.cut.clear()
    world.run(world.now + seconds(10))
    assert tunnels(world, "fa21") == {"fa21→fa21b"}
    assert differences(world, settled=False) == []


def test_a_pcn_that_does_not_acknowledge_delays_the_reply_and_is_asked_again() -> None:  # G25
    world = world_of(ba_timeout=1)
    world.crash("pcn41b")
    go(world, FRANK, "fa21", 1.5)
    assert world.mobile(FRANK).served_at == "fa21"
    assert any("pcn41b" in alarm.text for _, _, alarm in world.alarms)
    world.restart("pcn41b")
    world.run(world.now + seconds(10))
    assert tunnels(world, "pcn41b") == {"pcn41b→fa21"}
    assert differences(world, settled=False) == []


def test_an_aaaf_with_an_empty_cache_asks_home() -> None:
    world = world_of()
    go(world, ALICE, "fa21")
    world.crash("aaaf23")
    world.restart("aaaf23")
    sent = watched(world)
    go(world, ALICE, "fa21b")
    assert "HAR" in [each.name for each in sent]
    assert world.mobile(ALICE).attempts == 1
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("node", ["fa21", "fa21b", "aaaf23", "aaah33", "ha31", "pcn41b"])
@pytest.mark.parametrize("after", range(0, 66, 6))
def test_any_node_may_be_restarted_at_any_moment_of_a_move(node: str, after: int) -> None:
    world = world_of()
    go(world, FRANK, "fa21")
    world.move(FRANK, "fa21b")
    world.run(world.now + after * MILLISECOND)
    world.crash(node)
    world.run(world.now + 50 * MILLISECOND)
    world.restart(node)
    world.run(world.now + seconds(40))
    assert world.mobile(FRANK).served_at == "fa21b"
    assert differences(world, settled=False) == []


def test_without_the_database_moves_go_on_and_new_sessions_are_refused() -> None:  # G25
    world = world_of()
    go(world, ALICE, "fa21")
    world.database_up = False
    go(world, ALICE, "fa22")
    assert world.mobile(ALICE).served_at == "fa22"
    go(world, FRANK, "fa21")
    assert world.mobile(FRANK).codes == {Code.FA_RESOURCES: 1}
    assert tunnels(world, "pcn41b") == set()
    world.mobile(ALICE).update = ServiceUpdate()
    world.refresh(ALICE)
    world.run(world.now + seconds(1))
    assert world.mobile(ALICE).codes[Code.FA_RESOURCES] >= 1
    assert tunnels(world, "fa22") == {"fa22→ha31"}
    world.database_up = True
    world.run(world.now + seconds(5))
    assert world.mobile(FRANK).served_at == "fa21"
    assert differences(world, settled=False) == []


def test_without_a_record_registration_succeeds_and_there_is_no_vpn() -> None:  # G25
    world = world_of()
    go(world, GRACE, "fa21")
    go(world, GRACE, "fa22")
    assert world.mobile(GRACE).served_at == "fa22"
    assert tunnels(world, "fa22") == set()
    assert differences(world, settled=False) == []


def test_without_a_row_one_profile_is_rejected_loudly_and_the_others_set() -> None:  # G25
    documents = Documents()
    documents.record(4)["destaddr"] = "192.0.2.200"
    world = world_of(documents)
    go(world, CAROL, "fa21")
    assert tunnels(world, "fa21") == {"fa21→ha31"}
    assert any("profile 4" in alarm.text and "no CN-GW row" in alarm.text for _, _, alarm in world.alarms)


def test_somebody_unknown_is_refused() -> None:
    world = world_of()
    amr = Amr("eve@isp3.example", 1, "fa21", RegReq("eve@isp3.example", 1, "ha31", 60), "aaaf23")
    ama = world.nodes["aaah33"].receive(NodeRole.AAAH, amr, 0)
    (send,) = [effect for effect in ama if isinstance(effect, Send)]
    assert isinstance(send.message, Ama)
    assert send.message.result == 4001
    assert not world.nodes["aaah33"].tables[NodeRole.AAAH]


def test_an_old_agent_that_is_not_the_sessions_makes_it_an_initial_registration() -> None:  # G26
    world = world_of()
    go(world, ALICE, "fa22")
    sent = watched(world)
    world.register(ALICE, "fa21b", names="fa21")
    world.run(world.now + seconds(1))
    assert "HAR" in [each.name for each in sent]
    assert differences(world, settled=False) == []


def test_a_stale_cache_of_a_left_domain_is_not_believed_and_ages_out() -> None:  # G25, G26
    world = world_of()
    go(world, FRANK, "fa21")
    go(world, FRANK, "fa22")
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
    world = world_of(documents)
    go(world, ALICE, "fa21")
    go(world, ALICE, "fa21b")
    assert world.mobile(ALICE).served_at == "fa21b"
    assert differences(world, settled=False) == []
    documents.network["aaa_servers"].pop("aaah33")
    documents.network["aaa_servers"].pop("aaaf23b")
    lost = world_of(documents)
    go(lost, ALICE, "fa21")
    assert lost.mobile(ALICE).codes == {Code.FA_PROHIBITED: 1}
