"""Every single message of every flow lost, doubled, late, or coming again long after: nothing newer is changed."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from roamvpn.signalling.effects import Order
from roamvpn.signalling.messages import ServiceUpdate
from roamvpn.sim.options import MILLISECOND
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds
from tests.documents import Documents
from tests.signalled import ALICE, CAROL, FRANK, all_tunnels, delayed, go, watched, world_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from roamvpn.signalling.messages import Address, Message

_OTHER = Documents()
_OTHER.record(7)["destaddr"] = "198.51.100.7"
OTHER = tuple(_OTHER.site().tables.vpn_database[FRANK])
Flow = tuple[str, str | None, "Callable[[World], None]", str | None]


def _update(world: World) -> None:
    world.database[FRANK] = OTHER
    world.mobile(FRANK).update = ServiceUpdate()
    world.refresh(FRANK)


# who, where he is before, what he does, where he must be in the end
FLOWS: dict[str, Flow] = {
    "E1": (ALICE, None, lambda world: world.move(ALICE, "fa21"), "fa21"),
    "E2": (ALICE, "fa21", lambda world: world.move(ALICE, "fa21b"), "fa21b"),
    "E3": (ALICE, "fa21", lambda world: world.move(ALICE, "fa22"), "fa22"),
    "E4": (FRANK, None, lambda world: world.move(FRANK, "fa21"), "fa21"),
    "E5": (FRANK, "fa21", lambda world: world.move(FRANK, "fa21b"), "fa21b"),
    "E6": (FRANK, "fa21", lambda world: world.move(FRANK, "fa22"), "fa22"),
    "E7": (FRANK, "fa21", _update, "fa21"),
    "both kinds": (CAROL, "fa21", lambda world: world.move(CAROL, "fa21b"), "fa21b"),
    "refresh": (CAROL, "fa21", lambda world: world.refresh(CAROL), "fa21"),
    "good-bye": (CAROL, "fa21", lambda world: world.deregister(CAROL), None),
}
# extra delays of one message, in milliseconds: one for each time that it arrives
FAULTS = {
    "lost": (),
    "twice": (0, 0),
    "a little late": (7,),
    "late": (33,),
    "very late": (900,),
    "later than patience": (9000,),
    "again later": (0, 33),
    "again much later": (0, 5000),
}


def _begun(name: str, order: Order) -> World:
    nai, at, _, _ = FLOWS[name]
    world = world_of(order=order)
    if at is not None:
        go(world, nai, at, 15)
    return world


def _messages(name: str, order: Order) -> int:
    """How many messages the flow has where nothing disturbs it."""
    world = _begun(name, order)
    sent = watched(world)
    FLOWS[name][2](world)
    world.run(world.now + seconds(1))
    return len(sent)


def _wrong(world: World, name: str) -> list[str]:
    nai, _, _, to = FLOWS[name]
    found = differences(world, settled=False)
    if world.mobile(nai).served_at != to:
        found.append(f"served at {world.mobile(nai).served_at}, not at {to}")
    return found


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_ends_well_whatever_happens_to_one_of_its_messages(name: str, fault: str, order: Order) -> None:
    wrong = {}
    for number in range(_messages(name, order)):
        world = _begun(name, order)
        sent = delayed(world, number, *(each * MILLISECOND for each in FAULTS[fault]))
        FLOWS[name][2](world)
        # everybody who missed something has heard of it by a repetition or a refresh
        world.run(world.now + seconds(45))
        if found := _wrong(world, name):
            wrong[number, sent[number].name, str(sent[number].sender)] = found
    assert wrong == {}


@pytest.mark.parametrize("name", ["E2", "E3", "E5", "E6", "both kinds"])
@pytest.mark.parametrize("then", ["fa21", "fa22", "fa21b", "good-bye", "vanish"])
def test_a_message_that_comes_again_after_the_next_event_changes_nothing(name: str, then: str) -> None:
    nai, _, act, _ = FLOWS[name]
    wrong = {}
    for number in range(_messages(name, Order.MAKE_BEFORE_BREAK)):
        world = _begun(name, Order.MAKE_BEFORE_BREAK)
        sent = delayed(world, number, 0, 2200 * MILLISECOND)
        act(world)
        world.run(world.now + seconds(1))
        if then == "good-bye":
            world.deregister(nai)
        elif then == "vanish":
            world.vanish(nai)
        else:
            world.move(nai, then)
        # between the next event and the next refresh: what came again must not have been taken at all
        world.run(world.now + seconds(3))
        found = differences(world, settled=False)
        if then == "good-bye":
            found += sorted(all_tunnels(world))
        if found:
            wrong[number, sent[number].name, str(sent[number].sender)] = found
    assert wrong == {}


@pytest.mark.parametrize("nai", [ALICE, CAROL, FRANK])
@pytest.mark.parametrize("to", ["fa21b", "fa22"])
@pytest.mark.parametrize("order", list(Order))
def test_a_good_bye_may_meet_a_move_at_any_moment(nai: str, to: str, order: Order) -> None:  # F10
    wrong = {}
    for after in range(0, 90, 3):
        world = world_of(order=order)
        go(world, nai, "fa21", 15)
        world.move(nai, to)
        world.at(world.now + after * MILLISECOND, partial(world.deregister, nai))
        world.run(world.now + seconds(5))
        assert world.mobile(nai).gone
        world.run(world.now + seconds(15))
        if found := differences(world, settled=False) + sorted(all_tunnels(world)):
            wrong[after] = found
    assert wrong == {}


@pytest.mark.parametrize("to", ["fa21b", "fa22"])
@pytest.mark.parametrize("order", list(Order))
def test_a_service_update_may_meet_a_move_at_any_moment(to: str, order: Order) -> None:  # E7
    wrong = {}
    for after in range(0, 90, 3):
        for first in ("move", "update"):
            world = world_of(order=order)
            go(world, FRANK, "fa21", 15)
            acts = [partial(world.move, FRANK, to), partial(_update, world)]
            for at, act in zip((0, after), acts if first == "move" else acts[::-1], strict=True):
                world.at(world.now + at * MILLISECOND, act)
            world.run(world.now + seconds(5))
            found = differences(world, settled=False)
            if "pcn41→" + to not in all_tunnels(world):
                found.append("the new VPN does not stand")
            if found:
                wrong[first, after] = found
    assert wrong == {}


@pytest.mark.parametrize("name", ["E2", "E3", "E5", "E6", "E7", "both kinds", "good-bye"])
@pytest.mark.parametrize("late", [None, 33, 2200])
def test_a_flow_ends_well_whatever_two_messages_are_lost_or_late(name: str, late: int | None) -> None:
    wrong = {}
    many = _messages(name, Order.MAKE_BEFORE_BREAK)
    for pair in combinations(range(many + 3), 2):
        world = _begun(name, Order.MAKE_BEFORE_BREAK)
        for number in pair:
            # the second wraps the first, which still counts everything
            _also_delayed(world, number, late)
        FLOWS[name][2](world)
        world.run(world.now + seconds(45))
        if found := _wrong(world, name):
            wrong[pair] = found
    assert wrong == {}


def _also_delayed(world: World, number: int, late: int | None) -> None:
    delays, count = world._delays, iter(range(10**6))

    def delays_of(here: Address, to: Address, message: Message) -> Iterable[int]:
        usual = delays(here, to, message)
        if next(count) != number:
            return usual
        return [each + late * MILLISECOND for each in usual] if late is not None else []

    world._delays = delays_of  # type: ignore[method-assign]
