"""Small simulated histories, looked at after every step: entries of every role, in all their states."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roamvpn.policy.legs import Contribution
from roamvpn.sim import chaos
from roamvpn.sim.history import ROUGH, draw
from roamvpn.sim.options import MILLISECOND

if TYPE_CHECKING:
    from roamvpn.signalling.messages import NodeRole

Found = dict["NodeRole", dict[str, Any]]


def entries(seed: int) -> Found:
    """Entries by role, each under a key of its own; legs are left out, as stores do."""
    history = draw(seed, rounds=1, actions=12)
    world = chaos.world_of(history)
    world.options.faults = ROUGH
    found: Found = {}
    for action in history.actions:
        world.at(action.at * MILLISECOND, partial(chaos.act, world, action))
    while (now := world.next_at) is not None and now < 60_000 * MILLISECOND:
        world.run(now)
        for node in world.nodes.values():
            for role, table in node.tables.items():
                if node.machines[role].durable:
                    rows = found.setdefault(role, {})
                    for entry in table.values():
                        bare = without_legs(entry)
                        rows.setdefault(repr(bare), bare)
    return found


def without_legs(value: Any) -> Any:  # noqa: ANN401 - any part of an entry
    """The value without contributions, which a store leaves out and a restart compiles again."""
    if not isinstance(value, tuple):
        return value
    if value and all(isinstance(each, Contribution) for each in value):
        return ()
    parts = [without_legs(each) for each in value]
    return value._make(parts) if hasattr(value, "_make") else tuple(parts)
