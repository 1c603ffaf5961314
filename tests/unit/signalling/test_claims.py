"""Which old agent a terminal names decides nothing but the way of its request (G26)."""

from __future__ import annotations

import pytest

from roamvpn.signalling.messages import Har, NodeRole
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.signalled import ALICE, CAROL, FRANK, TABLES, go, tunnels, watched, world_of

AGENTS = ["fa21", "fa21b", "fa22"]
CLAIMS = [None, *AGENTS, "ha31", "pcn41", "gw51", "aaaf23", "nobody"]


def _claimed(world: World, nai: str, at: str, claim: str | None) -> bool:
    """Whether home was asked about a registration that names this agent."""
    sent = watched(world)
    world.register(nai, at, names=claim)
    world.run(world.now + seconds(1))
    return any(isinstance(each.message, Har) for each in sent)


@pytest.mark.parametrize("nai", [ALICE, CAROL, FRANK])
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("to", AGENTS)
@pytest.mark.parametrize("at", AGENTS)
def test_only_the_sessions_own_agent_is_honoured(at: str, to: str, claim: str | None, nai: str) -> None:  # G26
    world = world_of()
    go(world, nai, at, 15)
    asked = _claimed(world, nai, to, claim)
    within = TABLES.network.gateways[at].domain == TABLES.network.gateways[to].domain
    honoured = (to == at and claim in (None, at)) or (to != at and claim == at and within)
    assert asked != honoured
    assert world.mobile(nai).served_at == to
    assert differences(world, settled=False) == []
    # it is the agent of the session that hands off, and nobody whom the terminal may have named
    left = {agent for agent in AGENTS if tunnels(world, agent) and agent != to}
    assert left == ({at} if at != to else set())


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_first_registration_may_name_whom_it_likes(claim: str | None) -> None:  # G26
    world = world_of()
    assert _claimed(world, FRANK, "fa21", claim)
    assert world.mobile(FRANK).served_at == "fa21"
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("nai", [ALICE, FRANK])
def test_a_lie_about_another_users_agent_leaves_that_user_alone(nai: str) -> None:  # G26
    world = world_of()
    go(world, CAROL, "fa21", 15)
    visitor = world.nodes["fa21"].tables[NodeRole.FA][CAROL]
    go(world, nai, "fa22", 1)
    _claimed(world, nai, "fa21b", "fa21")
    assert world.nodes["fa21"].tables[NodeRole.FA][CAROL] == visitor
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("nai", [ALICE, FRANK])
def test_a_cache_that_was_true_once_is_not_believed_after_a_tour(nai: str) -> None:  # G25, G26
    world = world_of()
    go(world, nai, "fa21")
    go(world, nai, "fa22")
    # the first domain's cache still has him at fa21, with a generation that is over
    assert _claimed(world, nai, "fa21b", "fa21")
    assert world.mobile(nai).attempts == 1
    assert differences(world, settled=False) == []
    go(world, nai, "fa21", 15)
    assert tunnels(world, "fa21b") == set()
    assert differences(world, settled=False) == []
