"""Users who move fast, back, in circles, or all together; and what they share (F4, F7, G25)."""

from __future__ import annotations

from itertools import cycle, islice, permutations
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.effects import Order
from roamvpn.signalling.settings import Settings
from roamvpn.sim.options import MILLISECOND
from roamvpn.sim.oracle import differences
from tests.signalled import ALICE, BOB, CAROL, FRANK, TABLES, all_tunnels, go, tunnels, world_of

if TYPE_CHECKING:
    from roamvpn.sim.world import World

EVERYBODY = sorted(TABLES.subscribers)
PAIRS = list(permutations(["fa21", "fa21b", "fa22"], 2))


def _run(world: World, milliseconds: float) -> None:
    world.run(world.now + round(milliseconds * MILLISECOND))


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("nai", [ALICE, BOB, CAROL, FRANK])
@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_ten_times_to_and_fro_within_the_life_of_one_hand_off(here: str, there: str, nai: str, order: Order) -> None:
    world = world_of(order=order, hand_off=30)
    go(world, nai, here)
    for agent in (there, here) * 10:
        go(world, nai, agent, 1)
        assert world.mobile(nai).served_at == agent
        assert differences(world, settled=False) == []
        (other,) = {here, there} - {agent}
        # G25: the hand-off of the way before is gone, that of this way stands
        assert f"{agent}→{other}" not in tunnels(world, agent)
        assert f"{other}→{agent}" in tunnels(world, other)
    _run(world, 31_000)
    assert tunnels(world, there) == set()
    # the other domain's cache is no tunnel; it has a life of its own
    _run(world, world.settings.authorization * 1000)
    assert differences(world, settled=True) == []


@pytest.mark.parametrize("every", [0, 4, 9, 13, 22, 41, 57, 80])
@pytest.mark.parametrize("nai", [ALICE, BOB, CAROL, FRANK])
def test_who_is_faster_than_signalling_is_served_in_the_end(nai: str, every: int) -> None:
    world = world_of()
    go(world, nai, "fa21")
    for agent in islice(cycle(["fa21b", "fa22", "fa21"]), 17):
        world.move(nai, agent)
        _run(world, every)
    _run(world, 6000)
    assert world.mobile(nai).served_at == "fa22"
    assert differences(world, settled=False) == []
    _run(world, 30_000)
    assert tunnels(world, "fa21") | tunnels(world, "fa21b") == set()


@pytest.mark.parametrize("order", list(Order))
def test_everybody_moves_together_and_what_they_share_is_counted(order: Order) -> None:  # F7
    world = world_of(order=order)
    for agent in ("fa21", "fa21b", "fa22", "fa21", "fa21b"):
        for nai in EVERYBODY:
            world.move(nai, agent)
        _run(world, 800)
        assert differences(world, settled=False) == []
    state = world.nodes["fa21b"].state
    assert state is not None
    # bob and carol towards ISP 4
    assert state.references["rv-e-pcn41"] == 2
    for nai in EVERYBODY:
        world.deregister(nai)
        _run(world, 500)
        assert differences(world, settled=False) == []
    _run(world, 30_000)
    assert all_tunnels(world) == set()
    for name in ("fa21", "fa21b", "fa22"):
        left = world.nodes[name].state
        assert left is not None
        assert (left.legs, left.peers, left.references, left.secrets) == ({}, {}, {}, {})


def test_a_hand_off_that_leans_on_what_is_shared_does_not_take_it_away_from_others() -> None:  # F7
    world = world_of()
    go(world, BOB, "fa21")
    go(world, CAROL, "fa21")
    go(world, BOB, "fa21b")
    go(world, CAROL, "fa21b")
    state = world.nodes["fa21b"].state
    assert state is not None
    shared = "rv-e-fa21"
    assert state.references[shared] == 2
    go(world, BOB, "fa22")
    assert state.references[shared] == 2
    _run(world, 12_000)
    assert shared not in state.references
    assert differences(world, settled=False) == []


@pytest.mark.parametrize("order", list(Order))
def test_static_gateways_never_notice(order: Order) -> None:  # F2
    world = world_of(order=order)
    state = world.nodes["gw51"].state
    assert state is not None
    before = state.copy()
    for agent in ("fa21", "fa21b", "fa22", "fa21b"):
        for nai in EVERYBODY:
            world.move(nai, agent)
        _run(world, 500)
        assert state == before
    for nai in EVERYBODY:
        world.deregister(nai)
    _run(world, 60_000)
    assert state == before
    assert world.loads["gw51"].events == 0


def test_a_long_hand_off_does_not_outlive_the_registration_that_asked_for_it() -> None:  # F10, G25
    world = world_of(hand_off=Settings().max_lifetime)
    go(world, ALICE, "fa21")
    go(world, ALICE, "fa21b")
    world.deregister(ALICE)
    _run(world, 1000)
    assert all_tunnels(world) == set()
