"""Any node may die after any event of a move, or between storing and sending; the move comes to its end (G25)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.effects import Order, Send, Store
from roamvpn.signalling.messages import NodeRole
from roamvpn.signalling.node import Node
from roamvpn.sim.options import MILLISECOND
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.signalled import ALICE, CAROL, FRANK, after_each, all_tunnels, go, watched, world_of

if TYPE_CHECKING:
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.messages import Address, Event

NODES = ["fa21", "fa21b", "fa22", "aaaf23", "aaaf23b", "aaah33", "ha31", "pcn41b"]
MOVES = {"E2": (ALICE, "fa21b"), "E3": (ALICE, "fa22"), "E5": (FRANK, "fa21b"), "E6": (FRANK, "fa22")}
DOWN = 50 * MILLISECOND


def _starting(nai: str, order: Order = Order.MAKE_BEFORE_BREAK) -> World:
    world = world_of(order=order)
    go(world, nai, "fa21", 15)
    return world


def _events(nai: str, to: str) -> int:
    """How many events nodes handle in a move that nothing disturbs."""
    count = 0

    def counted(_number: int, _who: Address) -> None:
        nonlocal count
        count += 1

    world = _starting(nai)
    after_each(world, counted)
    go(world, nai, to)
    return count


def _crash_after(world: World, node: str, number: int) -> None:
    def after(handled: int, _who: Address) -> None:
        if handled == number:
            world.crash(node)
            world.at(world.now + DOWN, partial(world.restart, node))

    after_each(world, after)


def _ended(world: World, nai: str, to: str) -> list[str]:
    """What is wrong after some refreshes: those who were told may have forgotten."""
    world.run(world.now + seconds(40))
    found = differences(world, settled=False)
    if world.mobile(nai).served_at != to:
        found.append(f"served at {world.mobile(nai).served_at}, not at {to}")
    return found


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("node", NODES)
def test_a_node_may_crash_after_every_single_event_of_a_move(node: str, move: str, order: Order) -> None:
    nai, to = MOVES[move]
    wrong = {}
    for number in range(_events(nai, to)):
        world = _starting(nai, order)
        _crash_after(world, node, number)
        world.move(nai, to)
        found = _ended(world, nai, to)
        if found:
            wrong[number] = found
    assert wrong == {}


@pytest.mark.parametrize("move", MOVES)
def test_who_handled_an_event_may_crash_before_it_sends_anything(move: str) -> None:
    nai, to = MOVES[move]
    wrong = {}
    for number in range(_events(nai, to)):
        world = _starting(nai)
        _silent_crash(world, number)
        world.move(nai, to)
        found = _ended(world, nai, to)
        if found:
            wrong[number] = found
    assert wrong == {}


def _silent_crash(world: World, number: int) -> None:
    """What the node stores at that event is kept, what it sends is lost, as is all that it has in memory."""
    deliver, send, handled = world._deliver, world._send, [0]

    def delivering(delivery: object) -> None:
        to: Address = delivery.to  # type: ignore[attr-defined]
        if to.role is NodeRole.MN:
            deliver(delivery)  # type: ignore[arg-type]
            return
        dies = handled[0] == number
        handled[0] += 1
        if dies:
            world._send = lambda *_: None  # type: ignore[method-assign]
        deliver(delivery)  # type: ignore[arg-type]
        if dies:
            world._send = send  # type: ignore[method-assign]
            world.crash(to.name)
            world.at(world.now + DOWN, partial(world.restart, to.name))

    world._deliver = delivering  # type: ignore[method-assign]


@pytest.mark.parametrize("move", MOVES)
def test_a_restart_sets_every_tunnel_again_before_anybody_says_a_word(move: str) -> None:
    nai, to = MOVES[move]
    world = _starting(nai)
    go(world, nai, to)
    before = {name: node.state for name, node in world.nodes.items()}
    sent = watched(world)
    for node in world.nodes:
        world.crash(node)
        world.restart(node)
        assert world.nodes[node].state == before[node]
    assert sent == []
    # the hand-off tunnels end in their time all the same
    world.run(world.now + seconds(world.settings.hand_off + 1))
    assert differences(world, settled=True) == []


def test_the_home_server_remembers_sessions_over_a_restart() -> None:  # C4
    world = _starting(FRANK)
    world.crash("aaah33")
    world.restart("aaah33")
    world.database_up = False
    go(world, FRANK, "fa22")
    assert world.mobile(FRANK).served_at == "fa22"
    assert differences(world, settled=False) == []


def test_what_must_be_kept_is_stored_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    real, orders = Node.receive, []

    def receive(node: Node, role: NodeRole, event: Event, now: int) -> list[Effect]:
        effects = real(node, role, event, now)
        orders.append([type(each) for each in effects if isinstance(each, (Store, Send))])
        return effects

    monkeypatch.setattr(Node, "receive", receive)
    for nai, to in MOVES.values():
        go(_starting(nai), nai, to)
    both = [order for order in orders if Store in order and Send in order]
    assert len(both) > 20
    assert {order.index(Store) for order in both} == {0}


@pytest.mark.parametrize("node", ["fa21", "aaaf23", "aaah33", "ha31", "pcn41"])
def test_a_node_may_crash_after_every_single_event_of_a_good_bye(node: str) -> None:  # F10
    wrong = {}
    for number in range(20):
        world = _starting(CAROL)
        _crash_after(world, node, number)
        world.deregister(CAROL)
        world.run(world.now + seconds(100))
        if found := differences(world, settled=False) or sorted(all_tunnels(world)):
            wrong[number] = found
    assert wrong == {}


@pytest.mark.parametrize("node", ["fa21", "aaah33", "ha31", "pcn41b"])
def test_a_node_that_is_down_longer_than_a_lifetime_comes_back_without_what_has_lapsed(node: str) -> None:  # G18
    world = _starting(FRANK)
    world.crash(node)
    world.vanish(FRANK)
    world.run(world.now + seconds(400))
    world.restart(node)
    world.run(world.now + seconds(400))
    assert all_tunnels(world) == set()
    assert differences(world, settled=True) == []
    assert not any(table for each in world.nodes.values() for table in each.tables.values())


def test_a_pcn_that_was_down_over_its_lifetime_is_posted_to_again() -> None:  # G25
    world = _starting(FRANK)
    world.crash("pcn41b")
    world.run(world.now + seconds(90))
    assert world.mobile(FRANK).served_at == "fa21"
    world.restart("pcn41b")
    world.run(world.now + seconds(60))
    assert "pcn41b→fa21" in all_tunnels(world)
    assert differences(world, settled=False) == []
