"""Histories run to their end, and the oracle asked: after every round, and when all has settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from roamvpn.policy.keys import derived
from roamvpn.signalling.messages import NodeRole
from roamvpn.signalling.settings import Settings
from roamvpn.sim.drawn_site import SITE_KEY
from roamvpn.sim.history import CALM
from roamvpn.sim.options import MILLISECOND, Faults, Options
from roamvpn.sim.oracle import differences
from roamvpn.sim.world import World, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from roamvpn.sim.history import Action, History
    from roamvpn.sim.mobile import Mobile

LIFETIME = 20
SETTINGS = Settings(
    max_lifetime=LIFETIME,
    hand_off=6,
    request_timeout=3,
    ba_timeout=1,
    retry_last=4,
    br_threshold=5,
    authorization=40,
    remember=60,
)
_SAME = 1500
"""Milliseconds within which nodes that heard of something one after the other forget it again."""


@dataclass
class Outcome:
    """What a run came to."""

    registrations: int = 0
    messages: int = 0
    differences: list[str] = field(default_factory=list)
    when: str = ""


def world_of(history: History) -> World:
    """A fresh world for a history."""
    settings = SETTINGS._replace(order=history.order)
    options = Options(settings=settings, latency=4 * MILLISECOND, lifetime=LIFETIME, durable=True)
    return World(history.tables, derived(SITE_KEY), options, history.seed, history.secrets)


def run(history: History, watch: Callable[[World], None] | None = None) -> Outcome:
    """Run a history to its end, or to the first round after which the oracle finds a difference."""
    world = world_of(history)
    outcome = Outcome()
    if watch is not None:
        watch(world)
    for number, (faults, actions) in enumerate(history.rounds, 1):
        world.options.faults = faults
        start = world.now
        for action in actions:
            world.at(start + action.at * MILLISECOND, partial(act, world, action))
        world.run(start + max((action.at for action in actions), default=0) * MILLISECOND)
        outcome.differences = at_rest(world, faults, settled=False)
        outcome.when = f"after round {number}"
        if outcome.differences:
            break
    else:
        outcome.differences = at_rest(world, CALM, settled=True)
        outcome.when = "when all had settled"
    outcome.registrations, outcome.messages = world.registrations, world.messages
    return outcome


_OF_USERS: dict[str, Callable[[World, Action], None]] = {
    "move": lambda world, action: world.move(action.who, action.where),
    "refresh": lambda world, action: world.refresh(action.who),
    "deregister": lambda world, action: world.deregister(action.who),
    "customise": lambda world, action: world.customise(action.who, action.records),
    "vanish": lambda world, action: world.vanish(action.who),
}
_OF_NODES: dict[str, Callable[[World, Action], None]] = {
    "crash": lambda world, action: world.crash(action.who),
    "restart": lambda world, action: world.restart(action.who),
    "cut": lambda world, action: world.cut.add(frozenset((action.who, action.where))),
    "heal": lambda world, action: world.cut.discard(frozenset((action.who, action.where))),
    "database down": lambda world, _: setattr(world, "database_up", False),
    "database up": lambda world, _: setattr(world, "database_up", True),
}


def act(world: World, action: Action) -> None:
    """Do one action; those that do not fit any more do nothing."""
    simple = _OF_USERS.get(action.what) or _OF_NODES.get(action.what)
    if simple is not None:
        simple(world, action)
    elif action.what == "claim":
        at, claimed = action.where.split()
        world.register(action.who, at, names=claimed)
    elif action.what == "reboot":
        world.crash(action.who)
        world.restart(action.who)
    else:
        raise ValueError(f"no action {action.what!a}")


def at_rest(world: World, faults: Faults, *, settled: bool) -> list[str]:
    """End the faults, wait until nothing is under way, or until all has lapsed that will; what the oracle finds."""
    world.options.faults = CALM
    world.cut.clear()
    world.database_up = True
    for name in sorted(world.down):
        world.restart(name)
    # after losses a refresh must have gone round; without, only what is under way, and hand-off tunnels still stand
    quiet = LIFETIME // 2 + 6 if faults.loss else 1
    world.run(world.now + seconds(SETTINGS.authorization + 3 * LIFETIME if settled else quiet))
    # terminals refresh all the time: wait for a moment when none does; if none comes, the oracle will tell
    for _ in range(1500):
        if not _busy(world, rough=faults != CALM):
            break
        world.run(world.now + 20 * MILLISECOND)
    return differences(world, settled=settled)


def _busy(world: World, *, rough: bool) -> bool:
    """Whether anyone waits for another, or is about to forget what others forget within the same second.

    Who was switched off before he was answered may have half a registration, which lapses.
    """
    mobiles = world.mobiles.values()
    if any(mobile.waiting or (rough and mobile.at is None and _held(world, mobile)) for mobile in mobiles):
        return True
    now = world.now // MILLISECOND
    return any(
        _WAITS[role](entry, now)
        for node in world.nodes.values()
        for role, table in node.tables.items()
        for entry in table.values()
    )


def _held(world: World, mobile: Mobile) -> bool:
    """Whether any gateway still holds on to the user."""
    for node in world.nodes.values():
        binding = node.tables.get(NodeRole.HA, {}).get(mobile.nai)
        visitor = node.tables.get(NodeRole.FA, {}).get(mobile.nai)
        if binding is not None and binding.information is not None:
            return True
        if visitor is not None and visitor.serving is not None:
            return True
    return False


def _fa_waits(entry: Any, now: int) -> bool:  # noqa: ANN401 - a Visitor
    ends = entry.serving is not None and entry.expires - now < _SAME
    return ends or entry.registration is not None or any(each.again_at for each in entry.incoming)


_WAITS: dict[NodeRole, Callable[[Any, int], bool]] = {
    NodeRole.FA: _fa_waits,
    NodeRole.HA: lambda entry, _: entry.deferred is not None or bool(entry.posts),
    NodeRole.AAAH: lambda entry, _: entry.pending is not None,
    NodeRole.AAAF: lambda _, __: False,
    NodeRole.PCN: lambda _, __: False,
}
