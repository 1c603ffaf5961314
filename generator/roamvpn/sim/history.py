"""What happens in a simulated network: users' actions and nodes' failures in time, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.signalling.effects import Order
from roamvpn.sim.drawn_site import DrawnSite, agents_of, nodes_of
from roamvpn.sim.options import MILLISECOND, Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roamvpn.tables.records import VpnRecord
    from roamvpn.tables.secrets import Secrets
    from roamvpn.tables.tables import Tables

CALM = Faults()
ROUGH = Faults(duplicate=100, late=150, lateness=800 * MILLISECOND, jitter=20 * MILLISECOND)
STORMY = ROUGH._replace(loss=120)


class Action(NamedTuple):
    """Something that is done at a time, in milliseconds."""

    at: int
    what: str
    who: str = ""
    where: str = ""
    records: tuple[VpnRecord, ...] = ()

    def __str__(self) -> str:
        """`12.340 s move u2@home.example fa3`."""
        text = f"{self.at / 1000:.3f} s {self.what} {self.who} {self.where}".rstrip()
        return text + "".join(f" [{r.profile_number} {r.destaddr.text} {r.security} {r.share}]" for r in self.records)


@dataclass(frozen=True)
class History:
    """A drawn history: `rounds` of actions, each with the faults that its messages meet."""

    seed: int
    tables: Tables
    secrets: Secrets
    rounds: tuple[tuple[Faults, tuple[Action, ...]], ...]
    order: Order = Order.MAKE_BEFORE_BREAK

    @property
    def actions(self) -> list[Action]:
        """All actions."""
        return [action for _, actions in self.rounds for action in actions]


def draw(seed: int, *, rounds: int = 3, actions: int = 30) -> History:
    """A history from a seed."""
    random = Random(seed)  # noqa: S311 - a simulation, and it must repeat
    site = DrawnSite(random)
    plan = []
    for _ in range(rounds):
        faults = random.choice((CALM, ROUGH, STORMY, STORMY))
        drawn = _Drawn(random, site, rough=faults is STORMY)
        plan.append((faults, tuple(drawn.actions(actions))))
    order = random.choice((Order.MAKE_BEFORE_BREAK, Order.MAKE_BEFORE_BREAK, Order.PATENT))
    return History(seed, site.tables, site.secrets, tuple(plan), order)


class _Drawn:
    """Draws actions; how likely each kind is, in a hundred."""

    def __init__(self, random: Random, site: DrawnSite, *, rough: bool) -> None:
        self._random, self._site = random, site
        self._users = sorted(site.tables.subscribers)
        self._agents, self._nodes = agents_of(site.tables), nodes_of(site.tables)
        self._kinds = {"to and fro": 8, "reboot": 4, "move": 38, "claim": 8, "refresh": 10, "customise": 8}
        self._kinds |= {"deregister": 6, "vanish": 3}
        self._kinds |= {"crash": 7, "cut": 6, "database": 2} if rough else {"move": 53}

    def actions(self, many: int) -> Iterator[Action]:
        """So many, now close together, so that one event meets another, now far apart."""
        at, random = 0, self._random
        for _ in range(many):
            at += random.choice((0, 5, 20, 60, 200, 800, 3000))
            (kind,) = random.choices(list(self._kinds), list(self._kinds.values()))
            for action in self._one(at, kind, random.choice(self._users)):
                at = action.at if kind == "to and fro" else at
                yield action

    def _one(self, at: int, kind: str, nai: str) -> Iterator[Action]:
        random, agent, node = self._random, self._random.choice(self._agents), self._random.choice(self._nodes)
        if kind == "to and fro":
            # as at the border of two cells
            for where in random.choices(self._agents, k=2) * 2:
                yield Action(at, "move", nai, where)
                at += random.choice((10, 60, 150, 400))
        elif kind == "claim":
            yield Action(at, "claim", nai, f"{agent} {random.choice(self._agents)}")
        elif kind == "customise":
            held = [record.profile_number for record in self._site.tables.vpn_database.get(nai, ())]
            yield Action(at, "customise", nai, records=self._site.records(nai, held))
        elif kind == "reboot":
            yield Action(at, "reboot", node)
        elif kind == "crash":
            yield Action(at, "crash", node)
            yield Action(at + random.choice((1, 50, 500, 4000)), "restart", node)
        elif kind == "cut":
            other = random.choice(self._nodes)
            yield Action(at, "cut", node, other)
            yield Action(at + random.choice((50, 500, 4000, 9000)), "heal", node, other)
        elif kind == "database":
            yield Action(at, "database down")
            yield Action(at + random.choice((50, 2000)), "database up")
        else:
            yield Action(at, kind, nai, agent if kind == "move" else "")
